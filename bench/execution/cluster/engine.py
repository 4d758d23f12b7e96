"""What an engine offers a driver: places where a function of text to text is called, and how each call ended."""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

Work = Callable[[str], str]  # a function of a module that workers can import


@dataclass(frozen=True)
class Call:
    """A function to be called elsewhere, once.

    Attributes:
        function: of a module that workers can import. argument: JSON. share: of a GPU, where there are any.
        node: on which it must run; None for any.
    """

    function: Work
    argument: str
    share: float = 1.0
    node: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
        result: what it returned; None if its worker or node was lost, or it raised.
        lost: how it was lost, in words. raised: what it raised, in words.
    """

    result: str | None = None
    lost: str = ""
    raised: str = ""


class Engine(Protocol):
    """Calls functions on other machines; it keeps no result beyond `wait`."""

    name: str

    def nodes(self) -> Sequence[str | None]:
        """Return the nodes that can take a call; ``[None]`` where an engine does not tell them apart."""

    def has_gpus(self) -> bool:
        """Say whether calls can have a GPU."""

    def use(self, device: str, threads: int) -> None:
        """Note what calls need from now on."""

    def slots(self) -> float:
        """Return how many calls of a whole share can run at once now."""

    def submit(self, calls: Sequence[Call]) -> Sequence[Hashable]:
        """Hand calls over, and return a handle for each."""

    def wait(self, handles: Collection[Hashable], seconds: float) -> Sequence[tuple[Hashable, Ended]]:
        """Return the calls that have ended, after so many seconds at most if none has."""

    def close(self) -> None:
        """End what still runs, and let go of the machines."""
