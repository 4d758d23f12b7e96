"""Forged claims: a perfect match is not proven, a search for keys and a heap of commitments gain nothing."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from bench.metrics.forgery import (
    FORGERIES,
    BestOfMany,
    CommitmentSpam,
    ExtractThenClaim,
    Forgery,
    RandomKey,
    verdict_on,
    verdicts,
)
from bench.studies.forgery import FORMS, Target, study_form
from bench.studies.forgery_page import COMMITMENTS, LEVELS, Searched, page, search_rows, spam_rows
from cwwm.ownership.evidence import Tried, Verdict
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.support.registry import build
from cwwm.weights.view import as_weights

BITS = 32
MESSAGE = tuple(int(bit) for bit in np.arange(BITS) % 2)
CASES = {
    "cwc": {},
    "protected-cwc": {"blocks": 24, "block_length": 16, "survive": 0.95, "low": 0.8},
}
SUSPECTS = ["unmarked", "marked"]


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest, state: dict[str, Tensor], harness_key: Key) -> Target:
    """Return a marked state and the one it was made from."""
    marked = {name: value.clone() for name, value in state.items()}
    scheme = make_scheme(request.param, {"payload_bits": BITS, **CASES[request.param]})
    message, context = np.array(MESSAGE, np.uint8), EmbedContext(nonce=bytes(16))
    _, mark = embed(scheme, as_weights(marked), message, harness_key, context)
    return Target(mark, MESSAGE, {"unmarked": as_weights(state), "marked": as_weights(marked)})


def forger(name: str, mark: Mark, seed: int = 0) -> Forgery:
    message = {"message": MESSAGE} if name == "random-key" else {}
    return build("forgery", FORGERIES, name, {"mark": mark, "seed": seed, **message})


def extremes(log10_p: np.ndarray, levels: tuple[float, ...]) -> list[tuple[int, int]]:
    """Return at each level the count of p-values at most so large, and the most that chance explains."""
    return [(int(np.sum(log10_p <= np.log10(p))), int(binom.ppf(0.999, len(log10_p), p))) for p in levels]


def test_extract_then_claim_matches_perfectly_and_is_never_proven() -> None:
    torch.manual_seed(0)
    weights = as_weights({"a.weight": torch.randn(200, 300)})
    scheme = make_scheme("cwc", {"payload_bits": 64})
    _, mark = embed(scheme, weights, np.ones(64, np.uint8), Key.for_harness(owner=1), EmbedContext())
    forgery = ExtractThenClaim(mark=mark)
    claims = list(forgery.claims(weights, 40))
    assert claims
    for claim in claims:
        fixed = verdict_on(claim, weights, committed=True, tried=Tried(keys=40))
        forged = verdict_on(claim, weights, committed=False, tried=Tried(keys=40))
        assert fixed.log10_p < -12  # the numbers alone would convince
        assert not fixed.proven
        assert not forged.proven
        assert "salt does not follow" in fixed.reason
        assert forged.reason.endswith("no prior commitment")
    assert verdicts(forgery, weights, 40) == [
        verdict_on(claim, weights, committed=False, tried=Tried(keys=40)) for claim in claims
    ]


@pytest.mark.parametrize("suspect", SUSPECTS)
def test_a_search_finds_no_more_than_the_p_values_say(suspect: str, made: Target) -> None:
    log10_p = RandomKey(mark=made.mark, message=MESSAGE, seed=1).log10_p(made.suspects[suspect], 1000)
    for count, most in extremes(log10_p, LEVELS):
        assert count <= most
    assert np.sum(log10_p < -0.5) > 20  # they are p-values, not all 1


@pytest.mark.parametrize("suspect", SUSPECTS)
def test_a_claimant_gains_nothing_beyond_the_factor_of_his_commitments(suspect: str, made: Target) -> None:
    log10_p = CommitmentSpam(mark=made.mark, seed=2).log10_p(made.suspects[suspect], 1000)
    best = log10_p.reshape(-1, 25).min(axis=1)
    assert all(count <= most for count, most in extremes(best + np.log10(25), (0.1, 1e-2, 1e-3)))
    unaccounted, most = extremes(best, (0.1,))[0]
    assert unaccounted > most  # had they not been counted, they would


@pytest.mark.parametrize("name", ["random-key", "commitment-spam"])
def test_the_best_claim_is_presented_once_and_judged_for_all_that_was_tried(name: str, made: Target) -> None:
    weights, forgery = made.suspects["unmarked"], forger(name, made.mark, seed=3)
    assert isinstance(forgery, BestOfMany)
    log10_p = forgery.log10_p(weights, 200)
    (claim,) = forgery.claims(weights, 200)
    alone = verdict_on(claim, weights, committed=True, tried=Tried())
    (verdict,) = verdicts(forgery, weights, 200)
    assert alone.log10_p == pytest.approx(log10_p.min())
    assert verdict.log10_p == pytest.approx(min(0.0, log10_p.min() + np.log10(200)))
    assert not verdict.proven
    assert (verdict.reason == "not proven: no prior commitment") == (name == "random-key")


def test_the_owner_is_proven_among_as_many_commitments(made: Target, harness_key: Key) -> None:
    claim = Claim(harness_key, made.mark, np.array(MESSAGE, np.uint8))
    tried = CommitmentSpam(mark=made.mark).tried(1000)
    judged = [verdict_on(claim, made.suspects[s], committed=True, tried=tried, rate=1e-6) for s in SUSPECTS]
    found = [verdict.proven for verdict in judged]  # 32 bits are too few for the default rate
    assert found == [False, True]


def test_a_search_repeats_and_other_seeds_are_other_keys(made: Target) -> None:
    weights = made.suspects["marked"]
    for name in ("random-key", "commitment-spam"):
        first, again, other = (forger(name, made.mark, seed) for seed in (5, 5, 6))
        values = [f.log10_p(weights, 60) for f in (first, again, other) if isinstance(f, BestOfMany)]
        assert np.array_equal(values[0], values[1])
        assert not np.array_equal(values[0], values[2])


def test_a_search_keeps_its_message_and_spam_has_one_a_key(made: Target) -> None:
    searched = list(RandomKey(mark=made.mark, message=MESSAGE).candidates(20))
    assert {tuple(claim.message.tolist()) for claim in searched} == {MESSAGE}
    spam = list(CommitmentSpam(mark=made.mark).candidates(20))
    assert len({claim.message.tobytes() for claim in spam}) == 20
    for claims in (searched, spam):
        assert len({claim.key for claim in claims}) == 20
        assert all(claim.mark.form == made.mark.form for claim in claims)
        assert all(claim.mark.follows_from(claim.key, claim.message) for claim in claims)


def test_what_makes_no_forgery_is_refused(made: Target) -> None:
    weights = made.suspects["marked"]
    with pytest.raises(BadInput, match="the budget is at least 1"):
        next(CommitmentSpam(mark=made.mark).claims(weights, 0))
    with pytest.raises(BadInput, match="the message must be 32 bits"):
        next(RandomKey(mark=made.mark, message=(1, 0)).candidates(1))


@pytest.mark.slow
@pytest.mark.parametrize("suspect", SUSPECTS)
def test_a_hundred_thousand_keys_find_no_more_than_the_p_values_say(suspect: str, made: Target) -> None:
    log10_p = RandomKey(mark=made.mark, message=MESSAGE, seed=4).log10_p(made.suspects[suspect], 100_000)
    assert all(count <= most for count, most in extremes(log10_p, (*LEVELS, 1e-5)))
    assert np.sum(log10_p <= -2) > 50


def searched(log10_p: list[float]) -> Searched:
    return Searched("a form", "marked", np.array(log10_p), 2.0, Verdict(False, -0.5, "not proven"))


def test_the_rows_count_what_is_at_or_below_each_level() -> None:
    (row,) = search_rows([searched([-6.0, -4.5, -3.0, -2.0, -1.0] + [0.0] * 95)])
    assert row[3:7] == ("4 / 5", "3 / 2", "2 / 1", "1 / 0")
    assert row[-2] is False


def test_spam_rows_take_the_best_of_each_claimant() -> None:
    log10_p = np.zeros((200, 10))
    log10_p[:3, 4], log10_p[3, 7] = -3.5, -2.5
    rows = spam_rows([searched(log10_p.ravel().tolist())])
    assert [row[2:] for row in rows] == [(10, "200", "3 / 8", "0 / 3", 4, 3)]
    assert len(COMMITMENTS) > len(rows)  # of 20 and 2 claimants nothing is said


def test_the_study_shows_every_forgery_on_both_suspects(made: Target) -> None:
    found = study_form(FORMS[0], made, share=1e-4)
    text = page(found, "a model", torch.device("cpu"))
    assert all(name in text for name in FORGERIES)
    assert [one.suspect for one in found.searched] == SUSPECTS
    assert all(len(one.log10_p) == 100 for one in found.searched)
    assert not any(one.verdict.proven for one in found.searched)
    assert sum(one.proven for one in found.extracted) == 0
