"""What a worker is asked and answers, as JSON: the cells of one marked model by their recipes, and digests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from bench.attacks import make_attack
from bench.models.registry import ModelSpec
from bench.suite import AttackEntry, SchemeEntry
from bench.suite.cell import Cell, HostSpec, MarkSpec

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how every worker of a run works.

    Attributes:
        shared: URL or path of the shared folder. device: cpu or cuda. threads: of torch.
        plugins: modules of schemes and attacks. path: folder that is looked through for them, if a node has it.
        cache_bytes: bound on the models that a node keeps. stop: the suite stops where an attack decides.
    """

    shared: str
    device: str = "cpu"
    threads: int = 1
    plugins: tuple[str, ...] = ()
    path: str = ""
    cache_bytes: int = 20 << 30
    stop: bool = False


@dataclass(frozen=True)
class Request:
    """A task as a worker gets it.

    Attributes:
        place: where it works. mark: the marked model, as JSON. cells: all of it that matter, in order, as JSON.
        before: by identity, for the cells to be run, the digest of the record that the driver saw, None for none.
        share: of a GPU that the task may use, at most 1.
    """

    place: Place
    mark: Json
    cells: Sequence[Json]
    before: Mapping[str, str | None]
    share: float = 1.0

    @classmethod
    def of(cls, place: Place, cells: Sequence[Cell], before: Mapping[str, str | None], share: float) -> "Request":
        """Return the task of cells of one mark, of which those in `before` are to be run."""
        return cls(place, mark_json(cells[0].mark), [cell_json(cell) for cell in cells], before, share)

    def text(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def parse(cls, text: str) -> "Request":
        """Return the task of a line of JSON."""
        return _REQUEST.validate_json(text)


@dataclass(frozen=True)
class Answer:
    """What a worker says of a task; what it found is in the shared folder.

    Attributes:
        kind: "done"; "busy", if somebody else is at this mark; "differs", if its machine is none for this run;
            "fault", if its machine failed; "refused", if it cannot begin.
        ended: identity, status and digest of the record of each cell that was asked for.
        text: why, where that is to be told.
    """

    kind: Literal["done", "busy", "differs", "fault", "refused"]
    ended: tuple[tuple[str, str, str], ...] = ()
    text: str = ""

    def to_text(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> "Answer":
        """Return the answer of a line of JSON."""
        return _ANSWER.validate_json(text)


_REQUEST, _ANSWER, _MODEL = TypeAdapter(Request), TypeAdapter(Answer), TypeAdapter(ModelSpec)


def mark_json(mark: MarkSpec) -> Json:
    """Return what a marked model is made from, but for the conditions of the machine and how it is labelled."""
    host, scheme = mark.host, mark.scheme
    return {
        "model": host.model.to_json(),
        "seed": host.seed,
        "weights": host.weights,
        "scheme": scheme.name,
        "parameters": dict(scheme.parameters),
        "finished": scheme.finished,
        "payload": mark.payload,
    }


def cell_json(cell: Cell) -> Json:
    """Return what a cell adds to its mark."""
    scheme, attack = cell.mark.scheme, cell.attack
    return {
        "identity": cell.identity,
        "label": scheme.label,
        "reader": scheme.reader,
        "attack": attack.attack.to_json(),
        "attack_label": attack.label,
        "strengths": list(attack.strengths),
        "levels": [list(level) for level in attack.levels],
        "readings": cell.readings,
    }


def cell_of(mark: Json, cell: Json, runtime: Mapping[str, Any]) -> Cell:
    """Return a cell as it is run under the conditions of this machine.

    Raises:
        BadInput: for a scheme or attack that is not known here.
    """
    host = HostSpec(_MODEL.validate_python(mark["model"]), mark["seed"], runtime, mark["weights"])
    scheme = SchemeEntry(
        cell["label"], mark["scheme"], mark["parameters"], reader=cell["reader"], finished=mark["finished"]
    )
    levels = tuple((points, strength) for points, strength in cell["levels"])
    attack = AttackEntry(
        cell["attack_label"], make_attack(cell["attack"], "task"), tuple(cell["strengths"]), levels=levels
    )
    return Cell(MarkSpec(host, scheme, mark["payload"]), attack, cell["readings"])
