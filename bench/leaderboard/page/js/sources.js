// The dialog behind every number: the runs it comes from, and the record of each, with its identity.

import { records } from "page/archive.js";
import { h } from "page/dom.js";
import { go, read } from "page/state.js";

const MOST = 300; // runs listed at once

let shown = { title: "Record", entries: [] };
let pushed = false; // whether opening the dialog was a step of its own, which closing it takes back

/** Open the dialog on the runs of those numbers. */
export async function showRuns(title, numbers) {
  const archive = await records();
  open(
    title,
    [...new Set(numbers)].map((number) => archive.at(number)),
  );
}

/** Open the dialog on whole records, by their place in the archive. */
export async function showRecords(title, places) {
  const archive = await records();
  open(
    title,
    places.map((place) => ({ record: archive.all[place], at: null })),
  );
}

function open(title, entries) {
  if (!entries.length) return;
  shown = { title, entries };
  pushed = true;
  go(address(entries[0]));
}

function address({ record, at }) {
  return { record: record.identity, row: at };
}

/** Show the dialog if the state names a record, close it if it does not. */
export async function follow(state) {
  const dialog = document.getElementById("sources");
  if (!state.record) {
    pushed = false;
    dialog.close();
    return;
  }
  const archive = await records();
  if (!chosen(state)) shown = { title: "Record", entries: alone(archive, state) };
  dialog.replaceChildren(...parts(shown, chosen(state), state.record, archive));
  if (!dialog.open) dialog.showModal();
}

function chosen(state) {
  return shown.entries.find(
    ({ record, at }) => record.identity === state.record && String(at) === String(state.row ?? null),
  );
}

function alone(archive, { record: identity, row }) {
  const record = archive.byIdentity(identity);
  const at = row === undefined || !record?.rows?.[row] ? null : Number(row);
  return record ? [{ record, at }] : [];
}

/** Make the dialog close by its button, by escape and by a click beside it. */
export function prepare() {
  const dialog = document.getElementById("sources");
  dialog.addEventListener("close", () => {
    if (!read().record) return;
    if (pushed) history.back();
    else go({ record: null, row: null });
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

function parts({ title, entries }, entry, identity, archive) {
  const close = () => document.getElementById("sources").close();
  const button = h("button", { type: "button", class: "close", "aria-label": "Close", onclick: close }, "✕");
  return [
    h("div", { class: "sources-head" }, h("h2", { id: "sources-title" }, title), button),
    entries.length > 1 && runList(entries, entry),
    entry ? recordOf(entry, archive) : h("p", {}, `This page holds no record ${identity}.`),
  ].filter(Boolean);
}

function runList(entries, entry) {
  const more = entries.length - MOST;
  return h(
    "div",
    { class: "runs" },
    h("p", { class: "quiet" }, `From ${entries.length} runs${more > 0 ? `, the first ${MOST} of them` : ""}:`),
    h(
      "div",
      { class: "runs-list" },
      h(
        "table",
        {},
        entries.slice(0, MOST).map((other) => runLine(other, other === entry)),
      ),
    ),
  );
}

function runLine(entry, isChosen) {
  const { record, at } = entry;
  const { key } = record;
  const row = at === null ? null : record.rows[at];
  const pick = () => go(address(entry), { replace: true });
  return h(
    "tr",
    { class: isChosen ? "chosen" : undefined },
    h("td", {}, h("button", { type: "button", class: "number", onclick: pick }, `${key.model}, seed ${key.seed}`)),
    h("td", {}, row ? `${key.attack} ${row.strength}` : key.attack),
    h("td", {}, row ? (row.exact ? "recovered" : "lost") : record.status),
    h("td", {}, row ? `log10 p ${row.log10_p.toFixed(1)}` : ""),
  );
}

function recordOf({ record, at }, archive) {
  const { key } = record;
  const what = `${key.scheme}, ${key.payload} bits, on ${key.model} (${key.data}), seed ${key.seed}, against ${key.attack}: `;
  const left = archive.leftOut.join(", ");
  return h(
    "section",
    { class: "record" },
    h("p", {}, what, h("strong", {}, record.status), record.reason ? `: ${record.reason}` : ""),
    h("p", {}, "identity ", h("code", { class: "identity" }, record.identity)),
    left && h("p", { class: "quiet" }, `Left out here to keep the page small: ${left}.`),
    at !== null && json("This measurement", record.rows[at], "row"),
    json("Whole record", record, "json"),
  );
}

function json(title, value, kind) {
  return h(
    "details",
    { open: true },
    h("summary", {}, title),
    h("pre", { class: kind }, JSON.stringify(value, null, 1)),
  );
}
