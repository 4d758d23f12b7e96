"""Laws of evidence: tails equal to exact rational sums, corrections, verdicts, calibration on unmarked weights."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from cwwm.alignment import AlignedWeights, align
from cwwm.codes import ConstantWeightCode
from cwwm.ownership.evidence import (
    SUREST,
    Evidence,
    Tried,
    critical_overlap,
    judge,
    log10_match_tail,
    log10_overlap_tail,
    log10_vacancy_tail,
)
from cwwm.ownership.keys import Key
from cwwm.schemes import Claim, EmbedContext
from cwwm.schemes.constant_weight import ConstantWeight
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import as_weights

LENGTH, WEIGHT = 544, 56
POOL = 500_000
SALT = bytes(32)


def _log10(value: Fraction) -> float:
    return (math.log(value.numerator) - math.log(value.denominator)) / math.log(10)


def _hypergeometric(population: int, marked: int, drawn: int, values: range) -> Fraction:
    ways = sum(math.comb(marked, v) * math.comb(population - marked, drawn - v) for v in values if v <= drawn)
    return Fraction(ways, math.comb(population, drawn))


def _agree(found: float, exact: Fraction) -> None:
    """Check 1e-9 relative on p itself, of which log10 p differs by 1e-9 / ln 10."""
    assert found == pytest.approx(_log10(exact), rel=1e-10, abs=1e-9 / math.log(10))


@pytest.mark.parametrize(("length", "weight"), [(6, 3), (10, 8), (261, 131), (544, 56), (1792, 37), (2865, 33)])
def test_overlap_tail_is_the_exact_sum(length: int, weight: int) -> None:
    for overlap in {0, 1, 2 * weight - length, weight // 4, weight // 2, weight - 1, weight} - {-1}:
        values = range(max(overlap, 2 * weight - length, 0), weight + 1)
        _agree(log10_overlap_tail(overlap, length, weight), _hypergeometric(length, weight, weight, values))
    assert log10_overlap_tail(weight + 1, length, weight) == -math.inf


@pytest.mark.parametrize(
    ("hosts", "pool", "pool_survivors"), [(100, 1000, 500), (544, 9000, 900), (50, 60, 40), (20, 100, 0)]
)
def test_vacancy_tail_is_the_exact_sum(hosts: int, pool: int, pool_survivors: int) -> None:
    low, high = max(0, hosts + pool_survivors - pool), min(hosts, pool_survivors)
    for survivors in {low, (low + high) // 2, high}:
        exact = _hypergeometric(pool, pool_survivors, hosts, range(low, survivors + 1))
        _agree(log10_vacancy_tail(survivors, hosts, pool, pool_survivors), exact)


@pytest.mark.parametrize("bits", [1, 64, 256, 1000])
def test_match_tail_is_the_exact_sum(bits: int) -> None:
    for matched in (0, 1, bits // 2, bits * 3 // 4, bits):
        exact = Fraction(sum(math.comb(bits, m) for m in range(matched, bits + 1)), 2**bits)
        _agree(log10_match_tail(matched, bits), exact)


@pytest.mark.parametrize(("overlap", "decade"), [(5, -3), (8, -6), (10, -9)])
def test_rule_of_thumb_for_the_papers_code(overlap: int, decade: int) -> None:
    assert log10_overlap_tail(overlap, 1792, 37) == pytest.approx(decade, abs=0.5)


@pytest.mark.parametrize(("length", "weight"), [(12, 5), (261, 131), (1792, 37)])
def test_tails_fall_with_the_overlap_and_never_exceed_one(length: int, weight: int) -> None:
    tails = [log10_overlap_tail(m, length, weight) for m in range(weight + 1)]
    assert tails == sorted(tails, reverse=True)
    assert tails[0] == pytest.approx(0.0, abs=1e-9)
    assert max(tails) <= 0.0


def test_vacancy_rises_with_the_survivors_and_never_exceeds_one() -> None:
    tails = [log10_vacancy_tail(survivors, 300, 5000, 1000) for survivors in range(301)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.0, abs=1e-9)
    assert max(tails) <= 0.0


@pytest.mark.parametrize("rate", [0.5, 1e-2, 1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize(("length", "weight"), [(261, 131), (544, 56), (1792, 37)])
def test_critical_overlap_is_the_first_that_attains_the_rate(length: int, weight: int, rate: float) -> None:
    overlap, attained = critical_overlap(length, weight, rate)
    assert attained <= rate
    assert 10 ** log10_overlap_tail(overlap - 1, length, weight) > rate
    assert attained == pytest.approx(10 ** log10_overlap_tail(overlap, length, weight))


def test_an_unattainable_rate_asks_for_more_ones_than_there_are() -> None:
    assert critical_overlap(6, 3, 1e-6) == (4, 0.0)


def test_tried_multiplies_everything() -> None:
    assert Tried().factor == 1
    every = Tried(suspects=2, prefixes=3, alignments=5, readers=7, references=11, keys=13, marks=17, commitments=19)
    assert every.factor == 2 * 3 * 5 * 7 * 11 * 13 * 17 * 19


@pytest.mark.parametrize(
    ("log10_p", "combined"),
    [({}, 0.0), ({"a": -3.0}, -3.0), ({"a": -3.0, "b": -1.0}, -3 + math.log10(2)), ({"a": -0.1, "b": 0.0}, 0.0)],
)
def test_combined_counts_the_statistics_and_never_exceeds_one(log10_p: dict[str, float], combined: float) -> None:
    assert Evidence(log10_p).combined == pytest.approx(combined)


@pytest.mark.parametrize(
    ("tried", "rate", "proven"),
    [
        (Tried(), 1e-6, True),
        (Tried(), 1e-7, True),
        (Tried(), 9e-8, False),
        (Tried(keys=10), 1e-6, True),
        (Tried(keys=11), 1e-6, False),
        (Tried(marks=2, commitments=6), 1e-6, False),
    ],
)
def test_judge_corrects_for_what_was_tried(tried: Tried, rate: float, proven: bool) -> None:
    verdict = judge(Evidence({"overlap": -7.0}), tried=tried, rate=rate, objection=None)
    assert verdict.proven is proven
    assert verdict.log10_p == pytest.approx(-7 + math.log10(tried.factor))
    assert verdict.reason.startswith("proven: p = " if proven else "not proven: p = ")


def test_an_objection_beats_any_p_value() -> None:
    verdict = judge(Evidence({"overlap": -99.0}), tried=Tried(), rate=1e-12, objection="no prior commitment")
    assert not verdict.proven
    assert verdict.reason == "not proven: no prior commitment"
    assert verdict.log10_p == SUREST


def test_no_verdict_is_surer_than_a_guess_of_the_key() -> None:
    verdict = judge(Evidence({"overlap": -300.0}), tried=Tried(), rate=1e-12, objection=None)
    assert verdict.log10_p == pytest.approx(-256 * math.log10(2))
    assert verdict.reason == "proven: p = 1e-77 or less is at most 1e-12"
    assert not judge(Evidence({"overlap": -300.0}), tried=Tried(), rate=1e-78, objection=None).proven


def test_what_was_tried_is_read_from_text() -> None:
    assert Tried.parse("") == Tried()
    assert Tried.parse("suspects=12, keys=2") == Tried(suspects=12, keys=2)
    assert Tried.parse("prefixes=2,readers=3,references=5,commitments=7").factor == 210


@pytest.mark.parametrize("text", ["key=2", "keys", "keys=0", "keys=-1", "keys=1.5", "keys=2,keys=3", "=", "keys=²"])
def test_what_was_tried_in_other_words_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Tried.parse(text)


def test_no_evidence_and_no_p_above_one() -> None:
    nothing = judge(Evidence({}), tried=Tried(keys=1000), rate=0.5, objection=None)
    assert (nothing.proven, nothing.log10_p) == (False, 0.0)


@dataclass(frozen=True)
class Draws:
    """Hosts and codewords of many random keys, for one message."""

    hosts: npt.NDArray[np.int64]
    words: npt.NDArray[np.bool_]

    def overlaps(self, magnitudes: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return how many codeword ones are among the largest magnitudes, as the scheme reads them."""
        code = ConstantWeightCode(length=LENGTH, weight=WEIGHT)
        return np.array([np.sum(code.ones(magnitudes[h]) & w) for h, w in zip(self.hosts, self.words, strict=True)])


