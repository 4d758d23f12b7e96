"""A night: the suite inside its budget in a fresh folder, compared with the baseline, kept in the history."""

import datetime
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.execution.run_suite import Means, Outcome, run_suite
from bench.execution.shared_models import drop_unused_hosts, share_hosts
from bench.execution.time_budget import cut_rows
from bench.leaderboard import write
from bench.leaderboard.page import write_page
from bench.leaderboard.pictures import save
from bench.records.store import Journal
from bench.regression import Comparison, compare
from bench.regression.baseline import accepted
from bench.regression.history import append_night, draw_trend, scheme_facts, trend_table
from bench.regression.report import csv_text, markdown, name
from bench.suite import Suite
from bench.suite.expand import cells
from bench.support.environment import hardware, prepare
from bench.support.git import current_commit
from bench.support.plain_text import in_markdown
from cwwm.support.files import atomic_path, write_atomic, write_json

FOR_TABLES = 0.05  # share of the budget that is kept for what follows the cells
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"  # names the file that a workflow's page shows


@dataclass(frozen=True)
class Home:
    """What lasts from night to night, in one folder: hosts, durations, the history, and a folder a night."""

    folder: Path

    @property
    def hosts(self) -> Path:
        """Return the folder of trained hosts, which alone are taken over."""
        return self.folder / "hosts"

    @property
    def durations(self) -> Path:
        """Return the file of what cells took."""
        return self.folder / "durations.json"

    @property
    def history(self) -> Path:
        """Return the file with a line a night."""
        return self.folder / "history.jsonl"

    def begin(self, date: str) -> Journal:
        """Return the journal of a night, in a folder of its own that `latest` links to."""
        folder = self.folder / date.replace(":", "-")
        with atomic_path(self.folder / "latest") as link:
            folder.mkdir()
            link.unlink()
            link.symlink_to(folder.name)
        return Journal(folder)


@dataclass(frozen=True)
class Night:
    """What came of a night: its records, what the run did, and the comparison, None without a baseline."""

    journal: Journal
    outcome: Outcome
    comparison: Comparison | None
    summary: str


def run_night(suite: Suite, home: Home, means: Means, *, budget: float, baseline: Journal | None) -> Night:
    """Run a suite within `budget` seconds, compare it, and write summary.md, comparison.csv and the history.

    Args:
        suite: what to run.
        home: of this suite's nights on this machine.
        means: what may be used; deadline and durations are set here.
        budget: seconds from now; those of the tables and pictures are kept back.
        baseline: what to compare with, if anything.
    """
    means = replace(means, deadline=time.monotonic() + (1 - FOR_TABLES) * budget, durations=home.durations)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    journal = home.begin(date)
    outcome = run_with_hosts(suite, journal, means, home.hosts)
    write(journal)
    comparison = compare(list(baseline.records()), list(journal.records())) if baseline else None
    facts = _facts(suite, journal, means, outcome, comparison, date)
    write_json(journal.folder / "night.json", facts)
    nights = append_night(home.history, facts)
    save(draw_trend(nights), journal.folder / "trend.png")
    summary = _summary(facts, journal, outcome, comparison, baseline, nights)
    _publish(summary, journal.folder, comparison)
    write_page(journal, journal.folder / "leaderboard.html")
    return Night(journal, outcome, comparison, summary)


def run_with_hosts(suite: Suite, journal: Journal, means: Means, hosts: Path) -> Outcome:
    """Run a suite on hosts that are kept in a folder; its marked models go when it is done."""
    todo = cells(suite, prepare(means.device, means.threads))
    artefacts = journal.folder / "artefacts"
    drop_unused_hosts(hosts)
    share_hosts(todo, hosts, artefacts)
    outcome = run_suite(suite, todo, journal, means)
    share_hosts(todo, artefacts, hosts)
    if artefacts.exists():
        shutil.rmtree(artefacts)
    return outcome


def _facts(
    suite: Suite, journal: Journal, means: Means, outcome: Outcome, comparison: Comparison | None, date: str
) -> dict[str, Any]:
    """Return the line of the history."""
    worse = {} if comparison is None else {j.place: None for j in comparison.regressions} | dict(comparison.lost)
    verdict = "no baseline" if comparison is None else "worse" if comparison.is_worse else "no regression"
    return {
        "date": date,
        "commit": current_commit() or "",
        "suite": suite.name,
        "hardware": hardware(means.device),
        "cells": outcome.run + outcome.taken,
        "cut": len(outcome.cut),
        "failed": outcome.failed,
        "verdict": verdict,
        "worse": [name(place) for place in worse],
        "schemes": scheme_facts(list(journal.records())),
    }


def _summary(
    facts: Mapping[str, Any],
    journal: Journal,
    outcome: Outcome,
    comparison: Comparison | None,
    baseline: Journal | None,
    nights: Sequence[dict[str, Any]],
) -> str:
    head = (
        f"## Suite {in_markdown(facts['suite'])}, night {facts['date']}\n\n{facts['cells']} cells on "
        f"{in_markdown(facts['hardware'])}, commit {_commit(facts['commit'])}; "
        f"{facts['failed']} failed, {facts['cut']} cut by the budget."
    )
    if comparison is None or baseline is None:
        folder = in_markdown(str(journal.folder))
        judged = f"**Nothing to compare with**: accept a baseline by `cwwm-bench accept-baseline {folder}`."
    else:
        note = accepted(baseline)
        judged = f"Baseline: commit {_commit(note.commit)}, {in_markdown(note.date) or 'no date'}.\n\n"
        judged += markdown(comparison, list(baseline.records()), list(journal.records()))
    parts = [head, judged, cut_text(outcome), f"### Trend\n\n{trend_table(nights)}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commit(commit: str) -> str:
    return in_markdown(commit[:10]) or "unknown"


def cut_text(outcome: Outcome) -> str:
    """Return what the budget cut, as Markdown; empty if nothing."""
    lines = [
        f"seed {row['seed']}, {row['scheme']}, {row['payload']} bits, {row['model']}: {', '.join(row['attacks'])}"
        for row in cut_rows(outcome.cut)
    ]
    return "\n".join(["### Cut by the budget\n", *(f"- {in_markdown(line)}" for line in lines)]) if lines else ""


def _publish(summary: str, folder: Path, comparison: Comparison | None) -> None:
    """Write the summary beside the records, and for the page of the workflow if there is one."""
    write_atomic(folder / "summary.md", summary.encode())
    if comparison is not None:
        write_atomic(folder / "comparison.csv", csv_text(comparison.judgements).encode())
    if target := os.environ.get(STEP_SUMMARY):
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(summary)
