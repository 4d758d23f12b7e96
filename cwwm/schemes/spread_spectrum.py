"""Scheme `spread-spectrum`: coded bits added to all weights of the carrier as keyed pseudo-noise of small gain.

After TATTOOED (Pagnotta and others, arXiv 2202.06091), which adds coded bits by code-division multiple access with
a gain far below the weights, and decodes what a correlator reads; scheme `tattooed` keeps to it. Our choices, where
we differ:
- There every coded bit has a code over all weights, and the sum of all codes is added: the bits disturb each
  other, and time grows with weights times bits. Here each weight belongs to one coded bit (direct sequence,
  disjoint hence orthogonal codes): the same energy a bit, no disturbance, time linear in the weights.
- The outer code is a keyed random linear code of rate 1/2, or a polar code, with a keyed check, not LDPC.
- The pattern is added once, when training is over, to the final weights: no step of training adds it again.
- The gain follows the pool's size by default: TATTOOED's fixed one reads badly in small models.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import chndtrix, ndtr, ndtri

from cwwm.codes.polar import PolarCode
from cwwm.schemes.common.spread import SpreadScheme
from cwwm.schemes.common.spreading import CHANNEL, POOL
from cwwm.support.errors import BadInput, unknown_name


@dataclass(frozen=True, kw_only=True)
class SpreadSpectrum(SpreadScheme):
    """Direct-sequence spreading.

    Attributes:
        length: n, coded bits; by default twice the message and check bits (rate 1/2); of the polar code a power of
            two, by default the least of six times the message and check bits.
        ratio: amplitude of a despread coded bit over the standard deviation of what the host adds to it:
            gain * sqrt(N / n) for a pool of N weights.
        gain: gamma, what is added to or taken from each weight, in units of `per`; None takes it from `ratio`, and
            no law is known for a given gain without the pool.
        per: ``"pool"``, standard deviations of the carrier, or ``"channel"``, root mean squares of the weight's own
            output channel, times the gain of its layer.
        carrier: rule that chooses the host layers.
    """

    name: ClassVar[str] = "spread-spectrum"

    ratio: float = 4.0
    gain: float | None = None
    per: str = POOL
    carrier: str = "all"

    def __post_init__(self) -> None:
        """Refuse strengths that add nothing."""
        super().__post_init__()
        strength = self.ratio if self.gain is None else self.gain
        if not 0 < strength < float("inf"):
            raise BadInput(f"spread-spectrum needs a finite ratio or gain above 0, not {strength}")
        if self.per not in (POOL, CHANNEL):
            raise unknown_name("unit of a gain", self.per, (POOL, CHANNEL))

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters; amplitudes for the whole pool go without saying."""
        found = super().parameters
        return {name: value for name, value in found.items() if (name, value) != ("per", POOL)}

    @property
    def strength_parameter(self) -> str:
        """Return the gain where it is given, else the ratio that it is taken from."""
        return "ratio" if self.gain is None else "gain"

    def gain_for(self, pool: int) -> float:
        """Return gamma for a pool of so many weights."""
        return self.ratio / float(np.sqrt(pool / self.code.length)) if self.gain is None else self.gain

    def coded_bit_error(self, attack: str, rate: float) -> float | None:
        """Return the law's error of coded bits before decoding, Q(ratio sqrt(s)), or None where none is known.

        s is the energy that pruning at `rate` leaves: 1 - R for random pruning; for magnitude pruning of a
        Gaussian pool E[w^2; |w| > tau] = 2 (tau phi(tau) + Q(tau)), since a shift of all weights by a small
        gain moves the sum of the survivors by that much a unit (by parts). It is the limit of small gains: at
        a gain of 0.175 and R = 0.99 the error is 0.14, not 0.12.
        """
        left = _energy_left(attack, rate)
        if left is None or self.gain is not None or self.per != POOL:
            return None
        return float(ndtr(-self.ratio * np.sqrt(left)))

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the law of the outer code, whose positions read N(m, 1), m = -Q^-1 of their error.

        Linear: P(at most one of the most reliable positions is wrong), when order-1 decoding succeeds; the share
        `information / n` with |read| > t is taken for the basis, independent of each other. Polar: its curve.
        """
        error = self.coded_bit_error(attack, strength)
        if error is None:
            return None
        mean = -float(ndtri(error))
        if isinstance(self.code, PolarCode):
            return self.code.success(self.code.length * max(mean, 0.0) ** 2)
        return _at_most_one(self.information, _error_in_basis(mean, self.information / self.code.length))


def _error_in_basis(mean: float, share: float) -> float:
    """Return P(a read N(mean, 1) is negative) among the `share` of reads that are largest in magnitude."""
    threshold = np.sqrt(chndtrix(1 - share, 1, mean * mean))  # the square of a read is noncentral chi-squared
    return float(ndtr(-mean - threshold) / share)


def _at_most_one(trials: int, chance: float) -> float:
    """Return P(Binomial(trials, chance) <= 1), exact where it rounds to 1."""
    rest = trials - 1
    return float(np.exp(rest * np.log1p(-chance) + np.log1p(rest * chance)))


def _energy_left(attack: str, rate: float) -> float | None:
    if attack == "magnitude" and rate < 1:
        tau = float(ndtri((1 + rate) / 2))
        return float(2 * (tau * np.exp(-tau * tau / 2) / np.sqrt(2 * np.pi) + ndtr(-tau)))
    return 1 - rate if attack in ("magnitude", "random") else None
