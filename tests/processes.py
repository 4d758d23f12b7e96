"""Command lines in processes that tests may kill, and what can be seen of them from outside."""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_PRELOADED = [
    "bench.cli.app",
    "bench.verification.check",
    "bench.execution.executors",
    "cwwm.cli",
    "cwwm.owner",
    "timm",
    "sklearn.datasets",
]


def start(zoo: Path, said: Path, name: str, *arguments: object) -> BaseProcess:
    """Start cwwm or cwwm-bench in a process that has its modules loaded; what it prints goes to the file `said`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_call, args=(zoo, said, name, *map(str, arguments)))
    process.start()
    return process


def _call(zoo: Path, said: Path, name: str, *arguments: str) -> None:
    """Run a command line; the process that does this is killed."""
    import torch

    from bench.models.registry import ZOO_VARIABLE
    from cwwm.support.console import run_app

    os.environ[ZOO_VARIABLE] = str(zoo / "models.yaml")
    torch.set_num_threads(1)
    with said.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        if name == "cwwm":
            from cwwm.cli import app
        else:
            from bench.cli.app import app
        code = run_app(app, name, arguments)
    raise SystemExit(code)


def workers(pid: int | None) -> list[int]:
    """Return the worker processes of a process; the one that tracks resources is not among them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            line = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == pid and "spawn_main" in line:
            found.append(int(path.parent.name))
    return sorted(found)


def gone(pids: list[int]) -> bool:
    """Say whether processes have ended."""
    return not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids)


def until(what: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something is so; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def recorded(out: Path) -> list[Path]:
    """Return the files of the cells that a run has recorded."""
    return sorted((out / "cells").glob("*.json"))
