// What is being looked at, kept in the #fragment: a view has an address, and the back button goes to the last one.

const KNOWN = ["view", "model", "bits", "attack", "schemes", "board", "show", "record", "row"];
const listeners = [];

/** Return the state that the fragment gives; unknown names are dropped. */
export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(KNOWN.filter((name) => given.has(name)).map((name) => [name, given.get(name)]));
}

/** Change parts of the state; null drops one. A change is a step that the back button undoes, unless it replaces. */
export function go(change, { replace = false } = {}) {
  const next = new URLSearchParams();
  const merged = { ...read(), ...change };
  for (const name of KNOWN) {
    if (merged[name] !== undefined && merged[name] !== null) next.set(name, merged[name]);
  }
  const fragment = `#${next}`;
  if (fragment === (location.hash || "#")) return;
  if (replace) history.replaceState(null, "", fragment);
  else history.pushState(null, "", fragment);
  tell();
}

/** Call a function with the state now, and whenever it changes. */
export function follow(listener) {
  listeners.push(listener);
  listener(read());
}

function tell() {
  const state = read();
  listeners.forEach((listener) => listener(state));
}

addEventListener("popstate", tell);
