"""Tails of coded bits and of sums of chips down to 1e-12 by importance sampling.

What is tilted are ideal fair coins from a generator, not the keyed stream: no sample of a keyed stream could reach
such tails. That the keyed stream's chips are fair is shown by counts, at larger p.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cwwm.ownership.evidence import log10_match_tail
from cwwm.schemes.common.spreading import Spreading

Floats = npt.NDArray[np.float64]
DEPTHS = (-3, -6, -9, -12)
SAMPLES = 20_000


@dataclass(frozen=True)
class Estimate:
    """A tail by importance sampling.

    Attributes:
        case: what was drawn.
        trials, matched: P(at least `matched` of `trials` coins fit).
        p, error: estimate and its standard error.
        law: the p-value that evidence gives.
    """

    case: str
    trials: int
    matched: int
    p: float
    error: float
    law: float

    @property
    def deviation(self) -> float:
        """Return how many standard errors the estimate lies above the law."""
        return (self.p - self.law) / self.error


def critical(trials: int, depth: float) -> int:
    """Return the least count whose tail is at most 10^depth."""
    return next(count for count in range(trials + 1) if log10_match_tail(count, trials) <= depth)


def coin_tail(trials: int, depth: float, seed: int, samples: int = SAMPLES) -> Estimate:
    """Estimate the tail of fair coins near 10^depth, tilted so that its first count is the mean."""
    matched, draw = critical(trials, depth), np.random.default_rng(seed)
    tilt = _tilt(trials, matched)
    found = np.sum(draw.random((samples, trials)) < tilt, axis=1)
    return _estimate(f"{trials} coded bits", trials, matched, found, _weights(found, trials, tilt))


def chip_tail(weights: Floats, length: int, depth: float, seed: int, samples: int = SAMPLES // 10) -> Estimate:
    """Estimate the tail of coded bits read as signs of sums of weights times chips.

    Tilted coins say which coded bits fit the claim. The chips of each are then drawn fair and, where the sum's sign
    is the other one, all turned over: the law of fair chips given the sign, so the weight is that of the coins.

    Args:
        weights: a pool, float64 (N,), a whole number of runs of `length`.
        length: n, coded bits.
        depth: log10 of the tail.
        seed: of the coins, the chips and the offsets.
        samples: claims drawn.

    Returns:
        The estimate; a sum of exactly zero is unknown, and then no match.
    """
    matched, draw = critical(length, depth), np.random.default_rng(seed)
    tilt = _tilt(length, matched)
    found, intended = np.empty(samples), np.empty(samples)
    for index in range(samples):
        word, fits = draw.random(length) < 0.5, draw.random(length) < tilt
        spreading = _spreading(len(weights), length, draw)
        sums = spreading.despread(0, weights)
        turned = np.where((sums > 0) == (word == fits), sums, -sums)  # its chips turned over
        found[index], intended[index] = np.sum(((turned > 0) == word) & (turned != 0)), np.sum(fits)
    case = f"{length} sums of {len(weights) // length} chips"
    return _estimate(case, length, matched, found, _weights(intended, length, tilt))


def _spreading(size: int, length: int, draw: np.random.Generator) -> Spreading:
    chips = draw.integers(0, 256, -(-size // 8), np.uint8)
    return Spreading(length, lambda start, stop: chips[start:stop], draw.integers(0, length, -(-size // length)))


def _tilt(trials: int, matched: int) -> float:
    return min(matched / trials, 1 - 0.5 / trials)


def _weights(found: Floats, trials: int, tilt: float) -> Floats:
    """Return the likelihood of fair coins over that of tilted ones."""
    return np.asarray(np.exp(-trials * np.log(2) - found * np.log(tilt) - (trials - found) * np.log1p(-tilt)))


def _estimate(case: str, trials: int, matched: int, found: Floats, weights: Floats) -> Estimate:
    values = weights * (found >= matched)
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(case, trials, matched, float(values.mean()), error, 10 ** log10_match_tail(matched, trials))


def all_estimates(weights: Floats) -> list[Estimate]:
    """Return the estimates of the study; `weights` is a pool of real weights, float64 (N,), cut to whole runs."""
    coins = [coin_tail(trials, depth, seed=trials) for trials in (64, 576, 3513) for depth in DEPTHS]
    chips = [
        chip_tail(weights[: length * chips], length, depth, seed=length + chips)
        for length, chips in ((192, 10), (576, 4))
        for depth in DEPTHS
    ]
    return coins + chips
