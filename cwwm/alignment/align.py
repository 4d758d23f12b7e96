"""Undo what an attacker did to a network's channels, against the owner's copy: order, scale, removal, insertion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from cwwm.alignment.channel_map import ChannelMap
from cwwm.alignment.heads import Attention, align_heads, attention_layers
from cwwm.alignment.responses import Responses
from cwwm.alignment.scales import fit_scales
from cwwm.alignment.search import CLEAR, IMAGE_CHANNELS, RECOGNISED, Found, Search
from cwwm.alignment.signs import signs
from cwwm.alignment.similarity import LayerPair, dense
from cwwm.alignment.sources import Source, find_sources
from cwwm.alignment.transforms import ChannelTransform, Factors, axes, bring_back
from cwwm.weights.carrier import classifiers, prunable
from cwwm.weights.view import Weights

_LARGEST = 1e15  # magnitude of a weight


@dataclass(frozen=True)
class LayerAlignment:
    """How one weight tensor of the suspect is brought back.

    Attributes:
        source: where the suspect has it.
        outputs, inputs: of its channels; inputs is None for a depthwise layer.
        output_change, input_change: what was done to the channels besides.
        share: of its outputs that its own weights recognise.
    """

    source: Source
    outputs: ChannelMap
    inputs: ChannelMap | None
    output_change: ChannelTransform
    input_change: ChannelTransform
    share: float


@dataclass(frozen=True)
class Alignment:
    """The matching of a suspect to the owner's copy.

    Attributes:
        layers: those that were recognised, by name.
        sources: the suspect's tensors that were taken for the owner's layers, recognised or not, by name.
        absent: the owner's layers for which the suspect has no tensor.
        score: share of the weights of the owner's copy whose output channel is recognised, in [0, 1]; that of an
            unrelated network is below 0.05.
    """

    layers: Mapping[str, LayerAlignment]
    sources: Mapping[str, Source]
    absent: Sequence[str]
    score: float

    @property
    def channels(self) -> dict[str, int]:
        """Return how many output channels of the layers recognised stayed, moved, were removed, and were added."""
        counts = {"in place": 0, "moved": 0, "removed": 0, "added": 0}
        for layer in self.layers.values():
            matched = layer.outputs.matched
            stayed = int((layer.outputs.partner[matched] == matched).sum())
            counts["in place"] += stayed
            counts["moved"] += len(matched) - stayed
            counts["removed"] += layer.outputs.size - len(matched)
            counts["added"] += layer.outputs.width - len(matched)
        return counts

    @property
    def tensors(self) -> dict[str, int]:
        """Return how many of the owner's layers were found, not found, and found renamed or transposed."""
        renamed = sum(source.name != name for name, source in self.sources.items())
        transposed = sum(source.transposed for source in self.sources.values())
        counts = {"matched": len(self.sources), "absent": len(self.absent)}
        return counts | {"renamed": renamed, "transposed": transposed}

    @property
    def accepted(self) -> bool:
        """Say whether the suspect derives from the owner's copy as far as its channels tell."""
        return self.score >= RECOGNISED


def align(
    owner: Weights,
    suspect: Weights,
    hidden: Mapping[str, Tensor] | None = None,
    responses: Responses | None = None,
) -> Alignment:
    """Match the channels of a suspect of the same architecture family, without running either model.

    Who can run both may add their answers to the same images. They find what weights alone do not where a layer
    is too narrow to tell its channels from chance: after 60 % of the channels were removed from a small residual
    network of 16 channels at first, and 5 epochs of fine-tuning, the score is 0.96 instead of 0.001, and the
    message recovered. They change nothing after long fine-tuning, nor after milder removal, where weights are
    enough, and next to nothing after pruning, which spoils the answers before the weights. They only propose: the
    owner's answers depend on the marked weights, which nobody can hide from them, so a match is recognised and
    scored by weights alone, the hidden ones left out, as without them.

    Args:
        owner: the owner's marked copy.
        suspect: whose tensors have the same names, then widths may differ, or the same shapes; see `find_sources`.
        hidden: flat indices by tensor, int64 (n,), of the owner's weights that carry the mark: the search must not
            see them, else it would read into a suspect what it looks for.
        responses: what `record_responses` gives of both models for the same images, where they can be run.

    Returns:
        The alignment; look at `Alignment.accepted` before anything is read through it.
    """
    sources = find_sources(owner, suspect, hidden or {})
    pairs = _pairs(owner, suspect, sources, hidden or {})
    search = Search(pairs, set(classifiers(owner)), responses)
    shares = {name: search.match(found).share for name, found in search.found.items()}
    layers = {
        name: _layer(sources[name], search, search.found[name], share)
        for name, share in shares.items()
        if share >= RECOGNISED
    }
    layers |= _attention(pairs, sources, search, layers)
    sizes = {name: math.prod(owner.shape(name)) for name in prunable(owner)}
    recognised = sum(sizes[name] * layer.share for name, layer in layers.items())
    absent = [name for name in sizes if name not in sources]
    return Alignment(layers, sources, absent, recognised / max(1, sum(sizes.values())))


