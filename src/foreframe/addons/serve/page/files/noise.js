// Normal noise of members as a function of its place: the same seed, member and lead, the same
// noise. It is not the noise that Python draws of that seed.

import { parts, stacked } from "./frames.js";

const [WHOLE, SMOOTH, PLAIN] = [1, 3, 4]; // kinds, so that each has numbers of its own

/** Noise of deviation 1 for the leads from `first` on, one after the other: [leads, ...size]. */
export function noiseOf([leads, ...size], { seed, structure }, member, first) {
  const one = (_, k) => {
    const draw = (kind, lead) => normals([seed, member, kind, lead]);
    const noise = new Float32Array(size.reduce((product, side) => product * side, 1));
    return structure ? structured(noise, size, structure, draw) : noise.map(draw(PLAIN, first + k));
  };
  return stacked(Array.from({ length: leads }, one));
}

/** The same at all leads: channels that are one number, and a smooth one for each distance. */
function structured(noise, [, rows, columns], { whole, apart }, draw) {
  const [numbers, corners] = [draw(WHOLE, 0), draw(SMOOTH, 0)];
  parts({ data: noise, shape: [whole + apart.length] }).forEach(({ data }, c) => {
    if (c < whole) data.fill(numbers());
    else smooth(data, rows, columns, apart[c - whole], corners);
  });
  return noise;
}

/** Noise at points that lie `apart`, linear between them, of deviation 1 everywhere. */
function smooth(map, rows, columns, apart, next) {
  const wide = Math.ceil((columns - 1) / apart) + 2;
  const corners = Float32Array.from({ length: (Math.ceil((rows - 1) / apart) + 2) * wide }, next);
  for (let i = 0; i < rows; i++) {
    const [row, above, below] = between(i / apart);
    for (let j = 0; j < columns; j++) {
      const [column, left, right] = between(j / apart);
      const at = row * wide + column;
      const higher = left * corners[at] + right * corners[at + 1];
      const lower = left * corners[at + wide] + right * corners[at + wide + 1];
      map[i * columns + j] = above * higher + below * lower;
    }
  }
}

function between(place) {
  const first = Math.floor(place);
  const part = place - first;
  const norm = Math.hypot(1 - part, part);
  return [first, (1 - part) / norm, part / norm];
}

/** A function that draws one normal number after the other, by Box and Muller. */
function normals(key) {
  let state = key.reduce((mixed, number) => scrambled((mixed + number) | 0), 0);
  const uniform = () => {
    state = (state + 0x9e3779b9) | 0;
    return (scrambled(state) + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** A number of 32 bits all of whose bits depend on all of those given (MurmurHash3's last step). */
function scrambled(number) {
  let z = (number + 0x7f4a7c15) | 0;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return (z ^ (z >>> 16)) >>> 0;
}
