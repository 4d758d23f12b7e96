"""The contract of every scheme: message -> weights while a model is trained or at once, and back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.codes.base import check_message
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key, Streams, new_nonce
from cwwm.ownership.mark import Mark
from cwwm.residual.expected import Expected
from cwwm.support.bounds import MOST_PAYLOAD
from cwwm.support.errors import BadInput
from cwwm.training import Batch, Batches, train
from cwwm.weights.carrier import Carrier, host_digest
from cwwm.weights.dead import Dead
from cwwm.weights.view import Weights

TRAINING = "training data"
TRIGGERS = "trigger inputs"
FORWARD = "a forward pass"


@dataclass(frozen=True)
class EmbedContext:
    """What an embedding may use.

    Attributes:
        data: training data on the device of the model, or None.
        classes: number of classes of the task, or None without data.
        seed: of everything random that is not keyed.
        device: where the model is.
        nonce: of the mark, 16 bytes; fresh unless the harness fixes it.
        dead: by tensor, what carriers ``alive:...`` leave out; None if nobody looked.
        sensitivity: by layer, how much the answers feel its changes (`cwwm.weights.sensitivity`); None if nobody
            measured it.
    """

    data: Batches | None = None
    classes: int | None = None
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    nonce: bytes = field(default_factory=new_nonce)
    dead: Mapping[str, Dead] | None = None
    sensitivity: Mapping[str, float] | None = None

    #: the one training loop, for schemes that train something of their own
    train = staticmethod(train)


@dataclass(frozen=True)
class Extraction:
    """What a scheme read from a suspect.

    Attributes:
        bits: the message, uint8 (k,), pad removed; all zero where nothing could be read.
        ok: False if the scheme knows that the message is lost; True is no proof.
        reliabilities: of the symbols or bits, float64; larger is surer.
        erased: symbols that were unknown (exact zeros, ties, removed channels).
        symbols: what `evidence` compares with the claim, as the scheme defines it.
        counts: what else `evidence` needs (survivors of a pool, say).
        applicable: False if the suspect lacks what the mark lives in; it then counts as removed.
        reason: why not applicable, in a few words.
    """

    bits: Bits
    ok: bool
    reliabilities: np.ndarray[Any, np.dtype[np.float64]]
    erased: int = 0
    symbols: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    counts: Mapping[str, int] = field(default_factory=dict)
    applicable: bool = True
    reason: str = ""

    @classmethod
    def not_applicable(cls, payload_bits: int, reason: str) -> "Extraction":
        """Return the extraction of a suspect in which the mark has no place."""
        nothing = np.zeros(payload_bits, np.uint8)
        return cls(nothing, ok=False, reliabilities=np.zeros(0), applicable=False, reason=reason)


@dataclass(frozen=True)
class Claim:
    """What a claimant asserts: this key and this mark carry this message, uint8 (k,)."""

    key: Key
    mark: Mark
    message: Bits

    @cached_property
    def streams(self) -> Streams:
        """The keyed streams of the claim's mark."""
        return self.mark.streams(self.key)


class Embedding(ABC):
    """One embedding under way; hooks of the training loop, most schemes use one or two.

    Attributes:
        weights: the host; may become another object, with other shapes, before or at `finish`.
        mark: all that reading will use, bound before the first weight changes (`Scheme.bind`); without a report.
    """

    weights: Weights
    mark: Mark

    def parameters(self) -> list[dict[str, Any]]:
        """Return extra optimiser groups, such as a learned extractor's."""
        return []

    def loss(self, batch: Batch) -> Tensor | None:
        """Return an extra loss term for this batch, or None."""
        return None

    def project(self) -> None:  # noqa: B027 (a hook, empty by intention)
        """Restore the constraint on the host weights after an optimiser step; no gradients, nothing else."""

    def embedded(self) -> bool:
        """Say whether the message reads from the weights as they are; True where `finish` writes it."""
        return True

    @abstractmethod
    def finish(self) -> Mark:
        """Bring the weights into their final form and return the mark."""


