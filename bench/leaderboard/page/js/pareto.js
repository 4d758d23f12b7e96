// The attacker's trade: each attack by what it costs him and the evidence it leaves; lines join the attacks worth making.

/* global Plot */
import { openOnClick } from "page/curves.js";
import { h } from "page/dom.js";
import { legendOf } from "page/legend.js";
import { look } from "page/series.js";

/** Draw the view. */
export function pareto(box, choice) {
  const drawn = choice.drawn.map((scheme) =>
    choice.pointsOf({ scheme }).filter((point) => point.points_lost !== "-"),
  );
  const about =
    "Each dot is an attack at one strength: to the right it costs the attacker more accuracy, further down it leaves " +
    "the owner less evidence. The line of an encoding joins the attacks that no cheaper one beats: the higher it " +
    "runs, the better. Proof ends at the level line; left of the upright line the model stays useful.";
  box.append(legendOf(choice), h("p", { class: "quiet" }, about));
  const panel = h("figure", { class: "panel" });
  box.append(panel);
  panel.append(
    plot(
      choice,
      drawn.filter((points) => points.length),
      panel.clientWidth,
      innerHeight - panel.getBoundingClientRect().top - 60,
    ),
  );
}

const lost = (point) => Number(point.points_lost);
const evidence = (point) => Math.max(0, -Number(point.log10_p_median));

function plot(choice, drawn, width, room) {
  const { proof } = choice.content;
  const figure = Plot.plot({
    width: Math.max(260, width - 24),
    height: Math.min(560, width, Math.max(340, room)),
    marginLeft: 50,
    marginBottom: 44,
    x: {
      type: "symlog",
      domain: [-3, 100],
      ticks: [-1, 0, 1, 3, 10, 30, 100],
      label: "points of accuracy lost by the attacker →",
      grid: true,
    },
    y: {
      type: "symlog",
      ticks: [0, 1, 3, 10, 30, 100, 300, 1000],
      label: "↑ evidence left, −log10 p",
      grid: true,
    },
    marks: [
      Plot.ruleY([-proof], { strokeOpacity: 0.6 }),
      Plot.ruleX([3], { strokeOpacity: 0.6 }),
      Plot.text([[0, -proof]], { text: [`proof at 1e${proof}`], textAnchor: "start", dy: -7, dx: 4, fontSize: 11 }),
      Plot.text([[3, 0]], { text: ["useful"], textAnchor: "end", dx: -5, dy: -7, fontSize: 11 }),
      ...drawn.flatMap((points) => marks(choice.content, points)),
      Plot.tip(drawn.flat(), Plot.pointer({ x: lost, y: evidence, title: text, fontSize: 12 })),
    ],
  });
  figure.setAttribute("role", "img");
  figure.setAttribute("aria-label", "Evidence left against accuracy lost");
  openOnClick(figure);
  return figure;
}

function marks(content, points) {
  const { colour, symbol, dash } = look(content, points[0].scheme);
  const best = points.filter((point) => point.frontier).sort((a, b) => lost(a) - lost(b));
  return [
    Plot.dot(points, { x: lost, y: evidence, fill: colour, symbol, r: 2.4, fillOpacity: 0.28 }),
    Plot.line(best, {
      x: lost,
      y: evidence,
      stroke: colour,
      strokeWidth: 2,
      strokeDasharray: dash,
      curve: "step-after",
    }),
    Plot.dot(best, { x: lost, y: evidence, fill: colour, symbol, r: 4 }),
  ];
}

function text(point) {
  return [
    `${point.scheme}, ${point.payload} bits`,
    `${point.attack} ${point.strength}`,
    `${point.points_lost} points lost, log10 p ${point.log10_p_median}`,
    `recovered ${point.recovered}`,
  ].join("\n");
}
