"""Core-hours of a plan: the sum of what similar cells took, and what was never timed is said to be unknown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.execution.estimate import Estimate, durations_below, estimate
from bench.execution.time_budget import DURATIONS, Durations, Kind
from bench.suite import load_suite
from bench.suite.cell import Cell
from bench.suite.expand import cells
from bench.support.artifact_store import Artefact, ArtefactStore

Bench = Callable[..., int]
HOST, MARK, ATTACK = 40.0, 10.0, 3.0  # seconds that making takes, and an attack


@pytest.fixture(scope="module")
def planned() -> list[Cell]:
    return cells(load_suite("smoke"), {"device": "cpu"})


def timed(path: Path, planned: list[Cell], attacks: set[str]) -> Durations:
    """Return durations of one mark's cells with these attacks, the first of which made host and mark."""
    durations = Durations(path, "this machine")
    own = [
        cell for cell in planned if cell.mark.identity == planned[0].mark.identity and cell.attack.label in attacks
    ]
    kind = Kind.of(own[0], ArtefactStore(path.parent / "none"))
    durations.add(kind, HOST + MARK + ATTACK)
    for cell in own:
        durations.add(kind._replace(attack=cell.attack.label, making="mark"), MARK + ATTACK)
        durations.add(kind._replace(attack=cell.attack.label, making="nothing"), ATTACK)
    return durations


def test_a_plan_takes_what_its_like_took_and_each_model_is_made_once(planned: list[Cell], tmp_path: Path) -> None:
    attacks = {cell.attack.label for cell in planned}
    durations = timed(tmp_path / DURATIONS, planned, attacks)
    own = [cell for cell in planned if cell.host.identity("host") == planned[0].host.identity("host")]
    marks = {cell.mark.identity for cell in own}
    store = ArtefactStore(tmp_path / "artefacts")
    found = estimate(own, durations, store)
    assert found.seconds == pytest.approx(HOST + MARK * len(marks) + ATTACK * len(own))
    assert (found.cells, found.elsewhere, found.unknown) == (len(own), 0, {})
    for kind in ("host", "control", "twin"):
        store.get(own[0].host.identity(kind), lambda: Artefact({}, {}))
    assert estimate(own, durations, store).seconds == pytest.approx(found.seconds - HOST)


def test_what_was_never_timed_is_in_no_figure_and_is_named(planned: list[Cell], tmp_path: Path) -> None:
    attacks = {cell.attack.label for cell in planned}
    never = sorted(attacks)[-1]
    durations = timed(tmp_path / DURATIONS, planned, attacks - {never})
    found = estimate(planned, durations, ArtefactStore(tmp_path / "artefacts"))
    assert found.unknown == {never: sum(cell.attack.label == never for cell in planned)}
    assert found.cells + found.unknown[never] == len(planned)
    assert f"never timed: {never} (" in found.text(threads=1)
    other = sum(
        cell.host.model.name != planned[0].host.model.name for cell in planned if cell.attack.label != never
    )
    assert found.elsewhere == other
    assert f"the attacks of {other} were timed on other models only" in found.text(threads=1)
    nothing = estimate(planned, Durations(tmp_path / "none.json", "this machine"), ArtefactStore(tmp_path / "a"))
    assert "core-hours are unknown" in nothing.text(threads=1)
    assert "about 2 core-hours for 5 cells" in Estimate(3600.0, 5, 0, {}).text(threads=2)


def test_durations_of_other_runs_count_and_those_of_other_hardware_do_not(
    planned: list[Cell], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    timed(tmp_path / "other" / DURATIONS, planned, {planned[0].attack.label})
    kind = Kind.of(planned[0], ArtefactStore(tmp_path / "none"))
    for hardware, expected in (("this machine", HOST + MARK + ATTACK), ("another", None)):
        known = durations_below(tmp_path, tmp_path / "own" / DURATIONS, hardware)
        assert known.typical([kind]) == expected


def test_a_plan_tells_core_hours_once_some_cells_were_run_in_whichever_processes(
    tiny: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ("--out", tmp_path / "out", "--device", "cpu", "--scheme", "cwc")
    assert bench("plan", tiny / "tiny.yaml", *places) == 0
    assert "core-hours" in capsys.readouterr().out
    assert bench("run", tiny / "tiny.yaml", *places, "--seeds", 1, "--jobs", 2) == 0
    kinds = {tuple(cell[:5]) for cell in json.loads((tmp_path / "out" / DURATIONS).read_text())["cells"]}
    assert len(kinds) == 4
    assert bench("plan", tiny / "tiny.yaml", *places) == 0
    assert "core-hours for 4 cells, as similar ones took on this hardware\n" in capsys.readouterr().out
    assert bench("run", tiny / "tiny.yaml", *places, "--seeds", 1) == 0
    capsys.readouterr()
    assert bench("plan", tiny / "tiny.yaml", *places, "--seeds", 1) == 0
    assert "core-hours" not in capsys.readouterr().out
