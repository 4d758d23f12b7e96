"""What to install when a package is missing: its name, and the extra of this project that brings it."""

import importlib.metadata
import re
from importlib.util import find_spec

_OURS = ("bench", "cwwm")
#: where the module is not called as its package
_PACKAGES = {
    "sionna": "sionna-no-rt",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "torch_pruning": "torch-pruning",
    "yaml": "pyyaml",
}


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Return one line that names the package which an import did not find, and how to get it.

    Returns None if nothing is missing but a module of ours, or one inside a package that is there: that is a
    fault of a program, not of what is installed.
    """
    module = (error.name or "").partition(".")[0]
    if not module or module in _OURS or find_spec(module) is not None:
        return None
    package = _PACKAGES.get(module, module)
    return f"this needs the package {package}, which is not installed: pip install {_source(package)}"


def require_package(module: str) -> None:
    """Raise ModuleNotFoundError for a package that long work would ask for in the end; nothing is loaded."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def _source(package: str) -> str:
    """Return what pip is to install: this project with the extra that brings the package, or the package alone."""
    for requirement in _requirements():
        found = re.match(rf"{re.escape(package)}(?![\w.-]).*extra == .(\w+).", requirement, re.IGNORECASE)
        if found:
            return f"'cwwm[{found[1]}]'"
    return package


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("cwwm") or []
    except importlib.metadata.PackageNotFoundError:  # run from its source, not installed
        return []
