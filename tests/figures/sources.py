"""What figures are derived from: committed records and what follows from them, and tables of committed pages."""

import csv
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache, wraps
from itertools import takewhile
from statistics import fmean
from typing import Concatenate, ParamSpec, TypeVar

from bench.leaderboard.boards import Board, boards_of
from bench.leaderboard.points import Point, gather
from bench.leaderboard.ranking import Standing, rank
from bench.leaderboard.runs import runs_of
from bench.records.record import Record
from bench.records.schema import Row, TrainedResult
from bench.records.store import RecordStore
from tests.figures.text import ROOT

RESULTS = ROOT / "results"

P, T = ParamSpec("P"), TypeVar("T")
_asked: set[str] = set()


def asked_by(derive: Callable[[], object]) -> list[str]:
    """Return the folders and pages of results that a function looks at, by name."""
    _asked.clear()
    derive()
    return sorted(_asked)


def _source(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Keep what a function of a folder or page of results gives, and note each time that it was asked for."""
    kept = cache(function)

    @wraps(function)
    def noted(what: str, *args: P.args, **kwargs: P.kwargs) -> T:
        _asked.add(what)
        return kept(what, *args, **kwargs)

    return noted


@cache
def folders() -> tuple[str, ...]:
    """Return the committed folders of records that boards and studies are made of, those of a GPU left out."""
    return tuple(sorted(path.parent.name for path in RESULTS.glob("*/records.jsonl.xz")))


@_source
def records(folder: str) -> tuple[Record, ...]:
    """Return the records of a folder of results."""
    return tuple(RecordStore(RESULTS / folder).records())


@_source
def trained(folder: str) -> tuple[TrainedResult, ...]:
    """Return those of trained models that have a result."""
    return tuple(record for record in records(folder) if isinstance(record, TrainedResult))


@_source
def points(folder: str) -> tuple[Point, ...]:
    """Return the points of a folder."""
    return tuple(gather(records(folder)))


@_source
def boards(folder: str) -> tuple[Board, ...]:
    """Return the boards of a folder."""
    return tuple(boards_of(runs_of(points(folder))))


@_source
def standings(folder: str, payload: int, board: str = "encodings") -> tuple[Standing, ...]:
    """Return the ranking of a board, by its name, at a payload."""
    (found,) = (one for one in boards(folder) if one.name == board)
    return tuple(rank(found.at(payload)))


def standing(folder: str, scheme: str, payload: int = 256) -> Standing:
    """Return the line of a scheme on the board of encodings."""
    (found,) = (one for one in standings(folder, payload) if one.scheme == scheme)
    return found


def rows_of(folder: str, scheme: str, attack: str | None = None, model: str | None = None) -> list[Row]:
    """Return the rows of a scheme, all or those of an attack and a model."""
    found = [
        row
        for record in trained(folder)
        if record.key.scheme == scheme and attack in (None, record.key.attack) and model in (None, record.key.model)
        for row in record.rows
    ]
    assert found, (folder, scheme, attack, model)
    return found


def recovered(rows: Iterable[Row]) -> float:
    """Return the share of messages that came back."""
    return fmean(row.recovered for row in rows)


def percent(share: float) -> str:
    """Return a share as whole percents."""
    return f"{100 * share:.0f}"


@_source
def tables(page: str, header: str, column: str = "") -> list[list[list[str]]]:
    """Return the cells of the tables of a page under results whose header begins so and has this column."""
    lines = (RESULTS / page).read_text().splitlines()
    begins = re.compile(rf"\| *{re.escape(header)} +\|.*\b{re.escape(column)}")
    return [_cells(lines[number + 2 :]) for number, line in enumerate(lines) if begins.match(line)]


def table(page: str, header: str, column: str = "") -> list[list[str]]:
    """Return those of the first."""
    return tables(page, header, column)[0]


def _cells(lines: list[str]) -> list[list[str]]:
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


@_source
def words(page: str) -> str:
    """Return the words of a page under results, with single blanks."""
    return " ".join((RESULTS / page).read_text().split())


@_source
def lines(folder: str) -> tuple[dict[str, str], ...]:
    """Return the lines of the CSV of a folder, by column."""
    with (RESULTS / folder / "leaderboard.csv").open() as file:
        return tuple(csv.DictReader(file))


def minutes(folder: str) -> float:
    """Return the minutes from the first to the last record of a folder."""
    dates = sorted(datetime.fromisoformat(record.environment.date) for record in records(folder))
    return (dates[-1] - dates[0]).total_seconds() / 60
