// Frames and curves on the page. A frame is a Float32Array (channels x height x width).

const RAIN = {
  steps: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100], // mm/h
  dbz: [10, 15, 20, 25, 30, 35, 40, 45, 50, 55],
  colours: ["#18181c", "#3a507a", "#3474ba", "#40a4e2", "#2ca068", "#7ecc46"].concat([
    "#fae446",
    "#f6aa48",
    "#e23a2c",
    "#be2c88",
    "#f4d0f8",
  ]),
};
const MISSING = [76, 76, 86];
const GREY = shades("#000000", "#ffffff");
const FIELD = shades("#16213f", "#1f5f8b", "#3fa796", "#b9d65a", "#fff3b0");
const DOUBT = shades("#0b0b12", "#4a1f6b", "#b3325c", "#f58a3c", "#fff2a8");
// What the model expected and did not come is amber, what came unexpectedly is blue; the page's
// marks for the two have the same hues.
const AMISS = shades("#7cc6ff", "#2d7fd0", "#0b0b12", "#d07d12", "#ffc860");
export const EXPECTED = scaleOf(shades("#000000", "#7d4e06", "#f2a93b", "#fff4dc"), 0, 1);
export const COMING = scaleOf(shades("#000000", "#0f4a80", "#5cb2f2", "#eaf6ff"), 0, 1);

/** 256 colours from the first to the last of those given. */
function shades(...names) {
  const stops = names.map(rgb);
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (stops.length - 1);
    const before = Math.min(Math.floor(place), stops.length - 2);
    const [from, to] = [stops[before], stops[before + 1]];
    return from.map((part, c) => Math.round(part + (to[c] - part) * (place - before)));
  });
}

function rgb(name) {
  return [1, 3, 5].map((start) => parseInt(name.slice(start, start + 2), 16));
}

/** A scale is {colours, at(value) -> number of a colour, low, high, units}. */
export function scaleOf(colours, low, high, units = "") {
  const factor = (colours.length - 1) / (high - low || 1);
  const top = colours.length - 1;
  const at = (value) => Math.min(top, Math.max(0, Math.round((value - low) * factor)));
  return { colours, at, low, high, units };
}

/** The scale that suits values of these units between low and high. */
export function scaleFor(units, low, high) {
  const steps = /dbz/i.test(units) ? RAIN.dbz : /^(mm|kg)\b/i.test(units) ? RAIN.steps : null;
  if (steps) {
    const at = (value) => steps.filter((step) => value >= step).length;
    return { colours: RAIN.colours.map(rgb), at, steps, low, high, units };
  }
  return scaleOf(units ? FIELD : GREY, low, high, units);
}

export const doubtScale = (high, units) => scaleOf(DOUBT, 0, high, units);
export const errorScale = (most, units) => scaleOf(AMISS, -most, most, units);

/** Draw a frame of shape [C,H,W]; three channels are red, green and blue. */
export function paint(canvas, frame, [channels, height, width], scale) {
  const area = height * width;
  const coloured = channels >= 3 && scale.colours === GREY;
  const levels = [0, 0, 0];
  fill(canvas, height, width, (place) => {
    if (!coloured)
      return Number.isNaN(frame[place]) ? MISSING : scale.colours[scale.at(frame[place])];
    for (let c = 0; c < 3; c++) levels[c] = scale.at(frame[c * area + place]);
    return levels;
  });
}

/** Members over each other as clouds of light: amber where they agree, rose where few of them go. */
export function paintGhosts(canvas, members, [, height, width], scale) {
  const top = scale.colours.length - 1;
  const colour = [255, 0, 0, 0];
  fill(canvas, height, width, (place) => {
    let [most, sum] = [0, 0];
    for (const member of members) {
      const level = scale.at(member[place]) / top;
      most = Math.max(most, level);
      sum += level;
    }
    const agreed = sum / members.length / (most || 1);
    colour[1] = 70 + 110 * agreed;
    colour[2] = 120 - 60 * agreed;
    colour[3] = 255 * most * (0.35 + 0.65 * agreed);
    return colour;
  });
}

function fill(canvas, height, width, colourAt) {
  if (canvas.width !== width || canvas.height !== height)
    [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let place = 0; place < height * width; place++) {
    const colour = colourAt(place);
    image.data.set(colour, 4 * place);
    if (colour.length < 4) image.data[4 * place + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Root of the mean squared difference, where both are known; NaN where nothing is. */
export function rmse(a, b) {
  let [sum, count] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const difference = a[i] - b[i];
    if (!Number.isNaN(difference)) {
      sum += difference * difference;
      count += 1;
    }
  }
  return count ? Math.sqrt(sum / count) : NaN;
}

/** A number as a person would write it. */
export const figure = (value) =>
  Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "–";

/** The next number above that is round. */
function rounded(value) {
  const unit = 10 ** Math.floor(Math.log10(value)) / 2;
  return Math.ceil(value / unit) * unit;
}

/** Curves [{name, values}] in an <svg>, from 0 up; `mark` is a place among the values. */
export function curves(svg, lines, { ends = [], mark = null, units = "" } = {}) {
  const [width, height] = [svg.clientWidth || 600, svg.clientHeight || 140];
  const [left, right, top, bottom] = [46, 10, 10, 22];
  const known = lines.flatMap(({ values }) => values).filter(Number.isFinite);
  const most = rounded(Math.max(...known, 1e-9));
  const count = Math.max(...lines.map(({ values }) => values.length), 2);
  const x = (i) => left + (i / (count - 1)) * (width - left - right);
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  const parts = [0, 0.5, 1].map((part) => {
    const at = y(part * most);
    // Units are a file's own words: no markup gets in by them.
    const label = figure(part * most) + (part === 1 ? ` ${units.replace(/[<>&]/g, "")}` : "");
    const line = `<line class="grid" x1="${left}" x2="${width - right}" y1="${at}" y2="${at}"/>`;
    return (
      line +
      (known.length ? `<text x="${left - 6}" y="${at + 4}" text-anchor="end">${label}</text>` : "")
    );
  });
  for (const { name, values } of lines) {
    let pen = "M";
    const path = values.map((value, i) => {
      if (!Number.isFinite(value)) {
        pen = "M";
        return "";
      }
      const step = `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return step;
    });
    parts.push(`<path class="line ${name}" d="${path.join("")}"/>`);
    const value = values[mark];
    if (Number.isFinite(value))
      parts.push(`<circle class="${name}" cx="${x(mark)}" cy="${y(value)}" r="4"/>`);
  }
  if (mark !== null)
    parts.push(
      `<line class="mark" x1="${x(mark)}" x2="${x(mark)}" y1="${top}" y2="${height - bottom}"/>`,
    );
  ends.forEach((words, i) => {
    const anchor = i ? "end" : "start";
    parts.push(
      `<text x="${i ? width - right : left}" y="${height - 5}" text-anchor="${anchor}">${words}</text>`,
    );
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = parts.join("");
}
