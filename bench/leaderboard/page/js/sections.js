// The smaller tables of leaderboard.md, cut to what is chosen; a number opens the runs of its line.

import { ALL_ATTACKS, ALL_MODELS } from "page/choice.js";
import { h, numberButton } from "page/dom.js";
import { showRecords, showRuns } from "page/sources.js";
import { table } from "page/table.js";

const RUNS = Symbol("the rows behind each number of a row, where a table names them");
const RECORDS = Symbol("the records of a row, where a table names them");
const LONG = 30; // rows; a longer table can be filtered by its words
const WORDS = ["model", "scheme", "attack", "architecture", "family", "why", "tier", "attacks", "rows", "schemes that lack some"];
const FLAGS = { "**": "above", "*": "below" }; // a rate whose interval excludes the nominal one, and lies so
const KEYS = { model: "model", scheme: "scheme", bits: "payload", attack: "attack", strength: "strength" };

/** Draw the tables of those names; all but speed where none are named, and the cells that were not run. */
export function sectionsView(box, choice, names) {
  const { sections, not_run: notRun, about } = choice.content;
  if (!names && about.sections) box.append(h("p", { class: "quiet" }, about.sections));
  const shown = sections.filter(({ name }) => (names ? names.includes(name) : name !== "speed"));
  for (const section of shown) one(box, choice, section, { alone: shown.length === 1 });
  if (!names && notRun.length) refused(box, notRun);
}

function one(box, choice, { name, title, about, headers, rows, records, runs }, { alone }) {
  const own = rows
    .map((row, at) => ({
      ...Object.fromEntries(headers.map((header, i) => [header, row[i]])),
      [RECORDS]: records?.[at],
      [RUNS]: runs && new Map(headers.map((header, i) => [header, runs[at][i]])),
    }))
    .filter(fits(choice));
  if (!own.length && rows.length) return; // all of another payload
  const place = h("div", { class: "table-box", id: `section-${name}` });
  box.append(alone ? "" : h("h3", {}, title), h("p", { class: "quiet" }, about), place);
  const height = own.length > 14 && !alone ? { height: "420px" } : {};
  const named = headers.includes("architecture") ? "architecture" : "scheme"; // stays in sight
  const order = headers.toSorted((a, b) => (b === named) - (a === named));
  table(
    place,
    own,
    order.map((header) => ({
      ...column(choice, header),
      frozen: header === named,
      filter: own.length > LONG && WORDS.includes(header),
    })),
    height,
  );
}

/** Return whether a line is of what is chosen, as far as it says. */
function fits(choice) {
  return (row) =>
    (!("model" in row) || choice.model === ALL_MODELS || row.model === choice.model) &&
    (!("bits" in row) || row.bits === String(choice.bits)) &&
    (!("scheme" in row) || choice.shows(row.scheme)) &&
    (!("attack" in row) || choice.attack === ALL_ATTACKS || row.attack === choice.attack);
}

function column(choice, header) {
  if (WORDS.includes(header)) {
    return { title: header, text: true, start: "asc" };
  }
  const open = (row) => () => {
    const title = `${row.architecture ?? row.family ?? row.scheme ?? ""} ${header}: ${flagOf(row[header]).text}`;
    if (row[RUNS]?.get(header).length) return showRuns(title, row[RUNS].get(header));
    if (row[RECORDS]) return showRecords(title, row[RECORDS]);
    return showRuns(title, matching(choice, { ...row, ...(choice.attacks.includes(header) ? { attack: header } : {}) }));
  };
  return { title: header, cell: (row) => flagged(row[header], open(row)) };
}

/** Return the button of a number, which stands out where it is flagged. */
function flagged(cell, open) {
  const { text, flag } = flagOf(cell);
  const button = numberButton(text, open, flag ? `${flag} the nominal rate` : "Show the records");
  if (flag) button.classList.add(flag);
  return button;
}

/** Return the text of a cell, and its flag where Markdown has it in bold or in italics. */
function flagOf(cell) {
  const found = /^(\*{1,2})([^*]+)\1$/.exec(cell);
  return found ? { text: found[2], flag: FLAGS[found[1]] } : { text: cell, flag: null };
}

/** Return the runs that a line is about, of single models. */
function matching(choice, row) {
  const asked = Object.entries(KEYS).filter(([header]) => header in row);
  return choice.content.points
    .filter((point) => point.model !== ALL_MODELS)
    .filter((point) => asked.every(([header, name]) => String(point[name]) === row[header]))
    .flatMap((point) => point.runs);
}

function refused(box, notRun) {
  const open = () => showRecords("Not run", notRun);
  box.append(
    h("h3", {}, "Not run"),
    h(
      "p",
      {},
      numberButton(String(notRun.length), open, "Show the records"),
      " cells were refused or do not apply; each record says why.",
    ),
  );
}
