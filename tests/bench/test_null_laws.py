"""Random claims find no more than the laws of their p-values say, form by form; wrong laws are found out.

The whole study, 10^4 claims a form and 10^5 a law, is `bench.studies.null_laws`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.metrics.false_positives import random_claim, weighed
from bench.null_laws import (
    LAWS,
    RATES,
    STATISTICS,
    Counted,
    Form,
    all_forms,
    comparisons,
    count_form,
    excesses,
    family_limit,
    make_trial,
    pooled,
)
from bench.null_laws.exact import (
    Tail,
    block_tails,
    coded_tails,
    label_tails,
    match_tails,
    overlap_tails,
    vacancy_tails,
)
from bench.null_laws.forms import CORRELATION, VACANCY
from bench.null_laws.tilting import DEPTHS, Estimate, chip_tail, coin_tail
from bench.studies import null_laws as study
from bench.studies.null_laws_page import Measured, Timed, page
from cwwm.ownership.evidence import Evidence, log10_match_tail
from cwwm.ownership.keys import Key
from cwwm.schemes import SCHEMES, Claim, Extraction
from cwwm.schemes.protected_cwc import ProtectedConstantWeight
from cwwm.weights.view import as_weights

CLAIMS, FEW = 500, 30  # of the quickest form of a scheme, and of the others that are quick enough
QUICK, SLOW = 2_500, 10_000  # work of forms that are tried in the quick part, and in the slow one
SLOW_CLAIMS = 10_000
CODED = "Binomial(n, 1/2) coded bits"
TWINS = {"none", "fixed-weights", "ingrain"}  # read by the code of other schemes

laws = pytest.mark.parametrize("law", [law for law in dict.fromkeys(STATISTICS.values()) if law != VACANCY])
forms = cache(all_forms)


def _form(scheme: str, **parameters: object) -> Form:
    """Return the first form of a scheme with these parameters."""
    return next(f for f in forms() if f.scheme == scheme and parameters.items() <= dict(f.parameters).items())


@cache
def _quickest() -> set[str]:
    """Return the identities of one form of each reader: the study's representative, or the one that costs least."""
    chosen = study.representatives(forms())
    ordered = sorted(forms(), key=lambda form: (form.identity not in chosen, form.work), reverse=True)
    return set({form.scheme: form.identity for form in ordered if form.scheme not in TWINS}.values())


