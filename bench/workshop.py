"""Makes the models that cells share: host, unmarked control, noise-floor twin and marked model, each once."""

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from bench.artefacts import Artefact, ArtefactStore, state_digest, state_of
from bench.attacks.base import restore
from bench.cell import Cell
from bench.data import Dataset, load
from bench.evaluate import accuracy
from bench.zoo import ModelSpec, build_model
from cwwm.carrier import Carrier
from cwwm.codes import Bits
from cwwm.keys import NONCE_BYTES, Key, Stream
from cwwm.mark import Mark
from cwwm.schemes import EmbedContext, Scheme
from cwwm.seeds import derive_seed, identity
from cwwm.timing import Stopwatch
from cwwm.training import TrainingReport, train
from cwwm.weights import as_weights

Say = Callable[[str], None]
T = TypeVar("T")
_OF_MARK = "mark::"  # leads the names of a mark's own tensors in the artefact of a marked model


@dataclass(frozen=True)
class Marked:
    """A marked model on the device, with what its owner knows and what its making cost."""

    model: nn.Module
    scheme: Scheme
    mark: Mark
    key: Key
    message: Bits
    facts: dict[str, Any]


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

    def data(self, spec: ModelSpec, name: str | None = None) -> Dataset:
        """Return the model's data set, or another one at the model's input size, on the device."""
        return load(name or spec.data, size=spec.size, channels=spec.channels, device=self.device)

    def host(self, cell: Cell) -> nn.Module:
        """Return the host before the mark's phase: trained, or initial where the recipe trains none."""
        return self._model(cell, "host", self._train_host).model

    def control(self, cell: Cell) -> Trained:
        """Return the unmarked twin of every marked model of this host: same batches, same steps."""
        return self._model(cell, "control", lambda c: self._second_phase(c, c.derive("second phase")))

    def twin(self, cell: Cell) -> Trained:
        """Return a second unmarked training with other batches: its distance is the noise floor of energy."""
        return self._model(cell, "twin", lambda c: self._second_phase(c, derive_seed(twin_of=c.derive("twin"))))

    def _model(self, cell: Cell, kind: str, make: Callable[[Cell], Artefact]) -> Trained:
        name = identity(kind=kind, **cell.host_recipe)

        def fetch() -> Trained:
            artefact = self.store.get(name, lambda: make(cell))
            model = build_model(cell.model, self.data(cell.model).classes, cell.derive("host"))
            restore(model, artefact.tensors)
            return Trained(model.to(self.device), artefact.facts)

        return self.keep(kind, name, fetch)

    def keep(self, kind: str, name: str, make: Callable[[], T]) -> T:
        """Return what was made last of a kind, if it has this name; else make it."""
        if self._kept.get(kind, ("", None))[0] != name:
            self._kept[kind] = (name, make())
        return cast(T, self._kept[kind][1])

    def _train_host(self, cell: Cell) -> Artefact:
        self.say("training the host")
        data = self.data(cell.model)
        model = build_model(cell.model, data.classes, cell.derive("host")).to(self.device)
        recipe = cell.model.recipe.train
        report = train(model, data.train, recipe, seed=cell.derive("host")) if recipe else None
        return Artefact(state_of(model), self._facts(model, data, report))

    def _second_phase(self, cell: Cell, seed: int) -> Artefact:
        self.say("training an unmarked control")
        data = self.data(cell.model)
        model = copy.deepcopy(self.host(cell))
        report = train(model, data.train, cell.model.recipe.mark, seed=seed)
        return Artefact(state_of(model), self._facts(model, data, report))

    def _facts(self, model: nn.Module, data: Dataset, report: TrainingReport | None) -> dict[str, Any]:
        return {
            "accuracy": asdict(accuracy(model, data.test)),
            "digest": state_digest(model.state_dict()),
            "training": asdict(report) if report else None,
        }


