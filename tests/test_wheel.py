"""A wheel built from the checkout works outside it, with everything it needs inside."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.built_wheel import built_wheel, installed_wheel

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
