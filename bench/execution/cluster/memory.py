"""How much of a GPU the tasks of a model take: measured by each, kept in the shared folder, a bound for more."""

import json

import torch

from bench.execution.cluster.shared_folder import SharedFolder
from cwwm.support.seeds import identity


def limit_memory(device: str, share: float) -> None:
    """Hold this process to its part of the GPU, and begin to measure; nothing on a CPU."""
    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(share)
        torch.cuda.reset_peak_memory_stats()


def note_peak(device: str, model: str, shared: SharedFolder) -> None:
    """Keep the bytes that this process reserved at most, if no task of the model took more; nothing on a CPU."""
    if device != "cuda":
        return
    peak = torch.cuda.max_memory_reserved()
    if peak > (read_peak(model, shared) or 0):
        shared.write(_name(model), json.dumps({"model": model, "peak_bytes": peak}).encode())


def read_peak(model: str, shared: SharedFolder) -> int | None:
    """Return the bytes that tasks of a model reserved at most; None before the first."""
    noted = shared.read(_name(model))
    return None if noted is None else int(json.loads(noted)["peak_bytes"])


def _name(model: str) -> str:
    return f"memory/{identity(model=model)}.json"
