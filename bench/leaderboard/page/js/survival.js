// The first view: which encoding survives what, at which cost; one line an encoding, best first.

import { ALL_ATTACKS } from "page/choice.js";
import { h, numberButton, segmented } from "page/dom.js";
import { numeric } from "page/numbers.js";
import { swatch } from "page/series.js";
import { showRuns } from "page/sources.js";
import { go } from "page/state.js";
import { table } from "page/table.js";

const USEFUL = 3; // points that a thief may lose and still have a useful model
const TOP = 3;

//: what a cell of the map may show: [label, text of a standing, shade of a text in [-1, 1], runs of a standing]
const MEASURES = {
  price: ["Price of removal", (s) => s["price of removal"], priceShade, (s) => s["removal runs"]],
  worst: ["Worst case", (s) => s["worst exact"].split(" ")[0], shareShade, (s) => s["worst runs"]],
  mean: ["Mean", (s) => s.held, percentShade, null],
  evidence: ["Weakest log10 p", (s) => s["weakest log10 p"], evidenceShade, (s) => s["weakest runs"]],
};

const ABOUT = {
  price: "Accuracy points a thief loses at the cheapest strength that removes the message; “> x”: none did.",
  worst: "Messages whole at the worst strength and model that leave the model useful (at most 3 points lost).",
  mean: "Share of messages whole over all strengths that leave the model useful.",
  evidence: "Weakest evidence (median over seeds) at strengths that leave the model useful; below -6 is proof.",
};

/** Draw the view. */
export function survival(box, choice) {
  const standings = choice.standingsAt(ALL_ATTACKS);
  box.append(
    h("p", { class: "lead" }, `${standings.length} encodings of ${choice.bits} bits on ${choice.model}, best first: what a thief pays to remove the message (points of accuracy), and what the mark costs its owner.`),
    cards(choice, standings.slice(0, TOP)),
  );
  if (choice.attack === ALL_ATTACKS) attackMap(box, choice);
  else strengthMap(box, choice);
  ranking(box, choice);
}

function cards(choice, standings) {
  return h("ol", { class: "cards" }, standings.map((standing) => card(choice, standing)));
}

function card(choice, standing) {
  const price = standing["price of removal"];
  const open = () => showRuns(`${standing.scheme}: price of removal`, standing["removal runs"]);
  const says = price.startsWith(">")
    ? "points, and no attack removed it"
    : "points for the cheapest removal";
  return h(
    "li",
    { class: "card" },
    h("div", { class: "card-name" }, h("span", { class: "place" }, standing["#"]), swatch(choice.content, standing.scheme), h("strong", {}, standing.scheme)),
    h("div", { class: "card-price" }, numberButton(price, open, "Show the records"), h("span", {}, says)),
    h("div", { class: "card-cost" }, `held ${standing.held} · the mark costs ${standing.cost} points`),
  );
}

function lead(choice) {
  const open = (title, runs) => (s) => numberButton(s[title], () => showRuns(`${s.scheme}: ${title}`, runs(s)), "Show the records");
  const removal = (s) => s["removal runs"];
  return [
    { title: "#", width: 44, start: "asc", class: "quiet" },
    {
      title: "encoding", value: (s) => s.scheme, frozen: true, text: true, minWidth: 120, start: "asc",
      cell: (s) => h("span", { class: "scheme" }, swatch(choice.content, s.scheme), s.scheme),
    },
    {
      title: "price", value: (s) => s["price of removal"], cell: open("price of removal", removal), class: "strong",
      about: "Price of removal: points of accuracy that the thief's cheapest successful attack costs him",
    },
    { title: "held", cell: (s) => heldButton(choice, s), about: "Share of messages whole over all attacks that leave the model useful" },
    {
      title: "cost", about: "Points of accuracy that the mark itself costs",
      cell: (s) => numberButton(s.cost, () => showRuns(`${s.scheme}: clean ${s["clean %"]} %, marked ${s["marked %"]} %`, removal(s)), "Show the records"),
    },
    { title: "energy", cell: open("energy", removal), class: "edge", about: "Squared change of the weights over their own square" },
  ];
}

function heldButton(choice, standing) {
  const { scheme, attack } = standing;
  const open = () => {
    const models = choice.content.names.models.filter((m) => choice.model === "all models" ? m !== choice.model : m === choice.model);
    const points = models.flatMap((model) => choice.pointsOf({ model, scheme, attack }));
    showRuns(`${scheme}: messages whole`, points.filter((point) => point.useful).flatMap((point) => point.runs));
  };
  return numberButton(standing.held, open, "Show the records");
}

