"""A checkpoint of 1 GB is marked, read and verified at the price of copying it, in little memory, byte for byte."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cwwm.checkpoint import FileWeights
from cwwm.keys import Key
from cwwm.mark import load_mark
from cwwm.schemes.keyed import place

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
    """What a child process did: wall seconds and the most anonymous memory it was seen to hold, in bytes."""

    seconds: float
    anonymous: int
    output: str
    errors: str


def run(*arguments: object) -> Run:
    """Run this Python with one thread and watch it."""
    start, anonymous = time.perf_counter(), 0
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as child:
        reader = _Reader(child)
        while child.poll() is None:
            anonymous = max(anonymous, _anonymous_bytes(child.pid))
            time.sleep(SAMPLING_SECONDS)
        seconds = time.perf_counter() - start
        output, errors = reader.result()
    assert child.returncode == 0, errors
    return Run(seconds, anonymous, output, errors)
