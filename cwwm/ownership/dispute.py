"""Who marked first, where two parties claim one suspect: each mark is looked for in the other's original.

A mark's salt binds the unmarked original, so whatever holds a mark was made after it. An attacker who marked a
stolen copy shows as original a model that holds the owner's mark; the owner's original holds nobody's. What an
attacker can reach is that nothing is found, and then dates decide. Derived for this project.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.commitment import Commitment
from cwwm.ownership.evidence import PROOF_RATE, Tried
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.ownership.message import text_to_bits
from cwwm.ownership.verification import SUSPECT, Exhibits, Verification, verify
from cwwm.schemes import Claim
from cwwm.support.errors import BadInput
from cwwm.weights.view import Weights, as_weights

Name = Literal["A", "B"]
_MODELS_READ = 2  # for each mark: the suspect, and the other's original


@dataclass(frozen=True)
class Party:
    """What one party shows.

    Attributes:
        claim: key, mark and message.
        original: the unmarked host that the mark's salt binds.
        commitment: that the party published; None if there is none, and then its claim is not proven.
        committed: its day by a clock that both parties trust, as far as the judge knows; told, never weighed.
    """

    claim: Claim
    original: Weights
    commitment: Commitment | None = None
    committed: date | None = None

    @classmethod
    def of(
        cls,
        key: Key,
        mark: Mark,
        message: Bits | str,
        original: nn.Module | Mapping[str, Tensor] | Weights,
        commitment: Commitment | None = None,
        committed: date | None = None,
    ) -> "Party":
        """Return the party that shows these; `message` is uint8 (payload_bits,), or a text.

        Raises:
            BadInput: for a text that is too long for the mark, or empty.
        """
        bits = text_to_bits(message, mark.payload_bits) if isinstance(message, str) else message
        return cls(Claim(key, mark, bits), as_weights(original), commitment, committed)

    @property
    def exhibits(self) -> Exhibits:
        """What its claim is judged by, on the suspect and on the other's original alike."""
        return Exhibits(commitment=self.commitment, original=self.original)


@dataclass(frozen=True)
class Standing:
    """What was found for one party.

    Attributes:
        claim: its claim on the suspect.
        elsewhere: the same claim on the other party's original.
    """

    claim: Verification
    elsewhere: Verification


@dataclass(frozen=True)
class Dispute:
    """What `dispute` found.

    Attributes:
        a, b: of each party.
        first: who marked first; None where the originals do not say.
        reason: in one line.
        dates: what the dates given say, in one line; empty if none was given. They decide nothing here.
    """

    a: Standing
    b: Standing
    first: Name | None
    reason: str
    dates: str


def dispute(
    suspect: Weights, a: Party, b: Party, *, rate: float = PROOF_RATE, tried: Tried | None = None
) -> Dispute:
    """Say who of two parties marked the suspect first.

    Both claims must be proven on the suspect. Then whose mark is proven in the other's original, while the reverse
    is not so, marked first. Each mark is read in two models, so every p-value counts two suspects, beside the
    readers and alignments that `verify` counts.

    Args:
        suspect: the model in question.
        a, b: the parties.
        rate: false-positive rate that a proof may have, in (0, 1).
        tried: all else that each claimant tried.

    Raises:
        BadInput: for one mark shown twice, an original that is not the one that its mark binds, or else as
            `verify`; it names the party.
    """
    _require_two(a, b)
    tried = tried or Tried()
    tried = replace(tried, suspects=_MODELS_READ * tried.suspects)
    found = (_standing("A", a, suspect, b, rate, tried), _standing("B", b, suspect, a, rate, tried))
    first, reason = _decision(*found)
    return Dispute(*found, first, reason, _dates(a.committed, b.committed))


@contextmanager
def naming(party: str) -> Iterator[None]:
    """Say of which party what is refused came."""
    try:
        yield
    except BadInput as error:
        raise type(error)(f"party {party}: {error}") from error


def _require_two(a: Party, b: Party) -> None:
    """Raise BadInput for a mark against itself: its salt follows from all that makes it, the original included."""
    if a.claim.key == b.claim.key and a.claim.mark.salt == b.claim.mark.salt:
        raise BadInput("both parties show the same mark, of one key, salt and original: a dispute takes two marks")


def _standing(name: Name, party: Party, suspect: Weights, other: Party, rate: float, tried: Tried) -> Standing:
    with naming(name):
        claim, elsewhere = (
            verify(
                model, party.claim, party.exhibits, rate=rate, tried=tried, called=f"claim of {name} on {called}"
            )
            for model, called in ((suspect, SUSPECT), (other.original, "the other's original"))
        )
    return Standing(claim, elsewhere)


def _decision(a: Standing, b: Standing) -> tuple[Name | None, str]:
    """Return who marked first, and why; None where it is not said."""
    if not (a.claim.verdict.proven and b.claim.verdict.proven):
        return None, f"undecided: {_unproven(a.claim.verdict.proven, b.claim.verdict.proven)}"
    first_by_a, first_by_b = a.elsewhere.verdict.proven, b.elsewhere.verdict.proven
    if first_by_a == first_by_b:
        holds = "each original holds" if first_by_a else "neither original holds"
        return None, f"undecided: dates decide; {holds} the other party's mark"
    first, other = _order(first_by_a)
    return first, f"{first} marked first: the original of {other} holds the mark of {first}, and not the reverse"


def _order(first_is_a: bool) -> tuple[Name, Name]:
    return ("A", "B") if first_is_a else ("B", "A")


def _unproven(a: bool, b: bool) -> str:
    """Say whose claim is not proven on the suspect, of which at least one is not."""
    if a == b:
        return "neither claim is proven on the suspect"
    proven, other = _order(a)
    return f"the claim of {other} is not proven on the suspect; that of {proven} is"


def _dates(a: date | None, b: date | None) -> str:
    """Say what the days of both commitments say."""
    if a is None and b is None:
        return ""
    days = f"dates given: A {a or 'none'}, B {b or 'none'}"
    if a is None or b is None or a == b:
        return f"{days}; they do not say who was first"
    return f"{days}; the commitment of {_order(a < b)[0]} is older"
