"""A nightly run: the suite inside its budget in a fresh folder, compared with the baseline, kept in the history."""

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
from bench.execution.time_budget import DURATIONS, cut_rows
from bench.leaderboard import write
from bench.leaderboard.page import write_page
from bench.leaderboard.pictures import save
from bench.records.store import RecordStore
from bench.regression import Comparison, compare
from bench.regression.baseline import accepted
from bench.regression.history import append_nightly, draw_trend, scheme_facts, trend_table
from bench.regression.report import CHANGED_FILE, LINES_FILE, changed_text, csv_text, markdown, name
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
    """What lasts from one nightly run to the next, in one folder: hosts, durations, history, and a folder a run."""

    folder: Path

    @property
    def hosts(self) -> Path:
        """Return the folder of trained hosts, which alone are taken over."""
        return self.folder / "hosts"

    @property
    def durations(self) -> Path:
        """Return the file of what cells took."""
        return self.folder / DURATIONS

    @property
    def history(self) -> Path:
        """Return the file with a line a nightly run."""
        return self.folder / "history.jsonl"

    def begin(self, date: str) -> RecordStore:
        """Return the record store of a nightly run, in a folder of its own that `latest` links to."""
        folder = self.folder / date.replace(":", "-")
        with atomic_path(self.folder / "latest") as link:
            folder.mkdir()
            link.unlink()
            link.symlink_to(folder.name)
        return RecordStore(folder)


@dataclass(frozen=True)
class NightlyRun:
    """What came of a nightly run: its records, what the run did, and the comparison, None without a baseline."""

    record_store: RecordStore
    outcome: Outcome
    comparison: Comparison | None
    summary: str


def run_nightly(
    suite: Suite, home: Home, means: Means, *, budget: float, baseline: RecordStore | None
) -> NightlyRun:
    """Run a suite within `budget` seconds, compare it, and write summary.md, comparison.csv and the history.

    Args:
        suite: what to run.
        home: of this suite's nightly runs on this machine.
        means: what may be used; deadline and durations are set here.
        budget: seconds from now; those of the tables and pictures are kept back.
        baseline: what to compare with, if anything.
    """
    means = replace(means, deadline=time.monotonic() + (1 - FOR_TABLES) * budget, durations=home.durations)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    record_store = home.begin(date)
    outcome = run_with_hosts(suite, record_store, means, home.hosts)
    write(record_store)
    comparison = compare(baseline.records(), record_store.records()) if baseline else None
    facts = _facts(suite, record_store, means, outcome, comparison, date)
    write_json(record_store.folder / "nightly.json", facts)
    nightly_runs = append_nightly(home.history, facts)
    save(draw_trend(nightly_runs), record_store.folder / "trend.png")
    summary = _summary(facts, record_store, outcome, comparison, baseline, nightly_runs)
    _publish(summary, record_store.folder, comparison)
    write_page(record_store, record_store.folder / "leaderboard.html")
    return NightlyRun(record_store, outcome, comparison, summary)


def run_with_hosts(suite: Suite, record_store: RecordStore, means: Means, hosts: Path) -> Outcome:
    """Run a suite on hosts that are kept in a folder; its marked models go when it is done."""
    todo = cells(suite, prepare(means.device, means.threads))
    artefacts = record_store.folder / "artefacts"
    drop_unused_hosts(hosts)
    share_hosts(todo, hosts, artefacts)
    outcome = run_suite(suite, todo, record_store, means)
    share_hosts(todo, artefacts, hosts)
    if artefacts.exists():
        shutil.rmtree(artefacts)
    return outcome


def _facts(
    suite: Suite,
    record_store: RecordStore,
    means: Means,
    outcome: Outcome,
    comparison: Comparison | None,
    date: str,
) -> dict[str, Any]:
    """Return the line of the history."""
    worse = {} if comparison is None else {j.place: None for j in comparison.regressions} | dict(comparison.lost)
    verdict = "no baseline" if comparison is None else "worse" if comparison.is_worse else "no regression"
    return {
        "date": date,
        "commit": current_commit() or "",
        "suite": suite.name,
        "hardware": hardware(means.device),
        "cells": outcome.run + outcome.taken + outcome.unneeded,
        "cut": len(outcome.cut),
        "failed": outcome.failed,
        "verdict": verdict,
        "worse": [name(place) for place in worse],
        "schemes": scheme_facts(record_store.records()),
    }


def _summary(
    facts: Mapping[str, Any],
    record_store: RecordStore,
    outcome: Outcome,
    comparison: Comparison | None,
    baseline: RecordStore | None,
    nightly_runs: Sequence[dict[str, Any]],
) -> str:
    head = (
        f"## Suite {in_markdown(facts['suite'])}, nightly run {facts['date']}\n\n{facts['cells']} cells on "
        f"{in_markdown(facts['hardware'])}, commit {_commit(facts['commit'])}; "
        f"{facts['failed']} failed, {facts['cut']} cut by the budget."
    )
    if comparison is None or baseline is None:
        folder = in_markdown(str(record_store.folder))
        judged = f"**Nothing to compare with**: accept a baseline by `cwwm-bench accept-baseline {folder}`."
    else:
        note = accepted(baseline)
        judged = f"Baseline: commit {_commit(note.commit)}, {in_markdown(note.date) or 'no date'}.\n\n"
        judged += markdown(comparison, baseline.records(), record_store.records())
    parts = [head, judged, cut_text(outcome), f"### Trend\n\n{trend_table(nightly_runs)}"]
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
        write_atomic(folder / LINES_FILE, csv_text(comparison.judgements).encode())
        write_atomic(folder / CHANGED_FILE, changed_text(comparison.changed).encode())
    if target := os.environ.get(STEP_SUMMARY):
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(summary)
