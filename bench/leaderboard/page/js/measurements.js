// Every measurement, a line a point, as in leaderboard.csv: sorted by any column, filtered by what is typed above it.

import { h, numberButton } from "page/dom.js";
import { showRuns } from "page/sources.js";
import { table } from "page/table.js";

const WORDS = ["scheme", "model", "attack"];
const HIDDEN = new Set(["exact", "exact_low", "exact_high", "payload", "seeds"]);
const TITLES = { log10_p_median: "log10 p", bit_error: "bit error", points_lost: "points lost", recovered: "exact" };

/** Draw the view. */
export function measurements(box, choice) {
  const points = choice.models
    .flatMap((model) => choice.pointsOf({ model }))
    .filter((point) => choice.shows(point.scheme));
  const names = Object.keys(choice.content.raw.points).filter((name) => typeof points[0]?.[name] !== "object");
  const first = [...WORDS, "strength", "recovered", "log10_p_median", "points_lost"];
  const rest = names.filter(
    (name) => !first.includes(name) && !HIDDEN.has(name) && !["useful", "frontier"].includes(name),
  );
  const about = `${points.length.toLocaleString("en")} points at ${choice.bits} bits, each of one model and all its seeds; leaderboard.csv has the same.`;
  const place = h("div", { id: "measurements", class: "table-box" });
  box.append(h("p", { class: "quiet" }, about), place);
  table(place, points, [...first, ...rest].map(column), { height: "70vh" });
}

function column(name) {
  const title = TITLES[name] ?? name.replaceAll("_", " ");
  if (WORDS.includes(name)) {
    return { title, value: (p) => p[name], text: true, start: "asc", filter: true, frozen: name === "scheme" };
  }
  const open = (p) => () => showRuns(`${p.scheme} against ${p.attack} ${p.strength}: ${title} ${p[name]}`, p.runs);
  return {
    title,
    value: (p) => p[name],
    cell: (p) => numberButton(String(p[name]), open(p), "Show the records"),
    filter: name === "strength",
  };
}
