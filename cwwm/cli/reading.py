"""How a suspect was read, in words and in JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cwwm.support.console import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cwwm.alignment import Alignment
    from cwwm.ownership.mark import Mark
    from cwwm.ownership.sightings import Sighting


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


def print_missing(missing: "Sequence[str]", mark: "Mark") -> None:
    """Say what a suspect lacks of the layers that the mark was made in."""
    if missing and mark.carrier is not None:
        say(f"missing: {len(missing)} of the mark's {len(mark.carrier.layers)} layers; {missing[0]}")


def print_alignment(alignment: "Alignment | None") -> None:
    """Say how much of the owner's copy was recognised."""
    if alignment is not None:
        counts = ", ".join(f"{count:,} {what}" for what, count in alignment.channels.items())
        tensors = ", ".join(f"{count:,} {what}" for what, count in alignment.tensors.items())
        say(f"layers of the owner's copy: {tensors}")
        say(f"aligned: {alignment.score:.1%} of the owner's copy recognised; channels: {counts}")


def names_json(sighting: "Sighting", copies: Mapping[str, object], tries: int) -> dict[str, Any]:
    """Return under which names and in which copy a suspect was read, to be merged into a JSON object."""
    naming = sighting.naming
    facts = {
        "prefix_added": naming.added,
        "prefix_removed": naming.removed,
        "tries": tries,
        "exchanged": sighting.exchanged,
    }
    return {"names": facts | {"copy": sighting.copy or None, "copies": copies, "in_parts": dict(sighting.products)}}


def print_names(sighting: "Sighting", copies: Mapping[str, str], tries: int) -> None:
    """Say under which names and in which copy a suspect was read, where there was a choice."""
    for label, what in copies.items():
        say(f"copy {label}: {what}")
    if copies:
        say(f"read: the copy {sighting.label}")
    elif not sighting.naming.plain or sighting.copy:
        say(f"names: {sighting.label}")
    if tries > 1:
        say(f"copies and namings looked at: {tries}; p counts them")
    if sighting.exchanged:
        say(f"layers under each other's names, told by their content: {sighting.exchanged}")
    for form, count in sighting.products:
        say(f"weights stored in parts: {count:,} ({form})")
