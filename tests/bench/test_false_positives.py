"""Wrong keys find no more than their p-values say, the right one far more; the tables follow from the records."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from bench.leaderboard.detection import critical_log10_p, detectability_table, detection_table
from bench.leaderboard.points import gather
from bench.metrics.accuracy import rate_interval
from bench.metrics.false_positives import NOMINAL, affordable_trials, null_facts, null_log10_p
from bench.records.schema import Null, TrainedResult
from bench.records.store import RecordStore
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme, scheme_of
from cwwm.schemes.base import FORWARD
from cwwm.schemes.sign_repetition import SignRepetition
from cwwm.weights.view import as_weights
from tests.bench.invented import typed

State = dict[str, Tensor]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("cwc", {}),
    ("protected-cwc", {"blocks": 60, "block_length": 32, "survive": 0.95, "low": 0.8}),
    ("protected-cwc", {"blocks": 40, "block_length": 64, "survive": 0.95, "low": 0.8}),
    ("sign-repetition", {}),
    ("sign-erasure", {"survive": 0.8}),
    ("sign-erasure", {"outer": "polar", "length": 512}),
    ("spread-spectrum", {"outer": "polar", "gain": 0.3}),
]
all_schemes = pytest.mark.parametrize(("name", "parameters"), CASES)
BITS, TRIALS = 64, 300
MESSAGE = (np.arange(BITS) % 2).astype(np.uint8)
CELLS_EACH = 4  # attacks of the tiny suite


def _marked(name: str, parameters: dict[str, Any], state: State, key: Key) -> tuple[Scheme, Mark, State]:
    """Return the scheme, its mark and a marked copy of the state."""
    scheme = make_scheme(name, {"payload_bits": BITS, **parameters})
    marked = {tensor: value.clone() for tensor, value in state.items()}
    return scheme, embed(scheme, as_weights(marked), MESSAGE, key, EmbedContext(nonce=bytes(16)))[1], marked


def _prune(state: State, rate: float) -> State:
    """Return a copy without the smallest weights of each matrix."""
    cuts = {name: value.abs().flatten().sort().values[int(rate * value.numel())] for name, value in state.items()}
    return {n: torch.where(v.abs() < cuts[n], 0, v) if v.dim() > 1 else v.clone() for n, v in state.items()}


@all_schemes
@pytest.mark.parametrize("kind", ["unmarked", "marked and pruned"])
def test_wrong_keys_find_no_more_than_their_p_values_say(
    name: str, parameters: dict[str, Any], kind: str, state: State, harness_key: Key
) -> None:
    scheme, mark, marked = _marked(name, parameters, state, harness_key)
    suspect = state if kind == "unmarked" else _prune(marked, 0.7)
    values = null_log10_p(scheme_of(mark), mark, {kind: as_weights(suspect)}, seed=1, trials=TRIALS)[kind]
    assert len(values) == TRIALS
    assert np.sum(values <= -2) <= binom.ppf(0.999, TRIALS, 1e-2)
    assert np.sum(values <= -1) <= binom.ppf(0.999, TRIALS, 1e-1)
    assert np.sum(values <= -0.5) > 0.02 * TRIALS  # it is no constant 1, which would be conservative, too
    claim = Claim(harness_key, mark, MESSAGE)
    right = scheme.evidence(scheme.extract(as_weights(suspect), harness_key, mark), claim).combined
    assert (right < values.min() - 5) == (kind != "unmarked")


def test_p_values_are_the_same_again_and_other_for_other_seeds_and_suspects(state: State, harness_key: Key) -> None:
    scheme, mark, _ = _marked("cwc", {}, state, harness_key)
    twins = {"unmarked": as_weights(state), "marked": as_weights(state)}
    first, again, other = (null_log10_p(scheme, mark, twins, seed=seed, trials=40) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in twins)
    assert not any(np.array_equal(first[name], other[name]) for name in twins)
    # keys of their own, or the pooled trials of two nearly equal models would be the same ones twice
    assert not np.array_equal(first["unmarked"], first["marked"])


@pytest.mark.parametrize(("trials", "kept"), [(10, 10), (600, 16), (4000, 40)])
def test_facts_keep_the_lowest_p_values_rounded_down(trials: int, kept: int) -> None:
    values = np.log10(np.random.default_rng(1).uniform(size=trials)) - 1
    facts = null_facts({"a": values})["a"]
    exact, lowest = np.sort(values)[:kept], np.array(facts["lowest"])
    assert np.all((lowest <= exact) & (exact < lowest + 1.01e-4))
    assert not np.array_equal(lowest, exact)
    assert facts["trials"] == trials
    assert facts["below"] == {"-3": np.sum(values <= -3), "-6": np.sum(values <= -6)}
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_a_suspect_without_the_mark_is_no_trial(state: State, harness_key: Key) -> None:
    scheme, mark, marked = _marked("cwc", {}, state, harness_key)
    suspects = {"marked": as_weights(marked), "unmarked": as_weights({"other.weight": torch.ones(3, 3)})}
    facts = null_facts(null_log10_p(scheme, mark, suspects, seed=0, trials=20))
    assert facts["unmarked"] == {"trials": 0, "lowest": [], "below": {"-3": 0, "-6": 0}}
    assert facts["marked"]["trials"] == 20
    assert affordable_trials(scheme, mark, suspects["unmarked"]) == 600


class _Forward(SignRepetition):
    extraction_needs = frozenset({FORWARD})


def test_long_codes_and_forward_passes_get_fewer_trials(state: State, harness_key: Key) -> None:
    host = as_weights(state)
    scheme, mark, _ = _marked("sign-repetition", {}, state, harness_key)
    assert affordable_trials(scheme, mark, host) == 600
    assert affordable_trials(_Forward(payload_bits=BITS), mark, host) == 200
    long = SignRepetition(
        payload_bits=BITS, repetition=500
    )  # over half of the pool: a word for each of its weights
    assert affordable_trials(long, mark, host) == 20_000_000 // (60_000 + 1)
    longer = as_weights({"a.weight": torch.ones(600, 600)})
    _, mark, _ = _marked(
        "sign-repetition", {"repetition": 3000}, {"a.weight": longer.tensor("a.weight")}, harness_key
    )
    assert affordable_trials(SignRepetition(payload_bits=BITS, repetition=3000), mark, longer) == 100


def _sample(values: np.ndarray[Any, Any], kept: int) -> Null:
    below = {str(level): int(np.sum(values <= level)) for level in NOMINAL}
    return Null(trials=len(values), below=below, lowest=np.sort(values)[:kept].tolist())


@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(3, 20), st.sampled_from([1, 3, 50]))
def test_the_critical_value_keeps_its_rate_ties_and_cuts_included(
    seed: int, suspects: int, kept: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    values = [-rng.integers(0, levels + i, size=60 + 9 * i) for i in range(suspects)]
    critical = critical_log10_p([_sample(v, kept) for v in values], log10_rate=-1)
    known = critical_log10_p([_sample(v, len(v)) for v in values], log10_rate=-1)
    assert critical is not None
    assert known is not None
    everything = np.sort(np.concatenate(values))
    assert known == everything[(len(everything) + 1) // 10 - 1]
    assert critical <= known
    assert np.sum(everything < critical) < (len(everything) + 1) / 10


def test_the_critical_value_of_many_continuous_p_values_is_the_nominal_one() -> None:
    log10_p = np.log10(np.random.default_rng(0).uniform(size=(50, 1200)))
    critical = critical_log10_p([_sample(sample, 16) for sample in log10_p])
    assert critical is not None
    assert abs(critical + 3) < 3 / np.sqrt(60) / np.log(10)  # three standard deviations of 60 expected
    assert critical_log10_p([_sample(sample, 16) for sample in log10_p[:8]]) is None


@pytest.fixture(scope="module")
def records(finished: Path) -> list[TrainedResult]:
    return [record for record in RecordStore(finished).records() if isinstance(record, TrainedResult)]


def test_every_record_of_a_marked_model_has_the_same_small_facts(records: list[TrainedResult]) -> None:
    for record in records:
        null, shown = record.marked.null, record.marked.detectability
        assert null is not None
        assert shown is not None
        assert [r.marked.null for r in records if r.artefact == record.artefact] == [null] * CELLS_EACH
        facts = {name: record.to_json()["marked"][name] for name in ("null", "covertness")}
        assert len(json.dumps(facts, indent=1)) < 6000
        assert null.unmarked.trials == null.marked.trials == 600
        assert len(shown.marked_layers) == len(shown.control_layers) <= 12
    assert len({repr(record.marked.null) for record in records}) == 4  # two schemes, two seeds


def test_the_detection_table_counts_what_is_in_the_records(records: list[TrainedResult]) -> None:
    headers, rows = detection_table(gather(records))
    assert [row[:3] for row in rows] == [["cwc", 64, "2,400"], ["sign-repetition", 64, "2,400"]]
    for row in rows:
        own = [r for r in records if r.key.scheme == row[0]]
        useful = [x for r in own for x in r.rows if r.marked.accuracy.correct - x.accuracy.correct <= 13.5]
        proven = sum(x.log10_p <= -12 for x in useful)
        low, high = rate_interval(proven, len(useful))
        cell = dict(zip(headers, row, strict=True))
        assert cell["useful rows"] == len(useful) > 0
        assert cell["at 1e-12 (by law)"] == f"{proven / len(useful):.3g} [{low:.2g}, {high:.2g}]"
        assert cell["critical log10 p at 1e-3"] == "-3.00 by law"


def test_with_wrong_keys_enough_the_critical_value_is_measured(records: list[TrainedResult]) -> None:
    many = copy.deepcopy([r.to_json() for r in records if r.key.scheme == "cwc"])
    for record in many:
        for sample in record["marked"]["null"].values():
            sample["trials"], sample["lowest"] = 5000, [-90.0] * 4 + [-70.0] * 12
            sample["below"] = {"-3": 16, "-6": 16}
    (row,) = detection_table(gather(typed(many)))[1]
    assert row[2:5] == ["20,000", "**0.0032 [0.0025, 0.0041]**", "**0.0032 [0.0025, 0.0041]**"]
    assert row[5] == "-70.00 measured"
    assert str(row[6]).startswith("0 ")  # the sixteen times four wrong keys are surer than any claim of 64 bits


def test_the_detectability_table_shows_clamped_values(records: list[TrainedResult]) -> None:
    headers, rows = detectability_table(gather(records))
    shown = {row[0]: dict(zip(headers, row, strict=True)) for row in rows}
    assert int(str(shown["cwc"]["exact repeats"])) > 20
    assert all(row["models"] == 2 and "[" in str(row["AUC of a classifier"]) for row in shown.values())
    (alone,) = detectability_table(gather(r for r in records if r.key.scheme == "cwc" and r.key.seed == 0))[1]
    assert alone[2] == 1
    assert alone[-1] == "-"


def test_older_records_without_facts_leave_dashes(records: list[TrainedResult]) -> None:
    without = copy.deepcopy([record.to_json() for record in records])
    for record in without:
        del record["marked"]["null"], record["marked"]["covertness"]
    older = typed(without)
    for row in detection_table(gather(older))[1]:
        assert row[2:6] == ["-", "-", "-", "-3.00 by law"]
        assert "[" in str(row[6])
    assert all(row[2:] == ["-"] * 5 for row in detectability_table(gather(older))[1])
    assert detection_table([])[1] == detectability_table([])[1] == []
