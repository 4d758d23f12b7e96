// Shades of a map: blue where a mark stands, orange where it falls; the text in a cell says the same.

import { h } from "page/dom.js";
import { numeric } from "page/numbers.js";

/** Give an element the shade of a value: 1 all blue (the mark stands), -1 all orange (it falls). */
export function shaded(element, shade) {
  if (shade !== null) {
    element.classList.add(shade < 0 ? "falls" : "stands");
    element.style.setProperty("--shade", Math.abs(shade).toFixed(2));
  }
  return element;
}

/** Return the legend of a map. */
export function legend() {
  const step = (shade) => shaded(h("i", { class: "heat-swatch" }), shade);
  return h("div", { class: "legend" }, "falls", [-1, -0.4, 0.4, 1].map(step), "stands");
}

/** Return the shade of messages recovered, as in 2/3. */
export function shareShade(text) {
  const share = numeric(text.split(" ")[0]);
  return share === null ? null : 2 * share - 1 || -0.05;
}
