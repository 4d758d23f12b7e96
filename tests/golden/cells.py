"""Small cells, one a family of schemes and one a family of attacks, whose rows are known.

Schemes that mark a finished network are tried on an untrained one; those that train, and all attacks, on a network
that was trained for a few seconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
TRANSFORMER = replace(TINY, name="tiny_vit", timm="test_vit", create={"patch_size": 8})
PAYLOAD = 16
MARK = ("sign-repetition", {"repetition": 5})  # of the model that is attacked
ALIGNED = "permute, aligned"  # read through an alignment
INFORMED = "magnitude, informed"  # read against the original, a finished model
ROTATED = "rotate, aligned"  # of a transformer: it has heads to be mixed
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
    "spread-cwc": {"gain": 0.3, "carrier": "all"},
    "tattooed": {"ratio": 6.0},
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
    "neuralmark": {"columns": 64, "rounds": 2},
    "structural": {},
}
ATTACKS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "magnitude": ({"name": "magnitude"}, (0.5, 0.9)),
    "random": ({"name": "random"}, (0.2,)),
    "structured": ({"name": "structured"}, (0.25,)),
    "structured-removed": ({"name": "structured-removed"}, (0.25,)),
    "prune-nm": ({"name": "prune-nm"}, (0.5,)),
    "wanda": ({"name": "wanda"}, (0.5,)),
    "sparsegpt": ({"name": "sparsegpt"}, (0.5,)),
    "gptq": ({"name": "gptq"}, (4,)),
    "svd": ({"name": "svd"}, (0.5,)),
    "drop-blocks": ({"name": "drop-blocks"}, (1.0,)),
    "split-layers": ({"name": "split-layers"}, (0.5,)),
    "idle": ({"name": "idle"}, (0.2,)),
    "noise-shaped": ({"name": "noise-shaped"}, (0.2,)),
    "lora": ({"name": "lora", "epochs": 1}, (4,)),
    "train-anew": ({"name": "train-anew"}, (1.0,)),
    "distill-stolen": ({"name": "distill-stolen", "epochs": 1}, (1,)),
    "gradual": ({"name": "gradual", "updates": 2, "epochs": 1}, (0.5,)),
    "admm-prune": ({"name": "admm-prune", **SHORT}, (4,)),
    "memristor": ({"name": "memristor", **SHORT}, (2,)),
    "finetune": ({"name": "finetune", "epochs": 1}, (0.5,)),
    "distill": ({"name": "distill", "epochs": 1}, (1,)),
    "bn after magnitude": ({"name": "then", "first": "magnitude", "second": "bn"}, (0.6,)),
    "noise": ({"name": "noise"}, (0.2,)),
    "quantise": ({"name": "quantise"}, (4,)),
    "quantise-torch": ({"name": "quantise-torch"}, (4,)),
    "cast, fp8": ({"name": "cast", "format": "fp8-e4m3", "granularity": "channel"}, (8,)),
    "cast, nf": ({"name": "cast", "format": "nf"}, (4,)),
    "cluster": ({"name": "cluster"}, (3,)),
    "scale": ({"name": "scale"}, (3.0,)),
    "deploy": ({"name": "deploy"}, (1,)),
    "overwrite": ({"name": "overwrite"}, (2,)),
    "permute": ({"name": "permute"}, (1.0,)),
    "rotate": ({"name": "rotate"}, (2.0,)),
    "insert": ({"name": "insert", "kind": "split"}, (0.2,)),
    "targeted": ({"name": "targeted"}, (0.01,)),
    "collude": ({"name": "collude"}, (2,)),
    "ema": ({"name": "ema", "epochs": 1}, (0.8,)),
    "soup": ({"name": "soup", "epochs": 1}, (2,)),
    "interpolate": ({"name": "interpolate", "other": "sibling", "path": "slerp", "epochs": 1}, (0.5,)),
    "ties": ({"name": "ties", "epochs": 1}, (0.8,)),
    "dare": ({"name": "dare"}, (0.9,)),
    "search": ({"name": "search", "attack": "magnitude", "mildest": 0.1, "hardest": 0.9, "resolution": 2}, (5,)),
}
NEEDS = {
    ALIGNED: "torch_pruning",
    ROTATED: "torch_pruning",
    "structural": "torch_pruning",
    "structured-removed": "torch_pruning",
    "permute": "torch_pruning",
    "rotate": "torch_pruning",
    "insert": "torch_pruning",
    "quantise-torch": "torchao",
}


def golden_cells(runtime: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    """Yield all cells by name, first those of the same network; `runtime` is for records, no row depends on it."""
    (bare,) = architectures([TINY])
    trained, untrained = HostSpec(TINY, 0, runtime), HostSpec(bare, 0, runtime, weights="initial")
    yield FULL, _cell(trained, "cwc", ONE_SHOT["cwc"])
    for name in ATTACKS:
        yield name, _cell(trained, *MARK, name)
    yield ALIGNED, _cell(trained, *MARK, "permute", reader="aligned")
    yield INFORMED, _informed(trained)
    yield ROTATED, _cell(HostSpec(TRANSFORMER, 0, runtime), *MARK, "rotate", reader="aligned")
    for name, parameters in TRAINED.items():
        yield name, _cell(trained, name, parameters)
    for name, parameters in ONE_SHOT.items():
        yield f"{name}, untrained", _cell(untrained, name, parameters)


def _cell(
    host: HostSpec, scheme: str, parameters: dict[str, Any], attack: str = "magnitude", reader: str = Blind.name
) -> Cell:
    entry = SchemeEntry(scheme, scheme, parameters, reader=reader)
    return Cell(MarkSpec(host, entry, PAYLOAD), _attack(attack))


def _informed(host: HostSpec) -> Cell:
    entry = SchemeEntry("spread-cwc", "spread-cwc", {"gain": 0.1}, reader="informed", finished=True)
    return Cell(MarkSpec(host, entry, PAYLOAD), _attack("magnitude"))


def _attack(name: str) -> AttackEntry:
    value, strengths = ATTACKS[name]
    return AttackEntry(name, make_attack(value, "golden"), strengths)
