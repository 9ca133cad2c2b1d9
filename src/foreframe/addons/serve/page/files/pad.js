// The pad on which a digit is drawn.

import { DIGIT } from "./world.js";

const pad = document.getElementById("pad");
const canvas = document.getElementById("pad-canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });

/** Lets one draw; the shape, or "" where nothing was drawn. */
export function openPad() {
  clear();
  pad.returnValue = "";
  pad.showModal();
  return new Promise((resolve) => {
    pad.addEventListener("close", () => resolve(pad.returnValue), { once: true });
  });
}

function clear() {
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

/** What was drawn, one hexadecimal grey a pixel of 28 x 28. */
function shape() {
  const small = new OffscreenCanvas(DIGIT, DIGIT).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.drawImage(canvas, 0, 0, DIGIT, DIGIT);
  const { data } = small.getImageData(0, 0, DIGIT, DIGIT);
  const reds = data.filter((_, i) => i % 4 === 0);
  const text = Array.from(reds, (red) => Math.round(red / 17).toString(16)).join("");
  return /[4-f]/.test(text) ? text : "";
}

function stroke(event) {
  if (!event.buttons) return;
  const zoom = canvas.width / canvas.clientWidth;
  const [x, y] = [event.offsetX * zoom, event.offsetY * zoom];
  if (event.type === "pointerdown") {
    canvas.setPointerCapture(event.pointerId);
    pen.beginPath();
    pen.moveTo(x, y);
  }
  pen.lineTo(x, y);
  pen.stroke();
}

Object.assign(pen, { strokeStyle: "#fff", lineWidth: 24, lineCap: "round", lineJoin: "round" });
canvas.addEventListener("pointerdown", stroke);
canvas.addEventListener("pointermove", stroke);
document.getElementById("pad-clear").addEventListener("click", clear);
document.getElementById("pad-throw").addEventListener("click", () => pad.close(shape()));
