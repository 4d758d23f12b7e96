"""Plain constant-weight codes for a stated magnitude-pruning rate: capacity, energy, predicted survival."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cwwm.codes import ConstantWeightCode
from cwwm.design.pool import Pool
from cwwm.ownership.evidence import PROOF_RATE, critical_overlap
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import Weights

DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5)


@dataclass(frozen=True)
class Option:
    """One code for the payload and what it costs and stands.

    Attributes:
        length, weight: L and alpha.
        share: L / N, the part of the pool that is touched.
        energy: predicted squared change over squared norm of the pool.
        survive_magnitude: the rate R* that is asked for; recovery up to it is certain.
        survive_random_1, survive_random_5: P(message recovered) after random pruning of 1 % and 5 %.
        proof_overlap: ones that must be found for a proof at `PROOF_RATE`.
    """

    length: int
    weight: int
    share: float
    energy: float
    survive_magnitude: float
    survive_random_1: float
    survive_random_5: float
    proof_overlap: int

    def to_json(self) -> dict[str, Any]:
        """Return the option as a JSON object."""
        return asdict(self)


def _option(pool: Pool, code: ConstantWeightCode, survive: float, low: float) -> Option:
    energy = pool.energy(code.weight, code.length - code.weight, survive=survive, low=low)
    return Option(
        length=code.length,
        weight=code.weight,
        share=code.length / pool.size,
        energy=energy,
        survive_magnitude=survive,
        survive_random_1=0.99**code.weight,
        survive_random_5=0.95**code.weight,
        proof_overlap=critical_overlap(code.length, code.weight, PROOF_RATE)[0],
    )


def plan(
    weights: Weights,
    carrier: Carrier,
    payload_bits: int,
    *,
    survive: float,
    low: float = 0.5,
    densities: Sequence[float] = DENSITIES,
) -> list[Option]:
    """Return the codes that carry the payload and survive the rate, the cheapest in energy first.

    Raises:
        BadInput: if none fits the pool, saying what would, or as `Pool.measure`.
    """
    if not 0 < low < survive < 1:
        raise BadInput(f"a plan needs 0 < low < survive < 1, not low={low:g}, survive={survive:g}")
    pool = Pool.measure(weights, carrier, survive=[survive], low=[low])
    codes = [ConstantWeightCode.smallest(payload_bits, density) for density in densities]
    fitting = [c for c in codes if c.length <= pool.size and c.weight <= (1 - survive) * pool.size]
    if not fitting:
        shortest = min(codes, key=lambda code: code.length)
        raise BadInput(
            f"no code for {payload_bits} bits at survival {survive:g} fits the {pool.size:,} weights of carrier "
            f"'{carrier.rule}'; the shortest has L = {shortest.length:,}: take a larger carrier or fewer bits"
        )
    return sorted((_option(pool, code, survive, low) for code in fitting), key=lambda option: option.energy)
