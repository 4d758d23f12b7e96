"""The mark: what the owner keeps to find a message again. It holds neither the key nor the message.

It is made before the first weight is changed, and its salt binds all that reading uses, the message included.
Streams come from the salt alone, so nothing that reading uses can be chosen to fit the positions it is read at.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cwwm.codes import Bits
from cwwm.ownership.keys import NONCE_BYTES, SALT_BYTES, Key, Streams, Stretch
from cwwm.support.bounds import MOST_PAYLOAD, digits, mapping, text, whole
from cwwm.support.errors import BadInput
from cwwm.support.files import read_json, write_json
from cwwm.support.seeds import canonical_json
from cwwm.weights.carrier import Carrier, weights_digest
from cwwm.weights.view import TensorWeights

FORMAT = "cwwm-mark v2"
_DIGEST, _KEY_DIGEST = 64, 32  # hexadecimal digits of SHA-256, and of a key's digest
_MOST_NAME = 100  # characters of a scheme's name
_BOUND, _LEARNED = "bound::", "learned::"  # lead the names of a mark's tensors where both kinds lie together


@dataclass(frozen=True)
class Mark:
    """The owner's state of one embedding.

    Attributes:
        scheme: registered name of the scheme.
        parameters: rebuild the scheme (JSON values).
        payload_bits: length k of the message.
        carrier: names and shapes that extraction needs, or None for schemes that read no weights.
        nonce: 128 random bits, so that the same message in the same host gets other positions.
        original: digest of the unmarked host's tensors.
        stretch: cost of the stream key.
        key_digest: of the key, to refuse a wrong one early.
        key_origin: ``"owner"`` or ``"harness"``.
        state: what else extraction needs, as JSON (per-tensor scales, widths).
        tensors: what else it needs, as tensors (trigger images, say).
        salt: 256 bits that all of these and the message determine, under the key; see `salted`.
        learned: tensors made after the salt (a learned extractor, a marked copy). What is read with them is no
            evidence by itself: they could have been fitted to a suspect.
        copy: digest of the marked weights, where they are written to a file; made after the salt, too.
        report: what embedding did, for the reader (JSON): thresholds, energy, layers not protected; reading uses
            none of it.
    """

    scheme: str
    parameters: Mapping[str, Any]
    payload_bits: int
    carrier: Carrier | None
    nonce: bytes
    original: str
    stretch: Stretch
    key_digest: str
    key_origin: str
    state: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    salt: bytes = bytes(SALT_BYTES)
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    copy: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def form(self) -> str:
        """SHA-256 of all that reading uses but key and message: what the salt binds beside these."""
        parts = {
            "format": FORMAT,
            "scheme": self.scheme,
            "parameters": dict(self.parameters),
            "payload_bits": self.payload_bits,
            "carrier": self.carrier.to_json() if self.carrier else None,
            "nonce": self.nonce.hex(),
            "original": self.original,
            "stretch": self.stretch.to_json(),
            "state": dict(self.state),
            "tensors": weights_digest(TensorWeights(self.tensors)),
        }
        return hashlib.sha256(canonical_json(parts)).hexdigest()

    def salt_of(self, key: Key, message: Bits) -> bytes:
        """Return the salt that follows from key, message, uint8 (k,), and the mark's form: 32 bytes."""
        packed = np.packbits(np.asarray(message, np.uint8), bitorder="little").tobytes()
        return bytes.fromhex(key.authenticate(f"{self.form}:{len(message)}:{packed.hex()}".encode(), "salt"))

    def salted(self, key: Key, message: Bits) -> "Mark":
        """Return the mark of this form for a key and a message, with the salt that follows."""
        salt = self.salt_of(key, message)
        return replace(self, salt=salt, key_digest=key.digest, key_origin=key.origin)

    def follows_from(self, key: Key, message: Bits) -> bool:
        """Say whether the salt is that of this key and message: else something was chosen after the positions."""
        return hmac.compare_digest(self.salt, self.salt_of(key, message))

    def streams(self, key: Key) -> Streams:
        """Return the keyed streams of the mark; BadInput for an owner's key with too cheap a stretch."""
        return key.streams(self.salt, self.stretch)

    def to_json(self) -> dict[str, Any]:
        """Return all but the tensors as a JSON object."""
        return {
            "format": FORMAT,
            "scheme": self.scheme,
            "parameters": dict(self.parameters),
            "payload_bits": self.payload_bits,
            "nonce": self.nonce.hex(),
            "original": self.original,
            "stretch": self.stretch.to_json(),
            "salt": self.salt.hex(),
            "key_digest": self.key_digest,
            "key_origin": self.key_origin,
            "state": dict(self.state),
            "copy": self.copy,
            "report": dict(self.report),
            "has_tensors": bool(self.tensors or self.learned),
            "carrier": self.carrier.to_json() if self.carrier else None,
        }

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], where: str = "mark", packed: Mapping[str, Tensor] | None = None
    ) -> "Mark":
        """Read what `to_json` and `packed` wrote; BadInput, naming `where`, if it is something else."""
        if value.get("format") != FORMAT:
            raise BadInput(f"{where} is not a mark file: it does not say '{FORMAT}'")
        try:
            return cls(
                scheme=text(value["scheme"], "scheme", _MOST_NAME),
                parameters=mapping(value["parameters"], "parameters"),
                payload_bits=whole(value["payload_bits"], "payload_bits", 1, MOST_PAYLOAD),
                carrier=None if value["carrier"] is None else Carrier.from_json(value["carrier"]),
                nonce=bytes.fromhex(digits(value["nonce"], "nonce", 2 * NONCE_BYTES)),
                original=digits(value["original"], "original", _DIGEST),
                stretch=Stretch.from_json(value["stretch"]),
                key_digest=digits(value["key_digest"], "key_digest", _KEY_DIGEST),
                key_origin=text(value["key_origin"], "key_origin", _MOST_NAME),
                state=mapping(value["state"], "state"),
                tensors=_named(packed or {}, _BOUND),
                salt=bytes.fromhex(digits(value["salt"], "salt", 2 * SALT_BYTES)),
                learned=_named(packed or {}, _LEARNED),
                copy=None if value["copy"] is None else digits(value["copy"], "copy", _DIGEST),
                report=mapping(value["report"], "report"),
            )
        except BadInput as error:
            raise BadInput(f"{where} is damaged: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{where} is damaged: {type(error).__name__} at {error}") from error

    def packed(self) -> dict[str, Tensor]:
        """Return both kinds of tensors under names that tell them apart, as files and artefacts hold them."""
        kinds = ((_BOUND, self.tensors), (_LEARNED, self.learned))
        return {kind + name: tensor for kind, tensors in kinds for name, tensor in tensors.items()}

    def require_key(self, key: Key) -> None:
        """Raise BadInput unless `key` is the one that the mark was made with."""
        if key.digest != self.key_digest:
            raise BadInput(
                f"wrong key: the mark was made with key {self.key_digest[:12]}, this is {key.digest[:12]}"
            )


def _named(packed: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(kind): tensor for name, tensor in packed.items() if name.startswith(kind)}


def tensors_path(path: Path) -> Path:
    """Return where the tensors of the mark file `path` lie: the same name, ending in .safetensors."""
    return path.with_suffix(".safetensors")


def save_mark(mark: Mark, path: Path) -> None:
    """Write the mark as JSON, and its tensors, if any, as safetensors beside it."""
    if packed := mark.packed():
        from cwwm.weights.checkpoint import save_tensors

        save_tensors(packed, tensors_path(path))
    write_json(path, mark.to_json())


def load_mark(path: Path) -> Mark:
    """Read a mark file and the tensors beside it; BadInput if either is missing or damaged."""
    value = read_json(path, "mark file")
    if not value.get("has_tensors"):
        return Mark.from_json(value, str(path))
    from cwwm.weights.checkpoint import open_weights

    weights = open_weights(tensors_path(path))
    packed = {name: weights.tensor(name).clone() for name in weights.names()}
    return Mark.from_json(value, str(path), packed)
