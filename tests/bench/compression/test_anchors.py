"""The compression papers' settings run here and now on one host; three seeds are in results/compression-anchors."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from bench.attacks import Attacked
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import ModelFactory
from bench.metrics.accuracy import accuracy
from bench.suite import load_suite
from bench.suite.cell import Cell
from bench.suite.expand import cells
from bench.support.artifact_store import ArtefactStore

Run = Callable[..., tuple[Attacked, float]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what runs an attack of the suite on seed 0 and says how many points of accuracy it lost."""
    factory = ModelFactory(ArtefactStore(tmp_path_factory.mktemp("models")), torch.device("cpu"))
    by_label: dict[str, Cell] = {c.attack.label: c for c in reversed(cells(load_suite("compression-anchors"), {}))}

    def attacked(label: str, **changed: object) -> tuple[Attacked, float]:
        cell = by_label[label]
        control, context = (
            factory.control(cell.host).model,
            attacker_context(cell.host, cell.attack, factory, None),
        )
        attack = replace(cell.attack.attack, **changed)  # type: ignore[arg-type]
        found = next(attack.curve([control], cell.attack.strengths, context))
        before, after = (accuracy(model, context.data.test).percent for model in (control, found.model))
        return found, before - after

    return attacked


@pytest.mark.slow
def test_a_short_admm_is_far_better_than_one_shot_before_any_retraining(run: Run) -> None:
    short, _ = run("admm-prune short", retrain=0)
    one_shot, _ = run("one-shot magnitude", retrain=0)
    for found in (short, one_shot):
        assert found.achieved["ratio"] == pytest.approx(71.2, abs=0.1)
    assert short.achieved["hard_accuracy"] >= one_shot.achieved["hard_accuracy"] + 20


@pytest.mark.slow
def test_a_long_admm_reaches_71_times_before_any_retraining(run: Run) -> None:
    long, lost = run("admm-prune long")
    assert long.achieved["hard_accuracy"] >= 90
    assert lost <= 1.0  # of one seed; 0.5 is for the mean of three


@pytest.mark.slow
@pytest.mark.parametrize("label", ["levels in rounds", "clusters"])
def test_a_hundred_and_sixty_seven_times_with_few_bits(run: Run, label: str) -> None:
    found, lost = run(label)
    assert 1900 <= found.achieved["data_ratio"] <= 1940
    assert lost <= 2.5
    for layer in found.achieved["storage"].values():
        assert layer["distinct"] <= 2 ** layer["bits"]


@pytest.mark.slow
def test_with_a_bit_less_rounds_are_better_than_snapping_at_once(run: Run) -> None:
    _, rounds = run("levels in rounds, a bit less")
    _, at_once = run("levels at once, a bit less")
    assert rounds <= at_once - 1


@pytest.mark.slow
def test_crossbars_at_sixteen_times_with_varying_cells(run: Run) -> None:
    found, lost = run("memristor 5 bits, variation 0.1")
    one_shot, _ = run("one-shot structured", retrain=0)
    assert found.achieved["ratio"] >= 15
    assert found.achieved["hard_accuracy"] >= one_shot.achieved["hard_accuracy"] + 15
    assert found.achieved["pruned_accuracy"] - found.achieved["quantised_accuracy"] <= 1.0
    assert lost <= 2.0
