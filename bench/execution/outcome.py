"""What becomes of a cell: measured, refused, failed or out of memory; a fault of the machine is never a result."""

import json
import traceback
from collections.abc import Callable
from typing import Any

import torch

from bench.support.untrusted_io import RECORD_BYTES
from cwwm.support.errors import BadInput, EnvironmentFault

_NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "std::bad_alloc")
_HEAD_BYTES = 1 << 16  # of a record, for its recipe and what else is not measured


def outcome_of(measure: Callable[[], dict[str, Any]], reason: Callable[[BaseException], str]) -> dict[str, Any]:
    """Return what `measure` found, with the status of the cell; what goes wrong becomes its status.

    Args:
        measure: the work; it returns JSON values.
        reason: says in words what went wrong.

    Returns:
        ``status`` ok with what was measured. Else ``reason``: refused, which is final, for input that the scheme
        or attack cannot take; out-of-memory and failed, with a ``trace``, for what the next run tries again.
    """
    try:
        measured = measure()
        _ensure_recordable(measured)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin's code may even try to exit
        if isinstance(error, BadInput) and not isinstance(error, EnvironmentFault):
            return {"status": "refused", "reason": reason(error)}
        if out_of_memory(error):
            return {"status": "out-of-memory", "reason": reason(error)}
        return {"status": "failed", "reason": reason(error), "trace": traceback.format_exc()}
    return {"status": "ok", **measured}


def _ensure_recordable(measured: dict[str, Any]) -> None:
    """Raise ValueError or TypeError for what no record can hold: too much, or no finite numbers."""
    size = len(json.dumps(measured, indent=1, allow_nan=False))
    if size > RECORD_BYTES - _HEAD_BYTES:
        raise ValueError(f"its results take {size:,} bytes; a record has at most {RECORD_BYTES:,}")


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory was used up; on a CPU torch has no class of its own for that."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(text in str(error) for text in _NO_MEMORY)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its class if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def told(error: BaseException) -> str:
    """Return the reason that a record keeps."""
    if isinstance(error, BadInput):
        return str(error)
    if isinstance(error, ValueError) and "not JSON compliant" in str(error):
        return f"a result is not finite: {error}"
    return first_line(error) if out_of_memory(error) else repr(error)
