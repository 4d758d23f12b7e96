// Reads the numbers in the texts of tables, to sort and to place them; the texts themselves are shown as they are.

/** Return the first number in a cell: "2/3 [0.1, 0.9]" is a share, "> 80.7" a little more than 80.7, "-" is none. */
export function numeric(cell) {
  if (typeof cell === "number") return cell;
  const text = String(cell ?? "").replaceAll(",", (comma, at, all) =>
    /\d,\d{3}/.test(all.slice(at - 1)) ? "" : comma,
  );
  const share = /^(\d+)\/(\d+)/.exec(text);
  if (share) return Number(share[1]) / Number(share[2]);
  const found = /-?\d+(\.\d+)?(e[+-]?\d+)?/i.exec(text);
  if (!found) return null;
  return Number(found[0]) + (text.startsWith(">") ? 1e-9 : 0);
}

/** Compare cells by number; those without one come last, whichever way is up. */
export function compare(a, b, direction) {
  const [left, right] = [numeric(a), numeric(b)];
  if (left === null && right === null) return String(a).localeCompare(String(b));
  if (left === null) return direction === "asc" ? 1 : -1;
  if (right === null) return direction === "asc" ? -1 : 1;
  return left - right;
}

/** Return a number in few digits. */
export function short(value) {
  return value === null ? "-" : String(Number(value.toPrecision(4)));
}

/** Return rows from columns. */
export function rowsOf(columns) {
  const names = Object.keys(columns);
  const length = names.length ? columns[names[0]].length : 0;
  return Array.from({ length }, (_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}
