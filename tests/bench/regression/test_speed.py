"""Speed in turn: the interval of the ratio, and a sleep planted in extraction against the same tree without it."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.regression.speed import SCHEMES, TOLERANCE, Side, alternate, pairs_needed, ratios, this_side
from bench.support.git import ROOT
from cwwm.support.errors import BadInput

SLEEP = "    def extract("
PLANTED = """
    def extract(self, suspect, key, mark):
        import time

        time.sleep(0.005)
        return self._extract_awake(suspect, key, mark)

    def _extract_awake("""


def pairs(ratio: float, count: int, seed: int) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Return pairs of timings with noise of a tenth, and now and then a disturbance."""
    random = np.random.default_rng(seed)
    noise = np.exp(0.1 * random.normal(size=(count, 2))) * (1 + 3 * (random.random((count, 2)) < 0.1))
    return [({"a": old, "b": old}, {"a": new * ratio, "b": new}) for old, new in noise]


def test_a_slower_side_is_named_and_an_equal_one_is_not() -> None:
    slower, equal = ratios(pairs(1.4, 30, 0))
    assert slower.is_slower
    assert 1.2 < slower.median < 1.6
    assert not equal.is_slower


def test_equal_sides_are_not_told_apart_in_a_hundred_trials() -> None:
    assert not any(ratio.is_slower for seed in range(100) for ratio in ratios(pairs(1.0, 20, seed)))


def test_what_lies_within_the_tolerance_passes_however_sure() -> None:
    sure = [({"a": 1.0}, {"a": 1 + 0.9 * TOLERANCE})] * 40
    (ratio,) = ratios(sure)
    assert ratio.low > 1
    assert not ratio.is_slower


def test_too_few_pairs_are_refused() -> None:
    side = this_side()
    assert pairs_needed(2 * len(SCHEMES)) == 13
    with pytest.raises(BadInput, match="take 13"):
        alternate(side, side, 12, print)


@pytest.fixture
def asleep(tmp_path: Path) -> Side:
    """Return this version with a sleep in the extraction of cwc."""
    shutil.copytree(ROOT / "cwwm", tmp_path / "cwwm", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "cwwm/schemes/constant_weight.py"
    source = path.read_text()
    assert source.count(SLEEP) == 1
    path.write_text(source.replace(SLEEP, PLANTED.lstrip("\n")))
    return Side(sys.executable, tmp_path)


def test_either_side_is_timed_by_its_own_tree(asleep: Side) -> None:
    seconds = asleep.measure(["cwc"])
    assert seconds["cwc: extract"] > 0.005
    assert seconds["cwc: embed"] > 0


def test_a_tree_that_cannot_be_timed_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "cwwm").mkdir()
    (tmp_path / "cwwm/__init__.py").write_text("raise RuntimeError('half a checkout')")
    with pytest.raises(BadInput, match="half a checkout"):
        Side(sys.executable, tmp_path).measure(["cwc"])


@pytest.mark.slow
def test_a_sleep_in_extraction_is_caught_and_equal_trees_are_not(asleep: Side) -> None:
    """Embedding reads the mark back before it is done, so that of the same scheme may be slower too."""
    schemes = ["cwc", "sign-repetition"]
    count = pairs_needed(2 * len(schemes))
    found = ratios(alternate(this_side(), asleep, count, print, schemes))
    slower = {ratio.name for ratio in found if ratio.is_slower}
    assert "cwc: extract" in slower
    assert not any(name.startswith("sign-repetition") for name in slower)
    assert not any(r.is_slower for r in ratios(alternate(this_side(), this_side(), count, print, schemes)))
