// The first view: which encoding survives what, at which cost; one line an encoding, best first.

import { ALL_ATTACKS } from "page/choice.js";
import { h, numberButton, segmented } from "page/dom.js";
import { heldButton, ranking } from "page/ranking.js";
import { swatch } from "page/series.js";
import { evidenceShade, legend, percentShade, priceShade, shaded, shareShade } from "page/shades.js";
import { showRuns } from "page/sources.js";
import { go } from "page/state.js";
import { table } from "page/table.js";

const TOP = 3;

//: what a cell of the map may show: [label, text of a standing, shade in [-1, 1] of a text and the log10 p of a
//: proof, runs of a standing]
const MEASURES = {
  price: ["Price of removal", (s) => s["price of removal"], priceShade, (s) => s["removal runs"]],
  worst: ["Worst case", (s) => s["worst exact"].split(" ")[0], shareShade, (s) => s["worst runs"]],
  mean: ["Mean", (s) => s.held, percentShade, null],
  evidence: ["Evidence", (s) => s["weakest log10 p"], evidenceShade, (s) => s["weakest runs"]],
};

const about = (proof) => ({
  price: "Accuracy points an attacker loses at the cheapest strength that removes the message; “> x”: none did.",
  worst: "Messages recovered at the worst strength and model that leave the model useful (at most 3 points lost).",
  mean: "Share of messages recovered over all strengths that leave the model useful.",
  evidence: `Weakest log10 p (median over seeds) at strengths that leave the model useful; below ${proof} is proof.`,
});

/** Draw the view. */
export function survival(box, choice) {
  const standings = choice.standingsAt(ALL_ATTACKS);
  box.append(
    h(
      "p",
      { class: "lead" },
      `${standings.length} encodings of ${choice.bits} bits on ${choice.model}, best first: what an attacker pays to remove the message (points of accuracy), and what the mark costs its owner.`,
    ),
    cards(choice, standings.slice(0, TOP)),
  );
  if (choice.attack === ALL_ATTACKS) attackMap(box, choice);
  else strengthMap(box, choice);
  ranking(box, choice);
}

function cards(choice, standings) {
  return h(
    "ol",
    { class: "cards" },
    standings.map((standing) => card(choice, standing)),
  );
}

function card(choice, standing) {
  const price = standing["price of removal"];
  const open = () => showRuns(`${standing.scheme}: price of removal`, standing["removal runs"]);
  const says = price.startsWith(">") ? "points, and no attack removed it" : "points for the cheapest removal";
  return h(
    "li",
    { class: "card" },
    h(
      "div",
      { class: "card-name" },
      h("span", { class: "place" }, standing["#"]),
      swatch(choice.content, standing.scheme),
      h("strong", {}, standing.scheme),
    ),
    h("div", { class: "card-price" }, numberButton(price, open, "Show the records"), h("span", {}, says)),
    h("div", { class: "card-cost" }, `held ${standing.held} · the mark costs ${standing.cost} points`),
  );
}

function lead(choice) {
  const open = (title, runs) => (s) =>
    numberButton(s[title], () => showRuns(`${s.scheme}: ${title}`, runs(s)), "Show the records");
  const removal = (s) => s["removal runs"];
  return [
    {
      title: "encoding",
      value: (s) => Number(s["#"]),
      frozen: true,
      text: true,
      minWidth: 120,
      start: "asc",
      cell: (s) => h("span", { class: "scheme" }, h("i", {}, s["#"]), swatch(choice.content, s.scheme), s.scheme),
      about: "By place in the ranking",
    },
    {
      title: "price",
      value: (s) => s["price of removal"],
      cell: open("price of removal", removal),
      class: "strong",
      about: "Price of removal: points of accuracy that the attacker's cheapest successful attack costs him",
    },
    {
      title: "held",
      cell: (s) => heldButton(choice, s),
      about: "Share of messages recovered over all attacks that leave the model useful",
    },
    {
      title: "cost",
      about: "Points of accuracy that the mark itself costs",
      cell: (s) =>
        numberButton(
          s.cost,
          () => showRuns(`${s.scheme}: clean ${s["clean %"]} %, marked ${s["marked %"]} %`, removal(s)),
          "Show the records",
        ),
    },
    {
      title: "energy",
      cell: open("energy", removal),
      class: "edge",
      about: "Squared change of the weights over their own square",
    },
  ];
}

function attackMap(box, choice) {
  const measure = choice.show in MEASURES ? choice.show : "price";
  const [label, text, shadeOf, runs] = MEASURES[measure];
  const { proof } = choice.content;
  const shade = (standing) => shadeOf(text(standing), proof);
  const byAttack = new Map(
    choice.attacks.map((attack) => [attack, new Map(choice.standingsAt(attack).map((s) => [s.scheme, s]))]),
  );
  const cell = (standing, attack) => {
    const own = byAttack.get(attack).get(standing.scheme);
    if (!own) return "";
    if (!runs) return shaded(heldButton(choice, own), shade(own));
    const open = () => showRuns(`${own.scheme} against ${attack}: ${label.toLowerCase()}`, runs(own));
    return shaded(numberButton(text(own), open, `${own.scheme} against ${attack}`), shade(own));
  };
  const columns = choice.attacks.map((attack) => ({
    title: attack,
    vertical: true,
    class: "heat",
    width: 62,
    value: (standing) => {
      const own = byAttack.get(attack).get(standing.scheme);
      return own ? text(own) : "-";
    },
    cell: (standing) => cell(standing, attack),
  }));
  const modes = Object.entries(MEASURES).map(([name, [title]]) => [name, title]);
  box.append(
    h(
      "div",
      { class: "view-line" },
      segmented("Measure", modes, measure, (show) => go({ show })),
      legend(),
    ),
    h("p", { class: "quiet" }, `${about(proof)[measure]} Choose one attack above to see it strength by strength.`),
  );
  map(box, choice, columns, "map");
}

function strengthMap(box, choice) {
  const points = choice.points;
  const strengths = [...new Set(points.map((point) => point.strength))].sort((a, b) => a - b);
  const at = new Map(points.map((point) => [`${point.strength} ${point.scheme}`, point]));
  const find = (standing, strength) => at.get(`${strength} ${standing.scheme}`);
  const columns = strengths.map((strength) => ({
    title: String(strength),
    class: "heat",
    width: 66,
    value: (standing) => find(standing, strength)?.recovered ?? "-",
    cell: (standing) => {
      const point = find(standing, strength);
      if (!point) return "";
      const open = () =>
        showRuns(`${point.scheme} against ${point.attack} ${strength}: ${point.recovered}`, point.runs);
      const label = `${point.recovered}; ${point.points_lost} points lost; log10 p ${point.log10_p_median}`;
      return shaded(numberButton(point.recovered.split(" ")[0], open, label), shareShade(point.recovered));
    },
  }));
  box.append(
    h("div", { class: "view-line" }, h("h3", {}, `${choice.attack}, by strength`), legend()),
    h(
      "p",
      { class: "quiet" },
      "Messages recovered of all runs at each strength; the first columns are about this attack alone.",
    ),
  );
  map(box, choice, columns, "map");
}

function map(box, choice, columns, id) {
  const shown = choice.standingsAt(choice.attack).filter((standing) => choice.shows(standing.scheme));
  const place = h("div", { id, class: "table-box" });
  box.append(place);
  table(place, shown, [...lead(choice), ...columns]);
}
