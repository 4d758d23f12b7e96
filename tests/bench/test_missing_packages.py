"""A package that is not installed is told in one line, with the extra of ours that brings it."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules[{module!r}] = None; from bench.cli import main; main()"


@pytest.mark.parametrize(("module", "package"), [("pydantic", "pydantic"), ("yaml", "pyyaml")])
def test_a_missing_package_is_named_with_its_extra(module: str, package: str) -> None:
    command = [sys.executable, "-c", WITHOUT.format(module=module), "plan", "smoke"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == f"cwwm-bench: package {package} is not installed; pip install 'cwwm[bench]'\n"
