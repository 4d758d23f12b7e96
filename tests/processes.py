"""Command lines in processes that tests may kill, and what can be seen of them from outside."""

import contextlib
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_PRELOADED = [
    "bench.cli.app",
    "bench.verification.check",
    "bench.execution.executors",
    "cwwm.cli.app",
    "cwwm.owner",
    "timm",
    "sklearn.datasets",
]


def start(
    zoo: Path, said: Path, name: str, *arguments: object, first: Callable[[], object] | None = None
) -> BaseProcess:
    """Start cwwm or cwwm-bench in a process that has its modules loaded, which takes no seconds of imports.

    Args:
        zoo: folder of models.yaml.
        said: file, or terminal, that gets what it prints.
        name: of the program.
        arguments: of its command line.
        first: called in that process before; a function of a module.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_call, args=(zoo, said, name, first, *map(str, arguments)))
    process.start()
    return process


def _call(zoo: Path, said: Path, name: str, first: Callable[[], object] | None, *arguments: str) -> None:
    """Run a command line; the process that does this is killed."""
    import torch

    import bench.cli.app
    import cwwm.cli.app
    from bench.models.registry import ZOO_VARIABLE

    os.environ[ZOO_VARIABLE] = str(zoo / "models.yaml")
    torch.set_num_threads(1)
    if first:
        first()
    with said.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.argv[:] = [name, *arguments]
        {"cwwm": cwwm.cli.app.main, "cwwm-bench": bench.cli.app.main}[name]()


def workers(pid: int | None) -> list[int]:
    """Return the worker processes of a process, which are the children of its fork server."""
    return sorted(worker for server in _children(pid) for worker in _children(server))


def _children(pid: int | None) -> list[int]:
    """Return the children of a process that a fork server is or makes; none tracks resources."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            line = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == pid and "forkserver" in line:
            found.append(int(path.parent.name))
    return found


def gone(pids: list[int]) -> bool:
    """Say whether processes have ended."""
    return not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids)


def until(what: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until something is so; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def with_models_of(finished: Path, out: Path) -> Path:
    """Make an output folder that has the stored models of a finished run and no record, and return it."""
    shutil.copytree(finished / "artefacts", out / "artefacts")
    return out


def recorded(out: Path) -> list[Path]:
    """Return the files of the cells that a run has recorded."""
    return sorted((out / "cells").glob("*.json"))