def _draws(keys: int) -> Draws:
    scheme = ConstantWeight(length=LENGTH, weight=WEIGHT)
    message = np.zeros(256, np.uint8)
    hosts = np.empty((keys, LENGTH), np.int64)
    words: npt.NDArray[np.bool_] = np.empty((keys, LENGTH), np.bool_)
    for i in range(keys):
        key = Key.for_harness(i=i)
        streams = key.streams(SALT, key.stretch)
        hosts[i] = streams.stream("positions").sample(POOL, LENGTH)
        words[i] = scheme.codeword(message, streams)
    return Draws(hosts, words)


@pytest.fixture(scope="module")
def draws() -> Draws:
    return _draws(10_000)


def _magnitudes(pruned: float) -> npt.NDArray[np.float32]:
    """Return Gaussian magnitudes of an unmarked pool, the smallest share `pruned` of them zero."""
    values = np.abs(np.random.default_rng(2).standard_normal(POOL)).astype(np.float32)
    values[values <= np.quantile(values, pruned)] = 0
    return values


def _within(count: int, trials: int, rate: float) -> bool:
    low, high = stats.binom.interval(0.999, trials, rate)
    return bool(low <= count <= high)


# 0.97: fewer survivors among the hosts than ones, so that ties among zeros fill the word up
@pytest.mark.parametrize("pruned", [0.0, 0.5, 0.97])
def test_overlap_of_wrong_keys_is_calibrated(draws: Draws, pruned: float) -> None:
    overlaps = draws.overlaps(_magnitudes(pruned))
    for rate in (1e-2, 1e-3):
        critical, attained = critical_overlap(LENGTH, WEIGHT, rate)
        assert _within(int(np.sum(overlaps >= critical)), len(overlaps), attained)


