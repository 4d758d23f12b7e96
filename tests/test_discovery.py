"""One new file is all that a scheme or an attack takes: the packages are looked through, in one order."""

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.attacks import ATTACKS, Attack
from cwwm.schemes import SCHEMES, Scheme
from cwwm.support.discovery import discover

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parent.parent
KNOWN = """
from bench.attacks import ATTACKS
from cwwm.schemes import SCHEMES
print(*SCHEMES, *ATTACKS)
"""
NAMES = """
from bench.attacks import ATTACKS
from cwwm.schemes import SCHEMES, make_scheme
print(*SCHEMES)
print(*ATTACKS)
print(SCHEMES["patchwork"].__module__, ATTACKS["low-rank"].__module__)
"""


def python(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_a_file_put_into_the_package_is_known(tmp_path: Path) -> None:
    for package in ("cwwm", "bench"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "perf"))
    shutil.copy(ROOT / "examples" / "patchwork.py", tmp_path / "cwwm" / "schemes" / "zz_patchwork.py")
    shutil.copy(ROOT / "examples" / "low_rank.py", tmp_path / "bench" / "attacks" / "compression" / "a_low_rank.py")
    done = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{NAMES}", tmp_path)
    assert done.returncode == 0, done.stderr
    schemes, attacks, modules = done.stdout.splitlines()
    assert schemes.split() == sorted({*SCHEMES, "patchwork"})
    assert attacks.split() == sorted({*ATTACKS, "low-rank"})
    assert modules.split() == ["cwwm.schemes.zz_patchwork", "bench.attacks.compression.a_low_rank"]


@pytest.mark.parametrize(
    "first", ["bench.attacks.search", "cwwm.schemes.wrong_key", "bench.attacks.compression.pruning"]
)
def test_whatever_is_imported_first_the_order_is_one(first: str) -> None:
    done = python(f"import {first}\n{KNOWN}", ROOT)
    assert done.stdout.split() == [*sorted(SCHEMES), *sorted(ATTACKS)], done.stderr


@pytest.mark.parametrize(("package", "base"), [("cwwm.schemes", Scheme), ("bench.attacks", Attack)])
def test_only_whole_classes_with_a_name_of_their_own_are_found(package: str, base: type) -> None:
    found = discover(package, base)
    assert len(found) > 10
    for name, kind in found.items():
        assert vars(kind)["name"] == name
        assert issubclass(kind, base)
        assert not inspect.isabstract(kind)


@pytest.mark.parametrize("twice", [True, False])
def test_one_name_for_two_classes_is_an_error(twice: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "named_twice" if twice else "named_once"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "a.py").write_text("class A(Exception):\n    name = 'one'\n")
    other = "one" if twice else "other"
    (tmp_path / package / "b.py").write_text(
        f"from {package}.a import A\nclass B(A):\n    name = '{other}'\nclass C(A):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    if twice:
        with pytest.raises(TypeError, match="both define 'one'"):
            discover(package, Exception)
    else:
        assert [kind.__name__ for kind in discover(package, Exception).values()] == ["A", "B"]
