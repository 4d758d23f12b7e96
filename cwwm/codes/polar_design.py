"""Which positions of a polar code carry information: density evolution by Gaussian approximation.

Chung, Richardson and Urbanke 2001 (Gaussian approximation); Trifonov 2012 (its use for polar codes). A
log-likelihood ratio is taken for N(x, 2x); what a check node leaves is 1 - psi(x)^2 with psi(x) = E tanh(L / 2),
what a variable node leaves is 2x. psi is integrated here, not fitted, so that small means, which low rates consist
of, are right too.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_STEPS = np.linspace(-80.0, 80.0, 801)  # of the integrals, in units of the density's width
_SMALL = np.linspace(-30.0, 0.5, 512)  # log of the means whose psi is squared
_LARGE = np.linspace(-2.0, 12.0, 1024)  # log of the means whose 1 - psi is about doubled
_LIMIT = 0.0  # between the two, which overlap


def information_set(length: int, count: int, design: float) -> npt.NDArray[np.int64]:
    """Return the `count` most reliable of the inputs of a polar code, ascending int64 (count,).

    Args:
        length: n, a power of two.
        count: information bits.
        design: sum over the word of the squared mean of a read N(rho, 1): n rho^2.
    """
    log_mean = np.array([np.log(2 * design / length)])
    while len(log_mean) < length:
        log_mean = np.stack([_check_node(log_mean), log_mean + np.log(2)], axis=1).reshape(-1)
    return np.sort(np.lexsort((-np.arange(length), -log_mean))[:count]).astype(np.int64)


def erasure_sum(length: int, information: npt.NDArray[np.int64], erased: float) -> float:
    """Return the sum over the information bits of P(erased), each position lost with probability `erased`.

    Exact (Arikan 2009, section III): a check node loses z (2 - z), a variable node z^2. It bounds the block error
    of successive cancellation from above.
    """
    lost = np.array([erased])
    while len(lost) < length:
        lost = np.stack([lost * (2 - lost), lost * lost], axis=1).reshape(-1)
    return float(lost[information].sum())


def _check_node(log_mean: Floats) -> Floats:
    """Return the log of the mean that two equal ones leave behind a check node: psi^2, or rest (2 - rest)."""
    log_psi, log_rest = _small(), _large()
    small, large = np.minimum(log_mean, _LIMIT), np.maximum(log_mean, _LIMIT)
    squared = _interpolate(2 * _interpolate(small, _SMALL, log_psi), log_psi, _SMALL)
    lost = np.exp(_interpolate(large, _LARGE, log_rest))  # -log of rest
    doubled = _interpolate(np.log(lost - np.log(2 - np.exp(-lost))), log_rest, _LARGE)
    return np.where(log_mean < _LIMIT, squared, doubled)


@cache
def _small() -> Floats:
    """Return log psi(x) for the small means, ascending: by symmetry psi = E tanh^2(u / 2) for u ~ N(x, 2x)."""
    u, log_density = _density(_SMALL)
    squared = np.exp(log_density) * np.cosh(u / 2) * np.tanh(u / 2) ** 2
    return np.asarray(np.log(squared.sum(axis=1)))


@cache
def _large() -> Floats:
    """Return log(-log(1 - psi(x))) for the large means, ascending: 1 - psi = E 2 / (1 + e^u) for u ~ N(x, 2x)."""
    u, log_density = _density(_LARGE)
    terms = log_density - np.log(np.cosh(u / 2))
    top = np.max(terms, axis=1)
    return np.asarray(np.log(-top - np.log(np.exp(terms - top[:, None]).sum(axis=1))))


def _density(log_mean: Floats) -> tuple[Floats, Floats]:
    """Return points u and, at each, the log of exp(-u / 2) times the density of N(x, 2x) times the step."""
    mean = np.exp(log_mean)[:, None]
    width = np.minimum(1.0, np.sqrt(mean))
    u = width * _STEPS
    log_density = -u * u / (4 * mean) - mean / 4 - np.log(4 * np.pi * mean) / 2
    return u, log_density + np.log(width * (_STEPS[1] - _STEPS[0]))


def _interpolate(x: Floats, known: Floats, values: Floats) -> Floats:
    """Return `values` at x, straight between known points and, with the slope at the ends, beyond them."""
    low = values[0] + (x - known[0]) * (values[1] - values[0]) / (known[1] - known[0])
    high = values[-1] + (x - known[-1]) * (values[-1] - values[-2]) / (known[-1] - known[-2])
    inside = np.interp(x, known, values)
    return np.asarray(np.where(x < known[0], low, np.where(x > known[-1], high, inside)))
