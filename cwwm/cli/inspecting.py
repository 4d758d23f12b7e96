"""cwwm inspect: the tensors of a checkpoint, and what carrier rules choose of them."""

from pathlib import Path

from cwwm.cli.options import Json
from cwwm.support.console import DONE, print_json, print_table
from cwwm.support.errors import BadInput


def inspect(model: Path, json: Json = False) -> int:
    """List a checkpoint's layers and what each carrier rule would choose."""
    from cwwm.weights.carrier import RULES, weight_kind
    from cwwm.weights.carrier import Carrier as Pool
    from cwwm.weights.checkpoint import open_weights
    from cwwm.weights.copies import copies_of
    from cwwm.weights.view import all_finite

    weights = open_weights(model)
    copies = {label: len(copy.names()) for label, copy in copies_of(weights).items()}
    layers = [
        {"name": name, "kind": weight_kind(name, weights.shape(name)) or "-", "shape": list(weights.shape(name)),
         "dtype": weights.dtype(name), "finite": all_finite(weights.tensor(name))}
        for name in weights.names()
    ]  # fmt: skip
    pools: dict[str, int] = {}
    for rule in RULES:
        try:
            pools[rule] = Pool.choose(weights, rule).size
        except BadInput:  # a rule that matches nothing here has an empty pool
            pools[rule] = 0
    if json:
        print_json({"layers": layers, "carriers": pools, "copies": copies})
        return DONE
    rows = [(x["name"], x["kind"], x["shape"], x["dtype"], "" if x["finite"] else "NOT FINITE") for x in layers]
    print_table(("tensor", "kind", "shape", "dtype", ""), rows)
    print()
    print_table(("carrier", "weights", "is"), [(r, f"{n:,}", RULES[r]) for r, n in pools.items()])
    if copies:
        print()
        print_table(("copy of the weights", "tensors"), [(label, f"{n:,}") for label, n in copies.items()])
    return DONE
