"""Hostile text: shown as text on terminals, in Markdown and in spreadsheets; ordinary text is left alone."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bench.leaderboard import texts
from bench.records.record import Record, changed
from bench.records.schema import TrainedRecord
from bench.records.store import RecordStore
from bench.support.plain_text import in_markdown, in_spreadsheet, plain

Bench = Callable[..., int]

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "a | b | c",
    "[click](javascript:alert(1))",
    "![](https://example.org/spy.png)",
    "<javascript:alert(1)>",
    "[x][y] <!-- hidden",
    "=HYPERLINK(1)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
]


@pytest.mark.parametrize(
    "text", ["cwc", "magnitude + bn", "quantise (bits=4, scheme=affine)", "naïve 🙂", "a_b*c", "1 < 2"]
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert plain(text) == in_markdown(text) == in_spreadsheet(text) == text


def test_terminals_get_no_controls() -> None:
    assert plain("a\x1b[2J\x07\rb\nc\u202ed\x9b1m\udc80") == "a\\x1b[2J\\x07\\rb\nc\\u202ed\\x9b1m\\udc80"


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_the_text(text: str) -> None:
    page = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table")
    table = f"| a | b |\n|---|---|\n| {in_markdown(text)} | 1 |\n"
    html = page.render(f"- {in_markdown(text)}\n\n{table}\n\n[y]: https://example.org\n")
    assert not re.search(r"<(a|img|script)\b|<!--", html)
    (row,) = re.findall(r"<tbody>(.*?)</tbody>", html, re.DOTALL)
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert len(cells) == 2
    assert cells[1] == "1"


def test_lines_end_where_the_table_ends_them() -> None:
    assert in_markdown("a\n# b\x1b[1m") == "a # b\\x1b[1m"


@pytest.mark.parametrize("text", ["=1", "+x", "-2+3", "@x", "\t=1", "\r=1"])
def test_spreadsheets_get_no_formula(text: str) -> None:
    cell = in_spreadsheet(text)
    assert isinstance(cell, str)
    assert cell[0] in "'\\"


@pytest.mark.parametrize("cell", ["-1.5", "-", "+3", "-inf", "1e-3", 4, -4, None])
def test_numbers_stay(cell: object) -> None:
    assert in_spreadsheet(cell) == cell


def renamed(record: Record, text: str) -> Record:
    """Return a record whose labels, model and conditions all say a text, which no record from a file could."""
    key = record.key.model_copy(update={"scheme": text, "attack": text, "model": text})
    environment = record.environment.model_copy(update={"hardware": text})
    return record.model_copy(update={"key": key, "environment": environment})


@pytest.mark.parametrize("text", HOSTILE)
def test_leaderboards_hold_text_only(finished: Path, text: str) -> None:
    first, *rest = (renamed(record, text) for record in RecordStore(finished).records())
    refused = {**dict(first), "status": "refused", "reason": f"{text}\n{text}\x1b[2J"}
    made = texts(text, [TrainedRecord.model_construct(**refused), *rest], archived=text)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(made["leaderboard.md"])
    assert not re.search(r"<(a|img|script)\b|<!--", html)
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        widths = {len(re.findall(r"<t[hd]\b", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)}
        assert len(widths) == 1
    assert made["leaderboard.md"].replace("\n", "").isprintable()
    for row in csv.reader(io.StringIO(made["leaderboard.csv"])):
        assert not any(
            cell[:1] in tuple("=+-@\t\r") and not re.fullmatch(r"-|[-+]?[\d.e+-]+", cell) for cell in row
        )
        assert not any(cell == "-2+3" for cell in row)


def test_status_and_leaderboard_print_text_only(
    finished: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("artefacts"))
    record_store = RecordStore(tmp_path / "out")
    record = next(iter(record_store.records()))
    record_store.write(changed(record, status="failed", reason="\x1b[2J\x1b[1;1Hall is well"))
    progress = tmp_path / "out" / "progress.json"
    told = json.loads(progress.read_text()) | {"last": ["\x1b[31mred"], "doing": "\x9b2J", "suite": "\x1b[5m"}
    progress.write_text(json.dumps(told))
    for command in ("status", "leaderboard"):
        assert bench(command, tmp_path / "out") == 0
        assert capsys.readouterr().out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "change", [{"total": "many"}, {"seconds": 1e999}, {"last": [1]}, {"last": "x"}, {"pid": None}, {"more": 1}]
)
def test_a_strange_file_of_progress_is_one_line(
    finished: Path, bench: Bench, tmp_path: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((finished / "progress.json").read_text()) | change
    (tmp_path / "cells").mkdir()
    (tmp_path / "progress.json").write_text(json.dumps(told).replace("Infinity", "1e999"))
    assert bench("status", tmp_path) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "progress.json" in line
