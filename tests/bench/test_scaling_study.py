"""The model of many GPUs: what making is told from cells, and the committed page follows from its durations."""

from pathlib import Path

import pytest

from bench.studies.scaling import app, gathered, report, workload
from cwwm.support.console import run_app
from cwwm.support.errors import BadInput

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_what_a_network_takes_is_told_apart_from_its_cells() -> None:
    seconds = {
        ("net", "a", 64, "first", "host"): 30.0,
        ("net", "a", 64, "second", "nothing"): 2.0,
        ("net", "b", 64, "first", "mark"): 10.0,
        ("net", "b", 64, "first", "nothing"): 1.0,
        ("net", "b", 64, "second", "nothing"): 4.0,
    }
    load = workload(seconds)
    assert load.making == {"net": 20.0}
    assert [(mark.seconds, mark.cells) for mark in load.marks] == [(12.0, 2), (14.0, 2)]
    jobs = load.jobs(7)
    assert [job.host for job in jobs] == ["net #0", "net #0", "net #1", "net #1"]


def test_durations_of_two_machines_are_not_mixed(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f'{{"hardware": "{name}", "cells": []}}')
    with pytest.raises(BadInput, match="several kinds of hardware: a, b"):
        gathered([tmp_path / "a", tmp_path / "b"])


def test_medians_are_gathered_and_read_again(tmp_path: Path) -> None:
    taken = "".join(f', ["m", "s", 8, "x", "nothing", {n}]' for n in (1, 5, 90))
    (tmp_path / "a.json").write_text(f'{{"hardware": "h", "cells": [["m", "s", 8, "x", "mark", 7]{taken}]}}')
    arguments = [str(tmp_path / "a.json"), "--gather", str(tmp_path / "b.json"), "-o", str(tmp_path / "a.md")]
    assert run_app(app, "scaling", arguments) == 0
    assert gathered([tmp_path / "b.json"]) == gathered([tmp_path / "a.json"])
    assert gathered([tmp_path / "b.json"])[1]["m", "s", 8, "x", "nothing"] == 5


@pytest.mark.results
def test_the_committed_page_follows_from_its_durations() -> None:
    hardware, seconds = gathered([RESULTS / "scaling" / "durations.json"])
    assert (RESULTS / "scaling.md").read_text() == report(hardware, workload(seconds))
