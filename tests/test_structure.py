"""The layout: no module imports itself by a detour, and few lie directly in the two packages."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bench", "cwwm")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}
MOST_AT_THE_TOP = 8


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the modules of this project that are imported anywhere below, but for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield inner if inner in MODULES else str(child.module)
        yield from imported(child)


def test_no_module_imports_itself_by_a_detour_not_even_late() -> None:
    graph = {
        name: {found for found in imported(ast.parse(path.read_text())) if found in MODULES and found != name}
        for name, path in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)  # raises CycleError with the circle


@pytest.mark.parametrize("package", PACKAGES)
def test_few_modules_lie_directly_in_a_package(package: str) -> None:
    modules = [path for path in (ROOT / package).glob("*.py") if not path.stem.startswith("__")]
    assert len(modules) <= MOST_AT_THE_TOP
