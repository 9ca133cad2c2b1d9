// Frames of a file in the browser: .npy, and what the browser itself plays.

const MOST = 300; // frames of a film
const LONGEST = 256; // pixels of a film's side
const TYPES = {
  "<f4": Float32Array, "<f8": Float64Array, "|u1": Uint8Array, "|i1": Int8Array, "<u2": Uint16Array,
  "<i2": Int16Array, "<i4": Int32Array, "<u4": Uint32Array, "<i8": BigInt64Array, "|b1": Uint8Array,
};

const read = new WeakMap(); // what was read of a file: sliders ask for it again and again

/** Frames {data, shape: [T,C,H,W], notes} of a file as a model takes them. */
export function framesOf(file, about) {
  if (!read.has(file)) read.set(file, frames(file, about));
  return read.get(file);
}

async function frames(file, about) {
  if (file.name.toLowerCase().endsWith(".npy")) return ofNpy(file, about);
  const gif = file.type === "image/gif" || file.name.toLowerCase().endsWith(".gif");
  return ofPictures(file, gif ? gifPictures(file) : filmPictures(file), about);
}

async function ofNpy(file, about) {
  const buffer = await file.arrayBuffer();
  const view = new DataView(buffer);
  const header = buffer.byteLength > 12 && view.getUint32(0) === 0x934e554d; // \x93NUM
  if (!header) throw new Error(`${file.name} is no .npy file.`);
  const [start, length] = view.getUint8(6) === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const words = new TextDecoder().decode(new Uint8Array(buffer, start, Math.min(length, buffer.byteLength - start)));
  const type = TYPES[/'descr': '(.*?)'/.exec(words)?.[1]];
  let shape = /'shape': \((.*?)\)/.exec(words)?.[1].split(",").filter((n) => n.trim()).map(Number);
  if (!type || !words.includes("False")) throw new Error(`${file.name} holds no plain numbers in rows.`);
  if (shape.length === 3) shape = [shape[0], 1, ...shape.slice(1)];
  const count = shape.reduce((product, side) => product * side, 1);
  if (shape.length !== 4 || !count) throw new Error(`${file.name} holds no frames (T,H,W) or (T,C,H,W).`);
  const bytes = buffer.slice(start + length);
  if (bytes.byteLength < count * type.BYTES_PER_ELEMENT) throw new Error(`${file.name} is cut off.`);
  const values = new type(bytes, 0, count);
  const divisor = type === Uint8Array ? bytesOf(about) : 1;
  return { data: Float32Array.from(values, (value) => Number(value) / divisor), shape, notes: [] };
}

/** What bytes of pictures are divided by: a model of values from 0 to 1 takes them so. */
function bytesOf({ model: { low, high } }) {
  return low === 0 && high === 1 ? 255 : 1;
}

async function ofPictures(file, pictures, about) {
  const { channels } = about;
  if (channels !== 1 && channels !== 3) {
    throw new Error(`This model takes ${channels} channels, which a film has not: give a .npy file.`);
  }
  const divisor = bytesOf(about);
  const notes = [];
  const taken = [];
  let canvas = null;
  for await (const { picture, width, height } of pictures) {
    if (!canvas) {
      const share = Math.min(1, LONGEST / Math.max(width, height));
      const [rows, columns] = about.size ?? [Math.round(height * share), Math.round(width * share)];
      canvas = new OffscreenCanvas(columns, rows);
      if (rows !== height) notes.push(`frames of ${width}x${height} are brought to ${columns}x${rows}`);
    }
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const area = canvas.width * canvas.height;
    const frame = new Float32Array(channels * area);
    for (let i = 0; i < area; i++) {
      const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
      const values = channels === 3 ? [red, green, blue] : [0.299 * red + 0.587 * green + 0.114 * blue];
      values.forEach((value, c) => (frame[c * area + i] = value / divisor));
    }
    taken.push(frame);
    if (taken.length === MOST) {
      notes.push(`the first ${MOST} frames are read`);
      break;
    }
  }
  if (!taken.length) throw new Error(`${file.name} holds no frame.`);
  const data = new Float32Array(taken.length * taken[0].length);
  taken.forEach((frame, t) => data.set(frame, t * frame.length));
  return { data, shape: [taken.length, channels, canvas.height, canvas.width], notes };
}

async function* gifPictures(file) {
  if (!self.ImageDecoder) throw new Error("This browser takes no GIF apart: give a film or a .npy file.");
  const decoder = new ImageDecoder({ data: await file.arrayBuffer(), type: "image/gif" });
  try {
    await Promise.all([decoder.tracks.ready, decoder.completed]);
    for (let frameIndex = 0; frameIndex < decoder.tracks.selectedTrack.frameCount; frameIndex++) {
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
    throw new Error(`${file.name} is no film that this browser plays: give a film, a GIF or a .npy file.`);
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

/** Seconds from the frame at `at` to the next, which browsers do not tell: from the last frame it is
 * sought back, six tenths of the way each time (half would meet frames where they begin). Infinity
 * after the last. */
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
  return Promise.race([frame, after(2000)]); // a frame that stays need not be told of
}

/** The time of the next frame that is shown, in seconds. */
function shown(video) {
  return new Promise((resolve) => video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime)));
}

function after(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function happened(video, what) {
  return new Promise((resolve, reject) => {
    video.addEventListener(what, resolve, { once: true });
    video.addEventListener("error", reject, { once: true });
  });
}
