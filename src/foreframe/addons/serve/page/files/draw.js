// Frames, legends and curves on the page.

export const COLOURS = {
  grey: "#000000 #ffffff",
  field: "#16213f #1f5f8b #3fa796 #b9d65a #fff3b0",
  rain: "#18181c #3a507a #3474ba #40a4e2 #2ca068 #7ecc46 #fae446 #f6aa48 #e23a2c #be2c88 #f4d0f8",
  doubt: "#0b0b12 #4a1f6b #b3325c #f58a3c #fff2a8",
  // What the model expected and did not come is amber, what came unexpectedly is blue; the page's
  // marks for the two have the same hues.
  amiss: "#7cc6ff #2d7fd0 #0b0b12 #d07d12 #ffc860",
  expected: "#000000 #7d4e06 #f2a93b #fff4dc",
  coming: "#000000 #0f4a80 #5cb2f2 #eaf6ff",
};
const MM = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100]; // where rain's colours begin, in mm/h
const DBZ = [10, 15, 20, 25, 30, 35, 40, 45, 50, 55];
const MISSING = [76, 76, 86];

/** Colours as lists of red, green and blue. */
function colours(names) {
  return names.split(" ").map((name) => [1, 3, 5].map((i) => parseInt(name.slice(i, i + 2), 16)));
}

/** A scale is {colour(value) -> [red, green, blue], part(value) -> 0 to 1, names, low, high}. */
export function scaleOf(names, low, high) {
  const stops = colours(names);
  const part = (value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  const shades = Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (stops.length - 1);
    const before = Math.min(Math.floor(place), stops.length - 2);
    return stops[before].map((from, c) => from + (stops[before + 1][c] - from) * (place - before));
  });
  const colour = (value) => shades[Math.round(255 * part(value))];
  return { colour, part, names, low, high };
}

/** The scale that suits values of these units between low and high: rain has its own steps. */
export function scaleFor(units, low, high) {
  const steps = /dbz/i.test(units) ? DBZ : /^(mm|kg)\b/i.test(units) ? MM : null;
  if (!steps) return scaleOf(units ? COLOURS.field : COLOURS.grey, low, high);
  const stops = colours(COLOURS.rain);
  const passed = (value) => steps.filter((step) => value >= step).length;
  const colour = (value) => stops[passed(value)];
  const part = (value) => passed(value) / steps.length;
  return { colour, part, names: COLOURS.rain, low: steps[0], high: steps.at(-1) };
}

/**
 * Draw a frame of shape [C,H,W]; three channels are red, green and blue. Members lie over it as
 * clouds of light: amber where they agree, rose where few of them go.
 */
export function paint(canvas, frame, [channels, height, width], scale, members = []) {
  Object.assign(canvas, { height, width });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  image.data.fill(255);
  const area = height * width;
  const coloured = channels >= 3 && scale.names === COLOURS.grey;
  for (let place = 0; place < area; place++) {
    let colour = MISSING;
    if (coloured) colour = [0, 1, 2].map((c) => 255 * scale.part(frame[c * area + place]));
    else if (!Number.isNaN(frame[place])) colour = scale.colour(frame[place]);
    if (members.length) colour = clouded(colour, members.map((each) => scale.part(each[place])));
    image.data.set(colour, 4 * place);
  }
  context.putImageData(image, 0, 0);
}

function clouded(colour, levels) {
  const most = Math.max(...levels);
  const agreed = levels.reduce((sum, level) => sum + level, 0) / levels.length / (most || 1);
  const light = [255, 70 + 110 * agreed, 120 - 60 * agreed];
  const strength = most * (0.35 + 0.65 * agreed);
  return colour.map((part, c) => part + light[c] * strength * (1 - part / 255));
}

/** A number as a person would write it. */
export const figure = (value) =>
  Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "–";

/** A scale as a bar between its ends. */
export function legend(name, { names, low, high }, units) {
  const item = document.createElement("span");
  const bar = document.createElement("i");
  bar.style.background = `linear-gradient(90deg, ${names.replaceAll(" ", ", ")})`;
  item.append(`${name}  ${figure(low)}`, bar, `${figure(high)} ${units}`);
  return item;
}

/** Curves by lead time in an <svg> of as many <polyline>s, from 0 up, and a mark at a lead. */
export function curves(svg, lines, mark) {
  const highest = Math.max(...lines.flat().filter(Number.isFinite), 1e-9);
  const last = lines[0].length - 1;
  const x = (lead) => (100 * lead) / Math.max(1, last);
  lines.forEach((values, i) => {
    const points = values.map((value, lead) => `${x(lead)},${100 - (100 * value) / highest}`);
    const known = points.filter((_, lead) => Number.isFinite(values[lead]));
    svg.querySelectorAll("polyline")[i].setAttribute("points", known.join(" "));
  });
  svg.querySelector("line").setAttribute("transform", `translate(${x(mark)})`);
  document.getElementById("highest").textContent = figure(highest);
}
