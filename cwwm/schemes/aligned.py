"""Scheme `aligned`: another scheme, read through an alignment of the suspect to the owner's marked copy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from cwwm.alignment import AlignedWeights, Alignment, align
from cwwm.carrier import prunable
from cwwm.codes import Bits
from cwwm.errors import BadInput
from cwwm.keys import Key
from cwwm.mark import Mark
from cwwm.schemes.base import REFERENCE, EmbedContext, Extraction, Scheme
from cwwm.schemes.keyed import hidden_hosts
from cwwm.schemes.wrapped import WrappedEmbedding, WrappedScheme
from cwwm.weights import TensorWeights, Weights

_COPY = "copy::"  # leads the names of the owner's copy among what a mark learned


@dataclass(frozen=True, kw_only=True)
class Aligned(WrappedScheme):
    """Another scheme, whose owner undoes what a thief did to the channels before it is read.

    Derived for this project: keyed positions mean nothing in a network whose channels were permuted, scaled,
    removed or added, which need not change an answer; but the owner has the network as it was. The mark keeps
    that copy. See `cwwm.alignment`.
    """

    name: ClassVar[str] = "aligned"
    unproven: ClassVar[str] = (
        "the copy that it aligns to was made after the key, and its channels could be in any order; mark with the "
        "other scheme itself, and verify it with --reference and --original"
    )
    extraction_needs: ClassVar[frozenset[str]] = frozenset({REFERENCE})

    scheme: str = "protected-cwc"

    def __post_init__(self) -> None:
        """Refuse a scheme that reads no weights, or takes training, which `embed` could not refuse for it."""
        super().__post_init__()
        require_alignable(self.inner)
        # the class cannot know what the other scheme needs, and the plan asks the scheme it is about to run
        for attribute in ("one_shot", "needs"):
            object.__setattr__(self, attribute, getattr(self.inner, attribute))

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "AlignedEmbedding":
        """Start the other scheme's embedding."""
        return AlignedEmbedding(self, self.inner.begin(weights, message, key, context))

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Align the suspect to the copy that the mark keeps, and read it as the other scheme does."""
        inner = self.inner_mark(mark)
        return read_aligned(self.inner, suspect, owners_copy(mark), key, inner)[0]

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Return what the other scheme reads through an alignment made once a suspect, and the same for all keys.

        A wrong key's own alignment would hide other weights and else find the same channels.
        """
        view = self._view(suspect, mark)
        if not view.alignment.accepted:
            return Extraction.not_applicable(self.payload_bits, refusal(view.alignment, owners_copy(mark), suspect))
        return self.inner.read(view, key, self.inner_mark(mark))

    def _view(self, suspect: Weights, mark: Mark) -> AlignedWeights:
        """Return the suspect through its alignment; the latest is kept, since thousands of keys read the same."""
        for known, tensors, view in self._latest:
            if known is suspect and tensors is mark.learned:
                return view
        owner = owners_copy(mark)
        view = AlignedWeights(owner, suspect, align(owner, suspect))
        self._latest[:] = [(suspect, mark.learned, view)]
        return view

    @cached_property
    def _latest(self) -> list[tuple[Weights, Mapping[str, Tensor], AlignedWeights]]:
        return []

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the other scheme's law, which holds where channels stay."""
        return self.inner.survival(attack, strength)

    def inner_mark(self, mark: Mark) -> Mark:
        """Return the mark as the other scheme wrote it, without the owner's copy."""
        learned = {name: tensor for name, tensor in mark.learned.items() if not name.startswith(_COPY)}
        return replace(super().inner_mark(mark), learned=learned)


class AlignedEmbedding(WrappedEmbedding):
    """The other scheme's embedding; its mark comes to hold the marked copy."""

    def finish(self) -> Mark:
        """Return the mark with the weights as they were marked."""
        mark = super().finish()
        copy = {_COPY + name: self.weights.tensor(name).detach().cpu().clone() for name in prunable(self.weights)}
        return replace(mark, learned={**mark.learned, **copy})


def require_alignable(scheme: Scheme) -> None:
    """Raise BadInput for a scheme that reads shapes or answers: no alignment can restore these."""
    if not scheme.alignable or isinstance(scheme, WrappedScheme):
        raise BadInput(f"{scheme.name} reads no weights that an alignment could bring back; extract without one")


def owners_copy(mark: Mark) -> Weights:
    """Return the copy that a mark keeps; BadInput if its tensors are gone."""
    copy = {name.removeprefix(_COPY): t for name, t in mark.learned.items() if name.startswith(_COPY)}
    if not copy:
        raise BadInput("the mark is damaged: it has lost the owner's copy, which lies beside it as safetensors")
    return TensorWeights(copy)


def read_aligned(
    scheme: Scheme, suspect: Weights, owner: Weights, key: Key, mark: Mark
) -> tuple[Extraction, Alignment]:
    """Extract from a suspect through its alignment to the owner's copy.

    The hosts of the mark are hidden from the search. A scheme that reads whole layers has none to hide: its echo is
    kept out by refusing suspects whose channels are not recognised.

    Raises:
        BadInput: for a scheme that reads no weights.
    """
    require_alignable(scheme)
    alignment = align(owner, suspect, hidden_hosts(key, mark, scheme.hosts))
    if not alignment.accepted:
        return Extraction.not_applicable(mark.payload_bits, refusal(alignment, owner, suspect)), alignment
    return scheme.extract(AlignedWeights(owner, suspect, alignment), key, mark), alignment


def refusal(alignment: Alignment, owner: Weights, suspect: Weights) -> str:
    """Return why a suspect cannot be aligned."""
    names = prunable(owner)
    if not any(name in suspect for name in names):
        return f"it has no tensor of the owner's copy, such as {names[0]}"
    return f"it does not match the owner's copy: {alignment.score:.1%} of it is recognised"
