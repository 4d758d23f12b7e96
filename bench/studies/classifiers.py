"""Which tensor the carrier ``classifier`` takes, against what timm says, for all its networks.

Run it with ``python -m bench.studies.classifiers -o results/classifiers.md`` (ten minutes of one core). Networks
are built without storage: names and shapes are all that the rule looks at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
import typer
from tabulate import tabulate
from torch import nn

from bench.models.timm_names import timm_with_ours
from bench.studies.output import Output, publish
from cwwm.support.console import DONE, run_program
from cwwm.weights.carrier import classifiers
from cwwm.weights.view import as_weights

COUNTED = ("timm's configuration says", "networks", "agree", "for example")
COLUMNS = ("network", "timm's configuration", "the network itself", "carrier `classifier`")


@dataclass(frozen=True)
class Answering:
    """The layers that answer the classes of one network, as three sources say, each in the order of the names.

    Attributes:
        configured: timm's ``default_cfg["classifier"]``, of what the network has.
        own: the weights of its ``get_classifier()``, norms left out.
        chosen: by the rule, from names and shapes.
    """

    name: str
    configured: tuple[str, ...]
    own: tuple[str, ...]
    chosen: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Say whether the rule agrees with timm's configuration."""
        return self.configured == self.chosen

    @classmethod
    def of(cls, name: str) -> "Answering":
        """Build a network of timm, or of ours, without storage, and look."""
        with torch.device("meta"):
            network: nn.Module = timm_with_ours().create_model(name)
        weights = as_weights(network)
        said = network.default_cfg["classifier"] or ()  # type: ignore[index]
        paths = (said,) if isinstance(said, str) else said
        owned = {id(weight) for module in _own(network) for weight in module.parameters() if weight.ndim > 1}
        return cls(
            name,
            _layers(f"{path}.weight" for path in paths if f"{path}.weight" in weights),
            _layers(tensor for tensor, weight in network.named_parameters() if id(weight) in owned),
            _layers(classifiers(weights)),
        )


def _own(network: nn.Module) -> list[nn.Module]:
    """Return the modules of a network's ``get_classifier()``, which encoders lack."""
    found = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    return [part for part in (found if isinstance(found, list | tuple) else [found]) if isinstance(part, nn.Module)]


def _layers(tensors: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the layers of weights, in order."""
    return tuple(sorted(tensor.removesuffix(".weight") for tensor in tensors))


def page(found: Sequence[Answering]) -> str:
    """Return the tables as Markdown."""
    kinds: dict[tuple[str, ...], list[Answering]] = {}
    for one in found:
        kinds.setdefault(one.configured, []).append(one)
    ordered = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    rows = [(_said(said), len(of), sum(one.agrees for one in of), of[0].name) for said, of in ordered]
    odd = [one for one in found if not one.agrees]
    differing = [(one.name, *map(_said, (one.configured, one.own, one.chosen))) for one in odd]
    return (
        "# What answers the classes\n\nThe carrier `classifier` takes the layer that answers the classes, `body` "
        "all others. Which one that is follows from names and shapes alone, whatever their order "
        '(`cwwm/weights/heads.py`), and is held here against `default_cfg["classifier"]` of timm '
        f"{version('timm')}, for all its networks and ours: {len(found) - len(odd):,} of {len(found):,} agree. Of "
        "several heads beside each other all are taken. Where a network is built without a head, there is none.\n\n"
        f"{tabulate(rows, COUNTED, tablefmt='github')}\n\nThose that differ, with what `get_classifier()` of the "
        f"network returns:\n\n{tabulate(differing, COLUMNS, tablefmt='github')}\n"
    )


def _said(layers: Sequence[str]) -> str:
    return ", ".join(layers) or "none"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(output: Output) -> int:
    """Build every network, look, print and write the tables."""
    publish(page([Answering.of(name) for name in timm_with_ours().list_models()]), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.classifiers")
