"""Strengths by bisection: the hardest that costs so many points, in few evaluations; on a real network too."""

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.attacks import make_attack
from bench.calibration.attack_levels import chosen
from bench.calibration.bisection import EVALUATIONS, bisected, is_near, middle
from bench.models.registry import ZOO_VARIABLE
from bench.records.schema import TrainedResult
from bench.records.store import RecordStore
from bench.suite import load_suite
from bench.suite.calibration_file import read_strengths, strengths_path
from bench.suite.expand import cells

Bench = Callable[..., int]
LEVELS = (0.5, 1.0, 3.0, 10.0)

SUITE = """
models: [tiny]
payloads: [16]
schemes: [{name: none, carrier: body}]
attacks:
  - {name: magnitude, between: [0.2, 0.99], lost: [0.5, 3, 10]}
  - {name: quantise, between: [8, 2], lost: [3]}
  - {name: noise, label: mild noise, between: [0.0001, 0.01], lost: [50]}
  - {name: magnitude, label: too hard, between: [0.99, 0.999], lost: [0]}
"""

MAGNITUDE, BITS = make_attack("magnitude", "test"), make_attack("cluster", "test")


@given(
    power=st.floats(0.3, 6.0),
    most=st.floats(0.01, 90.0),
    levels=st.lists(st.floats(0, 20), min_size=1, max_size=4, unique=True),
    backwards=st.booleans(),
)
def test_where_loss_grows_the_strength_found_is_within_a_halving_of_the_true_one(
    power: float, most: float, levels: list[float], backwards: bool
) -> None:
    ends = (0.9, 0.1) if backwards else (0.1, 0.9)

    def hardness(strength: float) -> float:
        return (strength - ends[0]) / (ends[1] - ends[0])

    def loss(strength: float) -> float:
        return float(most * hardness(strength) ** power)

    tried = bisected(MAGNITUDE, ends, levels, loss)
    assert (next(iter(tried)), [*tried][-1]) == ends
    assert sorted(tried, key=hardness) == list(tried)
    assert len(tried) <= 2 + (EVALUATIONS - 2) * len(levels)
    for level, strength in chosen(tried, levels).items():
        assert strength is not None
        assert loss(strength) <= level
        true = min(1.0, level / most) ** (1 / power)
        finest = 2.0 ** -(EVALUATIONS - 2) + 1e-3  # four digits are kept
        assert is_near(loss(strength), level) or true - hardness(strength) <= finest


@given(losses=st.lists(st.none() | st.floats(-2, 20), min_size=40, max_size=40))
def test_whatever_is_lost_the_last_strength_found_that_costs_at_most_so_much_is_chosen(
    losses: list[float | None],
) -> None:
    """Uneven losses, and refusals: no level is exceeded, and what is next harder costs more."""
    calls: list[float] = []

    def measure(strength: float) -> float | None:
        calls.append(strength)
        return losses[int(40 * strength) % 40]

    tried = bisected(MAGNITUDE, (0.05, 0.95), LEVELS, measure)
    assert sorted(calls) == list(tried), "each strength is tried once"
    for level, strength in chosen(tried, LEVELS).items():
        order = list(tried)
        harder = order if strength is None else order[order.index(strength) + 1 :]
        assert all(tried[s] is None or (tried[s] or 0) > level for s in harder)


def test_halves_are_whole_where_the_attack_takes_no_others_and_geometric_over_decades() -> None:
    assert middle(BITS, 8, 3) == 6
    assert middle(BITS, 3, 8) == 6
    assert middle(BITS, 3, 2) is None
    assert middle(MAGNITUDE, 0.5, 0.9) == 0.7
    assert middle(make_attack("noise", "test"), 1e-3, 1.0) == pytest.approx(math.sqrt(1e-3), rel=1e-3)
    assert set(bisected(BITS, (8, 2), [3.0], lambda bits: 10.0 / bits)) == {8, 5, 4, 3, 2}


@pytest.fixture(scope="module")
def calibrated(tiny: Path, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Yield a suite whose strengths were found, and what was said; tests only read it."""
    suite = tmp_path_factory.mktemp("bisected") / "bisected.yaml"
    suite.write_text(SUITE)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert bench("calibrate", suite, "--out", suite.parent / "out", "--device", "cpu") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
        yield suite, said.getvalue()


def test_a_real_network_loses_just_so_much(calibrated: tuple[Path, str]) -> None:
    suite, said = calibrated
    found = {label: entry for (label, _), entry in read_strengths(strengths_path(suite)).attacks.items()}
    assert all(entry.bisected for entry in found.values())
    pruned = found["magnitude"]
    strengths = [pruned.chosen[level] for level in (0.5, 3.0, 10.0)]
    assert all(strength is not None for strength in strengths)
    assert sorted(strengths, key=float) == strengths  # type: ignore[arg-type]
    assert len(set(strengths)) == 3
    assert all((pruned.tried[strength or 0] or 0) <= level for level, strength in pruned.chosen.items())
    assert len(pruned.tried) <= 2 + 3 * (EVALUATIONS - 2)
    assert all(bits == int(bits) for bits in found["quantise"].tried)
    assert found["mild noise"].chosen == {50.0: 0.01}
    assert "mild noise: 50 points: 0.01, the hardest, which loses " in said
    assert found["too hard"].chosen == {0.0: None}


def test_cells_run_what_was_found_and_records_say_for_which_points(
    calibrated: tuple[Path, str], bench: Bench
) -> None:
    suite, _ = calibrated
    found = read_strengths(strengths_path(suite)).attacks
    for cell in cells(load_suite(str(suite)), {}):
        entry = found[cell.attack.label, "tiny"]
        run = {strength for strength in entry.chosen.values() if strength is not None} or {next(iter(entry.tried))}
        assert set(cell.attack.strengths) == run
    out = suite.parent / "out"
    assert bench("run", suite, "--out", out, "--device", "cpu", "--attack", "magnitude") == 0
    assert bench("check", out, "--device", "cpu", "--sample", 2) == 0
    for record in RecordStore(out).records():
        assert isinstance(record, TrainedResult)
        entry = found[record.key.attack, "tiny"]
        assert record.recipe.levels == [list(level) for level in entry.chosen.items()]
        for row in record.rows:
            assert record.host.validation is not None
            assert row.validation is not None
            lost = record.host.validation.percent - row.validation.percent
            assert lost == pytest.approx(entry.tried[row.strength], abs=1e-5)


def test_what_is_found_is_kept_and_found_alike_again_and_other_bounds_ask_for_more(
    calibrated: tuple[Path, str], bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, whole = tmp_path / "bisected.yaml", strengths_path(calibrated[0]).read_bytes()
    strengths_path(suite).write_bytes(whole)
    arguments = ("calibrate", suite, "--out", calibrated[0].parent / "out", "--device", "cpu")
    for text, options, count in (
        (SUITE, (), 0),
        (SUITE, ("--again", "--attack", "quantise"), 1),
        (SUITE.replace("[8, 2]", "[8, 3]"), (), 1),
        (SUITE.replace("between: [8, 2]", "strengths: [8, 2]"), (), 1),  # a grid is no bisection
        (SUITE, (), 1),
    ):
        suite.write_text(text)
        assert bench("plan", suite) == (0 if not count or options else 2)
        capsys.readouterr()
        assert bench(*arguments, *options) == 0
        assert f"those of {count} attacks chosen" in capsys.readouterr().out
    assert strengths_path(suite).read_bytes() == whole
