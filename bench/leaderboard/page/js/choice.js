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
    this.standings = rowsOf(raw.standings);
  }
}

/** What the state chooses of the content. */
export class Choice {
  constructor(content, state) {
    const { models, payloads, attacks } = content.names;
    this.content = content;
    this.view = state.view ?? "survival";
    this.show = state.show ?? null;
    this.model = models.includes(state.model) ? state.model : models[0];
    this.bits = payloads.includes(Number(state.bits)) ? Number(state.bits) : payloads[0];
    const met = new Set(content.points.filter((p) => p.payload === this.bits).map((p) => p.attack));
    this.attacks = attacks.filter((attack) => met.has(attack));
    this.attack = this.attacks.includes(state.attack) ? state.attack : ALL_ATTACKS;
    this.ranked = this.standingsAt(ALL_ATTACKS).map((standing) => standing.scheme);
    const asked = state.schemes === undefined ? null : new Set(state.schemes.split("\n"));
    this.picked = asked && this.ranked.filter((scheme) => asked.has(scheme));
  }

  /** Return the single models that are chosen. */
  get models() {
    return this.model === ALL_MODELS
      ? this.content.names.models.filter((name) => name !== ALL_MODELS)
      : [this.model];
  }

  /** Return the schemes that pictures draw: those picked, or the first few. */
  get drawn() {
    return this.picked ?? this.ranked.slice(0, FEW);
  }

  /** Say whether tables show a scheme. */
  shows(scheme) {
    return this.picked === null || this.picked.includes(scheme);
  }

  /** Return the ranking under one attack, or all. */
  standingsAt(attack) {
    const { model, bits } = this;
    return this.content.standings.filter((s) => s.model === model && s.bits === bits && s.attack === attack);
  }

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
