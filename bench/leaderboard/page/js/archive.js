// Unpacks what the page embeds: compressed JSON, and records stored as shapes and columns (archive.py).

/** Return the JSON value embedded under an id. */
export async function embedded(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Return all records, in the order of their identities. */
export function unfold({ order, shapes, shared, columns }) {
  const next = columns.map(() => 0);
  const fill = (shape) => {
    if (typeof shape === "number") {
      const column = shape < 0 ? -1 - shape : shape;
      const value = columns[column][next[column]++];
      return shape < 0 ? shared[value] : value;
    }
    if (Array.isArray(shape)) return shape.map(fill);
    return Object.fromEntries(Object.entries(shape).map(([name, inner]) => [name, fill(inner)]));
  };
  return order.map((number) => fill(shapes[number]));
}

/** Records with the numbers of their rows, which count on from record to record. */
export class Records {
  constructor(packed) {
    this.leftOut = packed.left_out;
    this.all = unfold(packed);
    this.first = [];
    let rows = 0;
    for (const record of this.all) {
      this.first.push(rows);
      rows += (record.rows ?? []).length;
    }
  }

  /** Return the record of a number, and which of its rows it is. */
  at(number) {
    let low = 0;
    let high = this.first.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.first[middle] <= number) low = middle;
      else high = middle - 1;
    }
    return { record: this.all[low], at: number - this.first[low] };
  }

  byIdentity(identity) {
    return this.all.find((record) => record.identity === identity);
  }
}

let waiting = null;

/** Return the records; they are unpacked once, when first asked for. */
export function records() {
  waiting ??= embedded("records").then((packed) => new Records(packed));
  return waiting;
}
