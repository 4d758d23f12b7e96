// The legend of pictures, which is also their switch: each encoding with its line, pressed if it is drawn.

import { h } from "page/dom.js";
import { pick } from "page/filters.js";
import { swatch } from "page/series.js";

/** Return the legend of a choice. */
export function legendOf(choice) {
  const drawn = new Set(choice.drawn);
  const toggle = (scheme) => pick(choice.ranked.filter((other) => drawn.has(other) !== (other === scheme)));
  const chips = choice.ranked.map((scheme) =>
    h(
      "button",
      { type: "button", class: "chip", "aria-pressed": String(drawn.has(scheme)), onclick: () => toggle(scheme) },
      swatch(choice.content, scheme),
      scheme,
    ),
  );
  return h("div", { class: "chips", role: "group", "aria-label": "Encodings drawn" }, chips);
}