def _claims(form: Form) -> int:
    chosen = form.identity in _quickest()
    return (CLAIMS // 5 if form.law == CODED else CLAIMS) if chosen else FEW


@pytest.fixture(scope="module")
def counts() -> list[Counted]:
    """Return the counts of all forms that are read quickly."""
    quick = [form for form in forms() if form.work <= QUICK or form.identity in _quickest()]
    return [one for form in quick for one in count_form(make_trial(form), _claims(form))]


@laws
def test_random_claims_are_no_surer_than_their_law_says(law: str, counts: list[Counted]) -> None:
    mine = {form.identity for form in forms() if form.law == law}
    assert [excess for excess in excesses(counts) if excess[0].form in mine] == []
    assert max(one.claims for one in pooled(counts) if one.form in mine) >= (
        CLAIMS // 5 if law == CODED else CLAIMS
    )
    some = any(one.below[0] for one in counts if one.form in mine)  # it is no constant 1
    assert some or law == CORRELATION  # a bound, at 0.01 about eight times the truth: see test_false_positives.py


@pytest.mark.slow
@laws
def test_ten_thousand_claims_are_no_surer_than_their_law_says(law: str) -> None:
    mine = [form for form in forms() if form.law == law and form.work <= SLOW]
    assert excesses([one for form in mine for one in count_form(make_trial(form), SLOW_CLAIMS)]) == []


def test_every_scheme_has_a_law_and_every_form_is_there_once() -> None:
    assert {*LAWS, "wrong-key"} == set(SCHEMES)
    assert {form.scheme for form in forms()} == set(LAWS)
    assert len({form.identity for form in forms()}) == len(forms())
    # thresholds, carriers and strengths only write
    assert sum(form.scheme == "cwc" and "cpu" in form.origins for form in forms()) == 2
    assert "encodings" in _form("protected-cwc", blocks=500, block_length=32, block_weight=2).origins
    for form in forms():
        built = form.build()
        assert {name: getattr(getattr(built, "code", built), name, None) for name in form.parameters} == {
            name: value if hasattr(getattr(built, "code", built), name) else None
            for name, value in form.parameters.items()
        }


def test_counts_repeat_and_every_suspect_has_keys_of_its_own() -> None:
    trial = make_trial(_form("sign-repetition"))
    assert count_form(trial, 30) == count_form(trial, 30)
    twins = replace(trial, suspects={"a": trial.suspects["unmarked"], "b": trial.suspects["unmarked"]})
    first, second = (one.below for one in count_form(twins, 500))
    assert first != second


def test_limits_hold_for_the_family() -> None:
    assert family_limit(1000, 1e-2, 1) < family_limit(1000, 1e-2, 1000)
    counts = [
        Counted("a", "unmarked", "overlap", 1000, (10, 1, 0)),
        Counted("a", "marked", "overlap", 1000, (9, 0, 0)),
    ]
    assert pooled(counts) == [Counted("a", "all", "overlap", 2000, (19, 1, 0))]
    assert comparisons(counts) == 9
    assert excesses(counts) == []
    limit = family_limit(1000, RATES[1], 9)
    wrong = [replace(counts[0], below=(10, limit + 1, 0)), counts[1]]
    assert (wrong[0], RATES[1]) in excesses(wrong)


@dataclass(frozen=True, kw_only=True)
class OldChance(ProtectedConstantWeight):
    """Its blocks are taken for one of all words of a block, of which only 2^m stand for symbols."""

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        right, known = self._right(extraction, claim)
        words = np.prod([(self.block_length - i) / (i + 1) for i in range(self.block_weight)])
        return Evidence({"blocks": log10_match_tail(right, known, 1 / words)})


@pytest.mark.parametrize(
    ("parameters", "claims"),
    [
        ({"blocks": 60, "block_length": 24}, CLAIMS),
        pytest.param({"blocks": 500, "block_length": 32}, SLOW_CLAIMS, marks=pytest.mark.slow),
    ],
)
def test_the_old_chance_of_a_block_is_found_out(parameters: dict[str, object], claims: int) -> None:
    trial = make_trial(_form("protected-cwc", **parameters))
    right = replace(trial, suspects={"unmarked": trial.suspects["unmarked"]})
    wrong = replace(right, scheme=OldChance(**trial.scheme.parameters))
    assert excesses(count_form(right, claims // 4)) == []
    assert {one.statistic for one, _ in excesses(count_form(wrong, claims))} == {"blocks"}


def test_what_reads_as_zero_counts_as_zero_in_the_pool() -> None:
    """Weights of a float64 model below the least float32 are read as zeros; the pool once kept them."""
    trial = make_trial(_form("cwc"))
    host = trial.suspects["unmarked"]
    draw = torch.Generator().manual_seed(1)
    state = {name: host.tensor(name).double() for name in host.names()}
    tiny = {name: torch.where(torch.rand(t.shape, generator=draw) < 0.5, t, 1e-60 * t) for name, t in state.items()}
    claims = (random_claim(trial.mark, 1, number) for number in range(200))
    values = [evidence.log10_p["vacancy"] for _, evidence in weighed(trial.scheme, as_weights(tiny), claims)]
    assert np.sum(np.array(values) <= -2) <= family_limit(200, 1e-2, 1)
    assert len(set(values)) > 1


@pytest.mark.parametrize(
    "tails",
    [
        *(overlap_tails(9, 4, known) for known in range(5)),
        *(overlap_tails(8, 6, known) for known in range(7)),
        *(block_tails(*kind) for kind in ((4, 1), (5, 1), (6, 2), (7, 1))),
        *(vacancy_tails(*case) for case in ((9, 4, 3), (10, 2, 5), (12, 11, 6), (10, 0, 4))),
        *(match_tails(bits) for bits in (1, 8)),
        *(label_tails(*case) for case in ((5, 4), (8, 2))),
        *(coded_tails(length) for length in (2, 4)),
    ],
    ids=lambda tails: tails.__name__,
)
def test_small_codes_counted_one_by_one_have_the_p_values_of_evidence(tails: list[Tail]) -> None:
    found = list(tails)
    assert found
    for tail in found:
        assert tail.ratio == pytest.approx(1, rel=1e-9), tail


def test_ones_that_are_tied_with_zeros_matched_too_often() -> None:
    """All places tied: the first ones were read, and the words of messages have more ones there than at the end."""
    old = max(tail.ratio for tail in overlap_tails(9, 4, 0, read=lambda word, magnitudes: word))
    assert old > 1.9
    assert max(tail.ratio for tail in overlap_tails(9, 4, 3, read=lambda word, magnitudes: word)) > 1.1


def test_one_of_all_words_is_not_the_chance_of_a_known_block() -> None:
    wrong = block_tails(6, 2, log10_p=lambda right, known: log10_match_tail(right, known, 1 / 15))
    assert max(tail.ratio for tail in wrong) == pytest.approx((15 / 8) ** 2)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    "estimate",
    [
        lambda depth: coin_tail(64, depth, seed=1),
        lambda depth: coin_tail(3513, depth, seed=1, samples=2000),
        lambda depth: chip_tail(_pool(), 192, depth, seed=1, samples=1000),
    ],
    ids=["64 coins", "3513 coins", "sums of chips"],
)
def test_deep_tails_agree_with_importance_sampling(estimate: Callable[[float], Estimate], depth: int) -> None:
    found = estimate(depth)
    assert found.law <= 10.0**depth
    assert found.error < 0.1 * found.p
    assert abs(found.deviation) < 4
    biased = 10 ** log10_match_tail(found.matched, found.trials, 0.52)
    assert biased - found.p > 4 * found.error  # it could tell


def _pool() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(3).standard_normal(1920)


def test_the_page_says_what_exceeds_and_the_cache_saves_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [_form("sign"), _form("cwc", length=12)]
    monkeypatch.setattr(study, "all_forms", lambda: chosen)
    found = list(study.measure_all(0.002, tmp_path / "cache.json"))
    assert [one.form for one in found] == chosen
    assert list(study.measure_all(0.002, tmp_path / "cache.json")) == found
    exact, estimates = Timed(list(match_tails(4)), 1.0), Timed([coin_tail(64, -3, seed=1, samples=2000)], 1.0)

    def text(measured: list[Measured]) -> str:
        return page(measured, exact, estimates, {chosen[0].identity}, torch.device("cpu"))

    assert "No count exceeds its limit." in text(found)
    assert "**" not in text(found)
    bad = replace(found[0], counts=tuple(replace(one, below=(one.claims, 0, 0)) for one in found[0].counts))
    assert f"- {chosen[0]}: matched bits on unmarked, at 0.01" in text([bad, found[1]])
    assert set(STATISTICS.values()) >= set(LAWS.values())


def test_suspects_are_what_they_are_called() -> None:
    trial = make_trial(_form("cwc"))
    zeros = {
        kind: float(np.mean([float((weights.tensor(name) == 0).float().mean()) for name in ("first.weight",)]))
        for kind, weights in trial.suspects.items()
    }
    assert zeros["unmarked"] == 0
    assert zeros["derived"] == pytest.approx(0.6, abs=0.01)
    assert zeros["sparse"] >= 0.96
    assert zeros["blank"] == 1
    assert trial.suspects["foreign"].dtype("first.weight") == "bfloat16"
    assert 3 in {len(trial.suspects), len(make_trial(_form("structural")).suspects)}
    key = Key.for_harness(study="null laws", owner=0)
    message = key.choices(trial.mark.nonce).stream("message").bits(trial.form.payload_bits)
    claim = Claim(key, trial.mark, message)
    read = trial.scheme.extract(trial.suspects["marked"], key, trial.mark)
    assert trial.scheme.evidence(read, claim).combined < -6
