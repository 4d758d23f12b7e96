"""What tasks took, kept in the shared folder for those after them: memory of a GPU by model, seconds by kind."""

import json

import torch

from bench.execution.cluster.shared_folder import SharedFolder
from bench.suite.cell import MarkSpec
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


def kind_of(mark: MarkSpec) -> str:
    """Return what tells how long a task takes: the network, the scheme and the payload, but no seed."""
    scheme = mark.scheme
    return identity(model=mark.host.model.name, scheme=scheme.label, name=scheme.name, payload=mark.payload)


def note_seconds(kind: str, seconds: float, shared: SharedFolder) -> None:
    """Keep the seconds that a cell of a kind of task took in the mean; the last task's stay."""
    shared.write(f"seconds/{kind}.json", json.dumps({"seconds_a_cell": seconds}).encode())


def read_seconds(kind: str, shared: SharedFolder) -> float | None:
    """Return the seconds of a cell of a kind of task; None before the first."""
    noted = shared.read(f"seconds/{kind}.json")
    return None if noted is None else float(json.loads(noted)["seconds_a_cell"])
