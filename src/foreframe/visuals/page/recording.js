// A recording of one's own: past, forecast, truth and error side by side.

import * as backend from "./backend.js";
import { recalled, recalledNumber, remember } from "./address.js";
import {
  curves,
  doubtScale,
  errorScale,
  figure,
  paint,
  paintGhosts,
  rmse,
  scaleFor,
} from "./draw.js";
import { exampleFor } from "./examples.js";

const $ = (id) => document.getElementById(id);
const FRAME = 160; // milliseconds

export function startRecording(say) {
  let model = null;
  let file = null;
  let length = 0; // frames of the recording
  let answer = null; // of the backend, with what is drawn of it
  let asking = null; // an AbortController
  let due = 0; // a timer: sliders move in many small steps
  let time = 1; // 0 is the last frame of the past
  let timer = 0;
  let visible = false;
  let sample = recalledNumber("sample", 0, 1e9, 0);
  let exampleDue = recalled("example") === "1";

  // ---- asking

  const number = (id) => Number($(id).value);

  function fields() {
    const members = model.members && number("members") > 0 ? number("members") : null;
    const after = number("after") < length - 1 ? number("after") : null;
    return {
      model: model.name,
      steps: number("steps"),
      members,
      seed: members ? sample : null,
      after,
    };
  }

  async function take(other) {
    [file, length, answer] = [other, 0, null];
    stop();
    $("answer").hidden = true;
    const size =
      file.size < 1e6 ? `${Math.ceil(file.size / 1e3)} kB` : `${(file.size / 1e6).toFixed(1)} MB`;
    $("file-words").textContent = `${file.name}, ${size}`;
    $("drop").classList.add("taken");
    if (!model) return;
    // How long it is: the last frame that one step ahead is forecast from.
    await asked({ model: model.name, steps: 1 }, async ({ last }) => {
      length = last + 1;
      const earliest = Math.min(model.past, length) - 1;
      const held = Math.max(earliest, length - 1 - number("steps"));
      Object.assign($("after"), { min: earliest, max: length - 1 });
      $("after").value = recalledNumber("after", earliest, length - 1, held);
      await ask();
    });
  }

  async function ask() {
    showWords();
    if (file && length) await asked(fields(), show);
  }

  async function asked(options, then) {
    asking?.abort();
    const mine = (asking = new AbortController());
    say(`Forecasting ${file.name} …`);
    $("recording").setAttribute("aria-busy", "true");
    try {
      const found = await backend.forecastFile(file, { ...options, signal: mine.signal });
      if (asking !== mine) return;
      say("");
      await then(found);
    } catch (error) {
      if (error.name === "AbortError" || asking !== mine) return;
      say(error.message, true);
    } finally {
      if (asking === mine) $("recording").removeAttribute("aria-busy");
    }
  }

  function soon() {
    showWords();
    clearTimeout(due);
    due = setTimeout(ask, 200);
  }

  // ---- what the answer holds

  /** Frames of a tensor (T,C,H,W) as a list. */
  function framesOf({ data, shape }) {
    const count = shape.at(-4);
    const size = data.length / count;
    return Array.from({ length: count }, (_, t) => data.subarray(t * size, (t + 1) * size));
  }

  function membersOf({ data, shape }) {
    if (shape.length === 4) return null;
    const size = data.length / shape[0];
    return Array.from({ length: shape[0] }, (_, m) =>
      framesOf({ data: data.subarray(m * size, (m + 1) * size), shape: shape.slice(1) }),
    );
  }

  /** Mean and spread (standard deviation) of members, frame by frame. */
  function moments(members) {
    const count = members.length;
    const mean = members[0].map((frame, t) =>
      frame.map((_, i) => members.reduce((sum, member) => sum + member[t][i], 0) / count),
    );
    const spread = mean.map((frame, t) =>
      frame.map((value, i) => {
        const squares = members.reduce((sum, member) => sum + (member[t][i] - value) ** 2, 0);
        return Math.sqrt(squares / Math.max(1, count - 1));
      }),
    );
    return { mean, spread };
  }

  /** The lowest and the highest known value of some frames; 0 and 0 where there is none. */
  function extremes(frames) {
    let [low, high] = [Infinity, -Infinity];
    for (const frame of frames) {
      for (const value of frame) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return low <= high ? [low, high] : [0, 0];
  }

  function show(found) {
    const members = membersOf(found.future);
    const past = framesOf(found.past);
    const truth = found.truth ? framesOf(found.truth) : [];
    const usual = found.units ? extremes([...past, ...truth]) : [model.low, model.high];
    const [low, high] = found.range ?? usual;
    const { mean, spread } = members
      ? moments(members)
      : { mean: framesOf(found.future), spread: null };
    answer = {
      ...found,
      members,
      mean,
      spread,
      past,
      truth,
      shape: found.past.shape.slice(1),
      scale: scaleFor(found.units, low, high),
      known: truth.map((frame) => frame.some((value) => !Number.isNaN(value))),
    };
    Object.assign($("time"), { min: 1 - past.length, max: mean.length });
    time = Math.min(time, mean.length);
    $("answer").hidden = false;
    $("notes").replaceChildren(
      ...found.notes.map((note) =>
        Object.assign(document.createElement("li"), { textContent: note }),
      ),
    );
    $("view-label").hidden = $("again").hidden = !members;
    if (!members) $("view").value = "mean";
    showView();
    if (!timer && visible && !matchMedia("(prefers-reduced-motion: reduce)").matches) start();
  }

  function showView() {
    const { truth, past, known, mean: forecast, spread, scale, units } = answer;
    const difference = (t) => forecast[t].map((value, i) => value - truth[t][i]);
    answer.errors = known.map((is, t) => (is ? difference(t) : null));
    const model = known.map((is, t) => (is ? rmse(forecast[t], truth[t]) : NaN));
    const still = known.map((is, t) => (is ? rmse(past.at(-1), truth[t]) : NaN));
    answer.byLead = [
      { name: "persistence", values: still },
      { name: "forecast", values: model },
    ];
    const worst = Math.max(...extremes(answer.errors.filter(Boolean)).map(Math.abs));
    answer.errorScale = errorScale(worst || 1, units);
    if (spread) answer.spreadScale = doubtScale(extremes(spread)[1], units);
    const total = (values) => values.filter(Number.isFinite).reduce((sum, value) => sum + value, 0);
    const ratio = total(model) / total(still);
    const compare =
      ratio < 1 ? `${Math.round(100 - 100 * ratio)} % below` : `${figure(ratio)} times`;
    const nothing = "Nothing is known of what came. Move “Forecast after frame” back to compare.";
    $("chart-words").textContent = known.some(Boolean)
      ? `RMSE ${compare} that of the last frame`
      : nothing;
    $("by-lead").toggleAttribute("hidden", !known.some(Boolean));
    const spreads = $("view").value === "spread";
    const legends = [["values", scale], ...(spreads ? [["spread", answer.spreadScale]] : [])];
    $("scales").replaceChildren(
      ...[...legends, ...(known.some(Boolean) ? [["error", answer.errorScale]] : [])].map(legend),
    );
    showFrame();
  }

  function legend([name, scale]) {
    const item = document.createElement("span");
    const bar = document.createElement("canvas");
    [bar.width, bar.height] = [scale.colours.length, 1];
    const context = bar.getContext("2d");
    scale.colours.forEach((colour, i) => {
      context.fillStyle = `rgb(${colour.join(" ")})`;
      context.fillRect(i, 0, 1, 1);
    });
    const [low, high] = scale.steps
      ? [scale.steps[0], scale.steps.at(-1)]
      : [scale.low, scale.high];
    item.append(`${name}  ${figure(low)}`, bar, `${figure(high)} ${scale.units}`);
    return item;
  }

  // ---- one moment

  function showFrame() {
    const { past, truth, known, mean, members, spread, shape, scale, errors, last } = answer;
    const lead = time - 1; // below 0 in the past
    const seen = past[past.length - 1 + Math.min(0, time)];
    const view = $("view").value;
    paint($("past"), seen, shape, scale);
    if (lead < 0) paint($("future"), seen, shape, scale);
    else if (view === "ghosts")
      paintGhosts(
        $("future"),
        members.map((member) => member[lead]),
        shape,
        scale,
      );
    else if (view === "spread") paint($("future"), spread[lead], shape, answer.spreadScale);
    else paint($("future"), mean[lead], shape, scale);
    paint($("truth"), lead < 0 ? seen : known[lead] ? truth[lead] : seen, shape, scale);
    const blank = new Float32Array(seen.length);
    paint($("error"), errors[lead] ?? blank, shape, answer.errorScale);
    const unknown = lead >= 0 && !known[lead];
    for (const [id, empty] of [
      ["truth", unknown],
      ["error", unknown || lead < 0],
    ])
      $(id).classList.toggle("empty", empty);
    for (const id of ["future", "truth"]) $(id).classList.toggle("seen", lead < 0);
    $("past-words").textContent = lead < 0 ? "" : "the last frame seen";
    $("future-words").textContent =
      lead < 0 ? "still the past" : `${view === "mean" && !members ? "" : view} +${time}`;
    $("truth-words").textContent = lead < 0 ? "still the past" : unknown ? "not known" : `+${time}`;
    const error = answer.byLead[1].values[lead];
    $("error-words").textContent = Number.isFinite(error)
      ? `RMSE ${figure(error)} ${answer.units}`
      : "";
    $("time").value = time;
    const moment = answer.times?.[lead];
    const when = typeof moment === "number" ? `${figure(moment)} s` : moment;
    const words =
      lead < 0
        ? `frame ${last + time} of the past`
        : `+${time} of ${mean.length}${when ? `, ${when}` : ""}`;
    $("time-words").textContent = words;
    $("time").setAttribute("aria-valuetext", words);
    curves($("by-lead"), answer.byLead, {
      ends: ["+1", `+${mean.length}`],
      mark: lead < 0 ? null : lead,
      units: answer.units,
    });
  }

  function start() {
    $("run").textContent = "Pause";
    timer = setInterval(() => {
      time = time >= answer.mean.length ? 1 - answer.past.length : time + 1;
      showFrame();
    }, FRAME);
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    $("run").textContent = "Play";
  }

  // ---- controls

  function showWords() {
    $("after-words").textContent = `${number("after")} of ${Math.max(0, length - 1)}`;
    $("steps-words").textContent = $("steps").value;
    $("members-words").textContent = number("members") || "none";
  }

  for (const id of ["after", "steps", "members"]) {
    $(id).addEventListener("input", () => {
      remember({ [id]: $(id).value });
      soon();
    });
  }
  $("view").addEventListener("change", () => {
    remember({ view: $("view").value });
    showView();
  });
  $("again").addEventListener("click", () => {
    sample += 1;
    remember({ sample });
    ask();
  });
  $("time").addEventListener("input", () => {
    stop();
    time = number("time");
    showFrame();
  });
  $("run").addEventListener("click", () => (timer ? stop() : start()));
  $("file").addEventListener("change", () => {
    const [chosen] = $("file").files;
    $("file").value = "";
    if (chosen) own(chosen);
  });
  $("example").addEventListener("click", () => {
    remember({ example: "1", after: "" });
    take(exampleFor(model));
  });

  function own(chosen) {
    remember({ example: "", after: "" });
    take(chosen);
  }

  const room = $("recording");
  room.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
  room.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  room.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    const [chosen] = event.dataTransfer.files;
    if (chosen) own(chosen);
  });

  function offerDownloads() {
    $("downloads").replaceChildren(
      ...backend.downloads().map((kind) => {
        const button = Object.assign(document.createElement("button"), { textContent: `.${kind}` });
        button.addEventListener("click", () => saveAs(kind, button));
        return button;
      }),
    );
  }

  async function saveAs(kind, button) {
    button.disabled = true;
    try {
      const blob = await backend.download(file, fields(), kind);
      const name = `${file.name.replace(/\.\w+$/, "")}-forecast.${kind}`;
      const link = Object.assign(document.createElement("a"), {
        href: URL.createObjectURL(blob),
        download: name,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    } catch (error) {
      say(error.message, true);
    } finally {
      button.disabled = false;
    }
  }

  /** An address may name the example. */
  function tryExample() {
    if (exampleDue && visible && model) take(exampleFor(model));
    exampleDue &&= !(visible && model);
  }

  return {
    use(other) {
      model = other;
      $("view").value = recalled("view", "mean");
      offerDownloads();
      $("steps").max = Math.max(30, 3 * model.future);
      $("steps").value = recalledNumber("steps", 1, Number($("steps").max), model.future);
      $("members-label").hidden = !model.members;
      $("members").value = recalledNumber("members", 0, 16, 0);
      if (file) take(file);
      else tryExample();
    },
    setVisible(on) {
      visible = on;
      if (!on) stop();
      else if (answer) showFrame();
      else tryExample();
    },
  };
}
