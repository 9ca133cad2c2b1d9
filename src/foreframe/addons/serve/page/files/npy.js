// NumPy's file format.

import { stacked } from "./frames.js";

/** An array {data: Float32Array, shape} as a Blob of a .npy file. */
export function npy({ data, shape }) {
  const words = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")},), }`;
  const text = words.padEnd(Math.ceil((words.length + 11) / 64) * 64 - 11) + "\n";
  const start = new Uint8Array(10 + text.length);
  start.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, text.length & 255, text.length >> 8]);
  start.set(new TextEncoder().encode(text), 10);
  return new Blob([start, data]);
}

/** A recording: frames of a shape [C,H,W] as a .npy file. */
export function fileOf(frames, shape, name) {
  return new File([npy({ data: stacked(frames), shape: [frames.length, ...shape] })], name);
}
