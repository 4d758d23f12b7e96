"""Plugins join by module or entry point; what is wrong with one is a line; identities cover their whole source."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.attacks import ATTACKS
from bench.execution.plugins import load_plugins
from bench.suite import AttackEntry, SchemeEntry
from bench.support import fingerprint as fingerprints
from bench.support.fingerprint import Fingerprints, fingerprint, root
from bench.support.modules import Modules
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput

Bench = Callable[..., int]

SCHEME = """
from dataclasses import dataclass
from typing import ClassVar
from cwwm.schemes.sign import Sign
from {helper} import REPEATS

@dataclass(frozen=True, kw_only=True)
class Mine(Sign):
    '''Mine.'''
    name: ClassVar[str] = "{name}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty working folder; afterwards no module from it, and no plugin, is known any more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known, modules = (dict(SCHEMES), dict(ATTACKS)), set(sys.modules)
    yield tmp_path
    for registry, before in zip((SCHEMES, ATTACKS), known, strict=True):
        registry.clear()
        registry.update(before)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    forget()


def forget() -> None:
    fingerprints.fingerprint.cache_clear()
    fingerprints._running.cache_clear()
    importlib.invalidate_caches()


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    forget()


def refusal(*modules: str) -> str:
    with pytest.raises(BadInput) as caught:
        load_plugins(modules)
    return str(caught.value)


def test_a_module_of_the_working_folder_joins_once_however_often_it_is_named(folder: Path) -> None:
    write(folder, "own_helper.py", "REPEATS = 1\n")
    write(folder, "own_scheme.py", SCHEME.format(helper="own_helper", name="mine"))
    load_plugins(["own_scheme", "own_scheme"])
    assert SCHEMES["mine"].__module__ == "own_scheme"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            SCHEME.format(helper="cwwm.support.errors", name="mine").replace("REPEATS", "nothing"),
            "cannot import name 'nothing'",
        ),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)\n", "SystemExit: 0"),
        ("def (:\n", "SyntaxError"),
        ("VALUE = 1\n", "defines no scheme and no attack"),
        ("from cwwm.schemes.sign import Sign\n", "defines no scheme and no attack"),
        (
            SCHEME.format(helper="cwwm.support.errors", name="cwc").replace("REPEATS", "BadInput"),
            "there is scheme 'cwc' in cwwm.schemes.constant_weight already",
        ),
        ("from cwwm.schemes.sign import Sign\nclass Mine(Sign):\n    name = 'mine'\n", "needs a name of its own"),
    ],
)
def test_a_plugin_that_is_wrong_is_one_line(
    folder: Path, bench: Bench, text: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write(folder, "own_wrong.py", text)
    before = dict(SCHEMES)
    assert bench("plan", "nightly", "--plugin", "own_wrong") == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "plugin own_wrong" in line
    assert says in line
    assert before == SCHEMES


def test_a_plugin_that_is_not_there_is_named(folder: Path) -> None:
    assert "plugin own_nowhere cannot be imported: ModuleNotFoundError" in refusal("own_nowhere")


def test_two_plugins_of_one_name_are_refused(folder: Path) -> None:
    for module in ("own_first", "own_second"):
        write(
            folder,
            f"{module}.py",
            SCHEME.format(helper="cwwm.support.errors", name="mine").replace("REPEATS", "BadInput"),
        )
    assert "plugin own_second: there is scheme 'mine' in own_first already" in refusal("own_first", "own_second")


def install(folder: Path, group: str, value: str) -> None:
    """Lay down what installing a package with one entry point lays down."""
    write(folder, "own_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: own-package\nVersion: 1.0\n")
    write(folder, "own_package-1.0.dist-info/entry_points.txt", f"[{group}]\nown = {value}\n")


def test_an_installed_plugin_joins_by_its_entry_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    write(folder, "own_package/__init__.py", "REPEATS = 1\n")
    write(folder, "own_package/scheme.py", SCHEME.format(helper="own_package", name="mine"))
    install(folder, "cwwm.schemes", "own_package.scheme:Mine")
    load_plugins()
    assert SCHEMES["mine"].__name__ == "Mine"
    install(folder, "bench.attacks", "own_package.scheme:Mine")
    assert refusal() == "installed plugin 'own' of own-package: own_package.scheme:Mine is no attack"
    install(folder, "cwwm.schemes", "own_package.scheme:Theirs")
    assert refusal().startswith("installed plugin 'own' of own-package cannot be loaded; mend it or uninstall it")


@pytest.mark.parametrize(
    "edited", ["own_package/scheme.py", "own_package/core.py", "own_package/deep.py", "own_side.py"]
)
def test_an_edit_anywhere_in_a_plugin_is_another_identity(folder: Path, edited: str) -> None:
    write(folder, "own_package/__init__.py", "from own_package.core import REPEATS\n")
    write(folder, "own_package/core.py", "from .deep import DEEP\nimport own_side\nREPEATS = 1\n")
    write(folder, "own_package/deep.py", "import numpy\nDEEP = 1\n")
    write(folder, "own_package/other.py", "UNUSED = 1\n")
    write(folder, "own_side.py", "SIDE = 1\n")
    write(folder, "own_package/scheme.py", SCHEME.format(helper="own_package", name="mine"))
    load_plugins(["own_package.scheme"])
    (scheme,) = SchemeEntry("mine", "mine", {}).classes
    mine, builtin = root(scheme), "cwwm.schemes.sign:Sign"
    found = Fingerprints(Modules()).reached([mine])
    own = {"own_package.scheme", "own_package.core", "own_package.deep", "own_side"}
    assert {name for name in found if name.startswith("own")} == own
    assert {builtin, "cwwm.schemes.sign:SignScheme"} <= found
    before, ours = fingerprint(mine), fingerprint(builtin)
    write(folder, edited, (folder / edited).read_text() + "# another\n")
    assert fingerprint(mine) != before
    assert fingerprint(builtin) == ours
    written = fingerprint(mine)
    write(folder, "own_package/other.py", "UNUSED = 2\n")
    assert fingerprint(mine) == written


def test_a_compiled_module_of_a_plugin_counts_by_its_bytes(folder: Path) -> None:
    sys.path.append(str(folder))
    write(folder, "own_scheme.py", "from own_binary import fast\n")
    digests = []
    for content in (b"\x7fELF one", b"\x7fELF two"):
        (folder / "own_binary.so").write_bytes(content)
        forget()
        sys.path_importer_cache.clear()
        digests.append(Fingerprints(Modules(), {}).of(["own_scheme"]))
    assert digests[0] != digests[1]


def test_who_names_a_plugin_scheme_depends_on_it(folder: Path) -> None:
    write(
        folder,
        "own_scheme.py",
        SCHEME.format(helper="cwwm.support.errors", name="mine").replace("REPEATS", "BadInput"),
    )
    load_plugins(["own_scheme"])
    control = SchemeEntry("control", "wrong-key", {"scheme": "mine"})
    assert control.classes == (SCHEMES["wrong-key"], SCHEMES["mine"])
    attacker = ATTACKS["overwrite"](scheme="mine")  # type: ignore[call-arg]
    assert AttackEntry("attacker", attacker, (1.0,)).classes == (ATTACKS["overwrite"], SCHEMES["mine"])
