// Curves against strength, a panel an attack: what was measured with its band, and the law as a dashed line.

/* global Plot */
import { ALL_ATTACKS } from "page/choice.js";
import { h, segmented } from "page/dom.js";
import { legendOf } from "page/legend.js";
import { short } from "page/numbers.js";
import { look } from "page/series.js";
import { showRuns } from "page/sources.js";
import { go } from "page/state.js";

const known = (text) => (text === "-" ? null : Number(text));
const flip = ([low, high]) => [1 - high, 1 - low];

//: label, what a point shows, its band or null, and the scale
const METRICS = {
  exact: {
    label: "Exact match",
    value: (p) => known(p.exact),
    band: (p) => (Number(p.seeds) >= 3 ? [Number(p.exact_low), Number(p.exact_high)] : null),
    law: (p) => known(p.law),
    scale: { domain: [0, 1], tickFormat: "%" },
    about: "Share of messages recovered; bands are 95 % intervals (from 3 runs on), dashed lines the law of survival.",
  },
  bits: {
    label: "Bit accuracy",
    value: (p) => (p.bit_error === "-" ? null : 1 - Number(p.bit_error)),
    band: (p) => p.bit_error_range && flip(p.bit_error_range),
    scale: { domain: [0, 1], tickFormat: "%" },
    about: "Share of bits read right, mean; bands span all runs. Half is chance.",
  },
  evidence: {
    label: "log10 p",
    value: (p) => known(p.log10_p_median),
    band: (p) => p.log10_p_range,
    scale: { type: "symlog", reverse: true, ticks: [0, -1, -3, -10, -30, -100, -300] },
    about: "Evidence that the mark is the owner's, median; bands span all runs. Below the thin line is proof.",
  },
  accuracy: {
    label: "Accuracy left",
    value: (p) => known(p.accuracy_attacked),
    band: () => null,
    scale: { domain: [0, 100] },
    about: "Accuracy of the attacked model, percent, mean: what the attack leaves the attacker.",
  },
};

/** Draw the view. */
export function curves(box, choice) {
  const name = choice.show in METRICS ? choice.show : "exact";
  const one = choice.attack !== ALL_ATTACKS;
  const modes = Object.entries(METRICS).map(([key, { label }]) => [key, label]);
  box.append(
    h("div", { class: "view-line" }, one ? null : segmented("Measure", modes, name, (show) => go({ show }))),
    legendOf(choice),
    h(
      "p",
      { class: "quiet" },
      one ? "" : METRICS[name].about,
      " Strengths stand evenly spaced. A click on a point shows its records.",
    ),
  );
  const drawn = choice.attacks.filter((attack) => strengthsOf(choice, attack).length > 1);
  const alone = (one ? [choice.attack] : choice.attacks).filter((attack) => !drawn.includes(attack));
  if (alone.length) {
    box.append(h("p", { class: "quiet" }, `Run at one strength, so no curve but figures in the other views: ${alone.join(", ")}.`));
  }
  const panels = one
    ? alone.length ? [] : Object.values(METRICS).map((metric) => [metric.label, choice.attack, metric])
    : drawn.map((attack) => [attack, attack, METRICS[name]]);
  const grid = h("div", { class: one ? "panels panels-large" : "panels" });
  box.append(grid);
  for (const [title, attack, metric] of panels) {
    const panel = h("figure", { class: "panel" }, h("figcaption", {}, title));
    grid.append(panel);
    panel.append(plot(choice, attack, metric, panel.clientWidth));
  }
}

function strengthsOf(choice, attack) {
  return [...new Set(choice.pointsOf({ attack }).map((point) => point.strength))];
}

function plot(choice, attack, metric, width) {
  const drawn = choice.drawn.map((scheme) => choice.pointsOf({ attack, scheme })).filter((points) => points.length);
  const all = drawn.flat().filter((point) => metric.value(point) !== null);
  const strengths = [...new Set(all.map((point) => point.strength))].sort((a, b) => a - b);
  const figure = Plot.plot({
    width: Math.max(240, width - 24),
    height: 230,
    marginLeft: 44,
    marginBottom: 40,
    marginRight: 14,
    x: {
      type: "point",
      domain: strengths,
      label: "strength",
      tickFormat: short,
      ticks: sparse(strengths, width),
      padding: 0.3,
    },
    y: { label: null, grid: true, ...metric.scale, clamp: true },
    marks: [...rule(metric, choice.content.proof), ...drawn.flatMap((points) => marks(choice.content, points, metric)), tip(all, metric)],
  });
  figure.setAttribute("role", "img");
  figure.setAttribute("aria-label", `${metric.label} against strength of ${attack}`);
  openOnClick(figure);
  return figure;
}

function rule(metric, proof) {
  return metric === METRICS.evidence ? [Plot.ruleY([proof], { strokeOpacity: 0.5 })] : [];
}

function marks(content, points, metric) {
  const { colour, symbol, dash } = look(content, points[0].scheme);
  const x = "strength";
  const own = points.filter((point) => metric.value(point) !== null);
  const banded = own.filter((point) => metric.band(point));
  const lawful = metric.law ? own.filter((point) => metric.law(point) !== null) : [];
  const band = { x, y1: (p) => metric.band(p)[0], y2: (p) => metric.band(p)[1], fill: colour, fillOpacity: 0.09 };
  return [
    Plot.areaY(banded, band),
    ...law(lawful, metric, colour),
    Plot.line(own, { x, y: metric.value, stroke: colour, strokeWidth: 1.8, strokeDasharray: dash }),
    Plot.dot(own, { x, y: metric.value, fill: colour, symbol, r: 3.4 }),
  ];
}

function law(points, metric, stroke) {
  if (!points.length) return [];
  return [
    Plot.line(points, {
      x: "strength",
      y: metric.law,
      stroke,
      strokeWidth: 1.2,
      strokeDasharray: "5 4",
      strokeOpacity: 0.8,
    }),
  ];
}

function tip(points, metric) {
  const text = (p) =>
    [
      `${p.scheme}, ${p.payload} bits`,
      `${p.attack} ${p.strength}`,
      `recovered ${p.recovered}${p.law === "-" ? "" : `, law ${short(Number(p.law))}`}`,
      `log10 p ${p.log10_p_median}`,
      `${p.points_lost === "-" ? "new task" : `${p.points_lost} points lost`}`,
    ].join("\n");
  return Plot.tip(points, Plot.pointer({ x: "strength", y: metric.value, title: text, fontSize: 12 }));
}

/** Open the records of the point under the pointer. */
export function openOnClick(figure) {
  figure.addEventListener("click", () => {
    const point = figure.value;
    if (point) showRuns(`${point.scheme} against ${point.attack} ${point.strength}: ${point.recovered}`, point.runs);
  });
}

/** Return the strengths that have room for a label. */
function sparse(strengths, width) {
  const step = Math.max(1, Math.ceil((strengths.length * 40) / Math.max(200, width - 60)));
  return strengths.filter((_, number) => number % step === 0);
}
