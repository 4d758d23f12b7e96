"""Scheme `wrong-key`: the control that reads a mark with another key than the owner's."""

from dataclasses import dataclass, replace
from typing import ClassVar

from cwwm.errors import BadInput
from cwwm.keys import Key
from cwwm.mark import Mark
from cwwm.schemes.base import Claim, Extraction
from cwwm.schemes.wrapped import WrappedScheme
from cwwm.weights import Weights

_PRUNING = ("magnitude", "random")


@dataclass(frozen=True, kw_only=True)
class WrongKey(WrappedScheme):
    """Another scheme, embedded under the key given and read under one derived from it.

    The other scheme must mark at once, without data, and read from weights alone.
    """

    name: ClassVar[str] = "wrong-key"

    scheme: str = "sign-repetition"

    def __post_init__(self) -> None:
        """Refuse a scheme that this control cannot stand in for."""
        super().__post_init__()
        inner = self.inner
        if isinstance(inner, WrappedScheme) or not inner.one_shot or inner.needs or inner.extraction_needs:
            raise BadInput(
                f"wrong-key needs a scheme that marks at once and reads weights alone, not {self.scheme}"
            )

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read as the other scheme does, under the wrong key."""
        return self.inner.extract(suspect, wrong_key(key), self.inner_mark(mark))

    def survival(self, attack: str, strength: float) -> float | None:
        """Return 2^-k: under a wrong key the message is guessed at best."""
        return 2.0**-self.payload_bits if attack in _PRUNING else None

    def inner_claim(self, claim: Claim) -> Claim:
        """Return the claim that the other scheme judges: under the wrong key."""
        return replace(super().inner_claim(claim), key=wrong_key(claim.key))


def wrong_key(key: Key) -> Key:
    """Return another key, of the same origin, that depends on nothing but `key`."""
    return Key(bytes.fromhex(key.authenticate(b"", "wrong-key")), origin=key.origin)
