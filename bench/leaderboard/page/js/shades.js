// Shades of a map: blue where a mark stands, orange where it falls; the text in a cell says the same.

import { h } from "page/dom.js";
import { numeric } from "page/numbers.js";

const USEFUL = 3; // points that an attacker may lose and still have a useful model

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

/** Return the shade of a price of removal: above 3 points the model is of no use to the attacker. */
export function priceShade(text) {
  const price = numeric(text);
  if (price === null) return null;
  if (text.startsWith(">")) return 0.55 + 0.45 * Math.min(1, price / 50);
  return price > USEFUL ? 0.15 + 0.4 * Math.min(1, price / 50) : -1 + (0.7 * price) / USEFUL;
}

/** Return the shade of messages recovered, as in 2/3. */
export function shareShade(text) {
  const share = numeric(text.split(" ")[0]);
  return share === null ? null : 2 * share - 1 || -0.05;
}

/** Return the shade of a share in percent. */
export function percentShade(text) {
  const share = numeric(text);
  return share === null ? null : share / 50 - 1 || -0.05;
}

/** Return the shade of a log10 p: above that of a proof nothing is proven. */
export function evidenceShade(text, proof) {
  const evidence = numeric(text);
  if (evidence === null) return null;
  return evidence > proof ? -1 + evidence / (proof - 0.01) : Math.min(1, 0.2 + -evidence / 60);
}
