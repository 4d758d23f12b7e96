"""The page of a run, README.md: what it was made on, what came of each step, and the tables that steps left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tabulate import tabulate

from bench.hardware_run.run_step import Outcome

PAGE = "README.md"
_COUNTS = ("tests", "failures", "errors", "skipped")


def page(facts: Mapping[str, Any], outcomes: Sequence[Outcome], folder: Path) -> str:
    """Return the page, Markdown.

    Args:
        facts: see `bench.hardware_run.facts`.
        outcomes: of the steps.
        folder: of the run, with what they left.
    """
    parts = [
        "# Hardware run",
        _head(facts, outcomes),
        _hardware(facts),
        "## Steps",
        _table(("step", "what", "seconds", "at most", "result"), map(_row, outcomes)),
        *(_piece(outcome, folder) for outcome in outcomes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: Mapping[str, Any], outcomes: Sequence[Outcome]) -> str:
    failed = [outcome.step.name for outcome in outcomes if outcome.failed]
    verdict = f"**failed: {', '.join(failed)}**; see `logs`" if failed else "all steps done"
    seconds = sum(outcome.seconds for outcome in outcomes)
    return (
        f"`make gpu DEVICE={facts['device']} PROFILE={facts['profile']}`, {facts['date']}, commit "
        f"{facts['commit'] or 'unknown'}: {verdict}, {seconds:.0f} s in all."
    )


def _hardware(facts: Mapping[str, Any]) -> str:
    gpu = {f"GPU {name}": value for name, value in (facts["gpu"] or {}).items()}
    host = {"processor": facts["processor"], "cores": facts["cores"], "Python": facts["python"]}
    packages = {name: value or "not there" for name, value in facts["packages"].items()}
    return "## Hardware and versions\n\n" + _table(("what", "value"), (gpu | host | packages).items())


def _row(outcome: Outcome) -> tuple[str, ...]:
    step = outcome.step
    return step.name, step.about, f"{outcome.seconds:.1f}", f"{step.limit:g}", outcome.told


def _piece(outcome: Outcome, folder: Path) -> str:
    """Return what the page shows of a step; empty if the step shows nothing."""
    if not outcome.step.leaves:
        return ""
    path = folder / outcome.step.leaves[0]
    head = f"## {outcome.step.name.capitalize()}"
    if not path.exists():
        return f"{head}\n\nNothing was left by this step."
    if path.suffix == ".xml":
        return f"{head}\n\n{_counts(path)}"
    return f"{head}\n\n{_body(path)}\n\nAll of it: [{outcome.step.leaves[0]}]({outcome.step.leaves[0]})."


def _counts(path: Path) -> str:
    """Return the counts of a test report."""
    suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    counts = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in _COUNTS}
    return ", ".join(f"{counts[name]} {name}" for name in _COUNTS) + "."


def _body(path: Path) -> str:
    """Return a page without its title, up to its second section, with headings two levels deeper."""
    _, _, text = path.read_text(encoding="utf-8").partition("\n")
    first, *rest = text.strip().split("\n## ")
    kept = "\n## ".join([first, *rest[:1]])
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in kept.splitlines())


def _table(headers: Sequence[str], rows: Any) -> str:  # noqa: ANN401 (rows of anything that can be printed)
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
