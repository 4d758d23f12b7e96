"""Counts of low p-values among random claims, and the limits that calibrated ones stay within."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from bench.metrics.false_positives import random_claim, weighed
from bench.null_laws.trial import Trial
from cwwm.support.seeds import derive_seed

RATES = (1e-2, 1e-3, 1e-4)
FAMILY_WISE = 1e-3  # chance that any count of a run exceeds its limit though all laws hold
COMBINED = "combined"
_ROUNDING = 1e-9  # of a tail that is summed in floating point, in decades


@dataclass(frozen=True)
class Counted:
    """How many claims on one suspect had a p-value of one statistic at most at each of `RATES`.

    Attributes:
        form: identity of the form.
        suspect: its kind.
        statistic: of the evidence, or ``"combined"`` where there are several.
        claims: how many were drawn.
        below: counts, one for each rate.
    """

    form: str
    suspect: str
    statistic: str
    claims: int
    below: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Counted":
        """Read what `to_json` wrote."""
        return cls(**{**value, "below": tuple(value["below"])})


def count_form(trial: Trial, claims: int) -> list[Counted]:
    """Draw about `claims` random claims, shared out among the suspects, and count their low p-values.

    Every suspect has keys of its own, since several share most of their weights.
    """
    each = -(-claims // len(trial.suspects))
    return [counted for kind in trial.suspects for counted in _count_suspect(trial, kind, each)]


def _count_suspect(trial: Trial, kind: str, claims: int) -> Iterator[Counted]:
    seed = derive_seed(study="null laws", form=trial.form.identity, suspect=kind)
    drawn = (random_claim(trial.mark, seed, number) for number in range(claims))
    values: dict[str, list[float]] = {}
    for _, evidence in weighed(trial.scheme, trial.suspects[kind], drawn):
        several = {COMBINED: evidence.combined} if len(evidence.log10_p) > 1 else {}
        for name, value in {**evidence.log10_p, **several}.items():
            values.setdefault(name, []).append(value)
    limits = np.log10(RATES) + _ROUNDING
    for name, found in values.items():
        below = tuple(int(np.sum(np.array(found) <= limit)) for limit in limits)
        yield Counted(trial.form.identity, kind, name, len(found), below)


def pooled(counts: Iterable[Counted], suspect: str = "all") -> list[Counted]:
    """Return the sums over suspects, for each form and statistic."""
    found: dict[tuple[str, str], Counted] = {}
    for one in counts:
        place = (one.form, one.statistic)
        known = found.get(place, Counted(one.form, suspect, one.statistic, 0, (0,) * len(RATES)))
        below = tuple(a + b for a, b in zip(known.below, one.below, strict=True))
        found[place] = Counted(one.form, suspect, one.statistic, known.claims + one.claims, below)
    return list(found.values())


def family_limit(claims: int, rate: float, comparisons: int) -> int:
    """Return the largest count of calibrated claims, one-sided at 99.9 % over all comparisons of a run."""
    return int(binom.isf(FAMILY_WISE / comparisons, claims, rate))


def comparisons(counts: Sequence[Counted]) -> int:
    """Return how many counts are compared with a limit: those of single suspects and of all together."""
    return len(RATES) * (len(counts) + len(pooled(counts)))


def heaviest(counts: Sequence[Counted], family: int) -> tuple[Counted, int]:
    """Return which count comes nearest to its limit or exceeds it most, and the index of its rate."""
    places = [(one, index) for one in counts for index in range(len(RATES))]
    return max(places, key=lambda place: _load(place[0], place[1], family))


def _load(one: Counted, index: int, family: int) -> float:
    return one.below[index] / max(1, family_limit(one.claims, RATES[index], family))


def excesses(counts: Sequence[Counted]) -> list[tuple[Counted, float]]:
    """Return which counts exceed their limit, of single suspects and of all together, each with its rate."""
    family = comparisons(counts)
    return [
        (one, rate)
        for one in (*counts, *pooled(counts))
        for rate, below in zip(RATES, one.below, strict=True)
        if below > family_limit(one.claims, rate, family)
    ]
