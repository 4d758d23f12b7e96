"""Scheme `structural`: how many channels are missing from each layer is the message; no weight carries it.

After Zhao, Yao, Wu and Zhang, "Structural Watermarking to Deep Neural Networks via Network Channel Pruning", WIFS
2021 (arXiv 2107.08688). Of the paper only the abstract and a short description by others could be had; this is our
reading of them: structural-qim (reconstruction).
"""

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cwwm.channels.canonical import canonicalise
from cwwm.channels.graph import InteriorGroup, interior_groups, is_depthwise, refusing
from cwwm.codes import Bits
from cwwm.codes.structural import StructuralCode
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, EmbedContext, Embedding, Extraction, Scheme
from cwwm.schemes.common.keyed import keyed_check, match_evidence, pad_bits
from cwwm.support.bounds import mapping, whole
from cwwm.support.errors import BadInput
from cwwm.weights.view import Weights, as_weights

_WIDTHS_STAY = ("magnitude", "random", "noise")
_WIDEST = 2**31  # channels of a layer
_IMAGES = 2  # to trace a network with; a single one is taken for an image without a batch


@dataclass(frozen=True, kw_only=True)
class Structural(Scheme):
    """Widths of layers, by quantisation index modulation of channel pruning; structural-qim (reconstruction).

    Known of the paper: a segment of the message dictates each layer's pruning rate, through quantisation index
    modulation; a secret key has a say in it; extraction needs the architecture alone. All else is ours. Channels
    leave the groups of `interior_groups`, in keyed order, as many as `StructuralCode` says, those of least gain
    first (the L1 norm of the filter, times |gamma| / sigma of a batch norm and the L1 norm of a depthwise filter
    behind it), ties in keyed order; the survivors keep theirs. The message is whitened by the keyed pad. The
    training loop fine-tunes as it does for every scheme; without it (`embed`) accuracy is lost.

    Attacks that leave widths alone cannot touch the mark; whoever removes or inserts channels destroys it at little
    cost. The binomial tail of the matched bits is the chance over random keys. The widths that the host had are
    bound by the mark's salt: who states others gets another order of the groups and another pad.

    Attributes:
        payload_bits: at most what the host's widths have room for (20 bits for 0.15 to 0.45 of test_resnet).
        check_bits, segment, parity, step, rate, least, most: of `StructuralCode`.
        canonicalise: read a suspect that is a module (not a file) after `cwwm.channels.canonical`, which undoes
            inserted channels, but also removes those that an attacker's pruning emptied.
    """

    name: ClassVar[str] = "structural"
    alignable: ClassVar[bool] = False
    reconstruction: ClassVar[bool] = True

    payload_bits: int = 24
    check_bits: int = 0
    segment: int = 0
    parity: int = 0
    step: int = 1
    rate: float = 0.3
    least: float = 0.15
    most: float = 0.45
    canonicalise: bool = False

    def __post_init__(self) -> None:
        """Refuse parameters that make no code."""
        super().__post_init__()
        _ = self.code

    @cached_property
    def code(self) -> StructuralCode:
        """Return the code between messages and numbers of channels."""
        return StructuralCode(
            payload_bits=self.payload_bits,
            check_bits=self.check_bits,
            segment=self.segment,
            parity=self.parity,
            step=self.step,
            rate=self.rate,
            least=self.least,
            most=self.most,
        )

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "StructuralEmbedding":
        """Remove the channels from a copy of the host; `weights` of the embedding are the narrower model's.

        Raises:
            BadInput: for bare tensors, non-finite filters, a network that cannot be followed, or a payload beyond
                the capacity, which is named.
        """
        return StructuralEmbedding(self, weights, message, key, context)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read widths, from shapes alone; a layer that is missing is erased.

        Raises:
            BadInput: only with `canonicalise`, for a module that cannot be followed.
        """
        if self.canonicalise and suspect.module is not None:
            suspect = _canonical(suspect.module, mark)
        before = _widths_of(mark)
        now = {name: suspect.shape(name)[0] for name in before if name in suspect and len(suspect.shape(name)) > 1}
        if not now:
            return Extraction.not_applicable(self.payload_bits, f"it has no tensor {next(iter(before))}")
        streams = mark.streams(key)
        names = [sorted(before)[i] for i in _keyed_order(len(before), streams)]
        removed = [before[name] - now[name] if name in now else None for name in names]
        code = self.code
        found = code.decode([before[name] for name in names], removed, keyed_check(streams, self.check_bits))
        return Extraction(
            bits=pad_bits(found.bits, streams),
            ok=found.ok,
            reliabilities=np.array([0.0 if r is None else code.margin(r) for r in removed]),
            erased=found.erased,
            counts={"corrected": found.corrected},
        )

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the binomial tail of the matched bits: the pad makes each a fair coin under a random key."""
        return match_evidence(extraction, claim)

    def rebuild(self, model: nn.Module, mark: Mark) -> nn.Module:
        """Return a freshly built host with its layers cut, in place, to the marked widths.

        Raises:
            BadInput: if it is not of the architecture that was marked.
        """
        images = torch.zeros(_IMAGES, *mark.state["input"], device=next(model.parameters()).device)
        groups = {group.name: group for group in interior_groups(model, images)}
        if {name: group.width for name, group in groups.items() if name in mark.state["widths"]} != mark.state[
            "widths"
        ]:
            raise BadInput("the model to rebuild is not of the marked architecture: its layers have other widths")
        with refusing("structural: this network cannot lose its channels"):
            for name, left in mark.report["left"].items():
                groups[name].remove(range(left, groups[name].width))
        return model

    def survival(self, attack: str, strength: float) -> float | None:
        """Return 1 for what changes weights only, at any strength."""
        return 1.0 if attack in _WIDTHS_STAY else None


