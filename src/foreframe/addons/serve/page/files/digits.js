// Digits that bounce, as a source of frames: a hand throws them, keys push them.

import { recalled, remember } from "./address.js";
import { taken } from "./frames.js";
import { DIGIT, SIDE, ahead, allowed, behind, drawn, fromWords } from "./world.js";
import { moved, newWorld, toWords } from "./world.js";

const KEPT = 60; // frames that went by
const RESTS = 250; // milliseconds after which a hand no longer throws what it holds
const PUSH = 0.6; // pixels a frame, by an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const $ = (id) => document.getElementById(id);

/**
 * A source of frames as a model takes them.
 *
 * clock: {running, pace in milliseconds a frame, seed}, as the view has it.
 * changed: is called when a hand has changed what comes.
 */
export function startDigits(clock, changed) {
  let world = fromWords(recalled("digits")) ?? newWorld(clock.seed);
  let frames = behind(world, KEPT);
  let chosen = 0;
  let held = null; // where the hand is in the chosen digit, and where that was lately

  function change(values) {
    const digits = world.digits.map((digit, i) => (i === chosen ? { ...digit, ...values } : digit));
    world = { digits };
  }

  /** The digits a frame later, or a part of one: pictures glide. What is held stays. */
  function after(part) {
    return world.digits.map((digit, i) =>
      held && i === chosen ? digit : moved(digit, part),
    );
  }

  /** While time stands still, and of other digits, it is as if they had flown so all along. */
  function touched(others = !clock.running) {
    if (others) frames = behind(world, KEPT);
    keep();
    changed();
  }

  function keep() {
    remember({ seed: clock.seed, digits: toWords(world) });
  }

  // ---- the hand

  const hand = $("hand");
  const placeOf = ({ offsetX, offsetY }) =>
    [offsetX, offsetY].map((place) => (place / hand.clientWidth) * SIDE);

  hand.addEventListener("pointerdown", (event) => {
    const [x, y] = placeOf(event);
    const distances = world.digits.map((digit) =>
      Math.hypot(digit.x + DIGIT / 2 - x, digit.y + DIGIT / 2 - y),
    );
    const nearest = Math.min(...distances);
    if (nearest > DIGIT) return;
    chosen = distances.indexOf(nearest);
    hand.setPointerCapture(event.pointerId);
    const digit = world.digits[chosen];
    held = { dx: x - digit.x, dy: y - digit.y, trail: [{ ...digit, at: event.timeStamp }] };
    change({ vx: 0, vy: 0 });
    touched();
  });

  hand.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [x, y] = placeOf(event);
    const inside = (place) => Math.min(SIDE - DIGIT, Math.max(0, place));
    const point = { x: inside(x - held.dx), y: inside(y - held.dy) };
    held.trail.push({ ...point, at: event.timeStamp });
    change(point);
  });

  function letGo(event) {
    if (!held) return;
    const trail = held.trail.filter(({ at }) => event.timeStamp - at < RESTS);
    const [first, last] = [trail[0], trail.at(-1)];
    const moments = (last?.at - first?.at) / clock.pace;
    if (moments > 0) change(allowed((last.x - first.x) / moments, (last.y - first.y) / moments));
    held = null;
    touched();
  }
  hand.addEventListener("pointerup", letGo);
  hand.addEventListener("pointercancel", letGo);

  hand.addEventListener("keydown", (event) => {
    const other = Number(event.key) - 1;
    if (ARROWS[event.key]) {
      const { vx, vy } = world.digits[chosen];
      const [right, down] = ARROWS[event.key];
      change(allowed(vx + PUSH * right, vy + PUSH * down));
      touched();
    } else if (world.digits[other]) {
      chosen = other;
      $("now-words").textContent = `arrows push digit ${event.key}`;
    } else if (event.key === " ") {
      $("play").click();
    } else {
      return;
    }
    event.preventDefault();
  });

  return {
    keep,
    shape: (model) => [model.channels ?? 1, SIDE, SIDE],
    past: (model) => frames.slice(-model.past).map((frame) => taken(frame, model)),
    coming: (model, count) => ahead(world, count).map((frame) => taken(frame, model)),
    between: (model, part) => taken(drawn(after(part)), model),
    step() {
      world = { digits: after(1) };
      frames = [...frames.slice(1), drawn(world.digits)];
    },

    renew() {
      world = newWorld(clock.seed);
      touched(true);
    },
  };
}
