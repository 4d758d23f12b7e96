"""The calibration file beside a suite: strengths fixed once, read strictly, written whole after every entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from bench.support.schema import Fields, FromMapping, Name, Positive, validated
from bench.support.strict_yaml import dump_yaml, read_yaml
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic

SUFFIX = ".calibration.yaml"

_HEADER = """\
# Made by: cwwm-bench calibrate {suite}
# Source digest when last written: {source}
# values: scheme label, payload bits, model: the strength that the plan gives the scheme there; null where it
#   refuses the host, which a run then records as refused.
# equal: what all schemes of a host and payload are brought to the same of; energy where it is not given.
# reached: how it was found. by energy: squared change over squared norm of the pool, within 10 % of the target
#   that all schemes of a host and payload share, or as near as the search came. by answers: the largest strength
#   tried that changes no more of the answers to validation images than the target, with a quarter of it for the
#   noise of training, or, if all change more, the one that changes fewest; answers_changed is the mean total
#   variation distance from the unmarked control, answers_floor that of a second control. by accuracy: even the
#   highest strength stays below the target, or the mark has no pool; the largest one tried that costs at most 0.5
#   points.
# choices: where a scheme's 'tune' has some: of the combinations that keep the target the one whose mark, at that
#   strength, outlived most of a fixed panel of attacks ('survived' under reached); of equal ones the cheapest.
# attacks: attack label, model: strengths chosen once on the unmarked control, for all schemes, payloads and seeds.
#   tried: candidate strengths from the mildest to the hardest, and the points of accuracy each one lost on the
#   validation split; null from where the attack refused the model, for the reason in 'refused'. chosen: points,
#   and the last candidate that lost at most so many; null if even the mildest lost more. Cells run the chosen
#   candidates once each, or, where all are null, the mildest one. by: the attack that was tried. bisected: the
#   candidates are none of the suite's, but were found by halving between the mildest and the hardest.
"""

#: scheme label, payload bits, model
Place = tuple[str, int, str]

#: attack label, model
Target = tuple[str, str]

#: a number for each number, or none
Levels = Annotated[Mapping[float, float | None], Field(min_length=1)]

#: what the tuned schemes of a suite are brought to the same of
Equal = Literal["energy", "answers"]

Leaf = TypeVar("Leaf")


@dataclass(frozen=True)
class AttackStrengths:
    """What an attack costs on the unmarked control of a model, and the strengths chosen for it.

    Attributes:
        tried: candidates from the mildest to the hardest, each with the points lost; None where it refused.
        chosen: for each number of points one of the candidates, or None.
        by: repr of the attack, so that a change of its parameters is noticed.
        seed: of the control and of the attack.
        refused: the reason if the attack refused, else empty.
        bisected: whether the candidates were found between the first and the last of them.
    """

    tried: Levels
    chosen: Levels
    by: str
    seed: int
    refused: str = ""
    bisected: bool = False

    def to_tree(self) -> dict[str, Any]:
        """Return the entry as YAML has it."""
        tree = {"tried": dict(self.tried), "chosen": dict(self.chosen), "by": self.by, "seed": self.seed}
        more = {"refused": self.refused, "bisected": self.bisected}
        return tree | {name: value for name, value in more.items() if value}


def _chosen_of_tried(found: AttackStrengths) -> AttackStrengths:
    for strength in found.chosen.values():
        if strength is not None and strength not in found.tried:
            raise BadInput(f"chosen {strength:g} is none of those tried")
    return found


_Checked = Annotated[AttackStrengths, FromMapping(), AfterValidator(_chosen_of_tried)]


class CalibrationFile(Fields):
    """The file as it is written: nested by scheme label, payload in bits and model, or attack label and model."""

    values: dict[Name, dict[Positive, dict[Name, dict[Name, float | None]]]]
    choices: dict[Name, dict[Positive, dict[Name, dict[Name, Any]]]] = Field({})
    reached: dict[Name, dict[Positive, dict[Name, dict[Name, Any]]]] = Field({})
    attacks: dict[Name, dict[Name, _Checked]] = Field({})
    equal: Equal = "energy"


@dataclass(frozen=True)
class Strengths:
    """What a calibration file holds.

    Attributes:
        values: at each place the calibrated parameter and its value, None where the scheme refused.
        choices: at each place what was chosen of other parameters, by name.
        reached: at each place the facts of its search, for the reader.
        attacks: the strengths chosen for an attack on a model.
        equal: the terms on which the values were found.
    """

    values: Mapping[Place, Mapping[str, float | None]] = field(default_factory=dict)
    reached: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)
    attacks: Mapping[Target, AttackStrengths] = field(default_factory=dict)
    choices: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)
    equal: Equal = "energy"

    def adding(
        self,
        place: Place,
        value: Mapping[str, float | None],
        reached: Mapping[str, Any],
        chosen: Mapping[str, Any] | None = None,
    ) -> "Strengths":
        """Return these strengths with one place set."""
        others = {at: found for at, found in self.choices.items() if at != place}
        return replace(
            self,
            values={**self.values, place: value},
            reached={**self.reached, place: reached},
            choices={**others, place: chosen} if chosen else others,
        )

    def adding_attack(self, target: Target, found: AttackStrengths) -> "Strengths":
        """Return these strengths with those of one attack on one model set."""
        return replace(self, attacks={**self.attacks, target: found})

    def write(self, path: Path, source: str) -> None:
        """Write the file atomically, sorted; `source` is the digest of the source that found the last entry."""
        attacks: dict[str, dict[str, Any]] = {}
        for (label, model), found in sorted(self.attacks.items(), key=lambda item: item[0]):
            attacks.setdefault(label, {})[model] = found.to_tree()
        chosen = {"choices": _nested(self.choices)} if self.choices else {}
        equal = {} if self.equal == "energy" else {"equal": self.equal}
        tree = {
            **equal,
            "values": _nested(self.values),
            **chosen,
            "reached": _nested(self.reached),
            "attacks": attacks,
        }
        text = dump_yaml(tree)
        write_atomic(path, (_HEADER.format(suite=path.name.removesuffix(SUFFIX), source=source) + text).encode())


def strengths_path(suite: Path) -> Path:
    """Return where the calibration of a suite's YAML file lies: beside it."""
    return suite.with_name(suite.stem + SUFFIX)


def read_strengths(path: Path) -> Strengths:
    """Read a calibration file; a missing one holds nothing.

    Raises:
        BadInput: if it is no YAML, has unknown fields, or is not nested as its header says.
    """
    if not path.exists():
        return Strengths()
    found = validated(CalibrationFile, read_yaml(path), str(path), remedy="; calibrate the suite again")
    attacks = {(label, model): leaf for label, models in found.attacks.items() for model, leaf in models.items()}
    return Strengths(_flat(found.values), _flat(found.reached), attacks, _flat(found.choices), found.equal)


def _nested(places: Mapping[Place, Mapping[str, Any]]) -> dict[str, dict[int, dict[str, dict[str, Any]]]]:
    tree: dict[str, dict[int, dict[str, dict[str, Any]]]] = {}
    for (label, payload, model), leaf in sorted(places.items(), key=lambda item: item[0]):
        tree.setdefault(label, {}).setdefault(payload, {})[model] = dict(leaf)
    return tree


def _flat(tree: Mapping[str, Mapping[int, Mapping[str, Leaf]]]) -> dict[Place, Leaf]:
    return {
        (label, payload, model): leaf
        for label, payloads in tree.items()
        for payload, models in payloads.items()
        for model, leaf in models.items()
    }
