// Forecasts of a server, over HTTP. A page that forecasts by itself has another file of this name.

const TOKEN = "foreframe-token";

export const reads = "mp4, avi, gif · npy, npz, nc";
export const about = () => "on this server";
export const downloads = ["mp4", "gif", "png", "npy", "nc"];

/** What the server's models are and what they take, as /v1/models says. */
export async function models() {
  return (await asked("v1/models")).json();
}

/**
 * A recording -> {past, future, truth or null, units, range, times, last, notes}, tensors
 * {data, shape}; the range is that of pictures of bytes, and not given for others.
 */
export async function forecastFile(file, { signal, ...fields }) {
  const answer = await sent(file, fields, "safetensors", signal);
  const { past, future, truth = null, words } = tensors(await answer.arrayBuffer());
  const { units = "", last, times, notes } = words;
  const read = { times: JSON.parse(times || "null"), notes: JSON.parse(notes || "[]") };
  const range = past.dtype === "U8" ? [0, 255] : null;
  return { past, future, truth, units, range, last: Number(last), ...read };
}

/** The forecast of a recording as a file: a Blob. */
export async function download(file, fields, kind) {
  return (await sent(file, fields, kind)).blob();
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
  const answer = await fetch(new URL(path, document.baseURI), { ...request, headers }).catch(
    (error) => {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is it still running?");
    },
  );
  if (answer.ok) return answer;
  if (answer.status === 401) {
    const given = prompt("This server wants a token:");
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
  const tensor = ({ dtype, shape, data_offsets: offsets }) => {
    const bytes = buffer.slice(...offsets.map((offset) => 8 + size + offset));
    const values = dtype === "U8" ? new Uint8Array(bytes) : new Float32Array(bytes);
    return { data: Float32Array.from(values), shape, dtype };
  };
  const found = Object.entries(entries).map(([name, entry]) => [name, tensor(entry)]);
  return { words, ...Object.fromEntries(found) };
}
