"""Small cells, one a family of schemes and one a family of attacks, whose rows are known.

Schemes that mark a finished network are tried on an untrained one; those that train, and all attacks, on a network
that was trained for a few seconds.
"""

from collections.abc import Iterator
from typing import Any

from bench.attacks import make_attack
from bench.models.registry import HostRecipe, ModelSpec
from bench.suite import AttackEntry, SchemeEntry
from bench.suite.cell import Cell, HostSpec, MarkSpec
from bench.suite.untrained import architectures
from cwwm.readers import Blind
from cwwm.training import Recipe

TINY = ModelSpec(
    name="tiny",
    timm="test_resnet",
    data="digits",
    size=16,
    recipe=HostRecipe(
        mark=Recipe(epochs=1, batch_size=128, lr=0.002),
        train=Recipe(epochs=1, batch_size=128, lr=0.006, shift=1),
    ),
)
PAYLOAD = 16
MARK = ("sign-repetition", {"repetition": 5})  # of the model that is attacked
ALIGNED = "permute, aligned"  # read through an alignment
FULL = "cwc in full"  # the one cell that is run as a whole, detection included
SHORT = {"updates": 2, "steps": 5, "retrain": 1}

ONE_SHOT: dict[str, dict[str, Any]] = {
    "cwc": {"survive": 0.9},
    "protected-cwc": {},
    "sign": {},
    "sign-repetition": {"repetition": 5},
    "sign-erasure": {},
    "dm-qim": {},
    "fixed-weights": {},
    "spread-spectrum": {},
    "wrong-key": {"scheme": "sign-repetition"},
    "none": {},
}
TRAINED: dict[str, dict[str, Any]] = {
    "uchida": {},
    "st-dm": {},
    "riga": {},
    "deepsigns": {},
    "carriers": {},
    "ingrain": {},
    "structural": {},
}
ATTACKS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "magnitude": ({"name": "magnitude"}, (0.5, 0.9)),
    "random": ({"name": "random"}, (0.2,)),
    "structured": ({"name": "structured"}, (0.25,)),
    "structured-removed": ({"name": "structured-removed"}, (0.25,)),
    "gradual": ({"name": "gradual", "updates": 2, "epochs": 1}, (0.5,)),
    "admm-prune": ({"name": "admm-prune", **SHORT}, (4,)),
    "memristor": ({"name": "memristor", **SHORT}, (2,)),
    "finetune": ({"name": "finetune", "epochs": 1}, (0.5,)),
    "distill": ({"name": "distill", "epochs": 1}, (1,)),
    "bn after magnitude": ({"name": "then", "first": "magnitude", "second": "bn"}, (0.6,)),
    "noise": ({"name": "noise"}, (0.2,)),
    "quantise": ({"name": "quantise"}, (4,)),
    "quantise-torch": ({"name": "quantise-torch"}, (4,)),
    "cluster": ({"name": "cluster"}, (3,)),
    "scale": ({"name": "scale"}, (3.0,)),
    "deploy": ({"name": "deploy"}, (1,)),
    "overwrite": ({"name": "overwrite"}, (2,)),
    "permute": ({"name": "permute"}, (1.0,)),
    "insert": ({"name": "insert", "kind": "split"}, (0.2,)),
    "targeted": ({"name": "targeted"}, (0.01,)),
    "collude": ({"name": "collude"}, (2,)),
    "search": ({"name": "search", "attack": "magnitude", "mildest": 0.1, "hardest": 0.9, "resolution": 2}, (5,)),
}
NEEDS = {
    ALIGNED: "torch_pruning",
    "structural": "torch_pruning",
    "structured-removed": "torch_pruning",
    "permute": "torch_pruning",
    "insert": "torch_pruning",
    "quantise-torch": "torchao",
}


def golden_cells() -> Iterator[tuple[str, Cell]]:
    """Yield all cells by name: first those of the same network."""
    (bare,) = architectures([TINY])
    trained, untrained = HostSpec(TINY, 0), HostSpec(bare, 0, weights="initial")
    yield FULL, _cell(trained, "cwc", ONE_SHOT["cwc"])
    for name in ATTACKS:
        yield name, _cell(trained, *MARK, name)
    yield ALIGNED, _cell(trained, *MARK, "permute", reader="aligned")
    for name, parameters in TRAINED.items():
        yield name, _cell(trained, name, parameters)
    for name, parameters in ONE_SHOT.items():
        yield f"{name}, untrained", _cell(untrained, name, parameters)


def _cell(
    host: HostSpec, scheme: str, parameters: dict[str, Any], attack: str = "magnitude", reader: str = Blind.name
) -> Cell:
    entry = SchemeEntry(scheme, scheme, parameters, reader=reader)
    return Cell(MarkSpec(host, entry, PAYLOAD), _attack(attack))


def _attack(name: str) -> AttackEntry:
    value, strengths = ATTACKS[name]
    return AttackEntry(name, make_attack(value, "golden"), strengths)
