"""How long the cells of a suite will take, by what similar cells took on the same hardware."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.execution.shared_models import host_names
from bench.execution.time_budget import DURATIONS, Durations, Kind
from bench.suite.cell import Cell
from bench.support.artifact_store import ArtefactStore


@dataclass(frozen=True)
class Estimate:
    """What is expected of cells that are run one after the other.

    Attributes:
        seconds: of one process. cells: that these are of.
        elsewhere: how many of these have an attack that was timed on other models only.
        unknown: cells of attacks that were never timed, by the attack's label; they are in no figure.
    """

    seconds: float
    cells: int
    elsewhere: int
    unknown: Mapping[str, int]

    def text(self, threads: int) -> str:
        """Return it in words, in core-hours of so many threads."""
        if not self.cells:
            return "no similar cell was timed on this hardware: core-hours are unknown"
        hours = self.seconds * threads / 3600
        never = ", ".join(f"{label} ({count})" for label, count in self.unknown.items())
        said = [
            f"about {hours:.2g} core-hours for {self.cells} cells, as similar ones took on this hardware",
            f"the attacks of {self.elsewhere} were timed on other models only" if self.elsewhere else "",
            f"never timed: {never}" if never else "",
        ]
        return "; ".join(filter(None, said))


def durations_below(folder: Path, path: Path, hardware: str) -> Durations:
    """Return the durations in a file, and in those of all other runs below a folder."""
    known = Durations(path, hardware)
    for other in sorted(folder.glob(f"**/{DURATIONS}")):
        if other.resolve() != path.resolve():
            known.learn(other)
    return known


def core_hours(left: Sequence[Cell], runs: Path, folder: Path, hardware: str, threads: int = 1) -> str:
    """Return in words what cells will take that go into a folder, by what is known of all runs below `runs`."""
    known = durations_below(runs, folder / DURATIONS, hardware)
    return estimate(left, known, ArtefactStore(folder / "artefacts")).text(threads)


def estimate(cells: Sequence[Cell], durations: Durations, store: ArtefactStore) -> Estimate:
    """Return how long cells take in this order; a model that one of them makes is there for the next.

    Args:
        cells: to be run. durations: of similar ones. store: with the models that are made already.
    """
    made: set[str] = set()
    seconds, elsewhere, unknown = 0.0, 0, Counter[str]()
    for cell in cells:
        kind = Kind.of(cell, store)
        kind = kind._replace(making=_making(cell, kind.making, made))
        if (expected := _expected(kind, durations)) is None:
            unknown[cell.attack.label] += 1
        else:
            seconds += expected
            elsewhere += not _is_own(kind, durations)
        made.update((*host_names(cell.host), cell.mark.identity))
    return Estimate(seconds, len(cells) - unknown.total(), elsewhere, unknown)


def _making(cell: Cell, now: str, made: set[str]) -> str:
    """Return the earliest model that is to be made for a cell once others have made theirs."""
    if now == "host" and host_names(cell.host)[0] in made:
        now = "mark"
    return "nothing" if now == "mark" and cell.mark.identity in made else now


def _expected(kind: Kind, durations: Durations) -> float | None:
    """Return the seconds of a cell; None if its attack was never timed.

    Where it was timed, but not when such a model was made, the making counts as any cell that made one.
    """
    if (whole := durations.typical(kind.likes()[:3])) is not None or kind.making == "nothing":
        return whole
    attack = durations.typical(kind._replace(making="nothing").likes()[:3])
    making = durations.typical([("model", kind.model, kind.making), ("making", kind.making)])
    return None if attack is None else attack + (making or 0.0)


def _is_own(kind: Kind, durations: Durations) -> bool:
    """Say whether the attack of a cell was timed on its model."""
    kinds = (kind, kind._replace(making="nothing"))
    return durations.typical(like for one in kinds for like in one.likes()[:2]) is not None
