"""The tier of an attacker: what budget of data and compute an attack takes."""

from collections.abc import Mapping
from typing import Literal, Protocol

from pydantic import JsonValue

Tier = Literal[0, 1, 2, 3]

_TENTH = 0.1  # share of the host's data, and of its training, that an attacker of tier 2 has at most

#: attacks that keep every answer and move what an index means
MOVES = frozenset({"permute", "rescale", "rotate", "insert", "split-layers"})


class Spent(Protocol):
    """What a record says of the cost of a row; see `bench.records.schema.Cost`."""

    @property
    def samples(self) -> int:
        """Samples seen."""
        ...

    @property
    def data_fraction(self) -> float:
        """Share of the training split that was used."""
        ...

    @property
    def compute_fraction(self) -> float | None:
        """Passes over those of the host's whole training; None in older records."""
        ...

    @property
    def free(self) -> bool | None:
        """Whether the function is preserved, or the format honestly changed; None in older records."""
        ...


def tier(cost: Spent) -> Tier:
    """Return the tier of an attack: what an attacker must have at least to make it.

    0: free, function-preserving and honest changes. 1: the weights alone, no data and no training. 2: a tenth of
    the data and of the host's training at most. 3: more than that.

    An older record does not say whether an attack is free, and of its compute only whether there was any: it is
    taken not to be free, and any samples for a whole training.
    """
    if cost.free:
        return 0
    compute = float(cost.samples > 0) if cost.compute_fraction is None else cost.compute_fraction
    return tier_of_share(max(cost.data_fraction, compute))


def tier_of_share(share: float) -> Tier:
    """Return the tier, 1 to 3, of an attack that takes this share of the host's data or of its training."""
    if not share:
        return 1
    return 2 if share <= _TENTH else 3


def holds_a_move(attack: JsonValue) -> bool:
    """Say whether an attack, as a record has it, or a part of it, is one of `MOVES`.

    Such a move alone decides what a mark is worth that is read from the suspect alone.
    """
    if not isinstance(attack, Mapping):
        return attack in MOVES
    return attack["name"] in MOVES or any(holds_a_move(attack.get(part)) for part in ("first", "second"))
