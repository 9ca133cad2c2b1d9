// The world of the bouncing digits: where they are, how they go on, and how they look as frames.
// It follows the rules by which Moving MNIST is drawn, so a model that was trained on that knows it.

import { SHAPES } from "./shapes.js";

export const SIDE = 64;
export const DIGIT = 28;
const ROOM = SIDE - DIGIT;
export const USUAL_SPEED = 0.1 * ROOM; // pixels a frame
const FASTEST = 2 * USUAL_SPEED;
const BEHIND_A_WALL = DIGIT + 12; // a digit that flies out turns round here, out of sight
export const WALLS = ["top", "right", "bottom", "left"];

/** A generator of numbers in [0, 1) that gives the same ones for the same seed. */
export function random(seed) {
  let state = Math.imul(seed + 1, 2654435761) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Two digits in flight. A digit is {shape, x, y, vx, vy}: its top left corner and pixels a frame. */
export function newWorld(seed) {
  const next = random(seed);
  const digits = [];
  for (let i = 0; i < 2; i++) {
    const shape = SHAPES[Math.floor(next() * SHAPES.length)];
    const angle = 2 * Math.PI * next();
    digits.push({
      shape,
      x: ROOM * next(),
      y: ROOM * next(),
      vx: USUAL_SPEED * Math.cos(angle),
      vy: USUAL_SPEED * Math.sin(angle),
    });
  }
  return { digits, open: new Set() };
}

function along(place, speed, low, high) {
  const next = place + speed;
  if (next < low) return [low, Math.abs(speed)];
  if (next > high) return [high, -Math.abs(speed)];
  return [next, speed];
}

/** The digit one frame later. It stops at a wall for a frame and turns round, as in training. */
export function moved(digit, open) {
  const far = (wall) => (open.has(wall) ? BEHIND_A_WALL : 0);
  const [x, vx] = along(digit.x, digit.vx, -far("left"), ROOM + far("right"));
  const [y, vy] = along(digit.y, digit.vy, -far("top"), ROOM + far("bottom"));
  return { ...digit, x, y, vx, vy };
}

/** Frames that come if nobody touches anything: `count` of them. */
export function ahead(world, count) {
  let { digits } = world;
  return Array.from({ length: count }, () => {
    digits = digits.map((digit) => moved(digit, world.open));
    return drawn(digits);
  });
}

/** Frames that led here, the present one last, as if nobody had touched anything. */
export function behind(world, count) {
  const back = world.digits.map((digit) => ({ ...digit, vx: -digit.vx, vy: -digit.vy }));
  const before = ahead({ ...world, digits: back }, count - 1).reverse();
  return [...before, drawn(world.digits)];
}

const levels = new Map();

/** Greys in [0, 1] of a shape, row by row. */
export function greys(shape) {
  if (!levels.has(shape)) {
    levels.set(
      shape,
      Float32Array.from(shape, (level) => parseInt(level, 16) / 15),
    );
  }
  return levels.get(shape);
}

/** A frame (SIDE x SIDE): digits at whole pixels, the brightest on top. */
export function drawn(digits) {
  const frame = new Float32Array(SIDE * SIDE);
  for (const digit of digits) {
    const shape = greys(digit.shape);
    const left = Math.floor(digit.x);
    const top = Math.floor(digit.y);
    for (let row = Math.max(0, -top); row < Math.min(DIGIT, SIDE - top); row++) {
      for (let column = Math.max(0, -left); column < Math.min(DIGIT, SIDE - left); column++) {
        const place = (top + row) * SIDE + left + column;
        frame[place] = Math.max(frame[place], shape[row * DIGIT + column]);
      }
    }
  }
  return frame;
}

/** A velocity that the world allows, in the same direction. */
export function allowed(vx, vy) {
  const factor = Math.min(1, FASTEST / (Math.hypot(vx, vy) || 1));
  return { vx: vx * factor, vy: vy * factor };
}

/** The world as words for an address, and back. */
export function toWords(world) {
  const digits = world.digits.map(({ shape, x, y, vx, vy }) => {
    const known = SHAPES.indexOf(shape);
    const numbers = [x, y, vx, vy].map((number) => Number(number.toFixed(2)));
    return [known < 0 ? shape : known, ...numbers].join("_");
  });
  return { digits: digits.join("~"), open: [...world.open].join("_") };
}

export function fromWords({ digits, open }) {
  const world = {
    digits: [],
    open: new Set((open || "").split("_").filter((w) => WALLS.includes(w))),
  };
  for (const words of (digits || "").split("~").slice(0, 3)) {
    const [name, ...numbers] = words.split("_");
    const shape = SHAPES[name] ?? name;
    const [x, y, vx, vy] = numbers.map(Number);
    const inside = [x, y].every((place) => Math.abs(place - ROOM / 2) <= ROOM / 2 + BEHIND_A_WALL);
    if (!/^[0-9a-f]{784}$/.test(shape) || !inside || ![vx, vy].every(Number.isFinite)) return null;
    world.digits.push({ shape, x, y, ...allowed(vx, vy) });
  }
  return world;
}
