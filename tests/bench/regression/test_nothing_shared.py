"""A comparison that compares nothing does not pass for a run without a regression."""

from pathlib import Path

import pytest

from tests.bench.conftest import Bench

UNTRAINED = """
untrained: [initial]
models: [tiny]
payloads: [64]
schemes: [{name: cwc, carrier: body}]
attacks: [{name: magnitude, strengths: [0.5]}]
"""


def test_a_comparison_of_nothing_fails(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite, out, baseline = tmp_path / "initial.yaml", tmp_path / "out", ("--baseline", tmp_path / "baselines")
    suite.write_text(UNTRAINED)
    assert bench("run", suite, "--out", out, "--device", "cpu") == 0
    assert bench("accept-baseline", out, *baseline) == 0
    capsys.readouterr()
    assert bench("compare", out, *baseline) == 3
    assert "Nothing was compared: the two runs share no row of a trained model." in capsys.readouterr().out
