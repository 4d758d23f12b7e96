// Starts the page: unpacks the tables and draws the view that the fragment asks for.

import { embedded } from "page/archive.js";
import { capacity } from "page/capacity.js";
import { Choice, Content } from "page/choice.js";
import { curves } from "page/curves.js";
import { h } from "page/dom.js";
import { factsOf } from "page/facts.js";
import { filtersOf } from "page/filters.js";
import { measurements } from "page/measurements.js";
import { pareto } from "page/pareto.js";
import { sectionsView } from "page/sections.js";
import * as sources from "page/sources.js";
import { follow, go } from "page/state.js";
import { survival } from "page/survival.js";
import { themeSwitch } from "page/theme.js";

const speed = (box, choice) => sectionsView(box, choice, ["speed"]);
const more = (box, choice) => sectionsView(box, choice, null);
const VIEWS = {
  survival: ["Survival", survival],
  curves: ["Curves", curves],
  pareto: ["The attacker's trade", pareto],
  capacity: ["Capacity", capacity],
  speed: ["Speed", speed],
  measurements: ["All measurements", measurements],
  more: ["More tables", more],
};

const byId = (id) => document.getElementById(id);

/** Return the views that there is something for: without points, as of untrained models, only tables. */
function viewsOf({ points, names }) {
  if (!points.length) return { more: ["Tables", more], speed: VIEWS.speed };
  const several = names.payloads.length > 1;
  return Object.fromEntries(Object.entries(VIEWS).filter(([name]) => several || name !== "capacity"));
}

function drawNavigation(choice, views) {
  byId("views").replaceChildren(
    ...Object.entries(views).map(([name, [title]]) =>
      h(
        "button",
        {
          type: "button",
          "aria-current": name === choice.view && "page",
          onclick: () => go({ view: name, show: null }),
        },
        title,
      ),
    ),
  );
}

/** Draw the filters again; an open list stays open, and what had the focus keeps it. */
function drawFilters(choice) {
  const box = byId("filters");
  const focusable = () => [...box.querySelectorAll("button, select, input, summary")];
  const focused = focusable().indexOf(document.activeElement);
  const open = box.querySelector("details")?.open;
  const scrolled = box.querySelector(".picker-list")?.scrollTop;
  box.replaceChildren(...filtersOf(choice));
  const picker = box.querySelector("details");
  if (open && picker) {
    picker.open = true;
    picker.querySelector(".picker-list").scrollTop = scrolled;
  }
  focusable()[focused]?.focus({ preventScroll: true });
}

function draw(content, state) {
  const choice = new Choice(content, state);
  const views = viewsOf(content);
  if (!(choice.view in views)) choice.view = Object.keys(views)[0];
  drawNavigation(choice, views);
  drawFilters(choice);
  const [title, view] = views[choice.view];
  const box = byId("view");
  box.dataset.view = choice.view;
  box.replaceChildren(h("h2", {}, title));
  view(box, choice);
}

/** Call `draw` when something else is to be seen; a dialog that opens or closes over the view is not. */
function whenChanged(draw) {
  let last = null;
  return (state) => {
    const key = JSON.stringify({ ...state, record: null, row: null });
    if (key !== last) draw(state);
    last = key;
  };
}

async function start() {
  themeSwitch(byId("theme"));
  const content = new Content(await embedded("content"));
  byId("facts").replaceChildren(...factsOf(content));
  if (!content.points.length && !content.sections.some(({ rows }) => rows.length)) {
    byId("notice").textContent = "No cell of this run is done yet, so there is nothing to compare.";
    return;
  }
  sources.prepare();
  const redraw = whenChanged((state) => draw(content, state));
  follow(redraw);
  follow(sources.follow);
  document.documentElement.dataset.ready = "yes";
}

if (!document.documentElement.dataset.missing) {
  await start().catch((error) => {
    byId("view").replaceChildren(h("p", {}, `This page could not be drawn: ${error}`));
    throw error;
  });
}
