// Forecasts in the browser, in place of a server: the exported page's backend.js.

import { framesOf } from "./files.js";
import { demand } from "./frames.js";
import { json, load, run, threads } from "./graphs.js";
import { npy } from "./npy.js";

let about = null; // about.json, with the frames that the graphs take

const words = () => `in this browser, ${threads} ${threads === 1 ? "thread" : "threads"}`;
export { words as about };
export const reads = "mp4, webm, gif · npy";
export const downloads = ["npy"];

/** The model, when it has been loaded. */
export async function models() {
  await isolated;
  const { channels, size } = (await load("model")).about; // also where the model takes any
  const page = about ?? (await json("about.json"));
  about = { ...page, channels, size, model: { ...page.model, channels } };
  return [about.model];
}

/** Frames {data, shape: [T,C,H,W]} in the model's units -> {future, shape}. */
export async function forecast({ data, shape }, { steps, members, seed, signal }) {
  check(data, shape);
  const noise = members ? { members, seed: seed ?? 0, structure: about.noise } : null;
  const found = await run({ data, shape }, steps || about.model.future, noise, signal);
  return { future: found.data, shape: found.shape };
}

/** A recording -> {past, future, truth or null, units, times, last, notes}, as server.js. */
export async function forecastFile(file, { after, ...options }) {
  await models();
  const { data, shape, notes } = await framesOf(file, about);
  const [count, ...frame] = shape;
  const last = after ?? count - 1;
  demand(last < count, `${file.name} has ${count} frames: forecast after one of them.`);
  const size = data.length / count;
  const part = (from, to) => data.slice(from * size, to * size);
  const first = Math.max(0, last + 1 - about.model.past);
  const past = { data: part(first, last + 1), shape: [last + 1 - first, ...frame] };
  const { future, shape: made } = await forecast(past, options);
  const steps = made.at(-4);
  const truth = { data: new Float32Array(steps * size).fill(NaN), shape: [steps, ...frame] };
  truth.data.set(part(last + 1, last + 1 + steps));
  const { units } = about.model;
  const known = { truth: last + 1 < count ? truth : null, units, times: null, last, notes };
  return { past, future: { data: future, shape: made }, ...known };
}

/** The forecast of a recording as a file: a Blob. */
export async function download(file, options) {
  return npy((await forecastFile(file, options)).future);
}

function check(data, [, channels, height, width]) {
  const taken = about.channels;
  demand(channels === taken, `These frames have ${channels} channels; the model takes ${taken}.`);
  const [most, wide] = about.size ?? [Infinity, Infinity];
  demand(height <= most && width <= wide, `Frames are ${wide}x${most} at most here.`);
  const [low, high] = about.bounds ?? [-Infinity, Infinity];
  const within = !data.some((value) => value < low || value > high);
  demand(within, `The model takes values from ${low} to ${high}, and these frames hold others.`);
}

/** Threads need two headers, which isolate.js adds where the host does not: after one new start. */
async function isolate() {
  if (crossOriginIsolated || !navigator.serviceWorker || sessionStorage.getItem("isolated")) return;
  sessionStorage.setItem("isolated", "tried");
  try {
    await navigator.serviceWorker.register(new URL("./isolate.js", import.meta.url));
  } catch {
    return; // a browser that allows none has one thread
  }
  const { ready } = navigator.serviceWorker;
  const started = await Promise.race([ready, new Promise((give) => setTimeout(give, 3000))]);
  if (!started) return; // not in this browser
  location.reload();
  await new Promise(() => {}); // nothing is loaded before
}

const isolated = isolate();
