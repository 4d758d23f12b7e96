// Turns the state into what is chosen: names that the content knows, with a default for each.

import { rowsOf } from "page/numbers.js";

export const ALL_MODELS = "all models";
export const ALL_ATTACKS = "all attacks";
export const FEW = 5; // schemes drawn at first

/** The tables of the page, as rows. */
export class Content {
  constructor(raw) {
    Object.assign(this, raw, { raw });
    this.points = rowsOf(raw.points);
    for (const name of ["standings", "survival", "heat"]) this[name] = rowsOf(raw[name]);
  }
}

/** What the state chooses of the content. */
export class Choice {
  constructor(content, state) {
    const { models, payloads, attacks } = content.names;
    const boards = Object.keys(content.boards);
    this.content = content;
    this.board = boards.includes(state.board) ? state.board : boards[0];
    this.view = state.view ?? "survival";
    this.show = state.show ?? null;
    this.model = models.includes(state.model) ? state.model : models[0];
    this.bits = payloads.includes(Number(state.bits)) ? Number(state.bits) : payloads[0];
    const met = new Set(content.points.filter((p) => p.payload === this.bits).map((p) => p.attack));
    this.attacks = attacks.filter((attack) => met.has(attack));
    this.attack = this.attacks.includes(state.attack) ? state.attack : ALL_ATTACKS;
    this.ranked = this.standings.map((standing) => standing.scheme);
    const asked = state.schemes === undefined ? null : new Set(state.schemes.split("\n"));
    this.picked = asked && this.ranked.filter((scheme) => asked.has(scheme));
  }

  /** Return the single models that are chosen. */
  get models() {
    return this.model === ALL_MODELS
      ? this.content.names.models.filter((name) => name !== ALL_MODELS)
      : [this.model];
  }

  /** Return the schemes that pictures draw: those picked, or all in the first view and the first few elsewhere. */
  get drawn() {
    return this.picked ?? (this.view === "survival" ? this.ranked : this.ranked.slice(0, FEW));
  }

  /** Say whether tables show a scheme. */
  shows(scheme) {
    return this.picked === null || this.picked.includes(scheme);
  }

  /** Return the ranking. */
  get standings() {
    return this.content.standings.filter(this.onBoard);
  }

  /** Return the curves of survival. */
  get survival() {
    return this.content.survival.filter(this.onBoard);
  }

  /** Return the cells of the map by attack. */
  get heat() {
    return this.content.heat.filter(this.onBoard);
  }

  onBoard = ({ board, model, bits }) => board === this.board && model === this.model && bits === this.bits;

  /** Return the points of the chosen model, payload and attack. */
  get points() {
    return this.pointsOf({});
  }

  /** Return the points of what is named, and of the choice where nothing is. */
  pointsOf({ model = this.model, bits = this.bits, attack = this.attack, scheme = null, strength = null }) {
    return this.content.points.filter(
      (p) =>
        p.model === model &&
        p.payload === bits &&
        (attack === ALL_ATTACKS || p.attack === attack) &&
        (scheme === null || p.scheme === scheme) &&
        (strength === null || p.strength === strength),
    );
  }
}
