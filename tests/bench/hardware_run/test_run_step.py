"""Steps as they are run: within their limits, whatever they start, and a failed one keeps no other from running."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.hardware_run.page import page
from bench.hardware_run.plan import LIMIT, Step
from bench.hardware_run.run_step import Outcome, run_step, run_steps
from tests.processes import gone, until

LASTING = """
import pathlib, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
"""
FACTS: dict[str, Any] = {
    "profile": "tiny", "commit": None, "device": "cpu", "date": "today", "processor": "p", "cores": 2, "gpu": None,
    "python": "3", "packages": {"torch": "2", "gmpy2": None},
}  # fmt: skip


def step(name: str, code: str, *arguments: str, limit: float = 60, leaves: tuple[str, ...] = ()) -> Step:
    return Step(name, f"about {name}", limit, (sys.executable, "-c", code, *arguments), leaves)


def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    outcome = run_step(step("long", LASTING, str(noted)), tmp_path / "log.txt", limit=8)
    assert outcome.failed
    assert outcome.told == "FAILED: ended at its limit of 60 s"
    until(lambda: gone([int(noted.read_text())]))


def test_failed_steps_are_said_and_the_others_run(tmp_path: Path) -> None:
    steps = [
        step("wrong", "print('why'); raise SystemExit(3)", leaves=("wrong.md",)),
        step(
            "right", f"open({str(tmp_path / 'right.md')!r}, 'w').write('# T\\n\\nfound\\n')", leaves=("right.md",)
        ),
    ]
    said = list[str]()
    outcomes = list(run_steps(steps, tmp_path, said.append, began=time.monotonic()))
    assert [outcome.code for outcome in outcomes] == [3, 0]
    assert (tmp_path / "logs" / "wrong.txt").read_text() == "why\n"
    assert len(said) == 4
    text = page(FACTS, outcomes, tmp_path)
    assert "**failed: wrong**" in text
    assert "| FAILED: exit code 3 |" in text
    assert "## Wrong\n\nNothing was left by this step." in text
    assert "## Right\n\nfound\n\nAll of it: [right.md](right.md)." in text
    assert "not there" in text


@pytest.mark.parametrize("spent", [LIMIT - 60, LIMIT + 5])
def test_no_step_goes_on_after_the_time_of_the_whole_run(spent: float, tmp_path: Path) -> None:
    said = list[str]()
    began = time.monotonic() - spent
    (outcome,) = run_steps([step("late", "pass", limit=300)], tmp_path, said.append, began=began)
    assert said[0].endswith("(at most 45 s)" if spent < LIMIT else "(at most 0 s)")
    assert outcome.failed == (spent > LIMIT)


def test_the_page_shows_counts_of_tests_and_the_first_section_of_a_leaderboard(tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite tests="5" failures="1" errors="0" skipped="2"/></testsuites>'
    )
    (tmp_path / "board.md").write_text("# Board\n\n4 cells.\n\n## Ranking\n\n### A\n\n| 1 |\n\n## More\n\n| 2 |\n")
    outcomes = [
        Outcome(step("tests", "", leaves=("tests.xml",)), 1.0, 1),
        Outcome(step("tables", "", leaves=("board.md",)), 1.0, 0),
    ]
    text = page(FACTS, outcomes, tmp_path)
    assert "5 tests, 1 failures, 0 errors, 2 skipped." in text
    assert "## Tables\n\n4 cells.\n\n#### Ranking\n\n##### A\n\n| 1 |\n\nAll of it" in text
    assert "| 2 |" not in text
