"""Results of strangers: sound ones are accepted, forged and hostile ones refused in words, nothing is imported."""

import json
import lzma
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.leaderboard import write
from bench.models.registry import find_models
from bench.records.record import parse_record
from bench.records.schema import RecipePart, SchemePart
from bench.records.store import RecordStore, record_digest
from bench.suite.cell import Cell
from bench.support.environment import prepare
from bench.support.untrusted_io import RECORD_BYTES, RECORDS_BYTES
from bench.verification.check import drawn
from bench.verification.rebuild import cell_of, sort_out
from bench.verification.submission import _identity, contradictions, foreign_parts, gaps, inspect
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput

Bench = Callable[..., int]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def submission(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run without its stored models, as one would hand it in."""
    shutil.copytree(finished, tmp_path / "handed-in", ignore=shutil.ignore_patterns("artefacts"))
    return tmp_path / "handed-in"


def rewrite(folder: Path, edit: Edit, *, identity: bool = False) -> str:
    """Edit the first record and forge its digest (and identity, run file and name); return its identity."""
    path = min((folder / "cells").iterdir())
    record = json.loads(path.read_text())
    edit(record)
    path.unlink()
    if identity:
        record["identity"] = _identity(record["recipe"])
    record["digest"] = record_digest(record)
    (folder / "cells" / f"{record['identity']}.json").write_text(json.dumps(record))
    run = folder / "run.json"
    run.write_text(run.read_text().replace(path.stem, str(record["identity"])))
    return str(record["identity"])


def only_fault(folder: Path) -> str:
    (fault,) = inspect(RecordStore(folder)).faults
    return fault


def test_a_sound_folder_has_no_faults_packed_or_not(submission: Path, tmp_path: Path) -> None:
    packed = RecordStore(submission).pack(tmp_path / "packed")
    for record_store in (RecordStore(submission), packed):
        found = inspect(record_store)
        assert not found.faults
        assert list(found.records) == list(record_store.records())
        assert gaps(found.records) == []


def test_a_recipe_alone_gives_identity_and_key(
    submission: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWWM_MODELS", str(tiny / "models.yaml"))
    (spec,) = find_models(["tiny"])
    for record in RecordStore(submission).records():
        cell: Cell = cell_of(record, spec)
        assert (cell.identity, cell.key) == (_identity(record.to_json()["recipe"]), record.to_json()["key"])


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda r: r["rows"][0].update(log10_p=3.0), "rows[0].log10_p: 3.0 is more than 0"),
        (lambda r: r["rows"][0].update(exact=1), "rows[0].exact: 1 is not true or false"),
        (lambda r: r["rows"][0].update(bit_error=-0.1), "rows[0].bit_error: -0.1 is less than 0"),
        (lambda r: r["marked"]["accuracy"].update(correct=258), "258 of 257 answers cannot be right"),
        (lambda r: r.update(note="x"), "unknown field 'note'"),
        (lambda r: r.pop("marked"), "a record of status ok lacks marked"),
        (
            lambda r: r.update(artefact="../../../etc/passwd"),
            "artefact: '../../../etc/passwd' does not have the form",
        ),
        (lambda r: r["key"].update(scheme="\x1b[2J"), "key.scheme: holds characters"),
        (lambda r: r["key"].update(scheme="cwc strong"), "its key says scheme 'cwc strong', its recipe"),
        (lambda r: r["key"].update(seed=7), "its key says seed 7, its recipe "),
        (
            lambda r: r["recipe"]["scheme"]["parameters"].update(carrier="all"),
            "its identity does not follow from its recipe",
        ),
        (lambda r: r["rows"].pop(), "its rows are not those of its strengths"),
    ],
)
def test_a_forged_record_is_told_from_a_sound_one(submission: Path, edit: Edit, says: str) -> None:
    name = rewrite(submission, edit)
    fault = only_fault(submission)
    assert fault.startswith(f"record {name}: ")
    assert says in fault


def test_a_label_cannot_be_the_name_of_another_scheme(submission: Path) -> None:
    def borrow(record: dict[str, Any]) -> None:
        record["recipe"]["label"] = record["key"]["scheme"] = "protected-cwc"

    rewrite(submission, borrow, identity=True)
    assert "by the name of another, 'protected-cwc'" in only_fault(submission)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"format": NaN}', "NaN is no number"),
        ('{"format": -Infinity}', "-Infinity is no number"),
        ('{"format": "cwwm-bench-record v1", "rows": 1e999}', "is damaged"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 900 + "1" + "}" * 900, "is damaged"),
        ("9" * 5000, "is damaged"),
        ("[1]", "it holds no JSON object"),
        ("{", "is damaged"),
        ('{"rows": "' + "x" * RECORD_BYTES + '"}', "at most 1,048,576 are read"),
    ],
)
def test_hostile_json_is_one_reason(submission: Path, text: str, says: str) -> None:
    path = min((submission / "cells").iterdir())
    path.write_text(text)
    fault = only_fault(submission)
    assert path.stem in fault
    assert says in fault


@pytest.mark.parametrize("where", ["leaderboard.md", "run.json", "cells/{}.json", "artefacts"])
def test_links_are_not_followed(submission: Path, where: str) -> None:
    path = submission / where.format("0" * 32)
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/hostname" if path.suffix else "/etc")
    assert "is a link or a device" in only_fault(submission)
    path.unlink()
    os.mkfifo(path)
    assert "is a link or a device" in only_fault(submission)


@pytest.mark.parametrize("identity", ["../../../../etc/passwd", "/etc/passwd", "x" * 32, "", 7])
def test_an_archive_names_no_files(submission: Path, tmp_path: Path, identity: object) -> None:
    record = next(iter(RecordStore(submission).records())).to_json() | {"identity": identity}
    record["digest"] = record_digest(record)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "records.jsonl.xz").write_bytes(lzma.compress(json.dumps(record).encode() + b"\n"))
    assert "its identity is no digest" in only_fault(tmp_path / "packed")
    with pytest.raises(BadInput, match="its identity is no digest"):  # so do all other commands
        list(RecordStore(tmp_path / "packed").records())


def bomb(size: int) -> bytes:
    """Return a small archive of so many bytes, in lines of an eighth of a record."""
    machine, line = lzma.LZMACompressor(preset=0), b" " * (RECORD_BYTES // 8 - 1) + b"\n"
    return b"".join(machine.compress(line) for _ in range(size // len(line))) + machine.flush()


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (lambda: lzma.compress(b" " * (4 * RECORD_BYTES), preset=0), "holds more than records can"),
        (lambda: bomb(4 * RECORD_BYTES), "record 1 of"),
        (lambda: lzma.compress(b"") + b"more", "it goes on after its end"),
        (lambda: lzma.compress(b"{}"), "its last line has no end"),
        (lambda: b"PK\x03\x04", "is damaged"),
    ],
)
def test_a_hostile_archive_is_one_reason(tmp_path: Path, packed: Callable[[], bytes], says: str) -> None:
    (tmp_path / "records.jsonl.xz").write_bytes(packed())
    assert says in only_fault(tmp_path)


def test_an_archive_is_unpacked_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.support import untrusted_io as reading

    assert RECORDS_BYTES > 4 * 55_000_000
    monkeypatch.setattr(reading, "RECORDS_BYTES", 2 * RECORD_BYTES)
    (tmp_path / "records.jsonl.xz").write_bytes(bomb(64 * RECORD_BYTES))
    taken: list[bytes] = []
    with pytest.raises(BadInput, match="holds more than records can"):
        taken.extend(reading.archive_lines(tmp_path / "records.jsonl.xz"))
    assert sum(map(len, taken)) <= 2 * RECORD_BYTES


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"suite": "x", "cells": ["../x"]}', "cells[0]"),
        ('{"suite": "\\u001b[2J", "cells": []}', "suite: holds characters"),
        ('{"cells": []}', "field 'suite' is missing"),
        ('{"suite": "x", "cells": [], "archived": {"date": "today", "reason": "x"}}', "archived.date"),
        ('{"suite": "x", "cells": [], "archived": {"date": "2026-01-31", "reason": "\\n# x"}}', "archived.reason"),
        ("[]", "it holds no JSON object"),
    ],
)
def test_a_hostile_run_file_is_one_reason(submission: Path, text: str, says: str) -> None:
    (submission / "run.json").write_text(text)
    assert says in only_fault(submission)


def test_what_is_left_out_is_said(submission: Path) -> None:
    records = list(RecordStore(submission).records())
    (line,) = gaps(records[1:])
    assert line.startswith("left out at 64 bits: 1 cells, such as tiny, ")
    (submission / "cells" / f"{records[0].identity}.json").unlink()
    assert "1 cells of the run have no record" in only_fault(submission)


PLUGIN = """
import pathlib
pathlib.Path({marker!r}).write_text("imported")
from cwwm.schemes.sign import Sign
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True, kw_only=True)
class Theirs(Sign):
    name: ClassVar[str] = "theirs"
