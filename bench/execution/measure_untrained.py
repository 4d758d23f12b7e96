"""Measures one cell of untrained models: build -> mark -> read -> reload twice -> attack, without data.

Accuracy says nothing of untrained weights and is not measured. Instead a network must answer a few random images
with finite logits at every stage, and answer them equally, bit by bit, once it is reloaded.
"""

import contextlib
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext, Attacked
from bench.data import Dataset
from bench.execution.curve import Advance, curve_rows
from bench.execution.model_factory import Marked
from bench.execution.owner import OwnersReading
from bench.execution.untrained_models import CLASSES, UntrainedModels
from bench.suite.cell import Cell, HostSpec, attack_seed
from bench.support.artifact_store import state_digest, state_of
from cwwm.support.errors import BadInput
from cwwm.support.timing import Stopwatch
from cwwm.weights.carrier import classifier
from cwwm.weights.checkpoint import open_weights, save_tensors
from cwwm.weights.view import Weights, as_weights

_LONGEST = 300  # characters of a reason
_READ = ("applicable", "reason", "exact", "overlap", "erased", "log10_p")  # what a record keeps of a reading


class Steps:
    """Knows which step is in hand, and what each one took."""

    def __init__(self, device: torch.device) -> None:
        """Prepare for work on `device`."""
        self.device, self.now = device, ""
        self.timing: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a step; its milliseconds become ``NAME_ms``."""
        self.now = name
        with Stopwatch(self.device) as watch:
            yield
        self.timing[f"{name}_ms"] = 1e3 * watch.seconds

    def reason(self, error: BaseException) -> str:
        """Return in one line at which step what went wrong."""
        kind = "" if isinstance(error, BadInput) else f"{type(error).__name__}: "
        return textwrap.shorten(f"{self.now}: {kind}{error}", _LONGEST, placeholder=" ...").removesuffix(":")


def measure_untrained(cell: Cell, steps: Steps, advance: Advance = lambda rows: None) -> dict[str, Any]:
    """Return what is found of a cell, as JSON values.

    Args:
        cell: whose host is not trained.
        steps: told what is in hand; it knows the device.
        advance: told after each strength how many rows are done.

    Raises:
        BadInput: if the scheme refuses the host, or the attack the model.
        ValueError: if the network answers no logits.
    """
    models = UntrainedModels(steps.device)
    with steps("build"):
        model = models.host(cell.host)
    data = models.images(cell.host)
    with steps("answer"):
        answers(model, data.test.x)
    with steps("embed"):
        marked = models.marked(cell.mark, model)
    owner = OwnersReading.of(marked, cell.mark.scheme.reader)
    with steps("extract"):
        found = read(owner, as_weights(marked.model))
    logits = answers(marked.model, data.test.x)
    digest = state_digest(marked.model.state_dict())
    with steps("reload"):
        reloads = _reloads(models.another(cell.host), owner, data.test.x, logits)
    with steps("attack"):
        rows = _rows(cell, owner, data, steps.device, advance)
    return {
        "model": _facts(cell.host, marked),
        "marked": {**found, "finite": finite(logits), "digest": digest, "report": dict(marked.mark.report)},
        "reloads": reloads,
        "rows": rows,
        "timing": steps.timing,
    }


@torch.inference_mode()
def answers(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits, float (n, 10), of images in evaluation mode.

    Raises:
        ValueError: if the network answers anything else.
    """
    logits = model.eval()(x)
    if not isinstance(logits, Tensor) or logits.shape != (len(x), CLASSES):
        shown = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the network answers {shown}, not logits of {CLASSES} classes")
    return logits


def finite(logits: Tensor) -> bool:
    """Say whether no logit is NaN or infinite."""
    return bool(torch.isfinite(logits).all())


def read(owner: OwnersReading, suspect: Weights) -> dict[str, Any]:
    """Return what extraction and evidence say of a suspect."""
    facts = owner.facts(owner.extraction(suspect))
    return {name: facts[name] for name in _READ}


def _facts(host: HostSpec, marked: Marked) -> dict[str, Any]:
    """Return how large the network and the mark's pool are; tied: names that share another's parameter."""
    carrier, model = marked.mark.carrier, marked.model
    names = sum(1 for _ in model.named_parameters(remove_duplicate=False))
    return {
        "family": host.model.family,
        "size": host.model.size,
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "carrier_weights": carrier.size if carrier else None,
        "pool_tensors": len(carrier.layers) if carrier else None,
        "tied": names - len(list(model.parameters())),
        "classifier": classifier(as_weights(model)),
    }


def _reloads(fresh: nn.Module, owner: OwnersReading, x: Tensor, logits: Tensor) -> dict[str, dict[str, Any]]:
    """Return what comes back through a state dict and through a safetensors file, into a network built anew."""
    other = owner.marked.scheme.rebuild(fresh, owner.marked.mark)
    state = state_of(owner.marked.model)
    found = {"state dict": _reloaded(owner, other, state, x, logits)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "marked.safetensors"
        save_tensors(state, path)
        file = open_weights(path)
        stored = {name: file.tensor(name) for name in file.names()}
        found["safetensors"] = _reloaded(owner, other, stored, x, logits)
    return found


def _reloaded(
    owner: OwnersReading, other: nn.Module, state: Mapping[str, Tensor], x: Tensor, logits: Tensor
) -> dict[str, Any]:
    """Return what is read from a state, and from a network that loaded it strictly, and how that answers."""
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.zero_()  # so that nothing but the state can make it answer as before
    other.load_state_dict(state, strict=True)
    return {
        "unloaded": read(owner, as_weights(state)),
        **read(owner, as_weights(other)),
        "same_answers": torch.equal(answers(other, x), logits),
    }


def _rows(
    cell: Cell, owner: OwnersReading, data: Dataset, device: torch.device, advance: Advance
) -> list[dict[str, Any]]:
    seed = attack_seed(cell.host, cell.attack)
    context = AttackContext(data, cell.host.model.recipe, seed, device, _no_other_data)

    def measured(item: Attacked) -> dict[str, Any]:
        return {
            "achieved": {name: value for name, value in item.achieved.items() if name != "layers"},
            **read(owner, as_weights(item.model)),
            "finite": finite(answers(item.model, data.test.x)),
            "timing": {"attack_s": item.cost.seconds},
        }

    attacked = cell.attack.attack.curve([owner.marked.model], cell.attack.strengths, context)
    return curve_rows(cell, attacked, owner.law, measured, advance)


def _no_other_data(name: str) -> NoReturn:
    raise BadInput(f"the attack asks for data set '{name}'; a suite of untrained models has none")
