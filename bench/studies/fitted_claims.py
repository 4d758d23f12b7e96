"""What claims fitted to a public base are worth to a judge: there, on derivatives, on networks of others."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bench.data import Dataset, load
from bench.metrics.fitted_claims import FITS, Base, Fit, Fitted, rebound
from bench.models.registry import ModelSpec, build_model, find_models
from cwwm.commitment import Commitment
from cwwm.ownership.evidence import PROOF_RATE
from cwwm.ownership.keys import OWNER_STRETCH
from cwwm.ownership.verification import Exhibits, Verification, verify
from cwwm.schemes.base import FORWARD
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import train
from cwwm.weights.view import TensorWeights, Weights, as_weights

DERIVED, OTHERS, UNTRAINED = 5, 2, 2
REFUSED = "refused"
_STRETCHES = 5  # timed


@dataclass(frozen=True)
class World:
    """A public base, and the models on which claims fitted to it are tried, by kind."""

    base: Base
    suspects: Mapping[str, Sequence[nn.Module]]


@dataclass(frozen=True)
class Judged:
    """What became of one fitted claim.

    Attributes:
        fit: what was chosen, and of which scheme.
        salt: ``"kept"``, of before the choice, or ``"follows"`` from it.
        log10_p: the lowest of each kind of suspect, by kind: the numbers alone; empty if no number was given.
        believed: suspects on which the numbers alone would be a proof at `PROOF_RATE`, were they evidence.
        proven: suspects on which the claim is proven.
        tried: suspects.
        innocent: whether the claim also fails because it fits the base, shown as an innocent model.
        reason: of the verdict on the base.
    """

    fit: str
    salt: str
    log10_p: Mapping[str, float]
    believed: int
    proven: int
    tried: int
    innocent: bool
    reason: str


def world(model: str) -> World:
    """Train a base, fine-tune what others derive from it, and train what has nothing to do with it; on the CPU."""
    (spec,) = find_models([model])
    data = load(spec.data, size=spec.size, channels=spec.channels, device=torch.device("cpu"))
    host = _trained(spec, data, derive_seed(fitted="base"))
    derived = [copy.deepcopy(host) for _ in range(DERIVED)]
    for number, one in enumerate(derived):
        train(one, data.train, spec.recipe.mark, seed=derive_seed(fitted="derived", number=number))
    suspects = {
        "base": [host],
        "derived": derived,
        "others": [_trained(spec, data, derive_seed(fitted="other", number=i)) for i in range(OTHERS)],
        "untrained": [
            build_model(spec, data.classes, derive_seed(fitted="untrained", number=i)) for i in range(UNTRAINED)
        ],
    }
    return World(Base(host, data.train, data.classes), suspects)


def _trained(spec: ModelSpec, data: Dataset, seed: int) -> nn.Module:
    model = build_model(spec, data.classes, seed)
    if spec.recipe.train is not None:
        train(model, data.train, spec.recipe.train, seed=seed)
    return model


def judged(made: World, fits: Sequence[Fit] = FITS) -> Iterator[Judged]:
    """Yield what becomes of each fit with its salt kept, and with the salt that follows from it."""
    for fit in fits:
        kept = fit.choose(fit, made.base, derive_seed(forger="fitted"))
        yield _judged(fit, "kept", kept, made)
        yield _judged(fit, "follows", rebound(kept), made)


def _judged(fit: Fit, salt: str, fitted: Fitted, made: World) -> Judged:
    found = {kind: [_verdict(fit, fitted, model, {}) for model in models] for kind, models in made.suspects.items()}
    every = [one for kind in found.values() for one in kind]
    answers = [one for one in every if isinstance(one, Verification)]
    on_base = found["base"][0]
    innocents = {"the base": _view(fit, made.base.model)}
    on_derived = _verdict(fit, fitted, made.suspects["derived"][0], innocents)
    return Judged(
        fit=str(fit),
        salt=salt,
        log10_p={
            kind: min(one.evidence.combined for one in ones if isinstance(one, Verification))
            for kind, ones in found.items()
            if any(isinstance(one, Verification) for one in ones)
        },
        believed=sum(10**one.evidence.combined <= PROOF_RATE for one in answers),
        proven=sum(one.verdict.proven for one in answers),
        tried=len(every),
        innocent=isinstance(on_derived, Verification) and "as well" in on_derived.verdict.reason,
        reason=on_base.verdict.reason if isinstance(on_base, Verification) else f"{REFUSED}: {on_base}",
    )


def _verdict(fit: Fit, fitted: Fitted, model: nn.Module, innocents: Mapping[str, Weights]) -> Verification | str:
    """Return the verdict on a claim that was committed to, or why the judge refuses to look at it."""
    exhibits = Exhibits(commitment=Commitment.to(fitted.claim), reference=fitted.reference, innocents=innocents)
    try:
        return verify(_view(fit, model), fitted.claim, exhibits)
    except BadInput as error:
        return str(error)


def _view(fit: Fit, model: nn.Module) -> Weights:
    """Return a model as the fit's scheme reads it: buffers too, unless it runs forward."""
    return as_weights(model) if FORWARD in fit.make().extraction_needs else TensorWeights(model.state_dict())


def stretch_seconds() -> float:
    """Return the CPU time of one owner's stretch, the fastest of some, in seconds: what a forger would pay."""
    seconds = []
    for number in range(_STRETCHES):
        start = time.process_time()
        OWNER_STRETCH.apply(bytes(32), number.to_bytes(32, "little"))
        seconds.append(time.process_time() - start)
    return min(seconds)
