"""A checkpoint of 1 GB is marked, read and verified in little memory, byte for byte.

What it costs beside a copy is measured by `bench.studies.checkpoint_size`.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark, load_mark
from cwwm.schemes import scheme_of
from cwwm.schemes.common.keyed import place
from cwwm.schemes.protected_cwc import ProtectedConstantWeight
from cwwm.weights.checkpoint import FileWeights

MESSAGE = "it is mine"
METADATA = {"format": "pt", "origin": "a test"}
COLUMNS = 1000
SAMPLING_SECONDS = 0.005


def write_checkpoint(path: Path, layers: int, rows: int) -> None:
    """Linear layers of `rows` x 1000 float32 weights, a float16 norm and an int64 counter, written as they come."""
    shapes = {f"layers.{i}.weight": ("F32", [rows, COLUMNS]) for i in range(layers)}
    entries = {"norm.weight": ("F16", [COLUMNS]), **shapes, "steps": ("I64", [3])}
    header: dict[str, object] = {"__metadata__": METADATA}
    end = 0
    for name, (dtype, shape) in entries.items():
        begin, end = end, end + int(np.prod(shape)) * {"F32": 4, "F16": 2, "I64": 8}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        rng.standard_normal(COLUMNS).astype(np.float16).tofile(file)
        for layer in range(layers):
            (rng.standard_normal(rows * COLUMNS, dtype=np.float32) * np.float32(0.1 / (layer + 1))).tofile(file)
        np.arange(3, dtype=np.int64).tofile(file)


@dataclass(frozen=True)
class Run:
    """What a child process did, and the most anonymous memory seen in it, in bytes."""

    anonymous: int
    output: str
    errors: str


def run(*arguments: object) -> Run:
    """Run this Python with one thread, and watch it."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:  # pipes would fill up
        anonymous = 0
        child = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=output,
            stderr=errors,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        while child.poll() is None:
            anonymous = max(anonymous, anonymous_bytes(child.pid))
            time.sleep(SAMPLING_SECONDS)
        output.seek(0)
        errors.seek(0)
        found = Run(anonymous, output.read(), errors.read())
    assert child.returncode == 0, found.errors
    return found


def anonymous_bytes(pid: int) -> int:
    """Return RssAnon of a process: what it allocated, without the file's pages; 0 once it has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


@dataclass(frozen=True)
class Files:
    """A checkpoint and its key in a folder, and the commands that mark, read and verify it."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def marked(self) -> Path:
        return self.folder / "marked.safetensors"

    @property
    def mark(self) -> Path:
        return self.folder / "marked.mark.json"

    @property
    def key(self) -> Path:
        return self.folder / "owner.key"

    def commands(self) -> dict[str, list[object]]:
        """The arguments of the three commands, in the order in which they run."""
        key, message = ["--key", self.key], ["--message", MESSAGE]
        deep = [
            "--scheme",
            "protected-cwc",
            "--budget-depth",
            "10",
        ]  # twenty layers of falling scale: their answers are not at stake here
        commitment = ["--commitment", self.folder / "marked.commitment.json"]
        return {
            "embed": ["-m", "cwwm.cli", "embed", self.model, *key, *message, *deep, "-o", self.marked],
            "extract": ["-m", "cwwm.cli", "extract", self.marked, *key],
            "verify": ["-m", "cwwm.cli", "verify", self.marked, *key, *message, "--mark", self.mark, *commitment],
        }


def prepare(folder: Path, *, layers: int, rows: int) -> Files:
    files = Files(folder)
    write_checkpoint(files.model, layers, rows)
    Key.generate().save(files.key)
    return files


def check_answers(runs: Mapping[str, Run]) -> None:
    assert f"text: {MESSAGE}" in runs["extract"].output
    assert "message recovered: yes" in runs["verify"].output


def check_only_hosts_changed(files: Files) -> None:
    """Compare the files word by word: what differs are host weights, and the header is the same."""
    before, after = np.memmap(files.model, np.uint32, "r"), np.memmap(files.marked, np.uint32, "r")
    assert before.shape == after.shape
    changed = np.flatnonzero(before != after)
    hosts = host_words(files)
    assert 0 < len(changed) <= len(hosts)
    assert np.isin(changed, hosts).all()
    assert FileWeights(files.marked).metadata == METADATA


def host_words(files: Files) -> npt.NDArray[np.int64]:
    """Where in the file, in words of 4 bytes, the host weights of the mark lie."""
    mark = load_mark(files.mark)
    assert mark.carrier is not None
    assert {layer.dtype for layer in mark.carrier.layers} == {"float32"}
    with files.model.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    hosts = place(mark.carrier, mark.streams(Key.load(files.key)), _hosts(mark))
    starts = [8 + length + header[layer.name]["data_offsets"][0] for layer in mark.carrier.layers]
    return np.concatenate([starts[layer] // 4 + inside.numpy() for layer, _, inside in hosts.parts])


def _hosts(mark: Mark) -> int:
    scheme = scheme_of(mark)
    assert isinstance(scheme, ProtectedConstantWeight)
    return scheme.code.length


def imported(errors: str) -> set[str]:
    """The modules that `-X importtime` lists."""
    return {line.rsplit("|", 1)[-1].strip() for line in errors.splitlines() if line.startswith("import time:")}


def test_only_host_weights_change_and_timm_stays_out(tmp_path: Path) -> None:
    files = prepare(tmp_path, layers=5, rows=1000)
    runs = {name: run("-X", "importtime", *command) for name, command in files.commands().items()}
    check_answers(runs)
    check_only_hosts_changed(files)
    for child in runs.values():
        modules = imported(child.errors)
        assert "cwwm.owner" in modules
        assert not modules & {"timm", "torchvision", "bench"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
def test_one_gigabyte_takes_little_memory(tmp_path: Path) -> None:
    layers, rows = 20, 12_500
    files = prepare(tmp_path, layers=layers, rows=rows)
    imports = run("-c", "import cwwm.cli.app, cwwm.owner, torch")
    runs = {name: run(*command) for name, command in files.commands().items()}
    check_answers(runs)
    check_only_hosts_changed(files)
    limit = 1.5 * rows * COLUMNS * 4 + 100e6
    memory = {name: child.anonymous - imports.anonymous for name, child in runs.items()}
    assert {name: taken for name, taken in memory.items() if taken > limit} == {}
