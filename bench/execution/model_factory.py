"""Makes the models that cells share: host, unmarked control, noise-floor twin and marked model, each once."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from bench.attacks.base import restore
from bench.data import Dataset, Split, load
from bench.metrics.accuracy import accuracies
from bench.metrics.dead_weights import left_out
from bench.metrics.energy import fidelity_facts
from bench.models.registry import build_model
from bench.suite.cell import Cell, HostSpec, MarkSpec
from bench.support.artifact_store import Artefact, ArtefactStore, state_digest, state_of
from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, Scheme
from cwwm.support.seeds import derive_seed
from cwwm.support.timing import Stopwatch
from cwwm.training import TrainingReport, train, train_marked
from cwwm.weights.carrier import prunable
from cwwm.weights.sensitivity import PROBES, measure_sensitivity
from cwwm.weights.view import as_weights

Say = Callable[[str], None]
T = TypeVar("T")
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
class Trained:
    """An unmarked model on the device, and facts about its training."""

    model: nn.Module
    facts: dict[str, Any]


class UnmarkedModels:
    """Makes or fetches the models that hold no mark, by identity; keeps the last of each kind in memory."""

    def __init__(self, store: ArtefactStore, device: torch.device, say: Say = lambda text: None) -> None:
        """Work on `device`; `say` is told what is being made."""
        self.store, self.device, self.say = store, device, say
        self._kept: dict[str, tuple[str, Any]] = {}

    def data(self, spec: HostSpec, name: str | None = None) -> Dataset:
        """Return the host's data set, or another one at its input size, on the device; each seed tests a fold."""
        model = spec.model
        return load(
            name or model.data, size=model.size, channels=model.channels, device=self.device, fold=spec.seed
        )

    def host(self, spec: HostSpec) -> nn.Module:
        """Return the host before the mark's phase: trained, or initial where the recipe trains none."""
        return self._model(spec, "host", lambda: self._train_host(spec)).model

    def control(self, spec: HostSpec) -> Trained:
        """Return the unmarked twin of every marked model of this host: same batches, same steps."""
        return self._model(spec, "control", lambda: self._second_phase(spec, spec.derive("second phase")))

    def twin(self, spec: HostSpec) -> Trained:
        """Return a second unmarked training with other batches: its distance is the noise floor of energy."""
        seed = derive_seed(twin_of=spec.derive("twin"))
        return self._model(spec, "twin", lambda: self._second_phase(spec, seed))

    def fresh(self, spec: HostSpec) -> nn.Module:
        """Return the network of a host as its initialisation leaves it, on the CPU."""
        return build_model(spec.model, self.data(spec).classes, spec.derive("host"))

    def _model(self, spec: HostSpec, kind: str, make: Callable[[], Artefact]) -> Trained:
        name = spec.identity(kind)

        def fetch() -> Trained:
            artefact = self.store.get(name, make)
            model = self.fresh(spec)
            restore(model, artefact.tensors)
            return Trained(model.to(self.device), artefact.facts)

        return self.keep(kind, name, fetch)

    def keep(self, kind: str, name: str, make: Callable[[], T]) -> T:
        """Return what was made last of a kind, if it has this name; else make it."""
        if self._kept.get(kind, ("", None))[0] != name:
            self._kept[kind] = (name, make())
        return cast(T, self._kept[kind][1])

    def _train_host(self, spec: HostSpec) -> Artefact:
        self.say("training the host")
        data, recipe = self.data(spec), spec.model.recipe.train
        model = self.fresh(spec).to(self.device)
        report = train(model, data.train, recipe, seed=spec.derive("host")) if recipe else None
        return Artefact(state_of(model), self._facts(model, data, report))

    def _second_phase(self, spec: HostSpec, seed: int) -> Artefact:
        self.say("training an unmarked control")
        data = self.data(spec)
        model = copy.deepcopy(self.host(spec))
        report = train(model, data.train, spec.model.recipe.mark, seed=seed)
        return Artefact(state_of(model), self._facts(model, data, report))

    def _facts(self, model: nn.Module, data: Dataset, report: TrainingReport | None) -> dict[str, Any]:
        return {
            **accuracies(model, data),
            "digest": state_digest(model.state_dict()),
            "training": asdict(report) if report else None,
        }


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


def sensitivity_of(scheme: Scheme, host: nn.Module, data: Split) -> dict[str, float] | None:
    """Return how much a host's answers feel each layer, from a dozen training images; None if nobody asks."""
    if not scheme.encoding.weighs_layers or not len(data):
        return None
    return measure_sensitivity(host, data.x[:PROBES], prunable(as_weights(host)))


def split_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the model's tensors and, without their prefix, the mark's."""
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(_OF_MARK)}
    mark = {name.removeprefix(_OF_MARK): tensor for name, tensor in tensors.items() if name.startswith(_OF_MARK)}
    return model, mark
