"""Makes the marked models that cells share, each once, beside the unmarked ones."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from bench.attacks.base import restore
from bench.data import Dataset
from bench.execution.unmarked_models import Trained, UnmarkedModels
from bench.metrics.dead_weights import left_out
from bench.metrics.energy import fidelity_facts
from bench.metrics.felt import sensitivity_of
from bench.suite.cell import Cell, MarkSpec
from bench.support.artifact_store import Artefact, state_of
from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, Scheme
from cwwm.support.timing import Stopwatch
from cwwm.training import train_marked
from cwwm.weights.view import as_weights

_OF_MARK = "mark::"  # leads the names of a mark's own tensors in the artefact of a marked model


@dataclass(frozen=True)
class Marked:
    """A marked model on the device, with what its owner knows and what its making cost.

    Attributes:
        original: gives the unmarked model that the mark binds: the host as it was when the embedding began.
    """

    model: nn.Module
    scheme: Scheme
    mark: Mark
    key: Key
    message: Bits
    facts: dict[str, Any]
    original: Callable[[], nn.Module]


@dataclass(frozen=True)
class Subjects:
    """What a cell works on.

    Attributes:
        data: of the model's task.
        marked: the marked model. control: its unmarked twin.
        copies: what other customers got, for attackers who collude.
    """

    data: Dataset
    marked: Marked
    control: Trained
    copies: Sequence[nn.Module]


class ModelFactory(UnmarkedModels):
    """Makes or fetches the marked models too."""

    def subjects(self, cell: Cell) -> Subjects:
        """Return all models that a cell needs.

        Raises:
            BadInput: if the scheme refuses this host.
        """
        others = cell.attack.attack.copies_needed(cell.attack.strengths) - 1
        marked, control = self.marked(cell.mark), self.control(cell.host)
        return Subjects(self.data(cell.host), marked, control, self.copies(cell.mark, others))

    def marked(self, spec: MarkSpec) -> Marked:
        """Return a marked model.

        Raises:
            BadInput: if the scheme refuses this host.
        """
        return self.keep("marked", spec.identity, lambda: self._load_marked(spec))

    def copies(self, spec: MarkSpec, count: int) -> list[nn.Module]:
        """Return what `count` other customers got: the same host, marked with keys and messages of their own.

        Raises:
            BadInput: if the scheme refuses this host.
        """
        return [self._load_marked(spec.copy(number)).model for number in range(1, count + 1)]

    def _load_marked(self, spec: MarkSpec) -> Marked:
        artefact = self.store.get(spec.identity, lambda: self._make_marked(spec))
        weights, extra = split_tensors(artefact.tensors)
        mark = Mark.from_json(artefact.facts["mark"], packed=extra)
        scheme, secret = spec.build(), spec.secret()
        model = scheme.rebuild(self.fresh(spec.host), mark)
        restore(model, weights)
        return Marked(
            model.to(self.device),
            scheme,
            mark,
            secret.key,
            secret.message,
            artefact.facts,
            lambda: self.original(spec),
        )

    def original(self, spec: MarkSpec) -> nn.Module:
        """Return the unmarked model that a mark is put into, finished or to be trained further."""
        return self.control(spec.host).model if spec.scheme.finished else self.host(spec.host)

    def _make_marked(self, spec: MarkSpec) -> Artefact:
        self.say(f"marking with {spec.scheme.label}, {spec.payload} bits")
        data, seed = self.data(spec.host), spec.host.derive("second phase")
        host, secret = copy.deepcopy(self.original(spec)), spec.secret()
        scheme = spec.build()
        recipe = spec.host.model.recipe
        dead = left_out(scheme, host, data.train, recipe.train or recipe.mark)
        felt = sensitivity_of(scheme, host, data.train)
        context = EmbedContext(data.train, data.classes, seed, self.device, secret.nonce, dead, felt)
        with Stopwatch(self.device) as begin:
            embedding = scheme.begin(as_weights(host), secret.message, secret.key, context)
        model = embedding.weights.module or host
        training = None
        if not spec.scheme.finished:
            marking = train_marked(model, data.train, recipe.mark, seed=seed, embedding=embedding)
            training = marking.training
        with Stopwatch(self.device) as finish:
            mark = embedding.finish()
        if not scheme.one_shot:
            mark = replace(mark, report={**mark.report, "epochs_marked": marking.epochs})
        facts = self._facts(model, data, training) | {
            "mark": mark.to_json(),
            "begin_seconds": begin.seconds,
            "finish_seconds": finish.seconds,
            **fidelity_facts(model, self.control(spec.host).model, lambda: self.twin(spec.host).model, data.test),
        }
        extra = {_OF_MARK + name: tensor.detach().cpu() for name, tensor in mark.packed().items()}
        return Artefact({**state_of(model), **extra}, facts)


def split_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the model's tensors and, without their prefix, the mark's."""
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(_OF_MARK)}
    mark = {name.removeprefix(_OF_MARK): tensor for name, tensor in tensors.items() if name.startswith(_OF_MARK)}
    return model, mark
