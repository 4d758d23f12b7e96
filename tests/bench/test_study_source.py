"""The source of a study's page: what it names counts, by its name in text as well, and nothing else."""

import re
import shutil
from pathlib import Path

import pytest

from bench.published.study_source import running, study_roots, study_source
from bench.support.fingerprint import Fingerprints
from bench.support.modules import OURS, Modules

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of both packages' source."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in OURS:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    return folder


def digest(study: str, folder: Path) -> str:
    return Fingerprints(Modules(folder)).of(study_roots(study, running()))


@pytest.mark.parametrize(
    ("study", "file", "differs"),
    [
        ("symmetry", "bench/attacks/symmetry/rotation.py", True),  # which it takes by its name
        ("symmetry", "bench/attacks/noise.py", False),
        ("symmetry", "bench/studies/hosts.py", False),
        ("symmetry", "bench/studies/symmetry.py", True),
        ("symmetry", "bench/published/provenance.py", False),
        ("proof_rates", "cwwm/schemes/uchida.py", True),  # of a registry that it walks through
        ("owner_speed", "cwwm/cli/marking.py", True),  # a program that it runs
    ],
)
def test_an_edit_counts_where_the_study_takes_what_is_edited(
    study: str, file: str, differs: bool, tree: Path
) -> None:
    path = tree / file
    text = path.read_text()
    assert digest(study, tree) == study_source(study)
    path.write_text(re.sub(r"\breturn (\w+)", r"return 1, \1", text))
    try:
        assert (digest(study, tree) != study_source(study)) == differs
    finally:
        path.write_text(text)
