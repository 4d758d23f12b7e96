"""Costs of older records, which name neither the share of compute nor what is free: derived from what they hold."""

from collections.abc import Mapping

from pydantic import JsonValue

from bench.metrics.tiers import MOVES
from bench.records.schema import Cost, Row, TrainedResult

#: attacks that keep what a model computes, and take nothing
FREE_ATTACKS = MOVES | {"deploy", "cast"}
#: training samples of the data sets of older records
TRAINING_SAMPLES = {"digits": 1347, "textures": 4200}

ABOUT_DERIVED = (
    "Older records are among these, which do not name the compute of attacks: it was derived, as samples seen "
    "over those of the host's training, and which attacks are free from their names."
)


def complete_cost(record: TrainedResult, row: Row) -> Cost:
    """Return the cost of a row as recorded, or with what older records lack derived."""
    if row.cost.compute_fraction is not None and row.cost.free is not None:
        return row.cost
    derived = {"compute_fraction": compute_share(record, row), "free": is_free(record.recipe.attack)}
    return row.cost.model_copy(update=derived)


def compute_share(record: TrainedResult, row: Row) -> float:
    """Return samples seen over the samples of the host's training; 1 for a data set of unknown size."""
    if not row.cost.samples:
        return 0.0
    phases = record.recipe.host.model.recipe
    training = phases.get("train") or phases.get("mark") or {}  # a pretrained host was only tuned
    epochs, size = training.get("epochs"), TRAINING_SAMPLES.get(record.key.data)
    if not isinstance(epochs, int) or not epochs or size is None:
        return 1.0
    return row.cost.samples / (epochs * size)


def is_free(attack: Mapping[str, JsonValue]) -> bool:
    """Say whether an attack, or each of the two that it is made of, is one of `FREE_ATTACKS`."""
    if attack["name"] != "then":
        return attack["name"] in FREE_ATTACKS
    parts = attack["first"], attack["second"]
    return all(isinstance(part, Mapping) and is_free(part) for part in parts)