class Workshop(UnmarkedModels):
    """Makes or fetches the marked models too."""

    def marked(self, cell: Cell) -> Marked:
        """Return the marked model of a cell.

        Raises:
            BadInput: if the scheme refuses this host.
        """
        name = marked_identity(cell)
        return self.keep("marked", name, lambda: self._load_marked(cell, name))

    def copies(self, cell: Cell, count: int) -> list[nn.Module]:
        """Return what `count` other customers got: the same host, marked with keys and messages of their own.

        Raises:
            BadInput: if the scheme refuses this host.
        """
        return [
            self._load_marked(copy, marked_identity(copy)).model for copy in map(cell.copy, range(1, count + 1))
        ]

    def _load_marked(self, cell: Cell, name: str) -> Marked:
        artefact = self.store.get(name, lambda: self._make_marked(cell))
        weights, extra = split_tensors(artefact.tensors)
        mark = Mark.from_json(artefact.facts["mark"], packed=extra)
        key, message = harness_secret(cell)
        scheme = cell.scheme.build(cell.payload)
        fresh = build_model(cell.model, self.data(cell.model).classes, cell.derive("host"))
        model = scheme.rebuild(fresh, mark)
        restore(model, weights)
        return Marked(model.to(self.device), scheme, mark, key, message, artefact.facts)

    def _make_marked(self, cell: Cell) -> Artefact:
        self.say(f"marking with {cell.scheme.label}, {cell.payload} bits")
        data = self.data(cell.model)
        host, seed = copy.deepcopy(self.host(cell)), cell.derive("second phase")
        key, message = harness_secret(cell)
        nonce = hashlib.sha256(str(cell.derive("message")).encode()).digest()[:NONCE_BYTES]
        context = EmbedContext(data.train, data.classes, seed, self.device, nonce)
        scheme = cell.scheme.build(cell.payload)
        with Stopwatch(self.device) as begin:
            embedding = scheme.begin(as_weights(host), message, key, context)
        model = embedding.weights.module or host
        report = train(model, data.train, cell.model.recipe.mark, seed=seed, embedding=embedding)
        with Stopwatch(self.device) as finish:
            mark = embedding.finish()
        facts = self._facts(model, data, report) | {
            "mark": mark.to_json(),
            "begin_seconds": begin.seconds,
            "finish_seconds": finish.seconds,
            **self._energy(cell, model),
        }
        extra = {_OF_MARK + name: tensor.detach().cpu() for name, tensor in mark.packed().items()}
        return Artefact({**state_of(model), **extra}, facts)

    def _energy(self, cell: Cell, model: nn.Module) -> dict[str, float | None]:
        """Return the change from the control, and the same between two controls; see `relative_change`.

        Over all prunable weights, whatever the mark's carrier: the same pool for every scheme.
        """
        control = self.control(cell).model
        pool = Carrier.choose(as_weights(control), "all")
        if pool.missing(as_weights(model)):
            return {"energy": None, "noise_floor": None}  # a marked model of other shapes
        return {
            "energy": relative_change(control, model, pool),
            "noise_floor": relative_change(control, self.twin(cell).model, pool),
        }


def split_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the model's tensors and, without their prefix, the mark's."""
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(_OF_MARK)}
    mark = {name.removeprefix(_OF_MARK): tensor for name, tensor in tensors.items() if name.startswith(_OF_MARK)}
    return model, mark


def marked_identity(cell: Cell) -> str:
    """Return the identity under which the marked model of a cell is stored."""
    return identity(kind="marked", **cell.mark_recipe)


def harness_secret(cell: Cell) -> tuple[Key, Bits]:
    """Return the key and the message of a cell, both from its seeds; such a key proves nothing."""
    key = Key.for_harness(seed=cell.derive("key"))
    message = Stream(cell.derive("message").to_bytes(32, "little")).bits(cell.payload)
    return key, np.asarray(message, np.uint8)


def relative_change(reference: nn.Module, changed: nn.Module, carrier: Carrier) -> float:
    """Return the squared distance over the squared norm of the reference, both on the carrier's pool."""
    before, after = as_weights(reference), as_weights(changed)
    distance = norm = 0.0
    for layer in carrier.layers:
        a, b = before.tensor(layer.name).double(), after.tensor(layer.name).double()
        distance += float((b - a).square().sum())
        norm += float(a.square().sum())
    return distance / norm
