"""What `cwwm-bench list` shows."""

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from bench.attacks import ATTACKS
from bench.data import DATASETS
from bench.models.registry import ModelSpec, load_zoo
from bench.suite import SUITES, suite_names
from bench.suite.fields import read_suite_file
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput, unknown_name

Rows = list[tuple[object, ...]]


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def catalogue(what: str, pattern: str | None = None, *, pretrained: bool = False) -> tuple[tuple[str, ...], Rows]:
    """Return columns and rows of one list, those whose name matches a wildcard.

    Args:
        what: a key of `CATALOGUE`.
        pattern: as `fnmatch` takes it; None: everything, of models everything in models.yaml. Given one for models,
            timm's names are searched as well, as `timm.list_models` does.
        pretrained: of timm's names those that have pretrained weights, with their tags.

    Raises:
        BadInput: for an unknown list, or `pretrained` of anything but models.
    """
    if what not in CATALOGUE:
        raise unknown_name("list", what, CATALOGUE)
    if pretrained and what != "models":
        raise BadInput(f"--pretrained is for models; {what} have no weights")
    columns, rows = CATALOGUE[what]()
    if what == "models" and (pretrained or pattern is not None):
        return columns, _models_of_timm(pattern or "*", pretrained=pretrained)
    return columns, [row for row in rows if fnmatchcase(str(row[0]), pattern or "*")]


def _models() -> tuple[tuple[str, ...], Rows]:
    return ("model", "family", "data", "size", "weights"), [_model(spec) for spec in load_zoo().values()]


def _model(spec: ModelSpec) -> tuple[object, ...]:
    return (spec.name, spec.family, spec.data, spec.size, spec.weights)


def _models_of_timm(pattern: str, *, pretrained: bool) -> Rows:
    """Return timm's models in its order: with their tags if `pretrained`, else with the zoo's among them."""
    import timm

    from bench.models import networks  # noqa: F401 (importing it registers them)

    zoo = load_zoo()
    names = timm.list_models(pattern, pretrained=pretrained)
    if pretrained:
        return [(name, *_told(name.partition(".")[0], zoo)[1:-1], "timm") for name in names]
    own = [name for name in zoo if fnmatchcase(name, pattern)]
    return [_told(name, zoo) for name in sorted({*names, *own}, key=_natural)]


def _told(name: str, zoo: Mapping[str, ModelSpec]) -> tuple[object, ...]:
    return _model(zoo[name]) if name in zoo else (name, *["-"] * 4)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return what sorts numbers in names by their value: resnet34 before resnet101."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


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
    suites = {name: read_suite_file(SUITES / f"{name}.yaml") for name in suite_names()}
    return ("suite", "is", "models", "schemes"), [
        (name, suite.description, len(suite.models), len(suite.schemes)) for name, suite in suites.items()
    ]


CATALOGUE: dict[str, Callable[[], tuple[tuple[str, ...], Rows]]] = {
    "models": _models,
    "schemes": _schemes,
    "attacks": _attacks,
    "data": _data,
    "suites": _suites,
}