class StructuralEmbedding(Embedding):
    """Removes channels at the beginning; training then repairs the narrower model."""

    def __init__(
        self, scheme: Structural, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose groups, counts and channels, then remove them."""
        if weights.module is None:
            raise BadInput(
                "structural removes channels of a model that runs, and a file holds tensors only; mark the model "
                "from Python, with cwwm.schemes.embed or in the training loop"
            )
        self._scheme = scheme
        model = copy.deepcopy(weights.module)
        images = _images(model, context)
        roomy = (group for group in interior_groups(model, images) if scheme.code.room(group.width))
        groups = sorted(roomy, key=lambda group: group.name)  # an order that a mark's file cannot change
        _require_finite(groups)
        self._widths = {group.name: group.width for group in groups}
        state = {"widths": self._widths, "input": list(images.shape[1:])}
        self.mark = scheme.bind(weights, message, key, context, carrier=None, state=state)
        self._streams = self.mark.streams(key)
        bits = pad_bits(message, self._streams)
        ordered = [groups[i] for i in _keyed_order(len(groups), self._streams)]
        check = keyed_check(self._streams, scheme.check_bits)
        removed = scheme.code.encode(bits, [group.width for group in ordered], check)
        self._parameters = [sum(p.numel() for p in model.parameters())]
        self._remove(ordered, removed)
        self._parameters.append(sum(p.numel() for p in model.parameters()))
        self.weights = as_weights(model)

    def finish(self) -> Mark:
        """Return the mark: names and widths of the groups, before and after; nothing of the message."""
        left = {name: self.weights.shape(name)[0] for name in self._widths}
        changed = {name: width for name, width in left.items() if width != self._widths[name]}
        return replace(
            self.mark,
            report={
                "left": changed,
                "groups": len(self._widths),
                "groups_used": len(changed),
                "capacity": self._scheme.code.capacity(self._widths.values()),
                "channels": sum(self._widths.values()),
                "channels_removed": sum(self._widths.values()) - sum(left.values()),
                "parameters_before": self._parameters[0],
                "parameters": self._parameters[1],
            },
        )

    def _remove(self, groups: list[InteriorGroup], counts: list[int]) -> None:
        """Remove the least important channels; all are chosen before the first one leaves."""
        ties = self._streams.stream("ties")
        chosen = [
            _least(group, count, ties.sample(group.width, group.width))
            for group, count in zip(groups, counts, strict=True)
        ]
        with refusing("structural: this network cannot lose its channels"):
            for group, channels in zip(groups, chosen, strict=True):
                group.remove(channels)


def _widths_of(mark: Mark) -> dict[str, int]:
    """Return the widths that the host had, by group; BadInput if the mark's state lacks them."""
    widths = mapping(mark.state.get("widths"), "the mark is damaged: its widths")
    if not widths:
        raise BadInput("the mark is damaged: its state has no widths")
    return {name: whole(width, "the mark is damaged: a width", 1, _WIDEST) for name, width in widths.items()}


def _keyed_order(count: int, streams: Streams) -> list[int]:
    """Return the order in which groups are used."""
    order: list[int] = streams.stream("groups").sample(count, count).tolist()
    return order


def _least(group: InteriorGroup, count: int, ties: npt.NDArray[np.int64]) -> list[int]:
    """Return the `count` channels of least gain, ascending; `ties`, a permutation, decides between equal ones."""
    gain = _gain(group).cpu().numpy()
    return sorted(np.lexsort((ties, gain))[:count].tolist())


def _gain(group: InteriorGroup) -> Tensor:
    """Return how strongly each channel is passed on, float64 (width,)."""
    gain = _norms(group.source)
    for layer in group.passed:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            gain = gain * _scale(layer)
        elif isinstance(layer, nn.Module) and is_depthwise(layer):
            gain = gain * _norms(layer)
    return gain


def _norms(layer: nn.Module) -> Tensor:
    """Return the L1 norm of each filter, float64 (filters,)."""
    return layer.get_parameter("weight").detach().double().abs().flatten(1).sum(1)


def _scale(norm: nn.modules.batchnorm._BatchNorm) -> Tensor:
    """Return |gamma| / sigma of each channel, float64; 1 for what the norm does not keep."""
    gamma = torch.ones((), dtype=torch.float64) if norm.weight is None else norm.weight.detach().double().abs()
    return gamma if norm.running_var is None else gamma / (norm.running_var.double() + norm.eps).sqrt()


def _require_finite(groups: list[InteriorGroup]) -> None:
    for group in groups:
        if not bool(_gain(group).isfinite().all()):
            raise BadInput(f"tensor {group.name} holds NaN or infinite weights; a mark needs a finite checkpoint")


def _images(model: nn.Module, context: EmbedContext) -> Tensor:
    """Return two training images, or two empty ones of the size that timm notes in its models.

    Raises:
        BadInput: without either.
    """
    if context.data is not None:
        x, _ = next(iter(context.data.batches(_IMAGES, seed=0, epoch=0, shift=0, flip=False)))
        return x
    shape = getattr(model, "pretrained_cfg", {}).get("input_size")
    if shape is None:
        raise BadInput("structural needs an image's shape to follow the channels; give it training data")
    return torch.zeros(_IMAGES, *shape, device=next(model.parameters()).device)


def _canonical(model: nn.Module, mark: Mark) -> Weights:
    """Return a copy of the suspect without channels that change nothing."""
    device = next(model.parameters()).device
    images = torch.randn(_IMAGES, *mark.state["input"], generator=torch.Generator().manual_seed(0)).to(device)
    suspect = copy.deepcopy(model)
    canonicalise(suspect, images)
    return as_weights(suspect)
