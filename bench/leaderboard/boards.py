"""The two boards: what an encoding is worth by itself, and what an owner with the best reading can rely on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.leaderboard.attacker_tiers import FREE, FULL, SMALL, WEIGHTS
from bench.leaderboard.runs import Run
from cwwm.support.seeds import canonical_json

BLIND_READERS = (None, "per-channel")  # of the record: absent where a suspect is read as it is

Encoding = tuple[str, bytes]  # name and parameters of a scheme, whatever its label


@dataclass(frozen=True)
class Board:
    """Runs that are compared with each other.

    Attributes:
        name: ``"encodings"`` or ``"systems"``.
        about: what is compared, in words.
        first: the lowest tier of attackers.
        runs: of all entries; those of several payloads are compared apart.
    """

    name: str
    about: str
    first: int
    runs: tuple[Run, ...]

    @property
    def headline(self) -> range:
        """Return the tiers that the ranking is about."""
        return range(self.first, SMALL + 1)

    @property
    def all_tiers(self) -> range:
        """Return all tiers of the board."""
        return range(self.first, FULL + 1)

    @property
    def payloads(self) -> list[int]:
        """Return the payloads of its runs, in bits."""
        return sorted({run.payload for run in self.runs})

    @property
    def schemes(self) -> set[str]:
        """Return the labels of its entries."""
        return {run.scheme for run in self.runs}

    def at(self, payload: int) -> "Board":
        """Return the board of one payload."""
        return replace(self, runs=tuple(run for run in self.runs if run.payload == payload))


def boards_of(runs: Sequence[Run]) -> list[Board]:
    """Return the boards of a suite, that with most schemes first.

    It is one where no entry has a reader that takes more than the suspect.
    """
    blind = [run for run in runs if not _is_read_with_help(run)]
    helped = [run for run in runs if _is_read_with_help(run)]
    better = {_encoding(run) for run in helped}
    best = [run for run in runs if _is_read_with_help(run) or _encoding(run) not in better]
    alone = tuple(kept for run in blind if (kept := run.without_hidden_moves()).rows)
    encodings = Board(
        "encodings", "every scheme read from the suspect alone, attackers of tiers 1 to 3", WEIGHTS, alone
    )
    systems = Board(
        "systems", "every scheme with the best reading its owner has, attackers of tiers 0 to 3", FREE, tuple(best)
    )
    if not helped:
        return [encodings]
    return sorted((board for board in (encodings, systems) if board.runs), key=lambda board: -len(board.schemes))


def _is_read_with_help(run: Run) -> bool:
    return run.record.recipe.reader not in BLIND_READERS


def _encoding(run: Run) -> Encoding:
    scheme = run.record.recipe.scheme
    return scheme.name, canonical_json([scheme.parameters, scheme.finished])


def board_and_payload(boards: Iterable[Board]) -> list[Board]:
    """Return the boards, one for each payload."""
    return [board.at(payload) for board in boards for payload in board.payloads]


def fullest(boards: Iterable[Board]) -> list[Board]:
    """Return each board at the payload at which most schemes met most attacks: what a picture of it shows."""
    return [max((board.at(payload) for payload in board.payloads), key=_size) for board in boards if board.runs]


def _size(board: Board) -> tuple[int, int]:
    return len({(run.scheme, row.attack) for run in board.runs for row in run.rows}), board.payloads[0]
