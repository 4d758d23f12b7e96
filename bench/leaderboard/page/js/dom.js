// Makes elements. Text only ever becomes text nodes, so a name from a record can never turn into markup.

/** Return an element with properties (class, data-*, on*, attributes) and children (nodes, text, or nothing). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a button that shows a number and opens what it comes from. */
export function numberButton(text, open, label) {
  return h("button", { type: "button", class: "number", title: label, onclick: open }, text);
}

/** Return a group of buttons of which one is pressed. */
export function segmented(label, options, chosen, choose) {
  const buttons = options.map(([value, text]) =>
    h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text),
  );
  return h("div", { class: "segmented", role: "group", "aria-label": label }, buttons);
}

/** Return a labelled select. */
export function select(label, options, chosen, choose) {
  const items = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  const field = h("select", { "aria-label": label, onchange: (event) => choose(event.target.value) }, items);
  return h("label", { class: "field" }, h("span", {}, label), field);
}
