"""Runs the golden cells in a process of portable numerics and commits their rows: ``make golden``."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.support.numerics import VARIABLES

EXPECTED = Path(__file__).with_name("expected.json")


def measured() -> dict[str, Any]:
    """Return what `tests.golden.work` prints."""
    command = [sys.executable, "-m", "tests.golden.work"]
    done = subprocess.run(command, env={**os.environ, **VARIABLES}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(found: dict[str, Any]) -> str:
    """Return conditions and rows as JSON, a line a cell."""
    cells = ",\n".join(f"  {json.dumps(name)}: {json.dumps(cell)}" for name, cell in found["cells"].items())
    return f'{{\n "conditions": {json.dumps(found["conditions"])},\n "cells": {{\n{cells}\n }}\n}}\n'


def main() -> int:
    """Write the rows, and say which cells have changed."""
    before = json.loads(EXPECTED.read_text())["cells"] if EXPECTED.exists() else {}
    found = measured()
    changed = [name for name, cell in found["cells"].items() if before.get(name) != cell]
    EXPECTED.write_text(written(found))
    print(f"{len(found['cells'])} golden cells, {len(changed)} of them changed: {', '.join(changed) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
