"""The conditions of a run: versions, hardware, threads, and how busy others kept the machine."""

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import numpy
import torch

from bench.support.determinism import be_deterministic
from bench.support.numerics import processor_facts, processor_name
from cwwm.support.errors import BadInput


def choose_device(name: str) -> torch.device:
    """Return the device for ``"auto"``, ``"cpu"`` or ``"cuda"``; BadInput where there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise BadInput(f"device is auto, cpu or cuda, not '{name}'")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("no CUDA device is available to torch; use --device cpu")
    return torch.device(name)


def prepare(device: torch.device, threads: int) -> dict[str, Any]:
    """Fix threads and deterministic algorithms, and return what results depend on beside the recipe.

    That is versions, device and threads, and what the last bits follow: processor, instruction set, numerics. One
    thread by default: results of a cell then repeat bit by bit, and a busy machine slows it no further.
    """
    torch.set_num_threads(threads)
    if device.type == "cuda":
        be_deterministic()
    import timm

    made_with = {"device": device.type, "threads": threads, "torch": torch.__version__, "timm": timm.__version__}
    facts = processor_facts()
    if device.type == "cuda":
        facts["processor"] = f"{torch.cuda.get_device_name(device)}, {facts['processor']}"
    return made_with | facts


def hardware(device: torch.device) -> str:
    """Return the name of the processor or GPU that did the work."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()} ({os.cpu_count()} cores)"


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, hardware and the date, for the reader of a record."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "hardware": hardware(device),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


class OthersLoad:
    """Measures, from its making to `share`, how much of the machine other processes used.

    A run's timings count only if that is near zero.
    """

    def __init__(self) -> None:
        """Start to measure."""
        self._start = _busy_and_own()

    def share(self) -> float | None:
        """Return others' share of all processor time since the start, in [0, 1]; None outside Linux."""
        now = _busy_and_own()
        if now is None or self._start is None:
            return None
        total, busy, own = (b - a for a, b in zip(self._start, now, strict=True))
        return round(max(0.0, busy - own) / total, 3) if total > 0 else 0.0


def _busy_and_own() -> tuple[float, float, float] | None:
    """Return (all, busy, own) processor seconds since boot."""
    try:
        ticks = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    hertz = os.sysconf("SC_CLK_TCK")
    idle = ticks[3] + ticks[4]
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return sum(ticks) / hertz, (sum(ticks) - idle) / hertz, own
