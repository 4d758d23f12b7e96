"""Makes the unmarked models that cells share: host, control and noise-floor twin, each once."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

import torch
from torch import nn

from bench.attacks.base import restore
from bench.data import Dataset, load
from bench.metrics.accuracy import accuracies
from bench.models.registry import build_model
from bench.suite.cell import HostSpec
from bench.support.artifact_store import Artefact, ArtefactStore, state_digest, state_of
from cwwm.support.seeds import derive_seed
from cwwm.training import TrainingReport, train

Say = Callable[[str], None]
T = TypeVar("T")


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
