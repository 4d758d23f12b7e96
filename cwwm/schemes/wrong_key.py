"""Scheme `wrong-key`: the control that reads a mark with another key than the owner's."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, EmbedContext, Embedding, Extraction, Scheme
from cwwm.schemes.known import make_scheme
from cwwm.support.errors import BadInput
from cwwm.training import Batch
from cwwm.weights.view import Weights

_PRUNING = ("magnitude", "random")


@dataclass(frozen=True, kw_only=True)
class WrongKey(Scheme):
    """Another scheme, embedded under the key given and read under one derived from it.

    The other scheme must mark at once, without data, and read from weights alone.

    Attributes:
        scheme: name of the other scheme.
        settings: its parameters beside payload_bits.
    """

    name: ClassVar[str] = "wrong-key"
    alignable: ClassVar[bool] = False

    scheme: str = "sign-repetition"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a scheme that this control cannot stand in for."""
        super().__post_init__()
        inner = self.inner
        if isinstance(inner, WrongKey) or not inner.one_shot or inner.needs or inner.extraction_needs:
            raise BadInput(
                f"wrong-key needs a scheme that marks at once and reads weights alone, not {self.scheme}"
            )

    @cached_property
    def inner(self) -> Scheme:
        """Return the other scheme."""
        return make_scheme(self.scheme, {**self.settings, "payload_bits": self.payload_bits}, self.name)

    @property
    def encoding(self) -> Scheme:
        """Return the other scheme, which writes the mark."""
        return self.inner.encoding

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "_Embedding":
        """Start the other scheme's embedding."""
        return _Embedding(self, self.inner.begin(weights, message, key, context))

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read as the other scheme does, under the wrong key."""
        return self.inner.extract(suspect, wrong_key(key), self.inner_mark(mark))

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read as the other scheme does where no message is to be decoded, under the wrong key."""
        return self.inner.read(suspect, wrong_key(key), self.inner_mark(mark))

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the other scheme's evidence."""
        return self.inner.evidence(extraction, self.inner_claim(claim))

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the other scheme's overlap with the codeword."""
        return self.inner.overlap(extraction, self.inner_claim(claim))

    def rebuild(self, model: nn.Module, mark: Mark) -> nn.Module:
        """Return the host in the shape that the other scheme gave it."""
        return self.inner.rebuild(model, self.inner_mark(mark))

    def written(self, mark: Mark) -> Mark:
        """Return the mark as the other scheme bound it."""
        return self.inner.written(self.inner_mark(mark))

    def survival(self, attack: str, strength: float) -> float | None:
        """Return 2^-k: under a wrong key the message is guessed at best."""
        return 2.0**-self.payload_bits if attack in _PRUNING else None

    def inner_mark(self, mark: Mark) -> Mark:
        """Return the mark as the other scheme wrote it."""
        return replace(mark, scheme=self.scheme, parameters=self.inner.parameters)

    def inner_claim(self, claim: Claim) -> Claim:
        """Return the claim that the other scheme judges: under the wrong key."""
        return replace(claim, mark=self.inner_mark(claim.mark), key=wrong_key(claim.key))


class _Embedding(Embedding):
    """Hands every hook on to the other scheme's embedding."""

    def __init__(self, scheme: WrongKey, inner: Embedding) -> None:
        """Wrap `inner`."""
        self.scheme, self.inner, self.weights, self.mark = scheme, inner, inner.weights, inner.mark

    def parameters(self) -> list[dict[str, Any]]:
        """Return the other embedding's optimiser groups."""
        return self.inner.parameters()

    def loss(self, batch: Batch) -> Tensor | None:
        """Return the other embedding's loss."""
        return self.inner.loss(batch)

    def project(self) -> None:
        """Restore the other embedding's constraint."""
        self.inner.project()

    def finish(self) -> Mark:
        """Return the other embedding's mark under this scheme's name; what fixes its code is in the settings."""
        mark = self.inner.finish()
        self.weights = self.inner.weights
        settings = {name: value for name, value in mark.parameters.items() if name != "payload_bits"}
        return replace(mark, scheme=self.scheme.name, parameters={**self.scheme.parameters, "settings": settings})


def wrong_key(key: Key) -> Key:
    """Return another key, of the same origin, that depends on nothing but `key`."""
    return Key(bytes.fromhex(key.authenticate(b"", "wrong-key")), origin=key.origin)
