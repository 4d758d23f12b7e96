"""The laboratory: it marks models with every scheme, attacks them, and ranks what survives."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cwwm.support import torchvision_shim

if TYPE_CHECKING:
    from bench.evaluation import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]

torchvision_shim.install()


def __getattr__(name: str) -> Any:  # noqa: ANN401 (what the module holds)
    """Import what takes torch when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("bench.evaluation"), name)
