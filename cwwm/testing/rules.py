"""Rules of a contract: each says in words what it asks for, and so does what breaks it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cwwm.support.errors import BadInput

S = TypeVar("S")


class BrokenRule(AssertionError):  # noqa: N818 (a name that a user of the library reads)
    """A scheme or an attack breaks a rule of its contract; the message says who, which rule, and how."""


def require(holds: object, found: str) -> None:
    """Raise BrokenRule with what was found unless something holds."""
    if not holds:
        raise BrokenRule(found)


def require_refusal(call: Callable[[], object], what: str, told: str = "") -> None:
    """Raise BrokenRule unless a call raises BadInput with one line that holds the text `told`."""
    try:
        call()
    except BadInput as error:
        require("\n" not in str(error), f"{what} is refused in more than one line: {error}")
        require(told in str(error), f"the refusal of {what} does not say '{told}': {error}")
    else:
        raise BrokenRule(f"{what} is not refused with BadInput")


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One rule.

    Attributes:
        says: what holds, as a sentence without its stop.
        test: raises BrokenRule if it does not hold of a subject.
        of_controls: whether it holds of schemes, too, that read nothing back by intention.
        of_modules: whether it holds, too, of schemes that need a model that runs.
    """

    says: str
    test: Callable[[S], None]
    of_controls: bool = False
    of_modules: bool = False

    def check(self, subject: S) -> None:
        """Raise BrokenRule if the rule does not hold, whatever the code under test raises."""
        try:
            self.test(subject)
        except BrokenRule as broken:
            raise BrokenRule(f"{subject} breaks the rule '{self.says}': {broken}") from broken
        except Exception as error:
            raised = f"it raised {type(error).__name__}: {error}"
            raise BrokenRule(f"{subject} breaks the rule '{self.says}': {raised}") from error
