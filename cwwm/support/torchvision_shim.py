"""Let torchvision import beside a CPU build of torch, where its CUDA wheel otherwise fails.

torchvision's wheel on PyPI is built for CUDA. Beside a CPU torch its compiled extension cannot be
loaded, so nothing declares the operators that torchvision's own Python files then register, and
``import torchvision`` (hence timm) ends in "operator torchvision::nms does not exist". Declaring the two
schemas it stumbles over is enough: transforms, datasets, models and timm then work; only the compiled
detection operators are missing, and nothing here needs them.

`install`, which importing `bench` calls, puts a finder in front of Python's import path that acts when
torchvision is first looked for, so neither the order of imports nor the cost of importing torch matters
to anybody else.
Nothing at all happens beside a torch with CUDA or ROCm, or where the extension loads.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.library import Library

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list["Library"] = []  # an operator lives only as long as the library that declares it


def ensure_torchvision() -> None:
    """Declare the operators that ``import torchvision`` needs, if its own extension cannot.

    Called by the finder; call it yourself only where torchvision is loaded without an import. Calling it
    again, or without torchvision installed, does nothing.
    """
    spec = PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    import torch

    if torch.version.cuda or torch.version.hip or hasattr(torch.ops.torchvision, "nms"):
        return
    if _extension_loads(Path(spec.origin).parent):
        return
    _declared.append(torch.library.Library("torchvision", "DEF"))  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        _declared[0].define(schema)  # type: ignore[no-untyped-call]


def _extension_loads(package: Path) -> bool:
    """Load the compiled operators as torchvision is about to do; say whether that worked."""
    import torch

    for library in sorted(package.glob("_C*")):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False


class _TorchvisionFinder(MetaPathFinder):
    """Calls `ensure_torchvision` the first time torchvision is looked for, and finds nothing itself."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None", target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None, so that the search goes on as if this finder were not there."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            ensure_torchvision()
        return None


def install() -> None:
    """Put the finder first on the import path, unless torchvision is there already; cheap."""
    known = any(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path)
    if not known and "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _TorchvisionFinder())
