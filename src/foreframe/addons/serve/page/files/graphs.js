// Runs the exported graphs, by ONNX Runtime, in a thread of its own, so that the page stays smooth.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { demand, framesOf, stacked } from "./frames.js";
import { noiseOf } from "./noise.js";

const MOST = 4; // threads: more gain little in frames this small
export const threads = crossOriginIsolated ? Math.min(MOST, navigator.hardwareConcurrency) : 1;
const here = (path) => new URL(path, import.meta.url).href;
const loaded = new Map();
Object.assign(ort.env.wasm, { numThreads: threads, wasmPaths: here("./runtime/"), proxy: true });

export async function json(path) {
  const answer = await fetch(here(path));
  demand(answer.ok, `${path} is not there: is the folder whole?`);
  return answer.json();
}

/** The graphs of a folder, and about.json. */
export function load(folder) {
  if (!loaded.has(folder)) loaded.set(folder, opened(folder));
  return loaded.get(folder);
}

async function opened(folder) {
  const graphs = { about: await json(`${folder}/about.json`) };
  const parts = folder === "model" ? ["encode", "begin", "step"] : ["begin", "step"];
  for (const part of parts) {
    graphs[part] = await ort.InferenceSession.create(here(`${folder}/${part}.onnx`));
  }
  return graphs;
}

/** Frames {data, shape: [T,C,H,W]} -> `steps` frames, of each member where noise is given. */
export async function run(frames, steps, noise, signal) {
  const plain = await load("model");
  const graphs = noise ? await load("members") : plain;
  const { size, multiple } = plain.about;
  const [height, width] = frames.shape.slice(2);
  const sides = size ?? [height, width].map((side) => Math.ceil(side / multiple) * multiple);
  const request = { ...frames, steps, noise, sides, signal };
  const encoded = await encode(plain, request);
  const futures = [];
  for (let member = 0; member < (noise?.members ?? 1); member++) {
    futures.push(await decode(graphs, encoded, request, member));
  }
  const one = [steps, futures[0].length / (steps * height * width), height, width];
  return { data: stacked(futures), shape: noise ? [noise.members, ...one] : one };
}

/** The state after the past. */
async function encode({ about, encode: graph }, request) {
  const { sides, signal } = request;
  const [, channels, ...own] = request.shape;
  let state = {};
  for (const [name, { shape, fill }] of Object.entries(about.start)) {
    const dims = sized(shape, sides);
    const size = dims.reduce((product, side) => product * side, 1);
    state[name] = tensor(new Float32Array(size).fill(Number(fill)), dims);
  }
  for (const one of framesOf(request)) {
    const frame = tensor(resized(one, channels, own, sides), [1, channels, ...sides]);
    state = await step(graph, { ...state, frame }, signal);
  }
  return state;
}

/** The frames of one future: (steps,C,H,W). */
async function decode(graphs, encoded, { shape, steps, noise, sides, signal }, member) {
  const entering = (lead) => {
    if (!noise) return {};
    const dims = sized(graphs.about.entering.noise, sides);
    return { noise: tensor(noiseOf(dims.slice(1), noise, member, lead), dims) };
  };
  let state = await step(graphs.begin, { ...encoded, ...entering(0) }, signal);
  const future = [];
  for (let lead = 0; future.length < steps; lead++) {
    const { frames, ...found } = await step(graphs.step, { ...state, ...entering(lead) }, signal);
    const [, ...made] = frames.dims;
    for (const frame of framesOf({ data: frames.data, shape: made })) {
      future.push(resized(frame, made[1], sides, shape.slice(2)));
    }
    state = found;
  }
  return stacked(future.slice(0, steps));
}

const tensor = (data, dims) => new ort.Tensor("float32", data, dims);

/** What a graph gives, by the names under which the next one takes it. */
async function step(graph, values, signal) {
  signal?.throwIfAborted();
  // The runtime's thread takes the memory of what it is given: members begin from the same.
  const given = {};
  for (const name of graph.inputNames) {
    const { data, dims } = values[name];
    given[name] = tensor(data.slice(), dims);
  }
  const { frames, ...found } = await graph.run(given);
  const state = { frames };
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
