"""The one timer: wall seconds of a region, the device's queue drained at both ends, and its memory peak."""

import contextlib
import resource
import time
from pathlib import Path
from types import TracebackType

import torch


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done all that was queued; does nothing on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Times a `with` block: `seconds` afterwards, and `peak_bytes` if asked for.

    On CUDA the peak is what tensors held at most; on the CPU it is the process's largest resident set inside
    the block (outside Linux: since its start).
    """

    def __init__(self, device: torch.device, *, memory: bool = False) -> None:
        """Prepare for work on `device`."""
        self.device = device
        self.memory = memory
        self.seconds = 0.0
        self.peak_bytes: int | None = None

    def __enter__(self) -> "Stopwatch":
        synchronise(self.device)
        if self.memory:
            _reset_peak(self.device)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        synchronise(self.device)
        self.seconds = time.perf_counter() - self._start
        if self.memory:
            self.peak_bytes = _peak(self.device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak is then that of the whole process
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
