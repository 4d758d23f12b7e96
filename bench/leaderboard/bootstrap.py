"""Uncertainty of what runs show: hosts are drawn again, then seeds within each, for all schemes at once.

Draws of runs that agree all agree, however few they are. So the interval shown of a share reaches as far, on either
side, as the draws or Wilson's interval of as many independent runs, whichever is the wider there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from cwwm.support.seeds import derive_seed

Floats = npt.NDArray[np.float64]
Place = tuple[str, int]  # model and seed

DRAWS = 2000
_INTERVAL = (2.5, 97.5)  # percent
_NORMAL = float(norm.ppf(_INTERVAL[1] / 100))  # standard deviations


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def redraw(places: Sequence[Place]) -> Floats:
    """Return how often each place is drawn, float64 (2,000, places).

    As many models are drawn with replacement as there are, and of each as many of its seeds. The draws depend on
    the places alone, so that schemes in the same hosts are compared in the same draws.
    """
    generator = np.random.default_rng(derive_seed(what="hosts, then seeds", places=[list(p) for p in places]))
    models = sorted({model for model, _ in places})
    drawn = generator.integers(len(models), size=(DRAWS, len(models)))
    counts = np.zeros((DRAWS, len(places)))
    for number, model in enumerate(models):
        own = [index for index, (name, _) in enumerate(places) if name == model]
        for slot in range(len(models)):
            hit = drawn[:, slot] == number
            seeds = generator.multinomial(len(own), [1 / len(own)] * len(own), size=int(hit.sum()))
            counts[np.ix_(hit, own)] += seeds
    return counts


def share_above(losses: Floats, points: float, counts: Floats | None = None) -> Floats:
    """Return the share of runs whose loss is above so many points.

    Args:
        losses: (schemes, places), infinite where nothing removed the mark, NaN where there is no run to count.
        points: of accuracy.
        counts: draws as of `redraw`, (draws, places); None for the runs as they are.

    Returns:
        float64 (draws, schemes), or (schemes,) without counts; NaN where no run is counted.
    """
    known = ~np.isnan(losses)
    above = np.where(known, losses, -np.inf) > points
    weights = np.ones((1, losses.shape[1])) if counts is None else counts
    total = weights @ known.T.astype(float)
    with np.errstate(invalid="ignore"):
        shares: Floats = weights @ above.T.astype(float) / total
    return shares[0] if counts is None else shares


def mean_of(values: Floats, counts: Floats | None = None) -> Floats:
    """Return means over the runs that have a value; shapes as of `share_above`."""
    known = ~np.isnan(values)
    weights = np.ones((1, values.shape[1])) if counts is None else counts
    with np.errstate(invalid="ignore"):
        means: Floats = weights @ np.where(known, values, 0.0).T / (weights @ known.T.astype(float))
    return means[0] if counts is None else means


def estimate(value: float, draws: Floats) -> Estimate | None:
    """Return a figure with the interval of its draws; None if it is unknown."""
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(known):
        return None
    low, high = np.percentile(known, _INTERVAL)
    return Estimate(float(value), float(low), float(high))


def wilson(shares: Floats, runs: int) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's 95 % intervals of shares of so many independent runs, shaped as the shares.

    E. B. Wilson, Journal of the American Statistical Association 22, 1927. It has a width for any number of runs,
    and holds the rate about as often as it says with few of them too (L. D. Brown, T. T. Cai and A. DasGupta,
    Statistical Science 16, 2001).
    """
    square = _NORMAL**2
    middle = (shares + square / (2 * runs)) / (1 + square / runs)
    half = _NORMAL / (1 + square / runs) * np.sqrt(shares * (1 - shares) / runs + square / (4 * runs**2))
    return np.clip(middle - half, 0.0, shares), np.clip(middle + half, shares, 1.0)


def share_interval(shares: Floats, draws: Floats, runs: int) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % intervals of shares of runs, float64 (n,) each.

    Args:
        shares: of the runs as they are, (n,).
        draws: of the same shares, (draws, n); a draw without a run to count is NaN in all columns, and is left out.
        runs: how many are counted.
    """
    drawn = np.percentile(draws[~np.isnan(draws).any(axis=1)], _INTERVAL, axis=0)
    alone = wilson(shares, runs)
    return np.minimum(drawn[0], alone[0]), np.maximum(drawn[1], alone[1])


def share_estimate(losses: Floats, points: float, counts: Floats) -> Estimate | None:
    """Return the share of runs whose loss is above so many points, with its interval; None without a run to count.

    Args:
        losses: of one scheme, (places,), as of `share_above`. points: of accuracy. counts: draws, (draws, places).
    """
    runs = int((~np.isnan(losses)).sum())
    if not runs:
        return None
    shares, draws = (share_above(losses[None, :], points, drawn) for drawn in (None, counts))
    low, high = share_interval(shares, draws, runs)
    return Estimate(float(shares[0]), float(low[0]), float(high[0]))
