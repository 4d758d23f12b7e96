"""Capacities of the channels that attacks make of weights, in bits for each weight that carries a symbol."""

import numpy as np

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def erasure(rate: float) -> float:
    """Return 1 - p: random pruning erases a share p of the weights, and a zero says so (Elias 1955)."""
    return 1.0 - rate


def binary_noise(snr: float) -> float:
    """Return the capacity of two levels in Gaussian noise: 1 - E log2(1 + exp(-2 s - 2 sqrt(s) Z)), Z normal.

    Args:
        snr: s, energy of the signal over that of the noise in one weight (Richardson and Urbanke, Modern Coding
            Theory, section 4.1).
    """
    exponents = -2.0 * snr - 2.0 * np.sqrt(snr) * _NODES
    expected = float(_WEIGHTS @ np.logaddexp(0.0, exponents)) / float(_WEIGHTS.sum())
    return max(0.0, 1.0 - expected / float(np.log(2.0)))