@dataclass(frozen=True, kw_only=True)
class Scheme(ABC):
    """An encoding with its parameters; small, immutable, its repr rebuilds it.

    Class attributes:
        name: as registered; one_shot: can mark a finished model without training;
        needs: what embedding needs (`TRAINING`, `TRIGGERS`); extraction_needs: what extraction needs
        beside tensors (`FORWARD`). The plan refuses a cell that lacks them.
        alignable: reads weights at places that an alignment can restore, not shapes or answers.
        unproven: why what it reads is no evidence by itself, if something that reading uses is made after the salt;
        empty for all that a key and a bound mark determine.
        reconstruction: our reading of a paper whose text could not be had in full; every table says so.
    """

    name: ClassVar[str]
    one_shot: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    extraction_needs: ClassVar[frozenset[str]] = frozenset()
    alignable: ClassVar[bool] = True
    unproven: ClassVar[str] = ""
    reconstruction: ClassVar[bool] = False

    payload_bits: int = 256

    def __post_init__(self) -> None:
        """Refuse an impossible payload."""
        if not 1 <= self.payload_bits <= MOST_PAYLOAD:
            raise BadInput(f"payload_bits is from 1 to {MOST_PAYLOAD:,}, not {self.payload_bits}")

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters that rebuild this scheme, as JSON values."""
        return asdict(self)

    @property
    def hosts(self) -> int:
        """Return L, the number of keyed positions that it reads; 0 if it reads whole layers, or no weights."""
        return 0

    @property
    def encoding(self) -> "Scheme":
        """Return what writes the mark: this scheme, or the one that it stands around."""
        return self

    @property
    def weighs_layers(self) -> bool:
        """Say whether an embedding asks how much the answers feel each layer: `EmbedContext.sensitivity`."""
        return False

    @property
    def strength_parameter(self) -> str:
        """Return the name of the parameter that the mark's amplitude grows with; empty if there is none."""
        return ""

    def bind(
        self,
        weights: Weights,
        message: Bits,
        key: Key,
        context: EmbedContext,
        *,
        carrier: Carrier | None,
        parameters: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Mark:
        """Return the mark of an embedding that begins: all that reading will use, bound by its salt.

        Args:
            weights: the host, unmarked.
            message: uint8 (payload_bits,).
            key, context: of the embedding.
            carrier: of the mark.
            parameters: that rebuild this scheme; its own by default.
            state, tensors: as of `Mark`; tensors are copied.

        Raises:
            BadInput: for a message of another length or other values.
        """
        return Mark(
            scheme=self.name,
            parameters=self.parameters if parameters is None else parameters,
            payload_bits=self.payload_bits,
            carrier=carrier,
            nonce=context.nonce,
            original=host_digest(weights),
            stretch=key.stretch,
            key_digest=key.digest,
            key_origin=key.origin,
            state=dict(state or {}),
            tensors={name: tensor.detach().cpu().clone() for name, tensor in (tensors or {}).items()},
        ).salted(key, check_message(message, self.payload_bits))

    def written(self, mark: Mark) -> Mark:
        """Return a mark as the encoding that wrote it bound it; a scheme around another one renames it."""
        return mark

    @abstractmethod
    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> Embedding:
        """Start to embed `message`, uint8 (payload_bits,), in `weights` under `key`.

        Raises:
            BadInput: if the host cannot carry the message with these parameters.
        """

    @abstractmethod
    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the message; a suspect that lacks the tensors gives `Extraction.not_applicable`."""

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Return what `evidence` needs, the message not decoded where that costs more than reading: `ok` is False.

        For false-positive rates, which take thousands of wrong keys.
        """
        return self.extract(suspect, key, mark)

    @abstractmethod
    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the p-values of a claim; `extraction` must be that of the claim's key and mark."""

    def rebuild(self, model: nn.Module, mark: Mark) -> nn.Module:
        """Return a freshly built host in the shape that the mark gave it; most schemes change no shape."""
        return model

    def expected(self, original: Weights, mark: Mark) -> Mapping[str, Expected]:
        """Return what the mark makes of the original's weights, by layer, for reading against it.

        Of a linear encoding what is read then is a matched filter of the residual, of one that ranks magnitudes a
        likelihood ratio. Empty for schemes that are neither. It must follow from `original` and the bound mark.
        """
        return {}

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the law's probability that the message is recovered, or None where no law is known."""
        return None

    def survival_against(self, original: Weights, mark: Mark, attack: str, strength: float) -> float | None:
        """Return the same where a suspect is read against the original, or None where no law is known."""
        return None

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the codeword's symbols read right, in [0, 1]."""
        return float(np.mean(extraction.bits == claim.message)) if extraction.applicable else 0.0
