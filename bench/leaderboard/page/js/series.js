// Gives each scheme a colour, a marker and a dash: colours of Okabe and Ito, and never colour alone.

/* global d3 */
const COLOURS = 7;
const DASHES = [null, "6 3", "2 3", "8 3 2 3"];

/** Return the look of a scheme, which stays the same in all views. */
export function look(content, scheme) {
  const number = content.names.schemes.indexOf(scheme);
  const round = Math.floor(number / COLOURS);
  return {
    colour: `var(--series-${number % COLOURS})`,
    symbol: d3.symbolsFill[(number + round) % d3.symbolsFill.length],
    dash: DASHES[round % DASHES.length],
  };
}

/** Return a swatch of a scheme's look. */
export function swatch(content, scheme) {
  const { colour, symbol, dash } = look(content, scheme);
  const svg = d3.create("svg").attr("class", "swatch").attr("viewBox", "0 0 28 12").attr("aria-hidden", "true");
  svg
    .append("path")
    .attr("d", "M0,6H28")
    .attr("stroke", colour)
    .attr("stroke-width", 2)
    .attr("stroke-dasharray", dash);
  svg.append("path").attr("d", d3.symbol(symbol, 46)()).attr("transform", "translate(14,6)").attr("fill", colour);
  return svg.node();
}
