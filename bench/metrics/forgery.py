"""The contract of forgeries: claims that somebody without a mark makes on a suspect, and what they are worth."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.metrics.false_positives import Floats, random_claim, weighed
from cwwm.codes.base import check_message
from cwwm.commitment import Commitment
from cwwm.ownership.evidence import PROOF_RATE, Tried, Verdict
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.ownership.verification import Exhibits, verify
from cwwm.schemes import Claim, scheme_of
from cwwm.support.errors import BadInput
from cwwm.weights.view import Weights


@dataclass(frozen=True, kw_only=True)
class Forgery(ABC):
    """A way to claim what one did not mark; small, immutable, its repr rebuilds it.

    Class attributes:
        name: as registered; committed: whether its claims were fixed before the suspect was looked at.

    Attributes:
        mark: a mark of the public form (scheme, parameters, carrier, salt); the keys are the forger's.
        seed: of the forger's keys.
    """

    name: ClassVar[str]
    committed: ClassVar[bool] = False

    mark: Mark
    seed: int = 0

    @abstractmethod
    def claims(self, suspect: Weights, budget: int) -> Iterator[Claim]:
        """Yield the claims that are presented, at most `budget`."""

    def tried(self, budget: int) -> Tried:
        """Return what a judge has to count against each claim; by default every key."""
        return Tried(keys=budget)


@dataclass(frozen=True, kw_only=True)
class ExtractThenClaim(Forgery):
    """Takes any key and salt, extracts, and claims what comes out: a perfect match that proves nothing."""

    name: ClassVar[str] = "extract-then-claim"

    def claims(self, suspect: Weights, budget: int) -> Iterator[Claim]:
        """Yield a claim for each key whose extraction reads anything."""
        scheme = scheme_of(self.mark)
        nothing = np.zeros(self.mark.payload_bits, np.uint8)
        for attempt in range(budget):
            key = Key.for_harness(forgery=self.name, seed=self.seed, attempt=attempt)
            mark = self.mark.salted(key, nothing)
            extraction = scheme.extract(suspect, key, mark)
            if extraction.ok:
                yield Claim(key, mark, extraction.bits)


@dataclass(frozen=True, kw_only=True)
class BestOfMany(Forgery):
    """Reads the suspect for many claims and presents the one that fits best."""

    @abstractmethod
    def candidates(self, budget: int) -> Iterator[Claim]:
        """Yield `budget` claims; none of them depends on a suspect."""

    def log10_p(self, suspect: Weights, budget: int) -> Floats:
        """Return the combined log10 p-value of each candidate, uncorrected, float64 (budget,), each at most 0."""
        found = weighed(scheme_of(self.mark), suspect, self.candidates(budget))
        return np.fromiter((evidence.combined for _, evidence in found), np.float64, budget)

    def claims(self, suspect: Weights, budget: int) -> Iterator[Claim]:
        """Yield the one claim of smallest p, the first of equals.

        Raises:
            BadInput: for a budget below 1.
        """
        if budget < 1:
            raise BadInput(f"{self.name}: the budget is at least 1, not {budget}")
        found = weighed(scheme_of(self.mark), suspect, self.candidates(budget))
        yield min(found, key=lambda pair: pair[1].combined)[0]


@dataclass(frozen=True, kw_only=True)
class RandomKey(BestOfMany):
    """Searches keys for one that makes a given message fit: an owner's, say, whose claim was opened.

    Attributes:
        message: what is claimed, a 0 or 1 for each bit.
    """

    name: ClassVar[str] = "random-key"

    message: tuple[int, ...]

    def candidates(self, budget: int) -> Iterator[Claim]:
        """Yield the message under each key."""
        message = check_message(np.array(self.message), self.mark.payload_bits)
        for attempt in range(budget):
            key = Key.for_harness(forgery=self.name, seed=self.seed, attempt=attempt)
            yield Claim(key, self.mark.salted(key, message), message)


@dataclass(frozen=True, kw_only=True)
class CommitmentSpam(BestOfMany):
    """Commits to many pairs of key and message beforehand, and opens the one that fits the suspect best."""

    name: ClassVar[str] = "commitment-spam"
    committed: ClassVar[bool] = True

    def candidates(self, budget: int) -> Iterator[Claim]:
        """Yield what was committed to."""
        return (random_claim(self.mark, self.seed, number) for number in range(budget))

    def tried(self, budget: int) -> Tried:
        """Return the commitments: a judge counts all that the claimant has published."""
        return Tried(commitments=budget)


FORGERIES: dict[str, type[Forgery]] = {
    forgery.name: forgery for forgery in (ExtractThenClaim, RandomKey, CommitmentSpam)
}


def verdict_on(
    claim: Claim, suspect: Weights, *, committed: bool, tried: Tried, rate: float = PROOF_RATE
) -> Verdict:
    """Return the verdict that a judge reaches on a claim, given what the claimant tried."""
    exhibits = Exhibits(commitment=Commitment.to(claim) if committed else None)
    return verify(suspect, claim, exhibits, rate=rate, tried=tried).verdict


def verdicts(forgery: Forgery, suspect: Weights, budget: int, *, rate: float = PROOF_RATE) -> list[Verdict]:
    """Return the verdict on each claim that a forgery presents, everything it tried counted."""
    tried = forgery.tried(budget)
    return [
        verdict_on(claim, suspect, committed=forgery.committed, tried=tried, rate=rate)
        for claim in forgery.claims(suspect, budget)
    ]
