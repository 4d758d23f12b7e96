"""Packed records are the records: same tables, same check, same count; damage is one line."""

import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.records.record import changed, new_record, record_digest
from bench.records.store import RecordStore

Bench = Callable[..., int]


@pytest.fixture(scope="module")
def packed(finished: Path, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the finished run, packed; tests only read it."""
    folder = tmp_path_factory.mktemp("packed")
    assert bench("pack", finished, "--to", folder) == 0
    return folder


def test_packed_records_are_the_records(finished: Path, packed: Path) -> None:
    records = RecordStore(finished).records()
    assert RecordStore(packed).records() == records
    assert RecordStore(packed).read(records[3].identity) == records[3]
    assert RecordStore(packed).read("0" * 32) is None
    assert not (packed / "cells").exists()
    lines = lzma.decompress((packed / "records.jsonl.xz").read_bytes()).decode().splitlines()
    assert [json.loads(line)["identity"] for line in lines] == sorted(record.identity for record in records)


def test_a_record_says_what_its_json_says_and_is_frozen(finished: Path) -> None:
    for record in RecordStore(finished).records():
        assert record.model_dump(by_alias=True, exclude_unset=True) == record.to_json()
        assert new_record(record.to_json()) == record
        assert record.to_json()["digest"] == record_digest(record.to_json())
    with pytest.raises(ValidationError, match="frozen"):
        record.status = "refused"


def test_packing_repeats_byte_by_byte_and_makes_the_same_tables(
    finished: Path, packed: Path, tmp_path: Path
) -> None:
    RecordStore(packed).pack(tmp_path / "again")
    for name in ("records.jsonl.xz", "run.json"):
        assert (tmp_path / "again" / name).read_bytes() == (packed / name).read_bytes()
    for name in ("leaderboard.md", "leaderboard.csv", "run.json"):
        assert (packed / name).read_bytes() == (finished / name).read_bytes()


def test_status_leaderboard_and_check_work_on_a_packed_folder(
    packed: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(packed, tmp_path / "out")
    (tmp_path / "out" / "leaderboard.md").unlink()
    assert bench("check", tmp_path / "out", "--sample", 0, "--device", "cpu") == 1
    assert bench("leaderboard", tmp_path / "out") == 0
    assert bench("check", tmp_path / "out", "--sample", 0, "--device", "cpu") == 0
    capsys.readouterr()
    assert bench("status", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["records"] == {"ok": 16}


def test_a_run_into_a_packed_folder_counts_what_is_packed(
    tiny: Path, packed: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(packed, tmp_path / "out")
    arguments = (tiny / "tiny.yaml", "--out", tmp_path / "out", "--device", "cpu")
    assert bench("plan", *arguments, "--json") == 0
    assert all(cell["recorded"] for cell in json.loads(capsys.readouterr().out))
    assert bench("run", *arguments) == 0
    assert "0 cells run, 16 taken" in capsys.readouterr().err
    assert not (tmp_path / "out" / "cells").exists()


def test_a_file_goes_before_a_packed_record_and_both_are_packed_together(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "out")
    record_store = RecordStore(tmp_path / "out")
    record = next(iter(record_store.records()))
    record_store.write(changed(record, status="failed", reason="the power went"))
    statuses = {r.identity: r.status for r in RecordStore(tmp_path / "out").pack(tmp_path / "both").records()}
    assert statuses.pop(record.identity) == "failed"
    assert list(statuses.values()) == ["ok"] * 15


def test_damage_to_an_archive_is_one_line(
    packed: Path, bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.jsonl.xz"
    whole = (packed / path.name).read_bytes()
    text = lzma.decompress(whole).decode()
    flipped = bytes([*whole[:2000], whole[2000] ^ 1, *whole[2001:]])
    edited = text.replace('"exact":true', '"exact":false', 1).encode()
    cut = text[: len(text) // 2].encode()
    for damaged in (whole[:-100], flipped, b"no archive", b"", lzma.compress(edited), lzma.compress(cut)):
        path.write_bytes(damaged)
        assert bench("status", tmp_path) == 2
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert str(path) in line
        assert "damaged" in line


def test_packing_refuses_what_would_hide_or_hold_nothing(
    finished: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("pack", finished, "--to", finished) == 2
    assert "cell files of its own" in capsys.readouterr().err
    (tmp_path / "empty" / "cells").mkdir(parents=True)
    assert bench("pack", tmp_path / "empty", "--to", tmp_path / "to") == 2
    assert "nothing to pack" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