"""


def test_a_submitted_plugin_is_never_imported_unless_the_reader_names_it(
    submission: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def theirs(record: dict[str, Any]) -> None:
        record["recipe"]["scheme"] |= {"name": "theirs", "parameters": {}}
        record["recipe"]["label"] = record["key"]["scheme"] = "theirs"

    rewrite(submission, theirs, identity=True)
    marker = submission.parent / "marker"
    (submission / "theirs.py").write_text(PLUGIN.format(marker=str(marker)))
    write(RecordStore(submission))
    monkeypatch.chdir(submission)
    assert bench("check", submission, "--sample", 0, "--device", "cpu") == 1
    out = capsys.readouterr().out
    assert "WRONG: not re-run: scheme 'theirs' comes from a plugin (1 records)" in out
    assert "not accepted: 1 reasons" in out
    assert not marker.exists()
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        assert bench("check", submission, "--sample", 0, "--device", "cpu", "--plugin", "theirs") == 0
    finally:
        SCHEMES.pop("theirs", None)
        sys.modules.pop("theirs", None)
    assert marker.exists()


def test_parts_of_parts_count_as_plugins() -> None:
    made = {
        "name": "then",
        "first": {"name": "search", "attack": {"name": "melt"}},
        "second": {"name": "overwrite", "scheme": "theirs"},
    }
    scheme = SchemePart(name="wrong-key", parameters={"scheme": "mine"})
    found = foreign_parts(RecipePart.model_construct(scheme=scheme, attack=made))
    assert found == [
        "attack 'melt'",
        "scheme 'mine'",
        "scheme 'theirs'",
    ]
    own = {"scheme": SchemePart(name="cwc", parameters={}), "attack": {"name": "quantise", "scheme": "affine"}}
    assert foreign_parts(RecipePart.model_construct(**own)) == []


def test_a_model_that_is_not_the_readers_is_not_run(
    submission: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((submission / "cells").iterdir())[1:]:
        path.unlink()
    (submission / "run.json").unlink()
    loaded = submission.parent / "loaded"
    path = min((submission / "cells").iterdir())
    record = json.loads(path.read_text())
    path.unlink()
    record["recipe"]["host"]["model"]["create"] = {"checkpoint_path": str(loaded)}  # timm would unpickle it
    record["identity"] = _identity(record["recipe"])
    record["digest"] = record_digest(record)
    (submission / "cells" / f"{record['identity']}.json").write_text(json.dumps(record))
    assert contradictions(parse_record(record), record["identity"]) == []
    write(RecordStore(submission))
    assert bench("check", submission, "--sample", 1, "--device", "cpu") == 1
    out = capsys.readouterr().out
    assert "their model is described otherwise in models.yaml here" in out
    assert "WRONG: no cell could be run again here" in out
    assert "running again" not in out


def test_a_seed_chooses_the_same_cells_and_another_others_from_every_scheme_and_attack(
    finished: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWWM_MODELS", str(tiny / "models.yaml"))
    records, runtime = list(RecordStore(finished).records()), prepare(torch.device("cpu"), 1)
    runnable, others = sort_out(records, runtime)
    assert (len(runnable), others.total()) == (16, 0)

    def chosen(seed: int, count: int = 4) -> list[str]:
        return [one.record.identity for one in drawn(runnable, count, seed)]

    assert len({tuple(chosen(seed)) for seed in range(8)}) == 8
    assert chosen(3) == chosen(3)
    for seed in range(8):
        eight = set(chosen(seed, 8))
        met = {(r.key.scheme, r.key.attack) for r in records if r.identity in eight}
        assert len(met) == 8, "two schemes, four attacks"
    runnable, others = sort_out(records, {**runtime, "torch": "0.1"})
    assert (runnable, others) == ([], {f"their torch is {torch.__version__}, here it is 0.1": 16})
