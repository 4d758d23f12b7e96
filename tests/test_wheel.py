"""A wheel built from the checkout works outside it, with everything it needs inside."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import cwwm
from tests.built_wheel import ROOT, built_wheel, installed_wheel

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory)


def test_the_wheel_holds_both_packages_zoo_and_suites(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"cwwm/py.typed", "bench/py.typed", "bench/models.yaml", "bench/suites/smoke.yaml"} <= names
    assert "cwwm/codes/multilevel_tables.safetensors" in names
    page = {"page.html", "page.css", "boot.js", "js/main.js", "vendor/plot.umd.min.js", "vendor/LICENSE.plot"}
    assert {f"bench/leaderboard/page/{name}" for name in page} <= names
    assert not any(name.startswith(("tests/", "results/")) for name in names)


def test_the_source_distribution_holds_what_it_is_built_from_and_no_part_of_the_tests(wheel: Path) -> None:
    (source,) = wheel.parent.glob("cwwm-*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"models.yaml", "pyproject.toml", "setup.py", "LICENSE", "CHANGELOG.md", "CITATION.cff"} <= names
    assert not any(name.startswith(("tests", "results")) for name in names)


def test_one_version_stands_everywhere(wheel: Path) -> None:
    assert wheel.name.startswith(f"cwwm-{cwwm.__version__}-")
    assert f"\nversion: {cwwm.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == cwwm.__version__


def test_the_installed_wheel_works_elsewhere(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    site = installed_wheel(tmp_path_factory)
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import bench, cwwm\n"
        f"assert bench.__file__.startswith({str(site)!r}) and cwwm.__file__.startswith({str(site)!r})\n"
        "from cwwm import ConstantWeightCode, Key\n"
        "code = ConstantWeightCode(length=544, weight=56)\n"
        "assert code.decode(code.encode([1] * code.payload_bits)).bits.sum() == code.payload_bits\n"
        "from bench.models.registry import load_zoo\n"
        "from bench.suite import load_suite\n"
        "assert len(load_zoo()) >= 14 and load_suite('smoke').attacks\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
