"""Equal terms: what a mark changes of its host, in the quantity that a suite brings all its marks to."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench.execution.model_factory import Marked, ModelFactory
from bench.metrics.accuracy import answers_changed
from bench.suite.calibration_file import Equal
from bench.suite.cell import HostSpec


class Change(NamedTuple):
    """What a mark changes, and the same between two unmarked trainings; None if the mark has no pool."""

    marked: float | None
    floor: float | None


def energy(marked: Marked, host: HostSpec, factory: ModelFactory) -> Change:
    """Return squared change over squared norm of all prunable weights, as it was measured when it was marked."""
    return Change(marked.facts["energy"], marked.facts["noise_floor"])


def answers(marked: Marked, host: HostSpec, factory: ModelFactory) -> Change:
    """Return the share of answers to validation images that differ from the unmarked control's, counted softly.

    A mark without a pool has one too.

    Raises:
        BadInput: if there are no validation images, or the networks answer among different classes.
    """
    split = factory.data(host).to_choose_on()
    return Change(answers_changed(marked.model, factory.control(host).model, split), answers_floor(host, factory))


def answers_floor(host: HostSpec, factory: ModelFactory) -> float:
    """Return the share of answers that differ between two unmarked trainings, of other batches; see `answers`."""

    def measure() -> float:
        split = factory.data(host).to_choose_on()
        return answers_changed(factory.twin(host).model, factory.control(host).model, split)

    return factory.keep("answers floor", host.identity("twin"), measure)  # each trial of a search asks for it


CHANGES: Mapping[Equal, Callable[[Marked, HostSpec, ModelFactory], Change]] = {"energy": energy, "answers": answers}
