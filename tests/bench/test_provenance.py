"""What a record's identity depends on: the source that makes it, and no other."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.provenance import dependencies, source_digest

from bench import provenance
from bench.attacks import ATTACKS
from cwwm.schemes import SCHEMES

PARTS = ["bench.workshop", "bench.running", *{c.__module__ for c in (*ATTACKS.values(), *SCHEMES.values())}]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder of a small package of two schemes, a registry and what they share."""
    package = tmp_path / "sample"
    (package / "schemes").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "base.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sample import plan\nSHARED = 1\n",
        "plan.py": "from sample.schemes import SCHEMES\n",
        "schemes/__init__.py": "from sample.base import SHARED\nfrom sample.schemes.registry import SCHEMES\n",
        "schemes/registry.py": "from sample.schemes import one, two\nSCHEMES = [one, two]\n",
        "schemes/one.py": "import json\nfrom sample.schemes import SHARED\n",
        "schemes/two.py": "def late():\n    from sample.schemes.one import SHARED\n    return SHARED\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(provenance, "_OURS", ("sample",))
    forget()
    yield package
    forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample"]:
        del sys.modules[name]


def forget() -> None:
    """Empty the caches: a running program's source does not change, a test's does."""
    for cached in (provenance.source_digest, provenance._imports, provenance._file):
        cached.cache_clear()
    importlib.invalidate_caches()


def test_packages_are_looked_through_and_late_imports_count(project: Path) -> None:
    assert dependencies("sample.schemes.one") == {"sample.schemes.one", "sample.base"}
    assert dependencies("sample.schemes.two") == {"sample.schemes.two", "sample.schemes.one", "sample.base"}
    everything = {"sample.schemes.registry", "sample.schemes.one", "sample.schemes.two", "sample.base"}
    assert dependencies("sample.plan") == {"sample.plan", *everything}


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("base.py", {"one", "two", "registry"}),
        ("schemes/one.py", {"one", "two", "registry"}),
        ("schemes/two.py", {"two", "registry"}),
        ("schemes/registry.py", {"registry"}),
        ("plan.py", set()),
    ],
)
def test_an_edit_changes_the_digest_of_what_depends_on_it(project: Path, edited: str, changed: set[str]) -> None:
    names = ("one", "two", "registry")
    before = {name: source_digest(f"sample.schemes.{name}") for name in names}
    with (project / edited).open("a") as file:
        file.write("# another\n")
    forget()
    assert {name for name in names if source_digest(f"sample.schemes.{name}") != before[name]} == changed


def test_a_module_that_moves_is_another(project: Path) -> None:
    (project / "schemes" / "three.py").write_bytes((project / "schemes" / "one.py").read_bytes())
    forget()
    assert source_digest("sample.schemes.three") != source_digest("sample.schemes.one")


def test_a_name_that_is_no_module_is_refused() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"bench\.atacks"):
        source_digest("bench.atacks")


def test_records_depend_on_what_makes_them_and_not_on_tables_suites_or_each_other() -> None:
    every = {"bench.zoo", "bench.data.digits", "bench.evaluate", "bench.artefacts", "cwwm.training", "cwwm.seeds"}
    for module in PARTS:
        found = dependencies("bench.workshop", "bench.running", module)
        assert every <= found
        assert not [name for name in found if name.startswith(("bench.leaderboard", "bench.suite", "cwwm.design"))]
        assert not found & {"bench.plan", "bench.journal", "bench.cli", "cwwm.cli", "bench.attacks.registry"}
        # what takes another scheme by its name depends on all: a control, an alignment, a thief who overwrites
        takes_any = ("cwwm.schemes.wrong_key", "cwwm.schemes.aligned", "bench.attacks.overwriting")
        assert ("cwwm.schemes.registry" in found) == (module in takes_any)
