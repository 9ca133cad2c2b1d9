// Forecasts of a server, over HTTP. A page that forecasts by itself has another file of this name.

import { npy } from "./npy.js";

const KINDS = ["mp4", "gif", "png", "npy", "nc"];
const TOKEN = "foreframe-token";

export const reads = "mp4, avi, gif · npy, npz, nc";
export const about = () => "on this server";
export const downloads = () => KINDS;

/** What the server's models are and what they take, as /v1/models says. */
export async function models() {
  return (await asked("v1/models")).json();
}

/** Frames {data, shape: [T,C,H,W]} in the model's units -> {future, shape, seconds}. */
export async function forecast(frames, { signal, ...fields }) {
  const answer = await sent(new File([npy(frames)], "frames.npy"), fields, "safetensors", signal);
  const { future } = tensors(await answer.arrayBuffer());
  const timing = answer.headers.get("Server-Timing") ?? "";
  const milliseconds = [...timing.matchAll(/dur=([\d.]+)/g)].map((match) => Number(match[1]));
  const seconds = milliseconds.reduce((sum, part) => sum + part, 0) / 1000;
  return { future: future.data, shape: future.shape, seconds };
}

/**
 * A recording -> {past, future, truth or null, units, range, times, last, notes}, tensors {data, shape};
 * the range is that of pictures of bytes, and not given for others.
 */
export async function forecastFile(file, { signal, ...fields }) {
  const answer = await sent(file, fields, "safetensors", signal);
  const { past, future, truth = null, words } = tensors(await answer.arrayBuffer());
  const list = (text) => (text ? JSON.parse(text) : null);
  const { units = "", last, times, notes } = words;
  const range = past.dtype === "U8" ? [0, 255] : null;
  const known = { units, range, last: Number(last), times: list(times), notes: list(notes) ?? [] };
  return { past, future, truth, ...known };
}

/** The forecast of a recording as a file: a Blob. */
export async function download(file, { signal, ...fields }, kind) {
  return (await sent(file, fields, kind, signal)).blob();
}

function sent(file, fields, output, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...fields, output })) {
    if (value !== undefined && value !== null) form.append(name, value);
  }
  form.append("file", file, file.name);
  return asked("v1/forecast", { method: "POST", body: form, signal });
}

async function asked(path, request = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), { ...request, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    // Another request may have asked for the token meanwhile.
    const other = sessionStorage.getItem(TOKEN);
    const given = other !== token ? other : prompt("This server wants a token:");
    if (given) {
      sessionStorage.setItem(TOKEN, given);
      return asked(path, request);
    }
  }
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail || problem.title || `The server answered ${answer.status}.`);
}

/** Tensors of a safetensors file by name, and its metadata as `words`. */
function tensors(buffer) {
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  const { __metadata__: words = {}, ...entries } = header;
  const found = { words };
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [from, to],
    },
  ] of Object.entries(entries)) {
    const bytes = buffer.slice(8 + size + from, 8 + size + to);
    const data =
      dtype === "U8" ? Float32Array.from(new Uint8Array(bytes)) : new Float32Array(bytes);
    found[name] = { data, shape, dtype };
  }
  return found;
}
