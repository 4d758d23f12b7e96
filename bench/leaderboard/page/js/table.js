// One way to make a table: Tabulator with cells that are text or elements of ours, sorted by the numbers in them.

/* global Tabulator */
import { compare } from "page/numbers.js";

/**
 * Put a table into a box.
 *
 * Columns: {title, cell(row) -> node or text, value(row) -> what is sorted by, frozen, width, vertical, filter}.
 */
export function table(box, rows, columns, options = {}) {
  const data = rows.map((row, number) => ({ number, row }));
  const made = new Tabulator(box, {
    data,
    index: "number",
    nestedFieldSeparator: false,
    layout: "fitDataTable",
    autoResize: false, // it draws all cells anew soon after the first time, and a click begun before that is lost
    columnDefaults: { headerSortTristate: true, resizable: false },
    columns: columns.map((column, number) => definition(column, number)),
    placeholder: "Nothing here for this choice.",
    ...options,
  });
  if (options.height) redrawWithHeight(box, made);
}

/** Draw a table of fixed height anew when that changes: only rows in sight are drawn. One taken away has no height. */
function redrawWithHeight(box, made) {
  let last = 0;
  new ResizeObserver(([{ contentRect: { height } }]) => {
    if (last && height && height !== last) made.redraw();
    last = height;
  }).observe(box);
}

function definition(column, number) {
  const value = column.value ?? ((row) => row[column.title]);
  return {
    field: `c${number}`,
    title: "",
    titleFormatter: () => title(column),
    formatter: (cell) => asNode((column.cell ?? value)(cell.getData().row)),
    sorter: (_a, _b, left, right, _column, direction) =>
      compare(value(left.getData().row), value(right.getData().row), direction),
    headerSortStartingDir: column.start ?? "desc",
    frozen: column.frozen ?? false,
    width: column.width,
    minWidth: column.minWidth ?? 40,
    headerVertical: column.vertical ? "flip" : false,
    hozAlign: column.text ? "left" : "right",
    cssClass: [column.text ? "text-cell" : "number-cell", column.class ?? ""].join(" ").trim(),
    headerFilter: column.filter ? "input" : undefined,
    headerFilterPlaceholder: column.filter ? "filter" : undefined,
    headerFilterFunc: (asked, _value, data) =>
      String(value(data.row)).toLowerCase().includes(String(asked).toLowerCase()),
  };
}

function title(column) {
  const text = document.createElement("span");
  text.className = "column-title";
  text.textContent = column.title;
  text.title = column.about ?? column.title;
  return text;
}

function asNode(content) {
  return content instanceof Node ? content : document.createTextNode(String(content ?? ""));
}