function attackMap(box, choice) {
  const measure = choice.show in MEASURES ? choice.show : "price";
  const [label, text, shade, runs] = MEASURES[measure];
  const byAttack = new Map(
    choice.attacks.map((attack) => [attack, new Map(choice.standingsAt(attack).map((s) => [s.scheme, s]))]),
  );
  const cell = (standing, attack) => {
    const own = byAttack.get(attack).get(standing.scheme);
    if (!own) return "";
    if (!runs) return shaded(heldButton(choice, own), shade(text(own)));
    const open = () => showRuns(`${own.scheme} against ${attack}: ${label.toLowerCase()}`, runs(own));
    return shaded(numberButton(text(own), open, `${own.scheme} against ${attack}`), shade(text(own)));
  };
  const columns = choice.attacks.map((attack) => ({
    title: attack, vertical: true, class: "heat", width: 62,
    value: (standing) => { const own = byAttack.get(attack).get(standing.scheme); return own ? text(own) : "-"; },
    cell: (standing) => cell(standing, attack),
  }));
  const modes = Object.entries(MEASURES).map(([name, [title]]) => [name, title]);
  box.append(
    h("div", { class: "view-line" }, segmented("Measure", modes, measure, (show) => go({ show })), legend()),
    h("p", { class: "quiet" }, `${ABOUT[measure]} Choose one attack above to see it strength by strength.`),
  );
  map(box, choice, columns, "map");
}

function strengthMap(box, choice) {
  const points = choice.points;
  const strengths = [...new Set(points.map((point) => point.strength))].sort((a, b) => a - b);
  const at = new Map(points.map((point) => [`${point.strength} ${point.scheme}`, point]));
  const find = (standing, strength) => at.get(`${strength} ${standing.scheme}`);
  const columns = strengths.map((strength) => ({
    title: String(strength), class: "heat", width: 66,
    value: (standing) => find(standing, strength)?.whole ?? "-",
    cell: (standing) => {
      const point = find(standing, strength);
      if (!point) return "";
      const open = () => showRuns(`${point.scheme} against ${point.attack} ${strength}: ${point.whole}`, point.runs);
      const label = `${point.whole}; ${point.points_lost} points lost; log10 p ${point.log10_p_median}`;
      return shaded(numberButton(point.whole.split(" ")[0], open, label), shareShade(point.whole));
    },
  }));
  box.append(
    h("div", { class: "view-line" }, h("h3", {}, `${choice.attack}, by strength`), legend()),
    h("p", { class: "quiet" }, "Messages whole of all runs at each strength; the first columns are about this attack alone."),
  );
  map(box, choice, columns, "map");
}

function map(box, choice, columns, id) {
  const shown = choice.standingsAt(choice.attack).filter((standing) => choice.shows(standing.scheme));
  const place = h("div", { id, class: "table-box" });
  box.append(place);
  table(place, shown, [...lead(choice), ...columns]);
}

function ranking(box, choice) {
  const rows = choice.standingsAt(choice.attack).filter((standing) => choice.shows(standing.scheme));
  const open = (title, runs) => ({
    title,
    cell: (s) => numberButton(s[title], () => showRuns(`${s.scheme}: ${title}`, s[runs]), "Show the records"),
  });
  const place = h("div", { id: "ranking", class: "table-box" });
  box.append(h("h3", {}, "The ranking in full"), h("p", { class: "quiet" }, choice.content.about.ranking), place);
  table(place, rows, [
    { title: "#", width: 44, start: "asc" },
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

/** Give an element the shade of a value: 1 all blue (the mark stands), -1 all orange (it falls). */
function shaded(element, shade) {
  if (shade !== null) {
    element.classList.add(shade < 0 ? "falls" : "stands");
    element.style.setProperty("--shade", Math.abs(shade).toFixed(2));
  }
  return element;
}

function legend() {
  const step = (shade) => shaded(h("i", { class: "heat-swatch" }), shade);
  return h("div", { class: "legend" }, "falls", [-1, -0.4, 0.4, 1].map(step), "stands");
}

function priceShade(text) {
  const price = numeric(text);
  if (price === null) return null;
  if (text.startsWith(">")) return 0.55 + 0.45 * Math.min(1, price / 50);
  return price > USEFUL ? 0.15 + 0.4 * Math.min(1, price / 50) : -1 + (0.7 * price) / USEFUL;
}

function shareShade(text) {
  const share = numeric(text.split(" ")[0]);
  return share === null ? null : 2 * share - 1 || -0.05;
}

function percentShade(text) {
  const share = numeric(text);
  return share === null ? null : share / 50 - 1 || -0.05;
}

function evidenceShade(text) {
  const evidence = numeric(text);
  if (evidence === null) return null;
  return evidence > -6 ? -1 - evidence / 6.01 : Math.min(1, 0.2 + -evidence / 60);
}
