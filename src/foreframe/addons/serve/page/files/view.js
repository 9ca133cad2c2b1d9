// The view: the present, what the model expects, what comes, and the error. It is of a recording,
// or of digits, whose frames go on while one watches.

import * as backend from "./backend.js";
import { recalled, recalledNumber, remember } from "./address.js";
import { startDigits } from "./digits.js";
import { COLOURS, curves, figure, legend, paint, scaleFor, scaleOf } from "./draw.js";
import { extremes, framesOf, meanOf, minus, parts, rmse, spreadOf } from "./frames.js";
import { fileOf } from "./npy.js";

const FRAME = 200; // milliseconds, at least: digits wait for a model that is slow
const GLIDE = 40; // milliseconds between pictures of digits: they move by whole pixels
const SPARE = 5; // frames of digits that are forecast beyond what is shown: answers take a while
const TOGETHER = 2; // members of digits that are asked for at once, so that they hold up nothing
const LONGEST = 2; // frames after which members wait for another plain forecast

const NONE = { origin: 0, frames: [] };

const $ = (id) => document.getElementById(id);
const number = (id) => Number($(id).value);

export function startView(say) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const seed = recalledNumber("seed", 0, 1e9, Math.floor(1e4 * Math.random()));
  const clock = { running: !still && !recalled("paused"), pace: FRAME, seed };
  const digits = startDigits(clock, askAnew);
  let model = { name: "", past: 10, future: 10, low: 0, high: 1, units: "" }; // until there is one
  let file = null; // a recording; digits where there is none
  let length = 0; // frames of the recording, when they are known

  let present = 0; // the number of the present frame: digits go on, a recording stays
  let forecast = NONE; // {origin: the number of the last frame seen, frames}
  let members = []; // likewise, each
  let drawn = 0; // members of digits since a hand changed what comes: each has another seed
  let asking = null; // an AbortController
  let shown = {}; // what pictures are made of

  // ---- asking

  const wanted = () => (model.members ? number("members") : 0);

  const fields = (count) => ({
    model: model.name,
    steps: number("steps") + (file ? 0 : SPARE),
    members: count || null,
    seed: count ? clock.seed + drawn : null,
    after: file ? number("after") : null,
  });

  /** The recording; digits are one of the frames that went by lately. */
  const recording = () => file ?? fileOf(digits.past(model), shown.shape, "digits.npy");

  /** What was asked for is of no use any more. */
  function askAnew() {
    asking?.abort();
    asking = null;
    members = [];
    drawn = 0;
    compare();
    ask();
  }

  async function ask() {
    if (asking || !model.name) return;
    const { signal } = (asking = new AbortController());
    const origin = present;
    const source = recording();
    const answer = async (options) => {
      const started = performance.now();
      const found = await backend.forecastFile(source, { ...options, signal });
      signal.throwIfAborted();
      const milliseconds = performance.now() - started;
      $("answered").textContent = `answered in ${(milliseconds / 1000).toFixed(2)} s`;
      clock.pace = file ? FRAME : Math.max(FRAME, milliseconds / (SPARE - LONGEST));
      return found;
    };
    try {
      if (file || forecast === NONE) say(`Forecasting ${file?.name ?? "digits"} …`);
      if (file && !length) measured(await answer({ model: model.name, steps: 1 }));
      take(await answer(fields(file ? wanted() : 0)), origin);
      say("");
      if (!file && wanted()) await askMembers(answer, origin);
    } catch (error) {
      if (signal.aborted) return;
      say(error.message, true);
      if (!file) setTimeout(askAnew, 2000);
      return;
    }
    if (!signal.aborted) asking = null;
  }

  /** Members of digits, a few at once: the latest remain while they reach what is shown. */
  async function askMembers(answer, origin) {
    do {
      const { future } = await answer(fields(TOGETHER));
      drawn += TOGETHER;
      const reach = ({ origin, frames }) => present - origin + number("time") < frames.length;
      members = [...members, ...futuresOf(future, origin)].filter(reach).slice(-wanted());
      draw();
    } while (members.length < wanted() && present - origin < LONGEST);
  }

  /** How long a recording is: the last frame that one step ahead is forecast from. */
  function measured({ last }) {
    length = last + 1;
    const earliest = Math.min(model.past, length) - 1;
    const held = Math.max(earliest, last - number("steps"));
    Object.assign($("after"), { min: earliest, max: last });
    $("after").value = recalledNumber("after", earliest, last, held);
    showWords();
  }

  // ---- what there is to see

  /** Futures of a tensor (T,C,H,W), or (members,T,C,H,W), as a list. */
  function futuresOf(future, origin) {
    const futures = future.shape.length === 5 ? parts(future) : [future];
    return futures.map((each) => ({ origin, frames: framesOf(each) }));
  }

  function take({ past, future, truth, units, range, times, last, notes }, origin) {
    const futures = futuresOf(future, origin);
    const mean = (_, t) => meanOf(futures.map(({ frames }) => frames[t]));
    forecast = { origin, frames: futures[0].frames.map(mean) };
    $("notes").textContent = notes.join("; ");
    if (file) {
      const known = truth ? framesOf(truth) : [];
      const seen = framesOf(past);
      const usual = units ? extremes([...seen, ...known]) : [model.low, model.high];
      const scale = scaleFor(units, ...(range ?? usual));
      shown = { past: seen, truth: known, shape: past.shape.slice(1), scale, units, times, last };
      members = futures;
      $("time").min = 1 - seen.length;
      $("view-label").hidden = members.length < 2;
      $("answer").hidden = false;
    }
    compare();
  }

  /** Errors by lead time: of an answer, and of digits at every frame. */
  function compare() {
    const steps = number("steps");
    if (!file) shown.past = digits.past(model);
    if (!file) shown.truth = digits.coming(model, steps);
    if (!shown.past) return; // a recording that has not been forecast yet
    const { past, truth, scale } = shown;
    const unknown = past[0].map(() => NaN);
    const filled = (frames) => Array.from({ length: steps }, (_, t) => frames[t] ?? unknown);
    shown.truth = filled(truth);
    shown.expected = filled(forecast.frames.slice(present - forecast.origin));
    const differences = shown.expected.map((frame, t) => minus(frame, shown.truth[t]));
    const worst = file ? Math.max(...extremes(differences).map(Math.abs)) : scale.high - scale.low;
    shown.error = scaleOf(COLOURS.amiss, -worst || -1, worst || 1);
    shown.rmse = shown.expected.map((frame, t) => rmse(frame, shown.truth[t]));
    shown.persistence = shown.truth.map((frame) => rmse(past.at(-1), frame));
    const known = (_, t) => Number.isFinite(shown.rmse[t] + shown.persistence[t]);
    const total = (values) => values.filter(known).reduce((sum, value) => sum + value, 0);
    const ratio = total(shown.rmse) / total(shown.persistence);
    const words = ratio < 1 ? `${Math.round(100 - 100 * ratio)} % below` : `${figure(ratio)} times`;
    $("chart-words").textContent = Number.isFinite(ratio)
      ? `RMSE ${words} that of the last frame`
      : "";
    shown.compared = shown.rmse.some(Number.isFinite);
    for (const each of document.querySelectorAll(".of-truth")) each.hidden = !shown.compared;
    draw();
  }

  /** The members' frames of a moment ahead. */
  function membersAt(time) {
    const frames = members.map(({ origin, frames }) => frames[present - origin + time - 1]);
    return frames.filter(Boolean);
  }

  function draw() {
    const { past, truth, expected, shape, scale, error, units, times, last } = shown;
    const time = number("time");
    const seen = past.at(Math.min(time, 0) - 1);
    const frame = expected[time - 1] ?? seen;
    const came = truth[time - 1] ?? seen;
    const futures = membersAt(time);
    const view = futures.length > 1 ? $("view").value : "mean";
    const legends = [legend("values", scale, units)];
    if (shown.compared) legends.push(legend("error", error, units));
    if (view === "spread") {
      const latest = members.map(({ frames }) => frames.at(-1)); // when they differ most
      const doubt = scaleOf(COLOURS.doubt, 0, extremes([spreadOf(latest)])[1]);
      paint($("future"), spreadOf(futures), shape, doubt);
      legends.push(legend("spread", doubt, units));
    } else if (view === "ghosts") {
      const dark = frame.map(() => -Infinity);
      paint($("future"), dark, shape, scale, futures);
    } else {
      paint($("future"), frame, shape, shown.forecastScale ?? scale);
    }
    $("scales").replaceChildren(...legends);
    paint($("truth"), came, shape, shown.truthScale ?? scale);
    paint($("error"), minus(frame, came), shape, error);
    if (file) paint($("now"), seen, shape, scale);
    curves($("by-lead"), [shown.persistence, shown.rmse], time - 1);

    const moment = times?.[time - 1] ?? "";
    const when = typeof moment === "number" ? `${figure(moment)} s` : moment;
    const lead = time > 0 ? `+${time}` : "the past";
    const score = shown.rmse[time - 1];
    $("future-words").textContent = view === "mean" ? lead : `${view} ${lead}`;
    $("truth-words").textContent = came.every(Number.isNaN) ? "not known" : lead;
    $("error-words").textContent = score >= 0 ? `RMSE ${figure(score)} ${units}` : "";
    $("time-words").textContent = time > 0 ? `${lead} ${when}` : `frame ${last + time}`;
    $("time").setAttribute("aria-valuetext", $("time-words").textContent);
  }

  // ---- time

  let [lastFrame, lastDrawn] = [0, 0];
  function glide(now) {
    requestAnimationFrame(glide);
    if (now - lastDrawn < GLIDE) return;
    lastDrawn = now;
    if (clock.running && now - lastFrame >= clock.pace) {
      lastFrame = now;
      tick();
    }
    if (file) return;
    const frame = digits.between(model, clock.running ? (now - lastFrame) / clock.pace : 0);
    paint($("now"), frame, shown.shape, shown.scale, membersAt(number("time")));
  }

  function tick() {
    if (!file) {
      digits.step();
      present += 1;
      compare();
      ask();
    } else if (!$("answer").hidden) {
      const end = number("time") >= number("steps");
      $("time").value = end ? $("time").min : number("time") + 1;
      draw();
    }
  }

  function setRunning(on) {
    clock.running = on;
    $("play").textContent = on ? "Pause" : "Play";
    $("next").disabled = on;
    remember({ paused: on ? "" : "1" });
  }

  // ---- controls

  function showWords() {
    $("after-words").textContent = `${number("after")} of ${Math.max(0, length - 1)}`;
    $("steps-words").textContent = $("steps").value;
    $("members-words").textContent = number("members") || "none";
    $("time").max = $("steps").value;
  }

  for (const id of ["after", "steps", "members", "time", "view"]) {
    $(id).addEventListener("input", () => {
      if (file && id === "time") setRunning(false);
      remember({ [id]: $(id).value });
      showWords();
      draw();
    });
  }
  for (const id of ["after", "steps", "members"]) $(id).addEventListener("change", askAnew);
  $("play").addEventListener("click", () => {
    setRunning(!clock.running);
    if (!file) digits.keep();
  });
  $("next").addEventListener("click", tick);
  $("renew").addEventListener("click", () => {
    clock.seed = (clock.seed + 16) % 1e9;
    remember({ seed: clock.seed });
    if (file) askAnew();
    else digits.renew();
  });

  async function save(kind) {
    const source = recording();
    try {
      const blob = await backend.download(source, fields(wanted()), kind);
      const download = `${source.name.replace(/\.\w+$/, "")}-forecast.${kind}`;
      const href = URL.createObjectURL(blob);
      Object.assign(document.createElement("a"), { href, download }).click();
      setTimeout(() => URL.revokeObjectURL(href), 1000);
    } catch (error) {
      say(error.message, true);
    }
  }
  for (const kind of backend.downloads) {
    const button = Object.assign(document.createElement("button"), { textContent: `.${kind}` });
    button.addEventListener("click", () => save(kind));
    $("downloads").append(button);
  }

  /** Show a model's forecasts of a recording, or of digits where it is null. */
  function show(other, recording) {
    [model, file, length, forecast] = [other, recording, 0, NONE];
    for (const each of document.querySelectorAll(".of-digits")) each.hidden = Boolean(file);
    for (const each of document.querySelectorAll(".of-recordings")) each.hidden = !file;
    for (const each of document.querySelectorAll(".of-members")) each.hidden = !model.members;
    $("answer").hidden = Boolean(file);
    $("view-label").hidden = !model.members;
    $("renew").textContent = file ? "Other members" : "New digits";
    $("renew").hidden = file && !model.members;
    $("file-words").textContent = file?.name ?? backend.reads;
    $("now-words").textContent = still ? "still, as your system asks for less motion" : "";
    $("steps").max = Math.max(30, 3 * model.future);
    $("steps").value = recalledNumber("steps", 1, Number($("steps").max), model.future);
    $("members").value = recalledNumber("members", 0, 16, file ? 0 : 8);
    showWords();
    $("view").value = recalled("view", "mean");
    $("time").min = 1;
    $("time").value = recalledNumber("time", -99, 99, file ? 1 : 5);
    const [scale, forecastScale, truthScale] = ["grey", "expected", "coming"].map((name) =>
      scaleOf(COLOURS[name], model.low, model.high),
    );
    const of = { shape: digits.shape(model), units: model.units };
    shown = file ? {} : { ...of, scale, forecastScale, truthScale };
    askAnew();
  }
  setRunning(clock.running);
  show(model, null);
  requestAnimationFrame(glide);
  return { show };
}
