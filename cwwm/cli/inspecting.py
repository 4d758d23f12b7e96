"""cwwm inspect: the tensors of a checkpoint, and what carrier rules choose of them."""

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cwwm.cli.left_out import say_left_out
from cwwm.cli.options import Json
from cwwm.support.console import DONE, print_json, print_table, say
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.weights.view import Weights


def inspect(model: Path, json: Json = False) -> int:
    """List a checkpoint's tensors and what each carrier rule would choose.

    Exit codes: 0 it can be marked, or was exported from one that can; 2 it cannot be opened, or holds a tensor that
    no safetensors file can, which is named.
    """
    from cwwm.weights.carrier import RULES, classifiers, left_out, named_dtypes, no_carriers
    from cwwm.weights.checkpoint import open_weights, require_writable
    from cwwm.weights.copies import copies_of

    weights = open_weights(model)
    layers, pools = _listed(weights), _pools(weights)
    copies = {label: len(copy.all_names()) for label, copy in copies_of(weights).items()}
    answering = dict.fromkeys(classifiers(weights))
    lost, wide = left_out(weights, "all"), no_carriers(weights)
    if json:
        print_json({"layers": layers, "carriers": pools, "classifier": list(answering),
                    "tensors_left_out": lost, "no_carriers": wide, "copies": copies})  # fmt: skip
    else:
        rows = [(x["name"], x["kind"], x["shape"], x["dtype"], _remark(x, answering)) for x in layers]
        print_table(("tensor", "kind", "shape", "dtype", ""), rows)
        print()
        print_table(("carrier", "weights", "is"), [(r, f"{n:,}", RULES[r]) for r, n in pools.items()])
        say_left_out(lost)
        if wide:
            say(f"no carriers, cast the checkpoint up or down first: {named_dtypes(wide)}")
        if copies:
            print()
            print_table(("copy of the weights", "tensors"), [(label, f"{n:,}") for label, n in copies.items()])
    if not weights.exported:
        require_writable(weights)
    return DONE


def _listed(weights: "Weights") -> list[dict[str, Any]]:
    """Return what is to be said of each tensor, tied ones by all their names."""
    listed = [_described(weights, name) for name in weights.names()]
    return listed + [{**_described(weights, name), "tied": counted} for name, counted in weights.tied.items()]


def _described(weights: "Weights", name: str) -> dict[str, Any]:
    from cwwm.weights.view import all_finite
    from cwwm.weights.weight_kind import weight_kind

    shape, unusual = weights.shape(name), weights.unreadable(name)
    described = {"name": name, "kind": weight_kind(name, shape) or "-", "shape": list(shape),
                 "dtype": weights.dtype(name) or "-"}  # fmt: skip
    if unusual:
        return described | {"finite": None, "unusual": unusual}
    return described | {"finite": all_finite(weights.tensor(name))}


def _remark(described: dict[str, Any], answering: Container[str]) -> str:
    remarks = {
        "classifier": described["name"] in answering,
        f"tied to {described.get('tied')}": "tied" in described,
        "NOT FINITE": described["finite"] is False,
        str(described.get("unusual")): "unusual" in described,
    }
    return ", ".join(remark for remark, holds in remarks.items() if holds)


def _pools(weights: "Weights") -> dict[str, int]:
    from cwwm.weights.carrier import RULES, Carrier

    pools: dict[str, int] = {}
    for rule in RULES:
        try:
            pools[rule] = Carrier.choose(weights, rule).size
        except BadInput:  # a rule that matches nothing here, or what cannot carry, has an empty pool
            pools[rule] = 0
    return pools
