"""How a suspect is read: as it is, without scales of its channels, in the channels the owner knows, or as what it
adds to the unmarked original.

A reader belongs to the reading, not to the mark: one marked model can be read by all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from cwwm.alignment import AlignedWeights, Alignment, align
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.residual import ALL_STEPS, ResidualWeights, Steps, in_place
from cwwm.schemes import Extraction, Scheme
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.support.errors import BadInput, unknown_name
from cwwm.weights.carrier import prunable
from cwwm.weights.unscaled import UnscaledWeights
from cwwm.weights.view import Weights


@dataclass(frozen=True)
class View:
    """A suspect as a reader shows it to a scheme.

    Attributes:
        weights: what the scheme reads.
        refusal: why there is nothing to read; empty if there is.
        alignment: to the reference, where the reader makes one.
    """

    weights: Weights
    refusal: str = ""
    alignment: Alignment | None = None

    def extraction(self, scheme: Scheme, key: Key, mark: Mark) -> Extraction:
        """Return what the scheme extracts; not applicable where there is nothing to read."""
        if self.refusal:
            return Extraction.not_applicable(mark.payload_bits, self.refusal)
        return scheme.extract(self.weights, key, mark)

    def reading(self, scheme: Scheme, key: Key, mark: Mark) -> Extraction:
        """Return the same without decoding; see `Scheme.read`."""
        if self.refusal:
            return Extraction.not_applicable(mark.payload_bits, self.refusal)
        return scheme.read(self.weights, key, mark)


@dataclass(frozen=True)
class Asked:
    """The mark that is looked for.

    Attributes:
        any_key: whether one view serves thousands of keys, so that the hosts of none are hidden.
    """

    scheme: Scheme
    key: Key
    mark: Mark
    any_key: bool = False

    @cached_property
    def hidden(self) -> Mapping[str, Tensor]:
        """Flat indices, int64, of the weights that the mark may have changed, by tensor.

        A search that saw them could find the mark where there is none. A scheme that reads whole layers has none to
        hide: its echo is kept out by refusing suspects whose channels are not recognised.
        """
        return {} if self.any_key else hidden_hosts(self.key, self.mark, self.scheme.hosts)


class Reader(ABC):
    """One way to read.

    Class attributes:
        name: as registered.
        takes_reference: needs a network of the owner's beside the suspect, the marked copy or the original.
        takes_original: needs the unmarked original and no other.
    """

    name: ClassVar[str]
    takes_reference: ClassVar[bool] = False
    takes_original: ClassVar[bool] = False

    @property
    def helped(self) -> bool:
        """Say whether it takes more than key and mark beside the suspect."""
        return self.takes_reference or self.takes_original

    def require(self, scheme: Scheme) -> None:  # noqa: B027 (a hook, empty by intention)
        """Raise BadInput for a scheme that cannot be read so."""

    @abstractmethod
    def view(self, suspect: Weights, owned: Weights | None, asked: Asked) -> View:
        """Return the suspect as a scheme is to read it.

        Args:
            suspect: the model in question.
            owned: the marked copy or the unmarked original; see `takes_reference` and `takes_original`.
            asked: the mark that is looked for.
        """


class Blind(Reader):
    """The suspect as it is: key and mark are enough."""

    name: ClassVar[str] = "blind"

    def view(self, suspect: Weights, owned: Weights | None, asked: Asked) -> View:
        """Return the suspect itself; BadInput for one whose tensors have an exporter's names."""
        if suspect.exported:
            raise BadInput(
                "an ONNX file has an exporter's names: give --original, or as --reference the original or the "
                "marked copy"
            )
        return View(suspect)


class PerChannel(Reader):
    """The suspect without the scales of its channels: key and mark are enough; see `cwwm.weights.unscaled`.

    Batch norm folded into its convolution, and positive factors moved from one layer into the next, are no change
    to what is read so. Marks that rank weights of several channels, or measure them in absolute units, are read
    less well so than they were written.
    """

    name: ClassVar[str] = "per-channel"

    def require(self, scheme: Scheme) -> None:
        """Raise BadInput for a scheme that reads shapes or answers."""
        if not scheme.alignable:
            raise BadInput(f"{scheme.name} reads no weights whose scales could matter; read it blind")

    def view(self, suspect: Weights, owned: Weights | None, asked: Asked) -> View:
        """Return the suspect without scales; BadInput for one whose tensors have an exporter's names."""
        return View(UnscaledWeights(Blind().view(suspect, owned, asked).weights))


