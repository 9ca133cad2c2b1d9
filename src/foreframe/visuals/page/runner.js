// Runs the exported graphs in a thread of its own, so that the page stays smooth.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { framesOf, stacked } from "./frames.js";
import { noiseOf } from "./noise.js";

const MOST = 4; // threads: more gain little in frames this small
const threads = self.crossOriginIsolated ? Math.min(MOST, navigator.hardwareConcurrency) : 1;
ort.env.wasm.numThreads = threads;
ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;

const here = (path) => new URL(path, import.meta.url).href;
const loaded = new Map();
let work = Promise.resolve(); // graphs run one after the other

self.onmessage = ({ data: request, ports: [port] }) => {
  port.onmessage = () => (request.cancelled = true);
  work = work.then(() => answer(request, port));
};

async function answer(request, port) {
  try {
    if (request.load) await load("model");
    port.postMessage(request.load ? { threads } : await forecast(request));
  } catch (error) {
    port.postMessage({ error: `The forecast failed: ${error.message ?? error}` });
  }
}

/** The graphs of a folder, and about.json. */
function load(folder) {
  if (!loaded.has(folder)) loaded.set(folder, opened(folder));
  return loaded.get(folder);
}

async function opened(folder) {
  const graphs = { about: await (await fetch(here(`${folder}/about.json`))).json() };
  const parts = folder === "model" ? ["encode", "begin", "step"] : ["begin", "step"];
  for (const part of parts) {
    graphs[part] = await ort.InferenceSession.create(here(`${folder}/${part}.onnx`));
  }
  return graphs;
}

/** Lets messages in: is the answer still wanted? */
async function pause(request) {
  await new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  if (request.cancelled) throw new Error("cancelled");
}

async function forecast(request) {
  const { shape, steps, noise } = request;
  const plain = await load("model");
  const graphs = noise ? await load("members") : plain;
  const { size, multiple } = plain.about;
  const [height, width] = shape.slice(2);
  const sides = size ?? [height, width].map((side) => Math.ceil(side / multiple) * multiple);
  const encoded = await encode(plain, request, sides);
  const futures = [];
  for (let member = 0; member < (noise?.members ?? 1); member++) {
    futures.push(await decode(graphs, encoded, request, sides, member));
  }
  const one = [steps, futures[0].length / (steps * height * width), height, width];
  return { data: stacked(futures), shape: noise ? [noise.members, ...one] : one };
}

/** The state after the past. */
async function encode({ about, encode: graph }, request, sides) {
  const [, channels, ...own] = request.shape;
  let state = {};
  for (const [name, { shape, fill }] of Object.entries(about.start)) {
    const dims = sized(shape, sides);
    const size = dims.reduce((product, side) => product * side, 1);
    state[name] = tensor(new Float32Array(size).fill(Number(fill)), dims);
  }
  for (const one of framesOf(request)) {
    const frame = tensor(resized(one, channels, own, sides), [1, channels, ...sides]);
    state = next(await run(graph, { ...state, frame }));
    await pause(request);
  }
  return state;
}

/** The frames of one future: (steps,C,H,W). */
async function decode({ about, begin, step }, encoded, request, sides, member) {
  const { shape, steps, noise } = request;
  const entering = (lead) => {
    if (!noise) return {};
    const dims = sized(about.entering.noise, sides);
    return { noise: tensor(noiseOf(dims.slice(1), noise, member, lead), dims) };
  };
  let state = next(await run(begin, { ...encoded, ...entering(0) }));
  const future = [];
  for (let lead = 0; future.length < steps; lead++) {
    await pause(request);
    const { frames, ...found } = await run(step, { ...state, ...entering(lead) });
    const [, ...made] = frames.dims;
    for (const frame of framesOf({ data: frames.data, shape: made })) {
      future.push(resized(frame, made[1], sides, shape.slice(2)));
    }
    state = next(found);
  }
  return stacked(future.slice(0, steps));
}

const tensor = (data, dims) => new ort.Tensor("float32", data, dims);

function run(graph, values) {
  return graph.run(Object.fromEntries(graph.inputNames.map((name) => [name, values[name]])));
}

/** What a graph gives, by the names under which the next one takes it. */
function next(found) {
  const state = {};
  for (const [name, value] of Object.entries(found)) {
    const [, number] = name.split("_");
    state[`state_${number}_in`] = state[`encoded_${number}`] = value;
  }
  return state;
}

/** Numbers as they are, and 8 of 64 rows for "height/8". */
function sized(shape, [height, width]) {
  const sides = { clips: 1, height, width };
  return shape.map((side) => {
    const [name, share = 1] = String(side).split("/");
    return (sides[name] ?? Number(name)) / share;
  });
}

/** A frame of other sides: cut off there, or with its last row and column again up to there. */
function resized(frame, channels, [height, width], [rows, columns]) {
  const area = rows * columns;
  return Float32Array.from({ length: channels * area }, (_, i) => {
    const row = Math.min(Math.floor((i % area) / columns), height - 1);
    const column = Math.min(i % columns, width - 1);
    return frame[(Math.floor(i / area) * height + row) * width + column];
  });
}
