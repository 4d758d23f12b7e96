"""How a suspect was read, in words and in JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cwwm.support.console import say

if TYPE_CHECKING:
    from cwwm.alignment import Alignment
    from cwwm.ownership.mark import Mark


def finite(value: float) -> float | None:
    """Return a number as JSON has it, which knows no infinity and no NaN."""
    return value if np.isfinite(value) else None


def all_finite(values: Any) -> dict[str, float | None]:  # noqa: ANN401
    """Return the same of a mapping of numbers."""
    return {name: finite(value) for name, value in values.items()}


def alignment_json(alignment: "Alignment | None") -> dict[str, Any]:
    """Return what an alignment found, to be merged into a JSON object; nothing without one."""
    if alignment is None:
        return {}
    facts = {"score": alignment.score, "layers": len(alignment.layers), **alignment.channels}
    return {"alignment": facts | {"tensors": alignment.tensors}}


def print_reader(reader: str, mark: "Mark", original: Path | None, recovered: bool) -> None:
    """Say how the suspect was read, what was given and could not be used, and what may read a lost message."""
    from cwwm.readers import Informed, reads_originals
    from cwwm.schemes import scheme_of

    if not reads_originals(scheme_of(mark)):
        more = "; this scheme cannot be read against --original" if original else ""
    elif reader != Informed.name and not recovered:
        more = f"; weak marks take --original{' without --reference' if original else ''}"
    else:
        more = ""
    say(f"read: {reader}{more}")


def print_alignment(alignment: "Alignment | None") -> None:
    """Say how much of the owner's copy was recognised."""
    if alignment is not None:
        counts = ", ".join(f"{count:,} {what}" for what, count in alignment.channels.items())
        tensors = ", ".join(f"{count:,} {what}" for what, count in alignment.tensors.items())
        say(f"layers of the owner's copy: {tensors}")
        say(f"aligned: {alignment.score:.1%} of the owner's copy recognised; channels: {counts}")
