"""The attacks of the study on reading against the original, likeliest to remove a mark last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """An attack of the study: as a suite writes it, and its strengths."""

    attack: Mapping[str, Any]
    strengths: tuple[float, ...]
    label: str = ""


def _then(first: Any, second: Any, strengths: tuple[float, ...], label: str) -> Attempt:  # noqa: ANN401
    return Attempt({"name": "then", "first": first, "second": second}, strengths, label)


SHORT = {"name": "finetune", "budget": 0.1}
LARGEST = {"name": "targeted", "suspects": "largest", "action": "redraw"}
_HIDDEN = {"name": "then", "first": {"name": "permute"}, "second": {"name": "rescale"}, "second_strength": 2}
_PRUNED = {"name": "then", "first": _HIDDEN, "second": {"name": "magnitude"}, "second_strength": 0.9}

ATTACKS = (
    Attempt({"name": "magnitude"}, (0.5, 0.9, 0.98)),
    Attempt({"name": "random"}, (0.5,)),
    Attempt({"name": "structured"}, (0.5,)),
    Attempt({"name": "noise"}, (0.05, 0.2)),
    Attempt({"name": "quantise"}, (8, 4, 3)),
    Attempt({"name": "cluster"}, (3,)),
    Attempt({"name": "svd"}, (0.5, 0.75, 0.9)),
    Attempt(LARGEST, (0.01, 0.05), "targeted largest"),
    Attempt({"name": "overwrite", "factor": 4}, (1,), "overwrite x4"),
    Attempt({"name": "collude"}, (2, 4), "average of copies"),
    Attempt({"name": "collude", "mode": "difference"}, (2, 4), "copies compared"),
    Attempt({"name": "interpolate", "statistics": 0}, (0.5,), "half-way to the public base"),
    Attempt({"name": "dare", "statistics": 0}, (0.5, 0.9), "DARE against the public base"),
    Attempt({"name": "deploy"}, (1,)),
    Attempt({"name": "permute"}, (1,)),
    Attempt({"name": "rescale"}, (4,)),
    Attempt({"name": "idle"}, (0.2,)),
    Attempt({"name": "noise-shaped"}, (0.2, 0.5, 1.0)),
    Attempt({"name": "lora", "budget": 0.1}, (4, 16)),
    Attempt({"name": "ties", "budget": 0.1}, (0.8,), "TIES with a sibling, 10 %"),
    Attempt({"name": "soup", "budget": 0.1}, (4,), "soup 10 %"),
    Attempt(SHORT, (1, 5), "finetune 10 %"),
    _then("svd", SHORT, (0.25, 0.5, 0.75, 0.9), "svd + finetune 10 %"),
    _then("magnitude", SHORT, (0.9, 0.95), "magnitude + finetune 10 %"),
    _then("noise-shaped", SHORT, (0.5, 1.0), "noise-shaped + finetune 10 %"),
    _then(_PRUNED, SHORT, (1,), "permute + rescale + magnitude 0.9 + finetune 10 %"),
    Attempt({"name": "ties"}, (0.8,), "TIES with a sibling"),
    Attempt({"name": "soup"}, (2,)),
    Attempt({"name": "finetune"}, (1, 2.5, 5)),
    _then("svd", "finetune", (0.5, 0.75, 0.9), "svd + finetune"),
    _then("magnitude", "finetune", (0.9,), "magnitude + finetune"),
    _then("noise-shaped", "finetune", (1.0,), "noise-shaped + finetune"),
    _then(LARGEST, "finetune", (0.05,), "targeted largest + finetune"),
    Attempt({"name": "distill-stolen"}, (4,)),
)