class Aligned(Reader):
    """The suspect with its channels brought back to those of a reference; see `cwwm.alignment`.

    Derived for this project: keyed positions mean nothing in a network whose channels were permuted, scaled,
    removed or added, which need not change an answer; but the owner has the network as it was.
    """

    name: ClassVar[str] = "aligned"
    takes_reference: ClassVar[bool] = True

    def require(self, scheme: Scheme) -> None:
        """Raise BadInput for a scheme that reads shapes or answers: no alignment can restore these."""
        if not scheme.alignable:
            raise BadInput(
                f"{scheme.name} reads no weights that an alignment could bring back; extract without one"
            )

    def view(self, suspect: Weights, owned: Weights | None, asked: Asked) -> View:
        """Return the suspect through its alignment; a refusal where its channels are not recognised."""
        if owned is None:
            raise BadInput("an aligned reading needs a reference: the marked copy, or the original")
        alignment = align(owned, suspect, asked.hidden)
        if not alignment.accepted:
            return View(suspect, _refusal(alignment, owned), alignment)
        return View(AlignedWeights(owned, suspect, alignment), alignment=alignment)


@dataclass(frozen=True)
class Informed(Reader):
    """What a suspect adds to the unmarked original, aligned to it where its channels moved; see `cwwm.residual`.

    Derived for this project. The original holds no mark, so a search for its channels can see all of it.

    Attributes:
        steps: to be taken; all of them but in an ablation.
    """

    name: ClassVar[str] = "informed"
    takes_original: ClassVar[bool] = True

    steps: Steps = ALL_STEPS

    def require(self, scheme: Scheme) -> None:
        """Raise BadInput for a scheme that neither sums weights nor ranks them."""
        if not reads_originals(scheme):
            raise BadInput(
                f"{scheme.name} says not what it makes of an original's weights, so it cannot be read against one; "
                "read it blind or aligned"
            )

    def view(self, suspect: Weights, owned: Weights | None, asked: Asked) -> View:
        """Return what each weight says for a one; a refusal where the original's channels are not recognised."""
        if owned is None:
            raise BadInput("an informed reading needs the unmarked original")
        expected = asked.scheme.expected(owned, asked.mark)
        if in_place(suspect, owned, list(expected)):
            return View(ResidualWeights(suspect, owned, expected, self.steps))
        alignment = align(owned, suspect)
        if not alignment.accepted:
            return View(suspect, _refusal(alignment, owned), alignment)
        aligned = AlignedWeights(owned, suspect, alignment)
        return View(ResidualWeights(aligned, owned, expected, self.steps), alignment=alignment)


def reads_originals(scheme: Scheme) -> bool:
    """Say whether marks of a scheme can be read against the original."""
    return type(scheme).expected is not Scheme.expected


READERS: Mapping[str, Reader] = {reader.name: reader for reader in (Blind(), PerChannel(), Aligned(), Informed())}


def find_reader(name: str) -> Reader:
    """Return the reader of that name; BadInput names the nearest valid ones."""
    if name not in READERS:
        raise unknown_name("reader", name, READERS)
    return READERS[name]


def view_of(
    reader: Reader, scheme: Scheme, suspect: Weights, key: Key, mark: Mark, owned: Weights | None = None
) -> View:
    """Return a suspect as a reader shows it to a scheme, beside what the owner has where the reader takes it.

    Raises:
        BadInput: for a scheme that cannot be read so, or a reference or original that is missing.
    """
    reader.require(scheme)
    return reader.view(suspect, owned, Asked(scheme, key, mark))


def _refusal(alignment: Alignment, owned: Weights) -> str:
    if not alignment.sources:
        return f"it has no tensor of the owner's copy, such as {prunable(owned)[0]}, nor any of such a shape"
    return f"it does not match the owner's copy: {alignment.score:.1%} of it is recognised"
