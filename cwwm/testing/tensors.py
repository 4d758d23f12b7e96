"""Rules of a scheme that reads weights at their places, tried on tensors by name, with no model around them."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from cwwm.schemes.base import Extraction
from cwwm.testing.rules import Rule, require, require_refusal
from cwwm.testing.subject import LAYERS, Marked, State, Subject, tensors

_PAYLOAD = 6400  # bits, more than the weights of the smallest layer


def _dtypes(subject: Subject) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        host = {name: tensor.to(dtype) for name, tensor in _tensors(subject).items()}
        marked = subject.mark(host)
        require(marked.is_recovered(marked.read()), f"the message is not recovered in {dtype}")
        changed = [name for name, tensor in host.items() if tensor.dtype != dtype]
        require(not changed, f"{changed} are no longer {dtype}")


def _tensors(subject: Subject) -> State:
    host = subject.host()
    if isinstance(host, nn.Module):
        raise TypeError("rules on tensors are tried on tensors by name")
    return host


def _modules(subject: Subject) -> None:
    model = nn.ModuleDict({name.removesuffix(".weight"): _layer(name) for name in LAYERS})
    marked = subject.mark(model)
    require(marked.is_recovered(marked.read()), "the message is not recovered in a module")
    require(
        marked.is_recovered(marked.read(suspect=model.state_dict())), "its state dict does not read as the module"
    )


def _layer(name: str) -> nn.Module:
    shape, weight = LAYERS[name], tensors()[name]
    layer = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2])
    layer.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})
    return layer


def _only_hosts(subject: Subject) -> None:
    host, before = _tensors(subject), _tensors(subject)
    report = subject.mark(host).mark.report
    changed = {name: int((host[name] != before[name]).sum()) for name in host}
    others = [name for name, tensor in host.items() if tensor.ndim < 2 and changed[name]]
    require(not others, f"{others} changed, which are no weights of a convolution or linear layer")
    require(sum(changed.values()) == report["touched"], f"{sum(changed.values())} weights changed: {report}")
    energy = sum(float((host[name].double() - before[name].double()).square().sum()) for name in host)
    told = float(report["squared_change"])
    require(abs(told - energy) <= 1e-5 * energy, f"the squared change is {energy:g}, the report says {told:g}")


def _scale(subject: Subject) -> None:
    for scale in (2.0**-3, 3.7):
        marked = subject.marked.copy()
        for tensor in marked.state.values():
            tensor.mul_(scale)
        require(
            marked.is_recovered(marked.read()), f"the message is lost where all weights are {scale} times as large"
        )


def _missing(subject: Subject) -> None:
    marked = subject.marked.copy()
    whole, name = marked.read(), "block.weight"
    marked.state[name].zero_()
    zeroed = marked.read()
    reshaped = {**marked.state, name: torch.ones(70, 600)}
    gone = {key: value for key, value in marked.state.items() if key != name}
    for how, suspect in (("gone", gone), ("reshaped", reshaped)):
        found = marked.read(suspect=suspect)
        require(found.applicable, f"one layer that is {how} makes the suspect not applicable")
        require(_reads_alike(found, zeroed), f"a layer that is {how} reads otherwise than one of zeros")
        differs = not np.array_equal(found.reliabilities, whole.reliabilities)
        require(differs, f"a layer that is {how} changes no reliability")


def _reads_alike(found: Extraction, other: Extraction) -> bool:
    same = np.array_equal(found.bits, other.bits) and np.array_equal(found.reliabilities, other.reliabilities)
    return same and found.erased == other.erased


def _zeros(subject: Subject) -> None:
    marked = subject.marked
    found = marked.read(suspect={name: torch.zeros_like(tensor) for name, tensor in marked.state.items()})
    require(found.applicable and found.erased > 0, f"zeros: applicable {found.applicable}, {found.erased} erased")
    require(marked.log10_p(found) > -4, f"a model of zeros has log10 p = {marked.log10_p(found):.1f}")


def _bad_suspects(subject: Subject) -> None:
    for share in (0.02, 1.0):
        marked = _spoilt(subject.marked.copy(), share)
        found = marked.read()
        require(set(np.unique(found.bits)) <= {0, 1}, f"bits are {np.unique(found.bits)}")
        require(bool(np.isfinite(found.reliabilities).all()), "a reliability is not finite")
        value = marked.log10_p(found)
        require(np.isfinite(value), f"log10 p is {value}")
        require(share < 1 or value > -4, f"a model of NaN has log10 p = {value:.1f}")


def _spoilt(marked: Marked, share: float) -> Marked:
    generator = torch.Generator().manual_seed(1)
    for tensor in marked.state.values():
        for bad in (float("nan"), float("inf")):
            tensor[torch.rand(tensor.shape, generator=generator) < share] = bad
    return marked


def _too_large(subject: Subject) -> None:
    host = {"head.weight": _tensors(subject)["head.weight"]}
    before = host["head.weight"].clone()
    embed = lambda: subject.mark(host, scheme=replace(subject.scheme, payload_bits=_PAYLOAD))  # noqa: E731
    require_refusal(embed, f"a payload of {_PAYLOAD:,} bits in {before.numel():,} weights")
    require(torch.equal(host["head.weight"], before), "a host that is refused was changed")


def _sparse(subject: Subject) -> None:
    host = _tensors(subject)
    for tensor in host.values():
        tensor[torch.rand(tensor.shape, generator=torch.Generator().manual_seed(0)) < 0.99] = 0
    require_refusal(lambda: subject.mark(host), "a host of which 99 % are zero", "sparse already")


ON_TENSORS = (
    Rule("the message is recovered in float32, float16 and bfloat16, which stay so", _dtypes),
    Rule("a module reads like its state dict", _modules),
    Rule("only host weights change, as the report says", _only_hosts, True),
    Rule("a common positive scale does not matter", _scale),
    Rule("a missing layer reads like a zeroed one", _missing),
    Rule("a model of zeros proves nothing", _zeros),
    Rule("NaN and infinite weights do not stop extraction, and prove nothing", _bad_suspects, True),
    Rule("a payload too large for the host is refused", _too_large),
    Rule("a host that is sparse already is refused", _sparse),
)
