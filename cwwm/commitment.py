"""What an owner publishes before the model: a digest that binds key, message, salt, scheme and parameters.

A p-value says something only about a claim that was fixed before the suspect was looked at: anyone can pick a key,
a message and a nonce until a model fits. The salt binds all that reading uses (`cwwm.ownership.mark`); the
commitment adds the day, and binds what was made after the salt, a learned extractor or the digest of the marked
copy. It is an HMAC under the key itself, so it hides the message and cannot be opened in two ways.
"""

import hmac
from dataclasses import dataclass
from pathlib import Path

from cwwm.schemes.base import Claim
from cwwm.support.bounds import digits
from cwwm.support.errors import BadInput
from cwwm.support.files import read_json, write_json
from cwwm.support.seeds import canonical_json
from cwwm.weights.carrier import weights_digest
from cwwm.weights.view import TensorWeights

FORMAT = "cwwm-commitment v2"
_DIGITS = 64  # of HMAC-SHA256


@dataclass(frozen=True)
class Commitment:
    """A published promise: `digest`, 64 hex digits."""

    digest: str

    @classmethod
    def to(cls, claim: Claim) -> "Commitment":
        """Return the commitment to a claim."""
        bound = {
            "message": "".join(map(str, claim.message.tolist())),
            "mark": {k: v for k, v in claim.mark.to_json().items() if k != "report"},
            "tensors": weights_digest(TensorWeights(claim.mark.packed())),
        }
        return cls(claim.key.authenticate(canonical_json(bound), "commitment"))

    def binds(self, claim: Claim) -> bool:
        """Say whether this is the commitment to exactly this key, message and mark."""
        return hmac.compare_digest(self.digest, Commitment.to(claim).digest)

    def save(self, path: Path) -> None:
        """Write the file to publish."""
        note = "publish this file, with a trusted date, before the model; it reveals neither key nor message"
        write_json(path, {"format": FORMAT, "digest": self.digest, "note": note})

    @classmethod
    def load(cls, path: Path) -> "Commitment":
        """Read a commitment file; BadInput if it is something else."""
        value = read_json(path, "commitment file")
        if value.get("format") != FORMAT:
            raise BadInput(f"{path} is not a commitment file: it does not say '{FORMAT}'")
        try:
            return cls(digits(value.get("digest"), "digest", _DIGITS))
        except BadInput as error:
            raise BadInput(f"{path} is no whole commitment file: its {error}") from error
