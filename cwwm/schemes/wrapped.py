"""What schemes share that embed as another one does and read in a way of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.evidence import Evidence
from cwwm.keys import Key
from cwwm.mark import Mark
from cwwm.schemes.base import Claim, EmbedContext, Embedding, Extraction, Scheme
from cwwm.training import Batch
from cwwm.weights import Weights


@dataclass(frozen=True, kw_only=True)
class WrappedScheme(Scheme):
    """Another scheme's embedding.

    Attributes:
        scheme: name of the other scheme.
        settings: its parameters beside payload_bits.
    """

    scheme: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def inner(self) -> Scheme:
        """Return the other scheme."""
        from cwwm.schemes.registry import make_scheme  # the registry lists the schemes that wrap

        return make_scheme(self.scheme, {**self.settings, "payload_bits": self.payload_bits}, self.name)

    @property
    def encoding(self) -> Scheme:
        """Return the other scheme, which writes the mark."""
        return self.inner.encoding

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "WrappedEmbedding":
        """Start the other scheme's embedding."""
        return WrappedEmbedding(self, self.inner.begin(weights, message, key, context))

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

    def inner_mark(self, mark: Mark) -> Mark:
        """Return the mark as the other scheme wrote it."""
        return replace(mark, scheme=self.scheme, parameters=self.inner.parameters)

    def inner_claim(self, claim: Claim) -> Claim:
        """Return the claim that the other scheme judges."""
        return replace(claim, mark=self.inner_mark(claim.mark))


class WrappedEmbedding(Embedding):
    """Hands every hook on to the other scheme's embedding."""

    def __init__(self, scheme: WrappedScheme, inner: Embedding) -> None:
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
