// Capacity: the largest payload that is recovered in every run, by encoding and rate of pruning.

import { ALL_ATTACKS } from "page/choice.js";
import { h, numberButton } from "page/dom.js";
import { numeric } from "page/numbers.js";
import { swatch } from "page/series.js";
import { showRuns } from "page/sources.js";
import { table } from "page/table.js";

/** Draw the view. */
export function capacity(box, choice) {
  box.append(h("p", { class: "quiet" }, choice.content.about.capacity));
  const tables = Object.entries(choice.content.capacity[choice.model] ?? {});
  const shown = tables.filter(([attack]) => choice.attack === ALL_ATTACKS || choice.attack === attack);
  if (!shown.length) box.append(h("p", {}, "No attack of this choice prunes single weights at several payloads."));
  for (const [attack, [headers, rows]] of shown) one(box, choice, attack, headers, rows);
}

function one(box, choice, attack, headers, rows) {
  const largest = Math.max(...choice.content.names.payloads);
  const total = (row) => row.slice(1).reduce((sum, cell) => sum + (numeric(cell) ?? 0), 0);
  const own = rows.filter(([scheme]) => choice.shows(scheme)).toSorted((a, b) => total(b) - total(a));
  const place = h("div", { class: "table-box", "data-attack": attack });
  box.append(h("h3", {}, `${attack}: payload by strength`), place);
  table(place, own, [
    {
      title: "encoding",
      value: (row) => row[0],
      frozen: true,
      text: true,
      minWidth: 120,
      start: "asc",
      cell: ([scheme]) => h("span", { class: "scheme" }, swatch(choice.content, scheme), scheme),
    },
    ...headers.slice(1).map((strength, i) => ({
      title: strength,
      value: (row) => row[i + 1],
      class: "heat",
      width: 78,
      cell: (row) => payloadCell(choice, attack, Number(strength), row, row[i + 1], largest),
    })),
  ]);
}

function payloadCell(choice, attack, strength, row, text, largest) {
  const bits = numeric(text);
  const [payload, energy] = text.split(" ");
  const payloads = bits === null ? choice.content.names.payloads : [bits];
  const open = () => {
    const points = choice.models.flatMap((model) =>
      payloads.flatMap((b) => choice.pointsOf({ model, bits: b, attack, scheme: row[0], strength })),
    );
    showRuns(
      `${row[0]} against ${attack} ${strength}: ${text}`,
      points.flatMap((point) => point.runs),
    );
  };
  const button = numberButton(
    payload,
    open,
    energy ? `mean energy ${energy.slice(1, -1)}` : "nothing was recovered",
  );
  button.classList.add(bits ? "stands" : "falls");
  button.style.setProperty("--shade", bits ? (Math.log(bits) / Math.log(largest)) ** 3 : 0.5);
  return button;
}
