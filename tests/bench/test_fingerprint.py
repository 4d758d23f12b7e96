"""Twenty edits of this project's own source: those that cannot change a number change no digest, the others do."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.attacks import make_attack
from bench.data import DATASETS
from bench.suite import AttackEntry, SchemeEntry
from bench.suite.sources import DETECTION, TIMING, attack_roots, host_roots, mark_roots
from bench.support.fingerprint import STOPS, Fingerprints, fingerprint
from bench.support.modules import OURS, Modules
from cwwm.schemes import SCHEMES

ROOT = Path(__file__).parents[2]
ATTACK = AttackEntry("prune", make_attack({"name": "then", "first": "magnitude", "second": "bn"}, "test"), (0.5,))
PARTS = {
    "host": host_roots("digits"),
    "sign": mark_roots(SchemeEntry("sign", "sign-repetition", {}).classes),
    "protected": mark_roots(SchemeEntry("protected", "protected-cwc", {}).classes),
    "attack": attack_roots(ATTACK.classes),
    "untrained": host_roots("none", untrained=True),
    "detection": DETECTION,
    "timing": TIMING,
}
MARKS = {"sign", "protected"}
TRAINING = {"host", *MARKS}
RESULTS = {*TRAINING, "attack"}

Change = tuple[str, str, str]  # file, pattern, what takes its place

MOVED = """
import json

