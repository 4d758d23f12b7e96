// The ranking of leaderboard.md in full, each number with the rows behind it.

import { h, numberButton } from "page/dom.js";
import { showRuns } from "page/sources.js";
import { table } from "page/table.js";

//: title and the rows that its number comes from
const COLUMNS = [
  ["rank, 95 %", "headline"],
  ["S(1)", "headline"],
  ["S(3)", "headline"],
  ["S(1), tier 3", "full"],
  ["proof S(1)", "proof"],
  ["not embedded", "not embedded"],
  ["cheapest removal", "removal"],
  ["falls to free moves", "free"],
  ["answers kept", "marks"],
  ["accuracy change", "marks"],
  ["energy", "marks"],
  ["depth energy", "marks"],
  ["hosts x seeds", "marks"],
];

/** Append the ranking to a box. */
export function ranking(box, choice) {
  const rows = choice.standings.filter((standing) => choice.shows(standing.scheme));
  const place = h("div", { id: "ranking", class: "table-box" });
  const about = h("details", { class: "quiet" }, h("summary", {}, "What the columns mean"), choice.content.about.ranking);
  box.append(h("h3", {}, "Ranking"), about, place);
  const told = COLUMNS.filter(([title]) => rows.some((standing) => standing[title] !== ""));
  table(place, rows, [
    { title: "#", width: 52, start: "asc", frozen: true },
    { title: "scheme", frozen: true, text: true, start: "asc" },
    { title: "bits" },
    ...told.map(([title, rowsBehind]) => ({ title, cell: (standing) => number(standing, title, rowsBehind) })),
  ]);
}

function number(standing, title, rowsBehind) {
  const { sources } = standing;
  const own = sources[rowsBehind].length ? sources[rowsBehind] : sources.marks;
  const open = () => showRuns(`${standing.scheme}: ${title} ${standing[title]}`, own);
  return numberButton(standing[title], open, "Show the records");
}
