// Recordings to try without a file of one's own.

import { taken } from "./frames.js";
import { fileOf } from "./npy.js";
import { SIDE, ahead, newWorld, random } from "./world.js";

/** A recording that suits the model: rain in mm/h where it forecasts that, else digits. */
export function exampleFor({ past, future, units, ...model }) {
  const length = past + 2 * future;
  const rain = /^(mm|kg|dbz)/i.test(units);
  const range = rain ? { low: 0, high: 1, channels: model.channels } : model;
  const greys = rain ? showers(length) : ahead(newWorld(7), length);
  const frames = greys.map((frame) => taken(frame, range));
  const shape = [model.channels ?? 1, SIDE, SIDE];
  return fileOf(frames, shape, rain ? "example-rain.npy" : "example-digits.npy");
}

/** Showers in mm/h that drift with the wind. */
function showers(length) {
  const next = random(3);
  const cells = Array.from({ length: 16 }, () => ({
    x: SIDE * (1.6 * next() - 0.6),
    y: SIDE * next(),
    size: 3 + 5 * next(),
    peak: 2 + 25 * next() ** 2,
  }));
  const rainAt = (x, y) =>
    cells.reduce((rain, cell) => {
      const square = (x - cell.x) ** 2 + 1.6 * (y - cell.y) ** 2;
      return rain + cell.peak * Math.exp(-square / (2 * cell.size ** 2));
    }, 0);
  return Array.from({ length }, (_, t) =>
    Float32Array.from({ length: SIDE * SIDE }, (_, i) =>
      rainAt((i % SIDE) - 1.3 * t, Math.floor(i / SIDE) + 0.5 * t),
    ),
  );
}
