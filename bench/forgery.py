"""The contract of forgeries: claims that somebody without a mark makes on a suspect, and what they are worth."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from cwwm.evidence import Tried, Verdict, judge
from cwwm.keys import Key
from cwwm.mark import Mark
from cwwm.schemes import Claim, scheme_of
from cwwm.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Forgery(ABC):
    """A way to claim what one did not mark; small, immutable, its repr rebuilds it.

    Class attributes:
        name: as registered; committed: whether its claims were fixed before the suspect was looked at.
    """

    name: ClassVar[str]
    committed: ClassVar[bool] = False

    @abstractmethod
    def claims(self, suspect: Weights, budget: int) -> Iterator[Claim]:
        """Yield at most `budget` claims on a suspect."""


@dataclass(frozen=True, kw_only=True)
class ExtractThenClaim(Forgery):
    """Takes any key, extracts, and claims what comes out: a perfect match that proves nothing.

    Attributes:
        mark: a mark of public form (scheme, parameters, carrier); salt and key are the forger's.
        seed: of the forger's keys.
    """

    name: ClassVar[str] = "extract-then-claim"

    mark: Mark
    seed: int = 0

    def claims(self, suspect: Weights, budget: int) -> Iterator[Claim]:
        """Yield a claim for each key whose extraction reads anything."""
        scheme = scheme_of(self.mark)
        for attempt in range(budget):
            key = Key.for_harness(forgery=self.name, seed=self.seed, attempt=attempt)
            mark = replace(self.mark, key_digest=key.digest, key_origin=key.origin)
            extraction = scheme.extract(suspect, key, mark)
            if extraction.ok:
                yield Claim(key, mark, extraction.bits)


def verdict_on(claim: Claim, suspect: Weights, *, committed: bool, tried: int, rate: float = 1e-6) -> Verdict:
    """Return the verdict that a judge reaches on one of `tried` claims."""
    scheme = scheme_of(claim.mark)
    evidence = scheme.evidence(scheme.extract(suspect, claim.key, claim.mark), claim)
    objection = None if committed else "no prior commitment"
    return judge(evidence, tried=Tried(keys=tried), rate=rate, objection=objection)
