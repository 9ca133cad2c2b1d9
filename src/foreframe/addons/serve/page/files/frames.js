// Frames as plain arrays: a frame is a Float32Array (channels x height x width), NaN where unknown.

/** Throws an error of these words where something does not hold. */
export function demand(holds, words) {
  if (!holds) throw new Error(words);
}

/** Frames one after the other in one array. */
export function stacked(frames) {
  const data = new Float32Array(frames.length * frames[0].length);
  frames.forEach((frame, t) => data.set(frame, t * frame.length));
  return data;
}

/** What a tensor {data, shape} holds along its first axis, as tensors. */
export function parts({ data, shape: [count, ...shape] }) {
  const size = data.length / count;
  const part = (i) => ({ data: data.subarray(i * size, (i + 1) * size), shape });
  return Array.from({ length: count }, (_, i) => part(i));
}

/** Frames of a tensor (T,C,H,W) as a list. */
export const framesOf = (tensor) => parts(tensor).map(({ data }) => data);

/** Greys in [0, 1] as a model takes them: in its units, as many channels as it has. */
export function taken(greys, { low, high, channels }) {
  const frame = greys.map((grey) => low + (high - low) * grey);
  return stacked(Array(channels ?? 1).fill(frame));
}

export const minus = (a, b) => a.map((value, i) => value - b[i]);

export function meanOf(members) {
  return members[0].map((_, i) => members.reduce((sum, each) => sum + each[i], 0) / members.length);
}

/** The standard deviation of members. */
export function spreadOf(members) {
  return meanOf(members).map((mean, i) => {
    const squares = members.reduce((sum, each) => sum + (each[i] - mean) ** 2, 0);
    return Math.sqrt(squares / Math.max(1, members.length - 1));
  });
}

/** Root of the mean squared difference, where both are known; NaN where nothing is. */
export function rmse(a, b) {
  const squares = minus(a, b).filter((value) => !Number.isNaN(value));
  return Math.sqrt(squares.reduce((sum, value) => sum + value ** 2, 0) / squares.length);
}

/** The lowest and the highest known value of some frames; 0 and 0 where there is none. */
export function extremes(frames) {
  let [low, high] = [Infinity, -Infinity];
  for (const frame of frames) {
    for (const value of frame) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : [0, 0];
}
