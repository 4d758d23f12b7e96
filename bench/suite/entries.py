"""What a suite lists: schemes and attacks with their parameters, and what calibration is to fix of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from bench.attacks import Attack
from bench.calibration.attack_levels import strengths_to_run
from bench.suite.calibration_file import AttackStrengths
from cwwm.readers import Blind
from cwwm.schemes import SCHEMES, Scheme, make_scheme
from cwwm.support.errors import BadInput, unknown_name

MOST_COMBINATIONS = 12  # of choices: each one is a search of its own, of up to five trainings


@dataclass(frozen=True)
class Tune:
    """What calibration fixes of a scheme: its strength, and one of several values of other parameters.

    Attributes:
        parameter: the strength; low, high: the least and largest value tried.
        choices: by name, values to choose among (numbers, texts): a repetition, a layer, a rate of the code.
    """

    parameter: str
    low: float
    high: float
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a range without a logarithm or an extent, and choices that leave none, or too many."""
        if not 0 < self.low < self.high < math.inf:
            raise BadInput(f"tune needs 0 < low < high, not {self.low:g} and {self.high:g}")
        for name, values in self.choices.items():
            if name == self.parameter or len(values) < 2:
                raise BadInput(f"tune needs two values or more to choose {name} among, and not the strength itself")
        if len(self.combinations) > MOST_COMBINATIONS:
            found = len(self.combinations)
            raise BadInput(f"tune has {found} combinations of choices; {MOST_COMBINATIONS} are the most")

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """Return every combination of the choices, in their order; one without any where there is none."""
        return [dict(zip(self.choices, values, strict=True)) for values in product(*self.choices.values())]

    def is_settled(self, strength: Mapping[str, float | None], chosen: Mapping[str, Any]) -> bool:
        """Say whether a calibration left nothing open: a strength and one of the combinations, or a refusal."""
        if set(strength) != {self.parameter}:
            return False
        return chosen in self.combinations or strength[self.parameter] is None


@dataclass(frozen=True)
class SchemeEntry:
    """A scheme as a suite lists it; the payload is filled in by the plan.

    Attributes:
        label: how tables name it, but for `shown`; unique in its suite.
        name: as registered.
        parameters: for every payload.
        at: parameters for single payloads, merged over those for all.
        payloads: the only payloads it is run at; empty: all of the suite's.
        tune: what the suite's calibration file gives, or None.
        reader: how suspects are read, by the name in `cwwm.readers`.
        finished: the mark is put in one shot into the finished model, the unmarked twin, as an owner does who has
            no training to spare; else it is made while the host is trained further.
    """

    label: str
    name: str
    parameters: Mapping[str, Any]
    at: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    payloads: tuple[int, ...] = ()
    tune: Tune | None = None
    reader: str = Blind.name
    finished: bool = False

    def fixed(self, payload_bits: int, strength: Mapping[str, Any] | None = None) -> "SchemeEntry":
        """Return the entry of one cell: all parameters in one mapping, and nothing left to choose.

        Args:
            payload_bits: of the cell.
            strength: what was tuned, by parameter; None as value leaves the scheme's default.
        """
        given = {name: value for name, value in (strength or {}).items() if value is not None}
        parameters = {**self.parameters, **self.at.get(payload_bits, {}), **given}
        return SchemeEntry(self.label, self.name, parameters, reader=self.reader, finished=self.finished)

    @property
    def shown(self) -> str:
        """Return the label for tables, which says what is our reconstruction of a paper."""
        known = SCHEMES.get(self.name)
        return f"{self.label} (reconstruction)" if known is not None and known.reconstruction else self.label

    @property
    def classes(self) -> tuple[type[Scheme], ...]:
        """Return the class of the scheme and of one that it stands around; BadInput if there is none such."""
        (own,) = _scheme_classes(self.name)
        inner = self.parameters.get("scheme", getattr(own, "scheme", None))
        return (own, *_scheme_classes(*filter(None, [inner])))

    def build(self, payload_bits: int) -> Scheme:
        """Return the scheme for a payload."""
        parameters = {**self.fixed(payload_bits).parameters, "payload_bits": payload_bits}
        return make_scheme(self.name, parameters, f"scheme {self.label}")


def _scheme_classes(*names: str) -> tuple[type[Scheme], ...]:
    """Return schemes by name; raise BadInput if there is none of a name."""
    for name in names:
        if name not in SCHEMES:
            raise unknown_name("scheme", name, sorted(SCHEMES))
    return tuple(SCHEMES[name] for name in names)


@dataclass(frozen=True)
class AttackEntry:
    """An attack as a suite lists it.

    Attributes:
        label: how tables name it; that of an attack with `lost` is unique in its suite.
        attack: with its parameters.
        strengths: all it is run at; with `lost`, the candidates from the mildest to the hardest.
        payloads: the only payloads it is run at; empty: all of the suite's.
        lost: levels, in points of accuracy lost on the unmarked control of each model: the calibration file
            gives for each one the strength. Empty: all strengths are run.
        between: the mildest and the hardest strength, where calibration finds the candidates itself.
        levels: points and the strength chosen for them, None if even the mildest lost more; of an entry of a cell.
    """

    label: str
    attack: Attack
    strengths: tuple[float, ...]
    payloads: tuple[int, ...] = ()
    lost: tuple[float, ...] = ()
    between: tuple[float, float] | None = None
    levels: tuple[tuple[float, float | None], ...] = ()

    @property
    def classes(self) -> tuple[type, ...]:
        """Return the class of the attack, of its parts, and of watermarks that they embed by name."""
        attacks = (self.attack, *self.attack.parts)
        named = [name for attack in attacks if (name := getattr(attack, "scheme", None)) in SCHEMES]
        return tuple(dict.fromkeys((*(type(attack) for attack in attacks), *_scheme_classes(*named))))

    def is_settled(self, found: AttackStrengths | None) -> bool:
        """Say whether nothing is left to choose: `found` is of this attack, these candidates and levels."""
        if not self.lost:
            return True
        if found is None or found.by != repr(self.attack) or found.bisected != (self.between is not None):
            return False
        tried = tuple(found.tried)
        asked = (tried[0], tried[-1]) == self.between if self.between else tried == self.strengths
        return asked and set(found.chosen) == set(self.lost)

    def fixed(self, found: AttackStrengths | None) -> "AttackEntry":
        """Return the entry of one cell: the chosen strengths only, the mildest if none was chosen."""
        if not self.lost or found is None:
            return self
        strengths = strengths_to_run(tuple(found.tried), found.chosen)
        return replace(self, strengths=strengths, lost=(), between=None, levels=tuple(found.chosen.items()))
