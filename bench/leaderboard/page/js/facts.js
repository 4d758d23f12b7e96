// The head of the page: what was run, when, by what, on what.

import { ALL_MODELS } from "page/choice.js";
import { h } from "page/dom.js";

const UNMARKED = "none"; // a control: models without a mark

const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const short = (commit) => commit.slice(0, 10) + (commit.endsWith("+") ? "+" : "");

/** Return the head's lines. */
export function factsOf({ facts, names }) {
  const cells = Object.values(facts.cells).reduce((a, b) => a + b, 0);
  const models = names.models.filter((model) => model !== ALL_MODELS).length;
  const encodings = names.schemes.filter((scheme) => scheme !== UNMARKED).length;
  const size = [
    count(encodings, "encoding"),
    count(models, "model"),
    count(names.attacks.length, "attack"),
    count(facts.seeds, "seed"),
    count(cells, "cell"),
  ];
  const statuses = Object.entries(facts.cells).map(
    ([status, number]) => `${number.toLocaleString("en")} ${status}`,
  );
  const versions = Object.entries(facts.versions).map(([name, found]) => `${name} ${found.join(", ")}`);
  const rows = [
    ["cells", statuses.join(", ")],
    ["run", facts.date ?? "no date"],
    ["commit of the run", facts.run_commit ?? "not noted"],
    ["commit of the page", facts.page_commit ?? "not from a checkout"],
    ["versions", versions.join("; ") || "none noted"],
    ["hardware", facts.hardware.join("; ") || "none noted"],
    ["seeds", String(facts.seeds)],
  ];
  return [
    facts.archived && h("p", { class: "archived" }, facts.archived),
    h("p", { class: "size" }, size.join(" · ")),
    h(
      "details",
      { class: "conditions" },
      h("summary", {}, conditions(facts)),
      h(
        "dl",
        {},
        rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      ),
    ),
  ].filter(Boolean);
}

function conditions(facts) {
  const written = facts.page_commit && `written at commit ${short(facts.page_commit)}`;
  const commit = facts.run_commit ? `run at commit ${short(facts.run_commit)}` : written;
  const torch = facts.versions.torch ? `torch ${facts.versions.torch.join(", ")}` : null;
  return [facts.date, commit, torch, ...facts.hardware].filter(Boolean).join(" · ");
}
