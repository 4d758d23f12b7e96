"""Runs one cell of untrained models: build -> mark -> read -> reload twice -> attack -> record, without data.

Accuracy says nothing of untrained weights and is not measured. Instead a network must answer a few random images
with finite logits at every stage, and answer them equally, bit by bit, once it is reloaded.
"""

import contextlib
import json
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext, Attacked
from bench.data import Dataset, Split
from bench.execution.model_factory import Marked
from bench.execution.outcome import outcome_of
from bench.execution.owner import OwnersReading
from bench.models.registry import build_model
from bench.records.fields import KIND
from bench.suite.cell import Cell, HostSpec, MarkSpec, attack_seed
from bench.support.artifact_store import state_digest, state_of
from bench.support.environment import OthersLoad, environment
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, embed
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.support.timing import Stopwatch
from cwwm.weights.carrier import classifier
from cwwm.weights.checkpoint import open_weights, save_tensors
from cwwm.weights.view import Weights, as_weights

if TYPE_CHECKING:
    from bench.records.fields import Record

CLASSES = 10
IMAGES = 2
_LONGEST = 300  # characters of a reason
_READ = ("applicable", "reason", "exact", "overlap", "erased", "log10_p")  # what a record keeps of a reading
NOISE, NOISE_OF_ZERO = 0.3, 0.02  # see `bench.suite.untrained.WEIGHTS`

Advance = Callable[[int], None]


def run_untrained(cell: Cell, device: torch.device, advance: Advance = lambda rows: None) -> "Record":
    """Return the record of a cell; what goes wrong inside becomes its status, the reason led by the step.

    Args:
        cell: what to run.
        device: where.
        advance: told after each strength how many rows are done.
    """
    load, steps = OthersLoad(), Steps(device)
    base: Record = {"identity": cell.identity, "key": cell.key, "recipe": cell.recipe, "kind": KIND}
    measured = outcome_of(lambda: _measure(cell, device, steps, advance), steps.reason)
    return base | measured | {"environment": {**environment(device), "others_load": load.share()}}


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


def _measure(cell: Cell, device: torch.device, steps: Steps, advance: Advance) -> dict[str, Any]:
    host = cell.host
    with steps("build"):
        model = build_model(host.model, CLASSES, host.derive("host")).to(device).eval()
    if host.weights == "perturbed":
        perturb(model, derive_seed(perturbation_of=host.derive("host")))
    data = random_images(host, device)
    with steps("answer"):
        answers(model, data.test.x)
    with steps("embed"):
        marked = _mark(cell.mark, model, device)
    owner = OwnersReading.of(marked, cell.mark.scheme.reader)
    with steps("extract"):
        found = read(owner, as_weights(marked.model))
    logits = answers(marked.model, data.test.x)
    digest = state_digest(marked.model.state_dict())
    with steps("reload"):
        reloads = _reloads(host, owner, data.test.x, logits)
    with steps("attack"):
        rows = _rows(cell, owner, data, device, advance)
    return {
        "model": _facts(host, marked),
        "marked": {**found, "finite": finite(logits), "digest": digest, "report": dict(marked.mark.report)},
        "reloads": reloads,
        "rows": rows,
        "timing": steps.timing,
    }


@torch.no_grad()
def perturb(model: nn.Module, seed: int) -> None:
    """Add noise to every parameter in place: none is then zero or one throughout, as gates and norms begin."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        spread = float(parameter.double().square().mean().sqrt()) * NOISE or NOISE_OF_ZERO
        noise = torch.randn(parameter.shape, generator=generator) * spread
        parameter.add_(noise.to(parameter.device, parameter.dtype))


def random_images(host: HostSpec, device: torch.device) -> Dataset:
    """Return a few images of noise, float32 (n, channels, size, size), to be answered; labels mean nothing."""
    generator = torch.Generator().manual_seed(derive_seed(images_of=host.derive("host")))
    shape = (IMAGES, host.model.channels, host.model.size, host.model.size)
    split = Split(torch.randn(shape, generator=generator), torch.arange(IMAGES)).to(device)
    return Dataset("random images", CLASSES, split, split, identity="", labelled=False)


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


def _mark(spec: MarkSpec, model: nn.Module, device: torch.device) -> Marked:
    """Mark a finished model in one shot; the mark is what its owner reads back from a file."""
    scheme, secret = spec.build(), spec.secret()
    context = EmbedContext(seed=spec.host.derive("second phase"), device=device, nonce=secret.nonce)
    weights, mark = embed(scheme, as_weights(model), secret.message, secret.key, context)
    stored = Mark.from_json(json.loads(json.dumps(mark.to_json())), packed=mark.packed())
    return Marked(weights.module or model, scheme, stored, secret.key, secret.message, {})


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


def _reloads(host: HostSpec, owner: OwnersReading, x: Tensor, logits: Tensor) -> dict[str, dict[str, Any]]:
    """Return what comes back through a state dict and through a safetensors file, into a network built anew."""
    fresh = build_model(host.model, CLASSES, derive_seed(another=host.derive("host"))).to(x.device)
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
    attack, seed = cell.attack, attack_seed(cell.host, cell.attack)
    context = AttackContext(data, cell.host.model.recipe, seed, device, _no_other_data)
    rows = []
    for item in attack.attack.curve([owner.marked.model], attack.strengths, context):
        rows.append(_row(cell, owner, item, data.test.x))
        advance(len(rows))
    return rows


def _no_other_data(name: str) -> NoReturn:
    raise BadInput(f"the attack asks for data set '{name}'; a suite of untrained models has none")


def _row(cell: Cell, owner: OwnersReading, item: Attacked, x: Tensor) -> dict[str, Any]:
    channel = cell.attack.attack.predicted(item.strength)
    return {
        "strength": item.strength,
        "achieved": {name: value for name, value in item.achieved.items() if name != "layers"},
        **read(owner, as_weights(item.model)),
        "finite": finite(answers(item.model, x)),
        "law": owner.marked.scheme.survival(*channel) if channel else None,
        "timing": {"attack_s": item.cost.seconds},
    }
