// The pad on which a digit is drawn.

import { DIGIT } from "./world.js";
import { SHAPES } from "./shapes.js";

const $ = (id) => document.getElementById(id);
const context = () => $("pad-canvas").getContext("2d", { willReadFrequently: true });
const KEYS = "0123456789abcdef";

/** Lets one draw; the shape, or null where nothing was drawn. */
export function openPad() {
  clear();
  const pad = $("pad");
  pad.returnValue = "";
  pad.showModal();
  return new Promise((resolve) => {
    pad.addEventListener("close", () => resolve(pad.returnValue || null), { once: true });
  });
}

function clear() {
  context().fillStyle = "#000";
  context().fillRect(0, 0, 280, 280);
}

/** What was drawn, as 28 x 28 greys. */
function shape() {
  const small = new OffscreenCanvas(DIGIT, DIGIT).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.drawImage($("pad-canvas"), 0, 0, DIGIT, DIGIT);
  const { data } = small.getImageData(0, 0, DIGIT, DIGIT);
  const levels = Array.from(
    { length: DIGIT * DIGIT },
    (_, i) => KEYS[Math.round(data[4 * i] / 17)],
  );
  const text = levels.join("");
  return /[4-f]/.test(text) ? text : "";
}

let last = null;
function stroke(event) {
  const box = $("pad-canvas").getBoundingClientRect();
  const point = [
    ((event.clientX - box.left) * 280) / box.width,
    ((event.clientY - box.top) * 280) / box.height,
  ];
  const pen = context();
  pen.strokeStyle = "#fff";
  pen.lineWidth = 24;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...(last ?? point));
  pen.lineTo(...point);
  pen.stroke();
  last = point;
}

$("pad-canvas").addEventListener("pointerdown", (event) => {
  $("pad-canvas").setPointerCapture(event.pointerId);
  last = null;
  stroke(event);
});
$("pad-canvas").addEventListener("pointermove", (event) => {
  if (event.buttons) stroke(event);
});
$("pad-clear").addEventListener("click", clear);
$("pad-close").addEventListener("click", () => $("pad").close());
$("pad-throw").addEventListener("click", () => $("pad").close(shape()));
SHAPES.forEach((known, digit) => {
  const button = document.createElement("button");
  button.textContent = digit;
  button.addEventListener("click", () => $("pad").close(known));
  $("ready").append(button);
});
