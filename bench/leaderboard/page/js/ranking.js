// The ranking of leaderboard.md in full, each number with the runs behind it.

import { h, numberButton } from "page/dom.js";
import { showRuns } from "page/sources.js";
import { table } from "page/table.js";

/** Return the button of a share of messages held, which opens all runs that the attacker could have used. */
export function heldButton(choice, standing) {
  const { scheme, attack } = standing;
  const open = () => {
    const points = choice.models.flatMap((model) => choice.pointsOf({ model, scheme, attack }));
    showRuns(
      `${scheme}: messages recovered`,
      points.filter((point) => point.useful).flatMap((point) => point.runs),
    );
  };
  return numberButton(standing.held, open, "Show the records");
}

/** Append the ranking to a box. */
export function ranking(box, choice) {
  const rows = choice.standingsAt(choice.attack).filter((standing) => choice.shows(standing.scheme));
  const open = (title, runs) => ({
    title,
    cell: (s) => numberButton(s[title], () => showRuns(`${s.scheme}: ${title}`, s[runs]), "Show the records"),
  });
  const place = h("div", { id: "ranking", class: "table-box" });
  box.append(h("h3", {}, "The ranking in full"), h("p", { class: "quiet" }, choice.content.about.ranking), place);
  table(place, rows, [
    { title: "#", width: 44, start: "asc", frozen: true },
    { title: "scheme", frozen: true, text: true, start: "asc" },
    { title: "bits" },
    open("price of removal", "removal runs"),
    { title: "held", cell: (s) => heldButton(choice, s) },
    open("price of proof", "proof runs"),
    open("worst exact", "worst runs"),
    { title: "by", text: true, start: "asc" },
    open("weakest log10 p", "weakest runs"),
    ...["clean %", "marked %", "energy", "noise floor"].map((title) => open(title, "removal runs")),
    { title: "models x seeds" },
  ]);
}