def _critical_vacancy(pool_survivors: int, rate: float) -> tuple[int, float]:
    tails = [10 ** log10_vacancy_tail(s, LENGTH, POOL, pool_survivors) for s in range(LENGTH + 1)]
    critical = max(s for s, tail in enumerate(tails) if tail <= rate)
    return critical, tails[critical]


@pytest.mark.parametrize("pruned", [0.5, 0.9])
def test_vacancy_of_wrong_keys_is_calibrated(draws: Draws, pruned: float) -> None:
    magnitudes = _magnitudes(pruned)
    survivors = np.count_nonzero(magnitudes[draws.hosts], axis=1)
    for rate in (1e-2, 1e-3):
        critical, attained = _critical_vacancy(int(np.count_nonzero(magnitudes)), rate)
        assert _within(int(np.sum(survivors <= critical)), len(survivors), attained)


def test_the_draws_count_as_the_scheme_does(draws: Draws) -> None:
    magnitudes = _magnitudes(0.5)
    weights = as_weights({"w.weight": torch.from_numpy(magnitudes).view(500, 1000)})
    scheme, message = ConstantWeight(length=LENGTH, weight=WEIGHT), np.zeros(256, np.uint8)
    carrier = Carrier.choose(weights, "all")
    for i, overlap in enumerate(draws.overlaps(magnitudes)[:20]):
        key = Key.for_harness(i=i)
        mark = scheme.bind(weights, message, key, EmbedContext(), carrier=carrier)
        mark = replace(mark, salt=SALT)  # that of the draws
        evidence = scheme.evidence(scheme.extract(weights, key, mark), Claim(key, mark, message))
        assert evidence.details["overlap"] == overlap
        assert evidence.details["survivors"] == np.count_nonzero(magnitudes[draws.hosts[i]])


def test_zeros_of_an_aligned_suspect_are_no_statistic() -> None:
    """Which of its channels are zero follows from the hosts that the alignment could not see."""
    magnitudes = _magnitudes(0.9)
    weights = as_weights({"w.weight": torch.from_numpy(magnitudes).view(500, 1000)})
    scheme, message, key = ConstantWeight(length=LENGTH, weight=WEIGHT), np.zeros(256, np.uint8), Key.for_harness()
    mark = scheme.bind(weights, message, key, EmbedContext(), carrier=Carrier.choose(weights, "all"))
    view = AlignedWeights(weights, weights, align(weights, weights))
    plain, aligned = (scheme.extract(suspect, key, mark) for suspect in (weights, view))
    claim = Claim(key, mark, message)
    assert np.array_equal(plain.symbols, aligned.symbols)
    assert "pool" in plain.counts
    assert "pool" not in aligned.counts
    assert scheme.evidence(aligned, claim).log10_p["vacancy"] == 0.0
    assert len(scheme.evidence(aligned, claim).log10_p) == len(scheme.evidence(plain, claim).log10_p)
