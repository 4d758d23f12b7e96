"""Evidence of ownership: exact p-values, the correction for everything that was tried, and the verdict.

A p-value here is the probability, over a random salt, that the claimed message fits the suspect as well as it
does. It is evidence only for a claim whose salt binds all that reading uses (`cwwm.ownership.mark`), and which was
fixed beforehand (`cwwm.commitment`).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from cwwm.support.errors import BadInput, unknown_name

Floats = npt.NDArray[np.float64]

#: false-positive rate of a proof. A claimant pays one stretch for each salt tried; at this rate it has to
#: try some 1e12 of them, thousands of years of one core, for one that fits a known model.
PROOF_RATE = 1e-12
#: no verdict is surer than a guess of the key: log10 of 2^-256
SUREST = -256 * math.log10(2)

_KEPT = 1 << 16  # tails: whoever tries many keys meets the same few counts again and again


def _log_choose(n: int, k: Floats) -> Floats:
    value: Floats = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return value


def _log10_sum(log_terms: Floats) -> float:
    return min(0.0, float(logsumexp(log_terms)) / math.log(10)) if len(log_terms) else -math.inf


def _log_hypergeometric(population: int, marked: int, drawn: int, values: Floats) -> Floats:
    return (
        _log_choose(marked, values)
        + _log_choose(population - marked, drawn - values)
        - _log_choose(population, np.array([drawn], np.float64))
    )


@lru_cache(_KEPT)
def log10_overlap_tail(overlap: int, length: int, weight: int, known: int | None = None) -> float:
    """Return log10 P(M >= overlap) for M ~ Hypergeometric(length, weight, known).

    M is how many of the `known` largest host magnitudes (`weight` of them by default, fewer where a tie leaves the
    others open) fall on the ones of a codeword drawn by a random key, on a model that does not carry it. The tail
    is summed whole, not approximated by a normal.
    """
    drawn = weight if known is None else known
    low = max(overlap, drawn + weight - length, 0)
    return _log10_sum(_log_hypergeometric(length, weight, drawn, np.arange(low, drawn + 1, dtype=np.float64)))


def log10_vacancy_tail(survivors: int, hosts: int, pool: int, pool_survivors: int) -> float:
    """Return log10 P(S <= survivors) for S ~ Hypergeometric(pool, pool_survivors, hosts).

    S is how many of `hosts` random positions still hold a weight that is not exactly zero. A mark whose
    hosts were mostly cut to small magnitudes loses far more of them to pruning than chance allows.
    """
    low = max(0, hosts + pool_survivors - pool)
    high = min(survivors, pool_survivors, hosts)
    values = np.arange(low, high + 1, dtype=np.float64)
    return _log10_sum(_log_hypergeometric(pool, pool_survivors, hosts, values))


@lru_cache(_KEPT)
def log10_match_tail(matched: int, trials: int, chance: float = 0.5) -> float:
    """Return log10 P(X >= matched) for X ~ Binomial(trials, chance): padded symbols read right by chance.

    `chance` is 1/2 for message bits and one over the number of words of a block for its symbols.
    """
    values = np.arange(max(matched, 0), trials + 1, dtype=np.float64)
    logs = values * math.log(chance) + (trials - values) * math.log1p(-chance)
    return _log10_sum(_log_choose(trials, values) + logs)


def log10_bound_of_signs(correlation: float) -> float:
    """Return log10 of a bound on P(T >= correlation) for T = sum_i s_i c_i, s_i fair signs, sum_i c_i^2 = 1.

    Hoeffding 1963, theorem 2: at most exp(-T^2 / 2) above 0, whatever the coefficients are; nothing is
    approximated.
    """
    return min(0.0, -(max(0.0, correlation) ** 2) / (2 * math.log(10)))


def critical_overlap(length: int, weight: int, rate: float) -> tuple[int, float]:
    """Return the smallest overlap whose false-positive rate is at most `rate`, and the rate it attains."""
    overlap = next(
        m for m in range(weight + 2) if m > weight or log10_overlap_tail(m, length, weight) <= math.log10(rate)
    )
    return overlap, 10 ** log10_overlap_tail(overlap, length, weight)


@dataclass(frozen=True)
class Tried:
    """How many chances a claimant took; the verdict multiplies p by their product.

    The statistics of an evidence count by themselves (`Evidence.combined`).

    Attributes:
        suspects: models that were scanned for one that fits.
        prefixes: of tensor names, under which the mark was looked for.
        alignments: of the suspect's channels, none counted as one.
        readers: ways to read a suspect.
        references: marked copies that suspects were aligned to.
        keys, marks: that were tried on this suspect.
        commitments: that the claimant has published.
    """

    suspects: int = 1
    prefixes: int = 1
    alignments: int = 1
    readers: int = 1
    references: int = 1
    keys: int = 1
    marks: int = 1
    commitments: int = 1

    @property
    def factor(self) -> int:
        """Return the Bonferroni factor."""
        return math.prod(asdict(self).values())

    @classmethod
    def parse(cls, text: str) -> "Tried":
        """Read ``"suspects=12,keys=2"``; BadInput for an unknown name, a number below 1, or a name given twice."""
        known = [one.name for one in fields(cls)]
        found: dict[str, int] = {}
        for part in filter(None, text.split(",")):
            name, _, number = (piece.strip() for piece in part.partition("="))
            if name not in known:
                raise unknown_name("thing tried", name, known)
            if not number.isdecimal() or int(number) < 1 or name in found:
                raise BadInput(f"'{part}' says not how many {name} were tried: a whole number of at least 1, once")
            found[name] = int(number)
        return cls(**found)


@dataclass(frozen=True)
class Evidence:
    """What one extraction says for one claim.

    Attributes:
        log10_p: for each statistic its log10 p-value, in (-inf, 0]; a scheme gives as many for every suspect,
            those that have nothing to say at 0, so that their number is no choice.
        details: the counts behind them, for the reader.
    """

    log10_p: Mapping[str, float]
    details: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def combined(self) -> float:
        """Return log10 of the smallest p times the number of statistics: what a ranking compares."""
        if not self.log10_p:
            return 0.0
        return min(0.0, min(self.log10_p.values()) + math.log10(len(self.log10_p)))


@dataclass(frozen=True)
class Verdict:
    """Proven or not, at which corrected p-value (not below `SUREST`), and why."""

    proven: bool
    log10_p: float
    reason: str


def judge(evidence: Evidence, *, tried: Tried, rate: float, objection: str | None) -> Verdict:
    """Return the verdict on a claim at false-positive rate `rate`.

    Args:
        evidence: of the extraction for the claimed message.
        tried: everything the claimant tried besides the statistics of `evidence`, which count by themselves.
        rate: the false-positive rate that a proof must not exceed, in (0, 1).
        objection: why the p-value is no evidence whatever it is (no prior commitment), or None.
    """
    log10_p = max(SUREST, min(0.0, evidence.combined + math.log10(tried.factor)))
    if objection is not None:
        return Verdict(False, log10_p, f"not proven: {objection}")
    if log10_p > math.log10(rate):
        return Verdict(False, log10_p, f"not proven: p = {p_text(log10_p)} is above {rate:g}")
    return Verdict(True, log10_p, f"proven: p = {p_text(log10_p)} is at most {rate:g}")


def p_text(log10_p: float) -> str:
    """Return a p-value as a verdict says it: ``"1e-41.3"``, or that it is no likelier than a guess of the key."""
    return f"1e{math.ceil(SUREST)} or less" if log10_p <= SUREST else f"1e{log10_p:.1f}"
