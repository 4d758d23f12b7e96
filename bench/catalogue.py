"""What `cwwm-bench list` shows."""

from collections.abc import Callable

from bench.attacks import ATTACKS
from bench.config import read_yaml
from bench.data import DATASETS
from bench.suite import SUITES, suite_names
from bench.zoo import load_zoo
from cwwm.schemes import SCHEMES

Rows = list[tuple[object, ...]]


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _models() -> tuple[tuple[str, ...], Rows]:
    rows: Rows = [(m.name, m.family, m.data, m.size, m.weights) for m in load_zoo().values()]
    return ("model", "family", "data", "size", "weights"), rows


def _schemes() -> tuple[tuple[str, ...], Rows]:
    rows: Rows = [
        (name, _first_line(scheme.__doc__), ", ".join(sorted(scheme.needs)) or "-")
        for name, scheme in SCHEMES.items()
    ]
    return ("scheme", "is", "needs"), rows


def _attacks() -> tuple[tuple[str, ...], Rows]:
    return ("attack", "does", "strength"), [
        (name, _first_line(attack.__doc__), attack.strength) for name, attack in ATTACKS.items()
    ]


def _data() -> tuple[tuple[str, ...], Rows]:
    return ("data set", "is"), [(name, source.about) for name, source in DATASETS.items()]


def _suites() -> tuple[tuple[str, ...], Rows]:
    suites = {name: read_yaml(SUITES / f"{name}.yaml") for name in suite_names()}
    return ("suite", "is", "models", "schemes"), [
        (name, suite["description"], len(suite["models"]), len(suite["schemes"])) for name, suite in suites.items()
    ]


CATALOGUE: dict[str, Callable[[], tuple[tuple[str, ...], Rows]]] = {
    "models": _models,
    "schemes": _schemes,
    "attacks": _attacks,
    "data": _data,
    "suites": _suites,
}
