"""A mark that is read in several ways is attacked once, and each record is the one of a run by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.models.registry import ZOO_VARIABLE
from bench.records.record import Record
from bench.records.store import RecordStore
from bench.suite import load_suite
from bench.suite.expand import cells
from bench.support.environment import prepare
from bench.verification.comparison import reproducible

pytestmark = pytest.mark.programs

Bench = Callable[..., int]

SUITE = """
models: [tiny]
payloads: [64]
schemes:
  - {name: sign-repetition, label: signs, readers: [blind, per-channel, aligned], carrier: body, repetition: 5}
  - {name: dm-qim, carrier: body}
attacks:
  - {name: magnitude, strengths: [0.3, 0.6, 0.9]}
  - {name: finetune, epochs: 1, strengths: [0.5, 1]}
"""
READINGS = ("signs", "signs per-channel", "signs aligned")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readings") / "readings.yaml"
    path.write_text(SUITE)
    return path


def by_cell(out: Path) -> dict[tuple[str, str], Record]:
    return {(record.key.scheme, record.key.attack): record for record in RecordStore(out).records()}


def test_readings_of_one_attack_follow_each_other(suite: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    found = cells(load_suite(str(suite)), prepare(torch.device("cpu"), 1))
    assert [(cell.mark.scheme.label, cell.attack.attack.name, cell.readings) for cell in found] == [
        *((label, attack, 3) for attack in ("magnitude", "finetune") for label in READINGS),
        *(("dm-qim", attack, 1) for attack in ("magnitude", "finetune")),
    ]


def test_an_attack_is_made_once_and_each_record_is_that_of_a_run_by_itself(
    suite: Path, bench: Bench, tmp_path: Path
) -> None:
    """Two processes share nothing with the run of a single reading, not even the mark."""
    assert bench("run", suite, "--out", tmp_path / "together", "--device", "cpu", "--jobs", 2) == 0
    together = by_cell(tmp_path / "together")
    for attack in {attack for _, attack in together}:
        seconds = [[row.timing.attack_s for row in together[label, attack].rows or ()] for label in READINGS]
        assert seconds[0] == seconds[1] == seconds[2], "measured once"
    for label in READINGS[::2]:
        assert bench("run", suite, "--scheme", label, "--out", tmp_path / label, "--device", "cpu") == 0
        alone = by_cell(tmp_path / label)
        assert {place[0] for place in alone} == {label}
        assert all(reproducible(record) == reproducible(together[place]) for place, record in alone.items())
