"""What a run was made on: the hardware, and the versions of what it used."""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from bench.support.environment import environment
from bench.support.git import current_commit
from bench.support.numerics import processor_name

PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "scikit-image", "pydantic", "typer",
    "safetensors", "gmpy2", "reedsolo", "torch-pruning", "pytest", "pytest-benchmark",
)  # fmt: skip
_GIB = 2**30


def facts(device: torch.device, profile: str) -> dict[str, Any]:
    """Return hardware, versions, commit and date of a run, as JSON values; None for a package that is not there."""
    return {
        "profile": profile,
        "commit": current_commit(),
        **environment(device),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "gpu": _gpu(device) if device.type == "cuda" else None,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _gpu(device: torch.device) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "memory_gib": round(found.total_memory / _GIB, 1),
        "multiprocessors": found.multi_processor_count,
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "count": torch.cuda.device_count(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
