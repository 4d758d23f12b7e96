"""What is measured of a cell, by the kind of its host; what goes wrong becomes the cell's status."""

from functools import partial
from typing import Any, Protocol

from bench.execution.curve import Advance
from bench.execution.measure_trained import measure_trained
from bench.execution.measure_untrained import Steps, measure_untrained
from bench.execution.model_factory import ModelFactory, Subjects
from bench.execution.outcome import outcome_of, told
from bench.metrics.detection import detection
from bench.suite.cell import Cell, HostSpec
from bench.suite.sources import beside


class Measurement(Protocol):
    """What is found of the cells of one kind of host."""

    def found(self, cell: Cell, factory: ModelFactory, advance: Advance) -> dict[str, Any]:
        """Return status, reason and results, as JSON values; see `outcome_of`."""


class OfTrained:
    """Accuracy, evidence and detection, before and after an attack."""

    def found(self, cell: Cell, factory: ModelFactory, advance: Advance) -> dict[str, Any]:
        """Return what `measure_trained` finds, and what was measured beside it, with its sources."""
        seen = partial(_seen_by_others, cell, factory)
        return outcome_of(lambda: measure_trained(cell, factory, seen, advance), told) | {"beside": beside()}


class OfUntrained:
    """Whether a network can be marked, read, reloaded and attacked at all."""

    def found(self, cell: Cell, factory: ModelFactory, advance: Advance) -> dict[str, Any]:
        """Return what `measure_untrained` finds; a reason is led by the step that failed."""
        steps = Steps(factory.device)
        return outcome_of(lambda: measure_untrained(cell, steps, advance), steps.reason)


def measurement_of(host: HostSpec) -> Measurement:
    """Return what is measured of the cells of a host."""
    return OfUntrained() if host.untrained else OfTrained()


def seen_again(cell: Cell, factory: ModelFactory, digest: str) -> dict[str, Any] | None:
    """Return the detection of a marked model measured anew; None if that fails, or its digest is another one."""

    def measure() -> dict[str, Any]:
        subjects = factory.subjects(cell)
        return {"digest": subjects.marked.facts["digest"], "seen": _seen_by_others(cell, factory, subjects)}

    found = outcome_of(measure, told)
    return found["seen"] if found.get("digest") == digest else None


def _seen_by_others(cell: Cell, factory: ModelFactory, subjects: Subjects) -> dict[str, Any]:
    return detection(cell.mark, subjects, factory.store, factory.say)
