// Recordings to try without a file of one's own.

import { npy } from "./npy.js";
import { SIDE, ahead, newWorld, random } from "./world.js";

/** A recording that suits the model: rain where it forecasts that, else digits. */
export function exampleFor(model) {
  const length = model.past + 2 * model.future;
  const rain = /^(mm|kg|dbz)/i.test(model.units);
  const frames = rain ? showers(length) : ahead(newWorld(7), length);
  const channels = model.channels ?? 1;
  const area = SIDE * SIDE;
  const data = new Float32Array(length * channels * area);
  frames.forEach((frame, t) => {
    for (let c = 0; c < channels; c++) data.set(frame, (t * channels + c) * area);
  });
  const blob = npy({ data, shape: [length, channels, SIDE, SIDE] });
  return new File([blob], rain ? "example-rain.npy" : "example-digits.npy");
}

/** Showers in mm/h that drift with the wind, grow and fade. */
function showers(length) {
  const next = random(3);
  const cells = Array.from({ length: 16 }, () => ({
    x: SIDE * (1.6 * next() - 0.6),
    y: SIDE * next(),
    size: 3 + 5 * next(),
    peak: 2 + 25 * next() ** 2,
    middle: length * next(),
  }));
  return Array.from({ length }, (_, t) => {
    const frame = new Float32Array(SIDE * SIDE);
    for (const { x, y, size, peak, middle } of cells) {
      const strength = peak * Math.exp(-(((t - middle) / length) ** 2) * 3);
      for (let i = 0; i < frame.length; i++) {
        const right = (i % SIDE) - x - 1.3 * t;
        const down = Math.floor(i / SIDE) - y + 0.5 * t;
        frame[i] += strength * Math.exp(-(right * right + 1.6 * down * down) / (2 * size * size));
      }
    }
    return frame.map((rain) => (rain < 0.1 ? 0 : rain));
  });
}
