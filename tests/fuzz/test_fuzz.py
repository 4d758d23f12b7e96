"""A short round of `make fuzz`: the corpus itself, and some hundred inputs a reader."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import Score, fuzz
from tests.fuzz.make_corpus import CORPUS
from tests.fuzz.targets import TARGETS

SHORT = 150  # inputs a target; `make fuzz` runs more

WHOLE = {
    "mark": "*.mark.json",
    "verify": "*.mark.json",
    "commitment": "*.commitment.json",
    "key": "harness.key",
    "message": "message.txt",
    "safetensors": "*.safetensors",
    "torch": "*.pt",
    "legacy": "*.pth",
    "onnx": "*.onnx",
    "inspect": "model.*",
    "suspect": "protected-cwc.safetensors",
    "learned": "learned.mark.safetensors",
    "record": "*.record.json",
    "run-file": "*.run.json",
    "progress": "last.progress.json",
    "durations": "durations.json",
    "history": "history.jsonl",
    "note": "accepted.note.json",
    "calibration": "*.calibration.yaml",
}


@pytest.mark.parametrize("name", TARGETS)
def test_files_of_the_corpus_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "learned.mark.safetensors").write_bytes((CORPUS / "learned.mark.safetensors").read_bytes())
    files = sorted(CORPUS.glob(WHOLE[name]))
    assert files
    for file in files:
        assert TARGETS[name].run(file.name, file.read_bytes(), tmp_path), file


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused(name: str) -> None:
    score = Score()
    fuzz(TARGETS[name], SHORT, 1, score)
    assert score.tried >= SHORT // 2
