// Runs the exported graphs in a thread of its own, so that the page stays smooth.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { noiseOf } from "./noise.js";

const MOST = 4; // threads: more gain little in frames this small
const threads = self.crossOriginIsolated ? Math.min(MOST, navigator.hardwareConcurrency) : 1;
ort.env.wasm.numThreads = threads;
ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;

const here = (path) => new URL(path, import.meta.url).href;
const loaded = new Map();
const cancelled = new Set();
const short = []; // requests for plain forecasts, which do not wait for members
const long = [];
let busy = false;

self.onmessage = ({ data: request }) => {
  if (request.cancel) cancelled.add(request.id);
  else (request.noise ? long : short).push(request);
  if (!busy) work();
};

async function work() {
  busy = true;
  while (short.length || long.length) await answer(short.shift() ?? long.shift());
  busy = false;
}

async function answer(request) {
  const { id } = request;
  try {
    if (request.load) await load("model");
    const found = request.load ? { threads } : await forecast(request);
    self.postMessage({ id, ...found });
  } catch (error) {
    if (!cancelled.delete(id)) self.postMessage({ id, error: `The forecast failed: ${error.message ?? error}` });
  }
}

/** The graphs of a folder, and about.json. */
function load(folder) {
  if (!loaded.has(folder)) loaded.set(folder, opened(folder));
  return loaded.get(folder);
}

async function opened(folder) {
  const about = await (await fetch(here(`${folder}/about.json`))).json();
  const parts = folder === "model" ? ["encode", "begin", "step"] : ["begin", "step"];
  const graphs = { about };
  for (const part of parts) graphs[part] = await ort.InferenceSession.create(here(`${folder}/${part}.onnx`));
  return graphs;
}

/** Lets messages in: is the answer still wanted? Members also let plain forecasts pass. */
async function pause({ id, noise }) {
  await new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  if (cancelled.has(id)) throw new Error("cancelled");
  while (noise && short.length) await answer(short.shift());
}

async function forecast(request) {
  const { shape, steps, noise } = request;
  const plain = await load("model");
  const graphs = noise ? await load("members") : plain;
  const encoded = await encode(plain, request);
  const futures = [];
  for (let member = 0; member < (noise?.members ?? 1); member++) {
    futures.push(await decode(graphs, encoded, request, member));
  }
  const size = futures[0].length;
  const data = new Float32Array(futures.length * size);
  futures.forEach((future, m) => data.set(future, m * size));
  const one = [steps, size / steps / shape[2] / shape[3], shape[2], shape[3]];
  return { data, shape: noise ? [noise.members, ...one] : one };
}

/** The state after the past. */
async function encode({ about, encode: graph }, request) {
  const [count, channels, height, width] = request.shape;
  const sides = paddedSides(about, height, width);
  let state = {};
  for (const [name, { shape, fill }] of Object.entries(about.start)) {
    const dims = sized(shape, sides);
    state[name] = tensor(new Float32Array(product(dims)).fill(Number(fill)), dims);
  }
  const size = channels * height * width;
  for (let t = 0; t < count; t++) {
    const frame = padded(request.data.subarray(t * size, (t + 1) * size), channels, [height, width], sides);
    state = next(await run(graph, { ...state, frame: tensor(frame, [1, channels, ...sides]) }));
    await pause(request);
  }
  return state;
}

/** The frames of one future: (steps,C,H,W). */
async function decode({ about, begin, step }, encoded, request, member) {
  const { shape: [, , height, width], steps, noise } = request;
  const sides = paddedSides(about, height, width);
  const entering = (lead) => {
    if (!noise) return {};
    const dims = sized(about.entering.noise, sides);
    return { noise: tensor(noiseOf(dims.slice(1), noise, member, lead), dims) };
  };
  let state = next(await run(begin, { ...encoded, ...entering(0) }));
  let future = null;
  for (let lead = 0, done = 0; done < steps; lead++) {
    await pause(request);
    const found = await run(step, { ...state, ...entering(lead) });
    const { data, dims: [, made, channels] } = found.frames;
    future ??= new Float32Array(steps * channels * height * width);
    for (let k = 0; k < made && done < steps; k++, done++) {
      for (let row = 0; row < channels * height; row++) {
        const [c, y] = [Math.floor(row / height), row % height];
        const from = (((k * channels + c) * sides[0]) + y) * sides[1];
        future.set(data.subarray(from, from + width), (done * channels * height + row) * width);
      }
    }
    delete found.frames;
    state = next(found);
  }
  return future;
}

const tensor = (data, dims) => new ort.Tensor("float32", data, dims);
const product = (dims) => dims.reduce((all, side) => all * side, 1);

function run(graph, values) {
  return graph.run(Object.fromEntries(graph.inputNames.map((name) => [name, values[name]])));
}

/** What a graph gives, by the names under which the next one takes it. */
function next(found) {
  const pairs = Object.entries(found).map(([name, value]) => [name.split("_")[1], value]);
  return Object.fromEntries(pairs.flatMap(([number, value]) => [
    [`state_${number}_in`, value], [`encoded_${number}`, value],
  ]));
}

function paddedSides({ size, multiple }, height, width) {
  return size ?? [height, width].map((side) => Math.ceil(side / multiple) * multiple);
}

/** Numbers as they are, and 8 of 64 rows for "height/8". */
function sized(shape, [height, width]) {
  const sides = { clips: 1, height, width };
  return shape.map((side) => {
    const [name, share = 1] = String(side).split("/");
    return (sides[name] ?? Number(name)) / share;
  });
}

/** A frame to which its last row and column are added again up to these sides. */
function padded(frame, channels, [height, width], [rows, columns]) {
  const larger = new Float32Array(channels * rows * columns);
  for (let row = 0; row < channels * rows; row++) {
    const [c, y] = [Math.floor(row / rows), Math.min(row % rows, height - 1)];
    const line = frame.subarray((c * height + y) * width, (c * height + y + 1) * width);
    larger.set(line, row * columns);
    larger.fill(line[width - 1], row * columns + width, (row + 1) * columns);
  }
  return larger;
}
