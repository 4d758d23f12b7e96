"""How much a network's answers feel changes of each layer, and how a mark shares its energy among layers by it.

Derived for this project. A pattern of relative energy g^2 gamma_l^2 in layer l changes the answers by about
g^2 sum_l gamma_l^2 C_l, and reads, against the original, with a strength of g^2 sum_l gamma_l^2 N_l: what counts is
weights a unit of felt change, N_l / C_l.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cwwm.support.seeds import derive_seed
from cwwm.weights.carrier import Layer

PROBES = 12  # inputs that are enough
_GAIN = 0.05  # relative size of the trial change
_CAP = 3.0  # times the mean: no layer gets more
_FLOOR = 1e-12
_ROUNDS = 1000


@torch.no_grad()
def measure_sensitivity(model: nn.Module, inputs: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Return C of each layer: mean squared change of the logits over their own spread, a unit of g^2.

    A layer at a time is changed by random signs times its channels' root mean squares, as a mark changes it. The
    model is as it was afterwards, its mode too.

    Args:
        model: answers logits (b, classes).
        inputs: some inputs, float (b, c, h, w), on the device of the model; a dozen is enough.
        names: of parameters with at least two axes.
    """
    training, parameters = model.training, dict(model.named_parameters())
    model.eval()
    try:
        answers = _centred(model(inputs))
        spread = float(answers.square().mean()) or 1.0
        return {name: _felt(model, parameters[name], name, inputs, answers) / spread for name in names}
    finally:
        model.train(training)


def _felt(model: nn.Module, weight: nn.Parameter, name: str, inputs: Tensor, answers: Tensor) -> float:
    """Return the mean squared change of the logits a unit of g^2."""
    kept = weight.detach().clone()
    generator = torch.Generator().manual_seed(derive_seed(part="sensitivity", layer=name))
    signs = torch.randint(2, kept.shape, generator=generator).to(kept.device) * 2 - 1
    rms = kept.float().reshape(len(kept), -1).square().mean(1).sqrt()
    change = (_GAIN * rms.reshape(-1, *[1] * (kept.dim() - 1)) * signs).to(kept.dtype)
    try:
        weight.copy_(kept + change)
        return float((_centred(model(inputs)) - answers).square().mean()) / _GAIN**2
    finally:
        weight.copy_(kept)


def _centred(logits: Tensor) -> Tensor:
    """Return logits less their mean over classes, which no answer depends on, float64 (b, classes)."""
    found = logits.double()
    return found - found.mean(-1, keepdim=True)


def layer_gains(layers: Sequence[Layer], sensitivity: Mapping[str, float] | None) -> dict[str, float]:
    """Return gamma of each layer by name: gamma^2 as weights a unit of felt change, capped, of mean 1 over weights.

    Args:
        layers: of a carrier.
        sensitivity: C by name; None takes all layers for equally felt, so that larger ones carry more a weight.
    """
    size = torch.tensor([float(layer.size) for layer in layers], dtype=torch.float64)
    felt = torch.tensor([(sensitivity or {}).get(layer.name, 1.0) for layer in layers], dtype=torch.float64)
    worth = size / felt.clamp(min=_FLOOR)
    for _ in range(_ROUNDS):  # the cap depends on the mean, and the mean on the cap
        cap = _CAP * float((worth * size).sum() / size.sum())
        if float(worth.max()) <= cap * (1 + 1e-9):
            break
        worth = worth.clamp(max=cap)
    gamma = (worth * size.sum() / (worth * size).sum()).sqrt()
    return {layer.name: float(value) for layer, value in zip(layers, gamma, strict=True)}
