// Digits that bounce: what comes, what the model expects, and its members as ghosts ahead of them.

import * as backend from "./backend.js";
import { recalled, recalledNumber, remember } from "./address.js";
import { COMING, EXPECTED, paint, paintGhosts } from "./draw.js";
import { openPad } from "./pad.js";
import {
  DIGIT,
  SIDE,
  ahead,
  allowed,
  behind,
  drawn,
  fromWords,
  greys,
  moved,
  newWorld,
  toWords,
} from "./world.js";

const FRAME = 200; // milliseconds, at least: time waits for a model that is slow, up to SLOWEST
const SLOWEST = 500;
const SPARE = 5; // frames that are forecast beyond what is shown, so that a slow answer is still of use
const TOGETHER = 2; // members that are asked for at once, so that they never hold up the plain forecast for long
const RUN = 70; // milliseconds that ghosts take for a frame: they run ahead
const RESTS = 250; // milliseconds after which a hand no longer throws what it holds
const PUSH = 0.6; // pixels a frame, by an arrow key
const AREA = SIDE * SIDE;
const SHAPE = [1, SIDE, SIDE];

const $ = (id) => document.getElementById(id);

export function startDigits(say) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let seed = recalledNumber("seed", 0, 1e9, Math.floor(1e4 * Math.random()));
  let world =
    (recalled("digits") && fromWords({ digits: recalled("digits"), open: recalled("open") })) ||
    newWorld(seed);
  let lead = recalledNumber("ahead", 1, 15, 5);
  let ghosts = recalledNumber("ghosts", 0, 16, 16);
  let running = recalled("paused") ? false : !still;
  let visible = false;
  let loop = 0;
  let model = null;
  let chosen = 0;
  let held = null; // the pointer that holds the chosen digit, and where it was lately

  let number = 0; // of the present frame
  let before = world; // one frame ago: pictures glide from there
  let frames = []; // lately, the present one last
  let forecast = null; // {origin, frames: a list}
  let fan = null; // {origin, members: a list of lists of frames}

  let asking = null; // of the plain forecast: an AbortController
  let fanning = null;
  let pace = FRAME;
  let lastFrame = performance.now();
  let ghostsSince = lastFrame;

  // ---- time

  function retrace() {
    frames = behind(world, model?.past ?? 10);
  }

  function oneFrame() {
    before = world;
    const digits = world.digits.map((digit, i) =>
      held && i === chosen ? digit : moved(digit, world.open),
    );
    world = { ...world, digits };
    number += 1;
    frames = [...frames.slice(-60), drawn(digits)];
    show();
    ask();
  }

  function glide(now) {
    loop = requestAnimationFrame(glide);
    if (running && now - lastFrame >= pace) {
      lastFrame = now - lastFrame > 2 * pace ? now : lastFrame + pace;
      oneFrame();
    }
    drawNow(now, running ? Math.min(1, (now - lastFrame) / pace) : 1);
  }

  function setRunning(on) {
    running = on;
    lastFrame = performance.now();
    $("play").textContent = on ? "Pause" : "Play";
    $("next").disabled = on;
    remember({ paused: on ? "" : "1", ...toWords(world) });
  }

  /** What took so long should be of use for some frames more. */
  function keepPace(milliseconds, frames) {
    const wanted = Math.min(SLOWEST, Math.max(FRAME, milliseconds / frames));
    pace += (wanted - pace) / 2;
  }

  // ---- the model's answers

  /** Something was changed by hand: what was expected no longer holds, and a new answer is due. */
  function touched() {
    asking?.abort();
    fanning?.abort();
    asking = fanning = fan = null;
    if (!running) retrace();
    remember({ seed, ...toWords(world) });
    show();
    ask();
  }

  const steps = () => lead + SPARE;

  /** The last frames as the model takes them: in its units, as many channels as it has. */
  function past() {
    const channels = model.channels ?? 1;
    const range = model.high - model.low;
    const taken = frames.slice(-model.past);
    const data = new Float32Array(taken.length * channels * AREA);
    taken.forEach((frame, t) => {
      const values = frame.map((grey) => model.low + range * grey);
      for (let c = 0; c < channels; c++) data.set(values, (t * channels + c) * AREA);
    });
    return { data, shape: [taken.length, channels, SIDE, SIDE] };
  }

  /** A forecast's frames as greys: the first channel, from the model's units. */
  function asGreys(data, count, channels) {
    return Array.from({ length: count }, (_, i) => {
      const start = i * channels * AREA;
      return data
        .slice(start, start + AREA)
        .map((value) => (value - model.low) / (model.high - model.low));
    });
  }

  async function ask() {
    if (!model || asking || !visible) return;
    const mine = (asking = new AbortController());
    const origin = number;
    try {
      const started = performance.now();
      const fields = { model: model.name, steps: steps(), signal: mine.signal };
      const answer = await backend.forecast(past(), fields);
      if (mine.signal.aborted) return;
      const [count, channels] = answer.shape;
      forecast = { origin, frames: asGreys(answer.future, count, channels) };
      const milliseconds = performance.now() - started;
      if (!ghosts || !model.members) keepPace(milliseconds, SPARE - 1);
      $("answered").textContent = `answered in ${(milliseconds / 1000).toFixed(2)} s`;
      say("");
      show();
      if (!fanning) askMembers();
    } catch (error) {
      if (error.name === "AbortError") return;
      say(error.message, true);
      await new Promise((resolve) => setTimeout(resolve, 2000));
      if (asking !== mine) return;
      asking = null;
      ask();
    } finally {
      if (asking === mine) asking = null;
    }
  }

  /** Members in the background, a few at once; a touch ends it. */
  async function askMembers() {
    if (!ghosts || !model.members) return;
    const mine = (fanning = new AbortController());
    const origin = number;
    const frames = past();
    const members = [];
    try {
      // What is half overtaken is of little use: begin anew.
      while (members.length < ghosts && number - origin <= steps() / 2) {
        const started = performance.now();
        const fields = { model: model.name, steps: steps(), signal: mine.signal };
        const drawn = { members: TOGETHER, seed: seed + members.length };
        const answer = await backend.forecast(frames, { ...fields, ...drawn });
        if (mine.signal.aborted) return;
        const [, count, channels] = answer.shape;
        const greys = asGreys(answer.future, TOGETHER * count, channels);
        for (let m = 0; m < TOGETHER; m++) members.push(greys.slice(m * count, (m + 1) * count));
        const spent = !fan || fan.origin + fan.members[0].length - number < SPARE;
        if (spent || members.length >= fan.members.length) fan = { origin, members };
        keepPace(performance.now() - started, 3);
      }
      await new Promise((resolve) => setTimeout(resolve, FRAME));
    } catch (error) {
      if (error.name !== "AbortError") say(error.message, true);
    } finally {
      if (fanning === mine) fanning = null;
    }
  }

  // ---- pictures

  /** The two frames ahead: of the same moment, `lead` frames from now or what there is of that. */
  function show() {
    const end = forecast ? forecast.origin + forecast.frames.length : number + lead;
    const moment = Math.max(number + 1, Math.min(number + lead, end));
    const words = `in ${framesInWords(moment - number)}`;
    paint($("coming"), ahead(world, moment - number).at(-1), SHAPE, COMING);
    $("coming-words").textContent = held ? "you hold a digit" : `${words}, if nobody touches it`;
    const frame = forecast?.frames[moment - forecast.origin - 1];
    if (frame) {
      paint($("expected"), frame, SHAPE, EXPECTED);
      $("expected-words").textContent = words;
    } else if (forecast) {
      $("expected-words").textContent = "the model is behind …";
    }
  }

  function framesInWords(count) {
    return count === 1 ? "1 frame" : `${count} frames`;
  }

  const pictures = new Map();

  /** A digit's shape as a picture that is white where it is bright and lets through where it is not. */
  function picture(shape) {
    if (!pictures.has(shape)) {
      const canvas = new OffscreenCanvas(DIGIT, DIGIT);
      const context = canvas.getContext("2d");
      const image = context.createImageData(DIGIT, DIGIT);
      greys(shape).forEach((grey, i) => image.data.set([255, 255, 255, 255 * grey], 4 * i));
      context.putImageData(image, 0, 0);
      pictures.set(shape, canvas);
    }
    return pictures.get(shape);
  }

  const clouds = document.createElement("canvas");

  function drawNow(now, part) {
    const canvas = $("now");
    const context = canvas.getContext("2d");
    const zoom = canvas.width / SIDE;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    drawGhosts(context, now);
    world.digits.forEach((digit, i) => {
      const from = before.digits[i] ?? digit;
      const inHand = held && i === chosen;
      const x = inHand ? digit.x : from.x + (digit.x - from.x) * part;
      const y = inHand ? digit.y : from.y + (digit.y - from.y) * part;
      context.drawImage(picture(digit.shape), x * zoom, y * zoom, DIGIT * zoom, DIGIT * zoom);
      if (i === chosen && (inHand || document.activeElement === canvas)) {
        context.strokeStyle = inHand ? "#f2a93b" : "#ffffff66";
        context.lineWidth = 2;
        context.setLineDash([6, 6]);
        context.strokeRect(x * zoom, y * zoom, DIGIT * zoom, DIGIT * zoom);
      }
    });
  }

  /** Ghosts set out from the present and run to the end of what was forecast, over and over. */
  function drawGhosts(context, now) {
    if (!fan || !ghosts) return;
    const first = Math.max(0, number - fan.origin);
    const count = fan.members[0].length - first;
    if (count < 1) return;
    const place = (now - ghostsSince) / RUN;
    if (place > count + 4) ghostsSince = now;
    const at = still ? count - 1 : Math.min(count - 1, Math.floor(place));
    const frames = fan.members.map((member) => member[first + at]);
    paintGhosts(clouds, frames, SHAPE, EXPECTED);
    // They come out of the digits and fade when they have arrived.
    context.globalAlpha = Math.min(1, 0.35 + place / 4, Math.max(0, (count + 4 - place) / 4));
    if (still) context.globalAlpha = 0.8;
    context.drawImage(clouds, 0, 0, context.canvas.width, context.canvas.height);
    context.globalAlpha = 1;
  }

  // ---- the hand

  const canvas = $("now");

  function placeOf(event) {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * SIDE,
      y: ((event.clientY - box.top) / box.height) * SIDE,
    };
  }

  function change(digit) {
    const digits = world.digits.map((old, i) => (i === chosen ? { ...old, ...digit } : old));
    world = { ...world, digits };
  }

  canvas.addEventListener("pointerdown", (event) => {
    const { x, y } = placeOf(event);
    const distance = (digit) => Math.hypot(digit.x + DIGIT / 2 - x, digit.y + DIGIT / 2 - y);
    const [near] = world.digits.map((digit, i) => [distance(digit), i]).sort((a, b) => a[0] - b[0]);
    if (near[0] > DIGIT) return;
    chosen = near[1];
    canvas.setPointerCapture(event.pointerId);
    const { x: left, y: top } = world.digits[chosen];
    change({ vx: 0, vy: 0 });
    held = { dx: x - left, dy: y - top, trail: [{ x: left, y: top, at: event.timeStamp }] };
    canvas.classList.add("holding");
    touched();
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const { x, y } = placeOf(event);
    const inside = (place) => Math.min(SIDE - DIGIT, Math.max(0, place));
    const at = event.timeStamp;
    const point = { x: inside(x - held.dx), y: inside(y - held.dy), at };
    held.trail = [...held.trail.filter((old) => at - old.at < 120), point];
    change(point);
  });

  function letGo(event) {
    if (!held) return;
    const trail = held.trail.filter((point) => event.timeStamp - point.at < RESTS);
    const [first, last] = [trail[0], trail.at(-1)];
    const frames = (last?.at - first?.at) / pace;
    if (frames > 0) change(allowed((last.x - first.x) / frames, (last.y - first.y) / frames));
    const now = world.digits[chosen];
    before = { ...before, digits: before.digits.map((old, i) => (i === chosen ? now : old)) };
    held = null;
    canvas.classList.remove("holding");
    touched();
  }
  canvas.addEventListener("pointerup", letGo);
  canvas.addEventListener("pointercancel", letGo);

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const index = Number(event.key) - 1;
    if (arrows[event.key]) {
      const { vx, vy } = world.digits[chosen];
      const [right, down] = arrows[event.key];
      change(allowed(vx + PUSH * right, vy + PUSH * down));
      touched();
    } else if (world.digits[index]) {
      chosen = index;
    } else if (event.key === " ") {
      setRunning(!running);
    } else {
      return;
    }
    event.preventDefault();
  });

  // ---- buttons

  const walls = [...document.querySelectorAll("[data-wall]")];
  function showWalls() {
    for (const wall of walls)
      wall.setAttribute("aria-pressed", String(!world.open.has(wall.dataset.wall)));
  }
  for (const wall of walls) {
    wall.addEventListener("click", () => {
      const open = new Set(world.open);
      if (!open.delete(wall.dataset.wall)) open.add(wall.dataset.wall);
      world = { ...world, open };
      showWalls();
      touched();
    });
  }

  $("play").addEventListener("click", () => setRunning(!running));
  $("next").addEventListener("click", oneFrame);
  $("renew").addEventListener("click", () => {
    seed = (seed + 16) % 1e9;
    world = { ...newWorld(seed), open: world.open };
    before = world;
    retrace();
    touched();
  });
  $("draw").addEventListener("click", async () => {
    const shape = await openPad();
    if (!shape) return;
    change({ shape });
    retrace(); // as if it had flown so all along
    touched();
  });

  function slider(id, value, words, changed) {
    const show = () => ($(`${id}-words`).textContent = words(Number($(id).value)));
    $(id).value = value;
    show();
    $(id).addEventListener("input", () => {
      show();
      changed(Number($(id).value));
      remember({ [id]: $(id).value });
      touched();
    });
  }
  slider("ahead", lead, framesInWords, (value) => (lead = value));
  slider("ghosts", ghosts, String, (value) => (ghosts = value));

  retrace();
  showWalls();
  setRunning(running);
  if (still) $("now-words").textContent = "still, as your system asks for less motion";
  show();

  return {
    use(other) {
      model = other;
      $("digits-past").textContent = model.past;
      $("ghosts-label").hidden = $("ghosts-hint").hidden = !model.members;
      $("digits-note").textContent = model.units
        ? `This model knows ${model.units}, no digits: see what it makes of them.`
        : "";
      forecast = null;
      if (frames.length < model.past) retrace();
      touched();
    },
    setVisible(on) {
      visible = on;
      cancelAnimationFrame(loop);
      if (on) loop = requestAnimationFrame(glide);
      touched();
    },
  };
}