def canonical_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
"""

ACCURACY = "bench/metrics/accuracy.py"
ADDED = "from bench.attacks.noise import Noise\nclass Added(Noise):\n    name = 'added'\n"
SAME: dict[str, list[Change]] = {
    "a comment": [("cwwm/ownership/keys.py", r"\Z", "# another\n"), ("bench/execution/measure_trained.py", "    seconds = ", "    # why\n\\g<0>")],
    "a docstring": [("cwwm/training.py", '"""Train `model` in place', '"""Trains a model in place')],
    "an annotation": [(ACCURACY, "split: Split, ", "split: object, "), ("cwwm/support/seeds.py", " -> str", "")],
    "the order of imports": [("bench/execution/unmarked_models.py", "(from bench.data.*\n)(from bench.metrics.*\n)", r"\2\1")],
    "blank lines": [("cwwm/schemes/common/keyed.py", "\n\n\n", "\n\n\n\n\n")],
    "a function that moves": [
        ("cwwm/support/seeds.py", r"def canonical_json(?s:.*?)\n\n\n", ""),
        ("cwwm/support/seeds.py", "import json\n", "import json\nfrom cwwm.texts import canonical_json\n"),
        ("cwwm/texts.py", "", MOVED),
    ],
    "a private function by another name": [("cwwm/training.py", r"\b_cross_entropy\b", "_loss_by_class")],
    "a function that nothing calls": [("cwwm/ownership/keys.py", r"\Z", "def unused():\n    return 1\n")],
    "what tells how far the work is": [
        ("cwwm/training.py", r"import torch\n", "import torch\nfrom cwwm.support.progress import tell\n"),
        ("cwwm/training.py", r"( +)step \+= 1\n", r'\1tell(f"steps, now {step}", len(model.state))\n\g<0>'),
        ("cwwm/training.py", r"( +)total = .*\n", r'\g<0>\1tell("steps", 0, total)\n'),
    ],
    "another scheme": [("cwwm/schemes/uchida.py", r"\Z", "A = 1\n"), ("cwwm/schemes/sign_erasure.py", "0.9", "0.8")],
    "another attack and a table": [
        ("bench/attacks/noise.py", "def apply", "def applied"),
        ("bench/leaderboard/tables.py", r"\Z", "import torch\ntorch.set_num_threads(2)\n"),
        ("bench/attacks/added.py", "", ADDED),
        ("bench/data/registry.py", "inside scikit-learn, 10", "inside scikit-learn, ten"),
    ],
}  # fmt: skip
OTHER: dict[str, tuple[list[Change], set[str]]] = {
    "a constant": ([("bench/data/registry.py", "_PREPROCESSING = 2", "_PREPROCESSING = 3")], TRAINING),
    "a comparison": ([(ACCURACY, r"answers\(model, x\) == y", "answers(model, x) != y")], RESULTS),
    "a default": ([(ACCURACY, "batch_size: int = 512", "batch_size: int = 513")], RESULTS),
    "a method of a base": ([("cwwm/schemes/base.py", "extraction.bits == c", "extraction.bits != c")], MARKS),
    "a decorator": ([(ACCURACY, "@torch.inference_mode", "@torch.no_grad")], RESULTS),
    "a default of a dataclass": ([("cwwm/schemes/sign_repetition.py", "int = 7", "int = 9")], {"sign"}),
    "a helper two imports away": ([("cwwm/ownership/keys.py", r"bits > 63:", "bits > 62:")], {*MARKS, "detection"}),
    "the order of statements": (
        [("cwwm/training.py", r"(    optimizer.zero_grad\(.*\n)(    \(loss if .*\n)", r"\2\1")], TRAINING),
    "a constant of a scheme's module": ([("cwwm/schemes/protected_cwc.py", "36 / 160", "37 / 160")], {"protected"}),
    "what does more than tell": (
        [
            ("cwwm/training.py", r"import torch\n", "import torch\nfrom cwwm.support.progress import tell\n"),
            ("cwwm/training.py", r"( +)step \+= 1\n", r'\1tell("steps", optimizer.step())\n\g<0>'),
        ],
        TRAINING,
    ),
    "a statement of a module": ([("cwwm/training.py", r"\Z", "torch.set_default_dtype(torch.float64)\n")], RESULTS),
    "a statement of a package": ([("cwwm/__init__.py", r"\Z", "import torch\ntorch.seed()\n")], set(PARTS)),
    "an attribute that is set": ([("cwwm/training.py", r"\Z", "Batch.width = 3\n")], TRAINING),
    "a module imported for what it does": ([("bench/models/networks.py", r"\Z", "def added():\n    return 1\n")], RESULTS),
    "another function is imported": ([("bench/execution/unmarked_models.py", "import accur", "import answers as accur")], TRAINING),
    "who reads the data": ([("bench/data/digits.py", "= place % FOLDS", "= (place + 1) % FOLDS")], {"host"}),
    "false positives": ([("bench/metrics/false_positives.py", r"\bTRIALS = 600", "TRIALS = 500")], {"detection"}),
    "detectability": ([("bench/metrics/detectability.py", "counts > chance", "counts >= chance")], {"detection"}),
    "a stopwatch": ([("cwwm/support/timing.py", r"perf_counter\(\)", "monotonic()")], {"timing"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of both packages' source."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in OURS:
        shutil.copytree(ROOT / package, folder / package, ignore=lambda at, names: not_source(Path(at), names))
    return folder


def not_source(folder: Path, names: list[str]) -> set[str]:
    return {name for name in names if not ((folder / name).is_dir() or name.endswith(".py"))}


@pytest.fixture(scope="module")
def before(tree: Path) -> dict[str, str]:
    return digests(tree)


@pytest.fixture
def edited(tree: Path) -> Iterator[Path]:
    """Yield the copy, which is restored afterwards."""
    kept = {path: path.read_bytes() for path in tree.rglob("*.py")}
    yield tree
    for path in set(tree.rglob("*.py")) - kept.keys():
        path.unlink()
    for path, content in kept.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def digests(folder: Path) -> dict[str, str]:
    prints = Fingerprints(Modules(folder))
    return {part: prints.of(roots) for part, roots in PARTS.items()}


def apply(changes: list[Change], folder: Path) -> None:
    for name, pattern, new in changes:
        path = folder / name
        if not path.exists():
            path.write_text(new)
            continue
        text, count = re.subn(pattern, new, path.read_text())
        assert count, f"{pattern} is not in {name}"
        path.write_text(text)


def changed(folder: Path, before: dict[str, str]) -> set[str]:
    return {part for part, digest in digests(folder).items() if digest != before[part]}


@pytest.mark.parametrize("edit", SAME)
def test_an_edit_that_cannot_change_a_number_changes_no_digest(
    edit: str, edited: Path, before: dict[str, str]
) -> None:
    apply(SAME[edit], edited)
    assert changed(edited, before) == set()


def test_a_module_by_another_name_changes_no_digest(edited: Path, before: dict[str, str]) -> None:
    (edited / "cwwm/support/seeds.py").rename(edited / "cwwm/derivation.py")
    for path in edited.rglob("*.py"):
        path.write_text(path.read_text().replace("cwwm.support.seeds", "cwwm.derivation"))
    assert changed(edited, before) == set()


@pytest.mark.parametrize("edit", OTHER)
def test_an_edit_that_can_change_a_number_changes_its_digests(
    edit: str, edited: Path, before: dict[str, str]
) -> None:
    changes, parts = OTHER[edit]
    apply(changes, edited)
    assert changed(edited, before) - {"untrained"} == parts - {"untrained"}


def test_digests_depend_on_no_place_and_no_order_of_sets(before: dict[str, str]) -> None:
    assert before == {part: fingerprint(*roots) for part, roots in PARTS.items()}
    command = f"from bench.support.fingerprint import fingerprint; print(fingerprint(*{PARTS['protected']}))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == before["protected"], done.stderr


def test_no_scheme_depends_on_another_but_those_it_names() -> None:
    prints = Fingerprints(Modules())
    classes = {f"{scheme.__module__}:{scheme.__name__}" for scheme in SCHEMES.values()}
    for name in SCHEMES:
        entry = SchemeEntry(name, name, {})
        bases = {f"{base.__module__}:{base.__name__}" for found in entry.classes for base in found.__mro__}
        assert prints.reached(mark_roots(entry.classes)) & classes <= bases
    assert [c.name for c in SchemeEntry("control", "wrong-key", {}).classes] == ["wrong-key", "sign-repetition"]


def test_a_host_depends_on_no_other_data_and_no_result_on_tables_or_command_lines() -> None:
    prints = Fingerprints(Modules())
    found = set().union(*(prints.reached(roots) for roots in PARTS.values()))
    assert "bench.data.digits:read" in found
    assert "bench.data.textures:read" not in found
    assert not [
        one
        for one in found
        if one.startswith(("bench.leaderboard", "bench.cli.app", "bench.suite.expand", "cwwm.cli"))
    ]
    assert {one for one in found if one.startswith("bench.suite.entries:")} == {
        "bench.suite.entries:SchemeEntry",
        "bench.suite.entries:_scheme_classes",
    }
    assert not found & (STOPS.keys() - set(DETECTION) - set(TIMING))


def test_every_data_set_has_a_reader_that_is_found() -> None:
    assert len({fingerprint(*host_roots(name)) for name in DATASETS}) == len(DATASETS)


@pytest.mark.parametrize("name", ["bench.atacks", "bench.attacks.noise:Nois", "bench.atacks:Noise"])
def test_a_name_that_is_no_definition_is_refused(name: str) -> None:
    with pytest.raises(LookupError, match=name.partition(":")[0]):
        fingerprint(name)
