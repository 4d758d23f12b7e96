"""What the head of the page states: of which records it is, made when, by what, on what."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.records.record import Record
from bench.records.schema import Environment
from bench.records.store import RecordStore
from bench.support.git import current_commit


def facts(record_store: RecordStore, records: Sequence[Record]) -> dict[str, Any]:
    """Return the suite, counts of cells by status, seeds, and the conditions of the run, each value once.

    "archived" is the note that the records are of older source, or None.
    """
    timed = [record.environment for record in records]
    days = sorted({environment.date[:10] for environment in timed})
    return {
        "suite": record_store.suite,
        "archived": record_store.archived,
        "cells": dict(Counter(record.status for record in records)),
        "seeds": len({record.key.seed for record in records}),
        "date": " to ".join(dict.fromkeys([days[0], days[-1]])) if days else None,
        "hardware": sorted({f"{e.hardware}, {e.threads} thread(s)" for e in timed}),
        "versions": _versions(records, timed),
        "run_commit": record_store.commit,
        "page_commit": current_commit(),
    }


def _versions(records: Sequence[Record], timed: Sequence[Environment]) -> dict[str, list[str]]:
    """Return the versions that records name, and of this package, which wrote the page."""
    found = {name: {getattr(e, name) for e in timed} for name in ("python", "torch", "numpy")}
    found["timm"] = {record.recipe.host.timm for record in records}
    named = {name: sorted(values) for name, values in found.items() if values}
    try:
        return named | {"cwwm": [version("cwwm")]}
    except PackageNotFoundError:  # run from a folder, not installed
        return named
