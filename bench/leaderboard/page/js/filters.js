// The filters: payload, model, attack and schemes; all views obey them.

import { ALL_ATTACKS } from "page/choice.js";
import { h, segmented, select } from "page/dom.js";
import { swatch } from "page/series.js";
import { go } from "page/state.js";

const WITH_LEGEND = ["survival", "curves", "pareto"]; // whose legend picks the encodings

/** Return the filters as the choice has them. */
export function filtersOf(choice) {
  const { names } = choice.content;
  const boards = Object.keys(choice.content.boards);
  const ascending = names.payloads.toSorted((a, b) => a - b);
  const plain = (values) => values.map((value) => [value, value]);
  const payloads = ascending.map((bits) => [bits, `${bits} bits`]);
  const payload =
    payloads.length > 1 &&
    choice.view !== "capacity" &&
    segmented("Payload", payloads, choice.bits, (bits) => go({ bits }));
  if (!choice.content.points.length) return [payload].filter(Boolean);
  return [
    names.models.length > 1 && select("Model", plain(names.models), choice.model, (model) => go({ model })),
    boards.length > 1 && segmented("Board", plain(boards), choice.board, (board) => go({ board })),
    choice.view !== "survival" && select("Attack", plain([ALL_ATTACKS, ...choice.attacks]), choice.attack, (attack) =>
      go({ attack: attack === ALL_ATTACKS ? null : attack }),
    ),
    payload,
    !WITH_LEGEND.includes(choice.view) && schemePicker(choice),
  ].filter(Boolean);
}

function schemePicker(choice) {
  const picked = new Set(choice.picked ?? choice.ranked);
  const toggle = (scheme, on) => {
    if (on) picked.add(scheme);
    else picked.delete(scheme);
    pick([...picked]);
  };
  const boxes = choice.ranked.map((scheme) =>
    h(
      "label",
      { class: "pick" },
      h("input", {
        type: "checkbox",
        checked: picked.has(scheme),
        onchange: (event) => toggle(scheme, event.target.checked),
      }),
      swatch(choice.content, scheme),
      scheme,
    ),
  );
  const text = choice.picked ? `${choice.picked.length} of ${choice.ranked.length}` : "all";
  return h(
    "details",
    { class: "picker", "data-keep": "picker" },
    h("summary", {}, `Encodings: ${text}`),
    h(
      "div",
      { class: "picker-list" },
      h(
        "div",
        { class: "picker-actions" },
        h("button", { type: "button", onclick: () => go({ schemes: null }) }, "All"),
        h("button", { type: "button", onclick: () => pick([]) }, "None"),
        h("button", { type: "button", onclick: () => pick(choice.ranked.slice(0, 3)) }, "First three"),
      ),
      boxes,
    ),
  );
}

/** Choose schemes. */
export function pick(schemes) {
  go({ schemes: schemes.join("\n") });
}