def _pairs(
    owner: Weights, suspect: Weights, sources: Mapping[str, Source], hidden: Mapping[str, Tensor]
) -> list[LayerPair]:
    """Return the weights that both have."""
    pairs = []
    for name, source in sources.items():
        tensor = _sane(_three_axes(owner.tensor(name)))
        if name in hidden:
            tensor.view(-1)[hidden[name].cpu()] = 0
        pairs.append(LayerPair(name, tensor, _sane(_three_axes(source.tensor(suspect)))))
    return pairs


def _sane(tensor: Tensor) -> Tensor:
    """Return a copy with zeros for what no network's weight is: not finite, or with a square that overflows."""
    return torch.where(tensor.abs() <= _LARGEST, tensor, 0.0)


def _three_axes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().float().reshape(axes(tensor.shape))


def _layer(source: Source, search: Search, found: Found, share: float) -> LayerAlignment:
    outputs = search.maps[found.outputs]
    inputs = found.inputs.resolve(search.maps) if found.inputs is not None else None
    owner = found.pair.owner
    moved = bring_back(found.pair.suspect, axes(owner.shape), outputs, inputs)
    turned = signs(owner, moved)
    groups = 1 if inputs is None else inputs.size // moved.shape[1]
    by_input = inputs is not None and inputs.size > IMAGE_CHANNELS
    upright = moved * turned[:, None, None]
    given, read = fit_scales(dense(owner, groups), dense(upright, groups), by_input=by_input)
    return LayerAlignment(source, outputs, inputs, Factors(turned * given), Factors(read), share)


def _attention(
    pairs: Sequence[LayerPair],
    sources: Mapping[str, Source],
    search: Search,
    layers: Mapping[str, LayerAlignment],
) -> dict[str, LayerAlignment]:
    """Return the layers of attention modules whose heads were mixed inside, which no order undoes."""
    by_name = {pair.name: pair for pair in pairs}
    found = dict[str, LayerAlignment]()
    for names in attention_layers(list(by_name)):
        if all(name in layers and layers[name].share >= CLEAR for name in names):
            continue
        given, read = (by_name[name] for name in names)
        mine, theirs = Attention.of(given.owner, read.owner), Attention.of(given.suspect, read.suspect)
        heads = align_heads(mine, theirs, search.maps) if mine and theirs else None
        if heads is None or min(heads.shares) < RECOGNISED:
            continue
        none = Factors(torch.ones(heads.stream.size))
        found[given.name] = LayerAlignment(
            sources[given.name], heads.given, heads.stream, heads.mixed, none, heads.shares[0]
        )
        found[read.name] = LayerAlignment(
            sources[read.name], heads.stream, heads.read, none, heads.unmixed, heads.shares[1]
        )
    return found


class AlignedWeights(Weights):
    """A suspect in the owner's names, shapes, order and scale; zero where nothing is left."""

    aligned = True

    def __init__(self, owner: Weights, suspect: Weights, alignment: Alignment) -> None:
        """View `suspect` in the shapes of `owner`."""
        self._owner, self._suspect, self.alignment = owner, suspect, alignment
        self._brought_back = lru_cache(maxsize=None)(self._bring_back)

    def names(self) -> Sequence[str]:
        """Return the names of the layers that were recognised."""
        return list(self.alignment.layers)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the owner's shape."""
        self.alignment.layers[name]
        return self._owner.shape(name)

    def tensor(self, name: str) -> Tensor:
        """Return the weights, float32, brought back."""
        return self._brought_back(name)

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Refuse: a view through an alignment is for reading."""
        raise TypeError("aligned weights are read only")

    def _bring_back(self, name: str) -> Tensor:
        layer, shape = self.alignment.layers[name], self._owner.shape(name)
        suspect = _sane(_three_axes(layer.source.tensor(self._suspect)))
        values = bring_back(suspect, axes(shape), layer.outputs, layer.inputs)
        return layer.input_change.off_inputs(layer.output_change.off_outputs(values)).reshape(shape)
