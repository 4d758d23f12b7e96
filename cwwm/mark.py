"""The mark: what the owner keeps to find a message again. It holds neither the key nor the message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cwwm.carrier import Carrier
from cwwm.errors import BadInput
from cwwm.files import read_json, write_json
from cwwm.keys import SALT_BYTES, Key

FORMAT = "cwwm-mark v1"


@dataclass(frozen=True)
class Mark:
    """The owner's state of one embedding.

    Attributes:
        scheme: registered name of the scheme.
        parameters: rebuild the scheme (JSON values).
        payload_bits: length k of the message.
        carrier: names and shapes that extraction needs, or None for schemes that read no weights.
        salt: 128 random bits; with the key it gives positions, signs and pad.
        key_digest: of the key, to refuse a wrong one early.
        key_origin: ``"owner"`` or ``"harness"``.
        state: what else extraction needs, as JSON (per-tensor scales, widths).
        tensors: what else it needs, as tensors (learned extractors, triggers).
        report: what embedding did, for the reader (JSON): thresholds, energy, layers not protected.
    """

    scheme: str
    parameters: Mapping[str, Any]
    payload_bits: int
    carrier: Carrier | None
    salt: bytes
    key_digest: str
    key_origin: str
    state: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return all but the tensors as a JSON object."""
        return {
            "format": FORMAT,
            "scheme": self.scheme,
            "parameters": dict(self.parameters),
            "payload_bits": self.payload_bits,
            "salt": self.salt.hex(),
            "key_digest": self.key_digest,
            "key_origin": self.key_origin,
            "state": dict(self.state),
            "report": dict(self.report),
            "has_tensors": bool(self.tensors),
            "carrier": self.carrier.to_json() if self.carrier else None,
        }

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], where: str = "mark", tensors: Mapping[str, Tensor] | None = None
    ) -> "Mark":
        """Read what `to_json` wrote; BadInput, naming `where`, if it is something else."""
        if value.get("format") != FORMAT:
            raise BadInput(f"{where} is not a mark file: it does not say '{FORMAT}'")
        try:
            mark = cls(
                scheme=str(value["scheme"]),
                parameters=dict(value["parameters"]),
                payload_bits=int(value["payload_bits"]),
                carrier=Carrier.from_json(value["carrier"]) if value["carrier"] else None,
                salt=bytes.fromhex(value["salt"]),
                key_digest=str(value["key_digest"]),
                key_origin=str(value["key_origin"]),
                state=dict(value["state"]),
                tensors=tensors or {},
                report=dict(value["report"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{where} is damaged: {type(error).__name__} at {error}") from error
        if len(mark.salt) != SALT_BYTES:
            raise BadInput(f"{where} is damaged: its salt has {len(mark.salt)} bytes, not {SALT_BYTES}")
        return mark

    def require_key(self, key: Key) -> None:
        """Raise BadInput unless `key` is the one that the mark was made with."""
        if key.digest != self.key_digest:
            raise BadInput(
                f"wrong key: the mark was made with key {self.key_digest[:12]}, this is {key.digest[:12]}"
            )


def tensors_path(path: Path) -> Path:
    """Return where the tensors of the mark file `path` lie: the same name, ending in .safetensors."""
    return path.with_suffix(".safetensors")


def save_mark(mark: Mark, path: Path) -> None:
    """Write the mark as JSON, and its tensors, if any, as safetensors beside it."""
    if mark.tensors:
        from cwwm.checkpoint import save_tensors

        save_tensors(mark.tensors, tensors_path(path))
    write_json(path, mark.to_json())


def load_mark(path: Path) -> Mark:
    """Read a mark file and the tensors beside it; BadInput if either is missing or damaged."""
    value = read_json(path, "mark file")
    if not value.get("has_tensors"):
        return Mark.from_json(value, str(path))
    from cwwm.checkpoint import open_weights

    weights = open_weights(tensors_path(path))
    tensors = {name: weights.tensor(name).clone() for name in weights.names()}
    return Mark.from_json(value, str(path), tensors)
