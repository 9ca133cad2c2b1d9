// The page's state, which its address remembers, so that a link restores it.

const words = new URLSearchParams(location.hash.slice(1));
let due = 0;

/** A remembered word, or what it is where there is none. */
export const recalled = (name, otherwise = "") => words.get(name) ?? otherwise;

/** A remembered number between two bounds, or what it is where there is none. */
export function recalledNumber(name, low, high, otherwise) {
  const number = Math.round(Number(words.get(name) || NaN));
  return Number.isFinite(number) ? Math.min(high, Math.max(low, number)) : otherwise;
}

/** Remember some more; what is empty is forgotten. Browsers want it changed not too often. */
export function remember(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") words.delete(name);
    else words.set(name, value);
  }
  clearTimeout(due);
  due = setTimeout(() => history.replaceState(null, "", `#${words}`), 200);
}

// A link that is pasted into an open page: begin anew with it. Our own changes do not come here.
addEventListener("hashchange", () => location.reload());
