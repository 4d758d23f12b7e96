"""The folder that a party to a dispute hands to the judge: what lies where in it, by the names that embed gives."""

from dataclasses import dataclass
from pathlib import Path

from cwwm.codes import Bits
from cwwm.commitment import Commitment
from cwwm.ownership.message import hex_to_bits, read_text, text_to_bits
from cwwm.support.errors import BadInput

_MESSAGE, _HEX = "message.txt", "message.hex"


@dataclass(frozen=True)
class PartyFolder:
    """Files, or links to files, of which each pattern names one: a judge neither guesses nor chooses among two.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def key(self) -> Path:
        """The secret key, ``*.key``."""
        return self._one("*.key", "the key of the mark")

    @property
    def mark(self) -> Path:
        """The mark that embed wrote, ``*.mark.json``; its tensors, if any, lie beside it."""
        return self._one("*.mark.json", "the mark that cwwm embed wrote")

    @property
    def original(self) -> Path:
        """The unmarked checkpoint, ``original.*``, or a folder of shards named ``original``."""
        if (self.path / "original").is_dir() and not self._all("original.*"):
            return self.path / "original"
        return self._one("original.*", "the unmarked checkpoint that was marked, by this name")

    def commitment(self) -> Commitment | None:
        """Return the published commitment, ``*.commitment.json``, or None without one."""
        if not self._all("*.commitment.json"):
            return None
        return Commitment.load(self._one("*.commitment.json", "the commitment that was published"))

    def message(self, payload_bits: int) -> Bits:
        """Return the message, uint8 (payload_bits,), of ``message.txt``, or ``message.hex`` with bytes."""
        path = self._one("message.*", f"the message, as text in {_MESSAGE} or as hexadecimal bytes in {_HEX}")
        if path.name not in (_MESSAGE, _HEX):
            raise BadInput(f"{path} is neither {_MESSAGE} nor {_HEX}")
        read = hex_to_bits if path.name == _HEX else text_to_bits
        return read(read_text(str(path)), payload_bits)

    def _all(self, pattern: str) -> list[Path]:
        if not self.path.is_dir():
            raise BadInput(
                f"{self.path} is no folder; give the folder with a party's files, see cwwm dispute --help"
            )
        return sorted(self.path.glob(pattern))

    def _one(self, pattern: str, what: str) -> Path:
        """Return the file of a pattern; BadInput, saying what it should be, if there is none or more than one."""
        found = self._all(pattern)
        if not found:
            raise BadInput(f"{self.path} holds no {pattern}: put {what} there")
        if len(found) > 1:
            raise BadInput(f"{self.path} holds {len(found)} files {pattern}: leave one, {what}")
        return found[0]
