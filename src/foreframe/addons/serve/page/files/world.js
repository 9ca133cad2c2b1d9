// The world of the bouncing digits: where they are, how they go on, how they look as frames. It
// follows the rules by which Moving MNIST is drawn: a model that was trained on that knows it.

import { SHAPES } from "./shapes.js";

export const SIDE = 64;
export const DIGIT = 28;
const ROOM = SIDE - DIGIT;
const USUAL_SPEED = 0.1 * ROOM; // pixels a frame

/** A generator of numbers in [0, 1) that gives the same ones for the same seed. */
export function random(seed) {
  let state = Math.imul(seed + 1, 2654435761) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Two digits in flight: {shape, x, y, vx, vy}, of the top left corner, in pixels and a frame. */
export function newWorld(seed) {
  const next = random(seed);
  const digits = [1, 2].map(() => {
    const shape = SHAPES[Math.floor(next() * SHAPES.length)];
    const angle = 2 * Math.PI * next();
    const [vx, vy] = [USUAL_SPEED * Math.cos(angle), USUAL_SPEED * Math.sin(angle)];
    return { shape, x: ROOM * next(), y: ROOM * next(), vx, vy };
  });
  return { digits };
}

function along(place, speed) {
  const next = place + speed;
  if (next < 0) return [0, Math.abs(speed)];
  if (next > ROOM) return [ROOM, -Math.abs(speed)];
  return [next, speed];
}

/**
 * The digit a frame later, or where it is on the way there. It stops at a wall for a frame and
 * turns round, as in training.
 */
export function moved(digit, part = 1) {
  const [x, vx] = along(digit.x, digit.vx * part);
  const [y, vy] = along(digit.y, digit.vy * part);
  return { ...digit, x, y, vx, vy };
}

/** Frames that come if nobody touches anything: `count` of them. */
export function ahead(world, count) {
  let { digits } = world;
  return Array.from({ length: count }, () => {
    digits = digits.map((digit) => moved(digit));
    return drawn(digits);
  });
}

/** Frames that led here, the present one last, as if nobody had touched anything. */
export function behind(world, count) {
  const digits = world.digits.map((digit) => ({ ...digit, vx: -digit.vx, vy: -digit.vy }));
  return [...ahead({ digits }, count - 1).reverse(), drawn(world.digits)];
}

/** A frame (SIDE x SIDE) of greys in [0, 1]: digits at whole pixels, the brightest on top. */
export function drawn(digits) {
  const frame = new Float32Array(SIDE * SIDE);
  const inside = (place) => place >= 0 && place < SIDE;
  for (const { shape, x, y } of digits) {
    for (let i = 0; i < shape.length; i++) {
      const column = Math.floor(x) + (i % DIGIT);
      const row = Math.floor(y) + Math.floor(i / DIGIT);
      if (!inside(column) || !inside(row)) continue;
      const place = row * SIDE + column;
      frame[place] = Math.max(frame[place], parseInt(shape[i], 16) / 15);
    }
  }
  return frame;
}

/** A velocity that the world allows, in the same direction. */
export function allowed(vx, vy) {
  const factor = Math.min(1, (2 * USUAL_SPEED) / (Math.hypot(vx, vy) || 1));
  return { vx: vx * factor, vy: vy * factor };
}

/** The world as words for an address, and back; null where an address has no such words. */
export function toWords({ digits }) {
  const words = digits.map(({ shape, x, y, vx, vy }) => {
    const numbers = [x, y, vx, vy].map((number) => Number(number.toFixed(2)));
    return [SHAPES.indexOf(shape), ...numbers].join("_");
  });
  return words.join("~");
}

export function fromWords(words) {
  const digits = words.split("~").slice(0, 3).map((digit) => {
    const [name, ...numbers] = digit.split("_");
    const [x, y, vx, vy] = numbers.map(Number);
    return { shape: SHAPES[name], x, y, ...allowed(vx, vy) };
  });
  const inside = (place) => Math.abs(place - ROOM / 2) <= ROOM / 2;
  const valid = ({ shape, x, y, vx, vy }) =>
    shape && inside(x) && inside(y) && Number.isFinite(vx + vy);
  return digits.every(valid) ? { digits } : null;
}
