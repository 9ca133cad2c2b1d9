// Frames of a file in the browser: .npy, and what the browser itself plays.

import { demand, stacked } from "./frames.js";

const MOST = 300; // frames of a film
const LONGEST = 256; // pixels of a film's side
const TYPES = {
  "<f4": Float32Array,
  "<f8": Float64Array,
  "|u1": Uint8Array,
  "<u2": Uint16Array,
  "<i2": Int16Array,
  "<i4": Int32Array,
  "<i8": BigInt64Array,
};
const read = new WeakMap(); // what was read of a file: sliders ask for it again and again

/** Frames {data, shape: [T,C,H,W], notes} of a file as a model takes them. */
export function framesOf(file, about) {
  if (!read.has(file)) read.set(file, frames(file, about));
  return read.get(file);
}

async function frames(file, about) {
  const name = file.name.toLowerCase();
  if (name.endsWith(".npy")) return ofNpy(file, about);
  return ofPictures(file, name.endsWith(".gif") ? gifPictures(file) : filmPictures(file), about);
}

async function ofNpy(file, about) {
  const { name } = file;
  const buffer = await file.arrayBuffer();
  const view = new DataView(buffer);
  const magic = buffer.byteLength > 12 && view.getUint32(0) === 0x934e554d; // \x93NUM
  demand(magic, `${name} is no .npy file.`);
  const first = view.getUint8(6) === 1;
  const start = first ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  const words = new TextDecoder().decode(buffer.slice(0, start));
  const type = TYPES[/'descr': '(.*?)'/.exec(words)?.[1]];
  demand(type && words.includes("False"), `${name} holds no plain numbers in rows.`);
  const sides = /'shape': \((.*?),?\)/.exec(words)[1].split(",").map(Number);
  const shape = sides.length === 3 ? [sides[0], 1, ...sides.slice(1)] : sides;
  const count = shape.reduce((product, side) => product * side, 1);
  demand(shape.length === 4 && count, `${name} holds no frames (T,H,W) or (T,C,H,W).`);
  const bytes = buffer.slice(start);
  demand(bytes.byteLength >= count * type.BYTES_PER_ELEMENT, `${name} is cut off.`);
  const divisor = type === Uint8Array ? divisorOfBytes(about) : 1;
  const values = new type(bytes, 0, count);
  return { data: Float32Array.from(values, (value) => Number(value) / divisor), shape, notes: [] };
}

/** A model of values from 0 to 1 takes bytes as such. */
function divisorOfBytes({ model: { low, high } }) {
  return low === 0 && high === 1 ? 255 : 1;
}

async function ofPictures(file, pictures, about) {
  const { channels } = about;
  const coloured = channels === 3;
  demand(channels === 1 || coloured, `A film has not the ${channels} channels of this model.`);
  const divisor = divisorOfBytes(about);
  const taken = [];
  const notes = [];
  let rows, columns, context;
  for await (const { picture, width, height } of pictures) {
    if (!context) {
      const { digits, size } = about.model;
      demand(
        !digits || (height === size[0] && width === size[1]),
        `${file.name} has frames of ${width}x${height}, but this model knows only digits that move.`,
      );
      const share = Math.min(1, LONGEST / Math.max(width, height));
      [rows, columns] = about.size ?? [height, width].map((side) => Math.round(side * share));
      context = new OffscreenCanvas(columns, rows).getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      const made = `frames of ${width}x${height} are brought to ${columns}x${rows}`;
      if (rows !== height || columns !== width) notes.push(made);
    }
    context.drawImage(picture, 0, 0, columns, rows);
    const { data } = context.getImageData(0, 0, columns, rows);
    const grey = (at) => 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
    const area = rows * columns;
    const level = (i) => (coloured ? data[4 * (i % area) + Math.floor(i / area)] : grey(4 * i));
    taken.push(Float32Array.from({ length: channels * area }, (_, i) => level(i) / divisor));
    if (taken.length === MOST) break;
  }
  demand(taken.length, `${file.name} holds no frame.`);
  if (taken.length === MOST) notes.push(`the first ${MOST} frames are read`);
  return { data: stacked(taken), shape: [taken.length, channels, rows, columns], notes };
}

async function* gifPictures(file) {
  demand(self.ImageDecoder, "This browser takes no GIF apart: give a film or a .npy file.");
  const decoder = new ImageDecoder({ data: await file.arrayBuffer(), type: "image/gif" });
  try {
    await Promise.all([decoder.tracks.ready, decoder.completed]);
    const { frameCount } = decoder.tracks.selectedTrack;
    for (let frameIndex = 0; frameIndex < frameCount; frameIndex++) {
      const { image } = await decoder.decode({ frameIndex });
      yield { picture: image, width: image.displayWidth, height: image.displayHeight };
      image.close();
    }
  } catch {
    throw new Error(`${file.name} is no GIF that this browser reads.`);
  } finally {
    decoder.close();
  }
}

async function* filmPictures(file) {
  const video = Object.assign(document.createElement("video"), { muted: true, preload: "auto" });
  video.src = URL.createObjectURL(file);
  try {
    await happened(video, "loadeddata");
    const gaps = [await gapAfter(video, 1e-3), await gapAfter(video, video.duration / 2)];
    const interval = Math.min(...gaps, video.duration);
    for (let at = interval / 2, last = -1; at < video.duration; ) {
      const time = await sought(video, at);
      yield { picture: video, width: video.videoWidth, height: video.videoHeight };
      // From a new frame's own time: WebM rounds to milliseconds, which would add up.
      at = interval + (time > last ? time + interval / 2 : at);
      last = time ?? last;
    }
  } catch {
    throw new Error(`${file.name} is no film, GIF or .npy file that this browser reads.`);
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

/**
 * Seconds from the frame at `at` to the next, which browsers do not tell: from the last frame it is
 * sought back, six tenths of the way each time (half would meet frames where they begin). Infinity
 * after the last.
 */
async function gapAfter(video, at) {
  const first = await sought(video, at);
  let gap = Infinity;
  for (let next = await sought(video, video.duration - 1e-3); next > first; ) {
    gap = next - first;
    next = await sought(video, first + 0.6 * gap);
  }
  return gap;
}

/** The time of the frame at `at`, once it is what is drawn: "seeked" alone may come before that. */
async function sought(video, at) {
  const frame = shown(video);
  video.currentTime = at;
  await happened(video, "seeked");
  // A frame that stays need not be told of.
  return Promise.race([frame, new Promise((resolve) => setTimeout(resolve, 2000))]);
}

/** The time of the next frame that is shown, in seconds. */
function shown(video) {
  return new Promise((resolve) => {
    video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime));
  });
}

function happened(video, what) {
  return new Promise((resolve, reject) => {
    video.addEventListener(what, resolve, { once: true });
    video.addEventListener("error", reject, { once: true });
  });
}
