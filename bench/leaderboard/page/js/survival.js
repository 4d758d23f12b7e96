// The first view: survival by tiers of attackers, the ranking, and which attack removes what, all on one screen each.

/* global Plot */
import { h, numberButton } from "page/dom.js";
import { legendOf } from "page/legend.js";
import { ranking } from "page/ranking.js";
import { look, swatch } from "page/series.js";
import { legend, shaded, shareShade } from "page/shades.js";
import { showRuns } from "page/sources.js";
import { table } from "page/table.js";

const HEADLINE = 1; // points that the ranking lets an attacker lose
const BANDS = 6; // curves that leave room for bands
const [LIFT, SPREAD] = [1.5, 10]; // pixels between curves, and of all: equal ones would hide one another; the text says so

/** Draw the view. */
export function survival(box, choice) {
  const { boards, about } = choice.content;
  box.append(
    h(
      "p",
      { class: "lead" },
      `Board ${choice.board}: ${boards[choice.board] ?? ""}; ${choice.ranked.length} entries of ${choice.bits} bits on ${choice.model}.`,
    ),
    legendOf(choice),
  );
  survivalCurves(box, choice);
  ranking(box, choice);
  box.append(
    h("div", { class: "view-line" }, h("h3", {}, "Survival by attack"), legend()),
    h("p", { class: "quiet" }, about.by_attack),
  );
  heatMap(box, choice);
}

function survivalCurves(box, choice) {
  const own = choice.survival;
  const grid = h("div", { class: "panels panels-tiers" });
  box.append(grid);
  const panels = [...new Set(own.map((curve) => curve.last))].map((last) => {
    const all = own.filter((curve) => curve.last === last);
    const none = all.some((curve) => curve.tried) ? "" : ` (nothing tried at ${last})`;
    const title = h("figcaption", {}, `Attackers up to tier ${last}${none}`);
    const figure = h("figure", { class: "panel", "data-last": last }, title);
    grid.append(figure);
    return [figure, last, all.filter((curve) => choice.drawn.includes(curve.scheme))];
  });
  for (const [figure, last, shown] of panels) figure.append(plot(choice, shown, last, figure.clientWidth));
  box.append(
    h(
      "p",
      { class: "quiet" },
      `Share of embedded runs whose message outlives all attacks that cost at most so many points of test accuracy. Bands are 95 % intervals, from five runs on, where at most six curves are drawn. Curves lie up to ${SPREAD} pixels too low, since equal ones would hide one another: the pointer shows the value, and a click the removals behind it.`,
    ),
  );
}

function plot(choice, shown, last, width) {
  const dots = shown.flatMap((curve) => curve.steps.map(([x, share, low, high]) => ({ curve, x, share, low, high })));
  const figure = Plot.plot({
    width: Math.max(240, width - 24),
    height: 250,
    marginLeft: 40,
    marginBottom: 40,
    insetBottom: SPREAD + 2,
    x: { type: "symlog", constant: 2, domain: [-1, 20], ticks: [-1, 0, 1, 3, 5, 10, 20], tickFormat: String, label: "points lost" },
    y: { domain: [0, 1], tickFormat: "%", grid: true, label: null },
    marks: [
      Plot.ruleX([HEADLINE], { strokeOpacity: 0.5 }),
      ...shown.flatMap((curve, number) => marks(choice, curve, number, shown.length)),
      Plot.tip(dots, Plot.pointer({ x: "x", y: "share", title: tipText, fontSize: 12, maxRadius: 300 })),
    ],
  });
  figure.setAttribute("role", "img");
  figure.setAttribute("aria-label", `Survival up to tier ${last}`);
  figure.addEventListener("click", () => {
    const dot = figure.value;
    if (dot) showRuns(`${dot.curve.scheme}: cheapest removal up to tier ${last}`, dot.curve.runs);
  });
  return figure;
}

function marks(choice, { scheme, steps }, number, count) {
  const { colour, dash } = look(choice.content, scheme);
  const lift = number * Math.min(LIFT, SPREAD / count);
  const banded = count > BANDS ? [] : steps.filter((step) => step.length > 2);
  const x = (step) => step[0];
  return [
    Plot.areaY(banded, { x, y1: (step) => step[2], y2: (step) => step[3], curve: "step-after", fill: colour, fillOpacity: 0.08 }),
    Plot.line(steps, { x, y: (step) => step[1], curve: "step-after", stroke: colour, strokeWidth: 1.8, strokeDasharray: dash, dy: lift }),
  ];
}

function tipText({ curve, x, share, low, high }) {
  const band = low === undefined ? "" : ` [${low.toFixed(2)}, ${high.toFixed(2)}]`;
  return `${curve.scheme}\nkept by ${share.toFixed(2)}${band}\nif ${x} points may be lost`;
}

function heatMap(box, choice) {
  const own = choice.heat;
  const places = new Map(own.map(({ tier, attack }) => [`${tier}: ${attack}`, tier]));
  const at = new Map(own.map((cell) => [`${cell.tier}: ${cell.attack}\n${cell.scheme}`, cell]));
  const titles = [...places.keys()];
  const columns = titles.map((title, number) => ({
    title,
    vertical: true,
    class: number && places.get(title) !== places.get(titles[number - 1]) ? "heat tier" : "heat",
    width: 34,
    minWidth: 30,
    value: (standing) => at.get(`${title}\n${standing.scheme}`)?.text ?? "-",
    cell: (standing) => heatCell(at.get(`${title}\n${standing.scheme}`)),
  }));
  const place = h("div", { id: "map", class: "table-box" });
  box.append(place);
  const shown = choice.standings.filter((standing) => choice.shows(standing.scheme));
  table(place, shown, [encoding(choice), ...columns]);
}

function heatCell(cell) {
  if (!cell) return "";
  const what = `${cell.scheme} against ${cell.attack}: ${cell.text} keep the message`;
  return shaded(numberButton(cell.text, () => showRuns(what, cell.runs), what), shareShade(cell.text));
}

function encoding(choice) {
  return {
    title: "encoding",
    value: (s) => choice.ranked.indexOf(s.scheme),
    frozen: true,
    text: true,
    minWidth: 120,
    start: "asc",
    cell: (s) => h("span", { class: "scheme" }, h("i", {}, s["#"]), swatch(choice.content, s.scheme), s.scheme),
    about: "By place in the ranking",
  };
}
