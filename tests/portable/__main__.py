"""Compares portable digests with the committed ones, here and on emulated processors; ``make portable``.

Emulated ones take QEMU's user mode (Debian: qemu-user) and two minutes each. They announce another maker, so that
libraries choose the kernels that they would choose there, and compute by the rules of IEEE 754, as it does.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.support.numerics import VARIABLES, processor_name

EXPECTED = Path(__file__).with_name("expected.json")
EMULATED = ("EPYC-Rome", "Haswell")
_EMULATOR = "qemu-x86_64"


def digests(*emulator: str) -> dict[str, Any]:
    """Return what `tests.portable.work` prints in a new process, under an emulator if any."""
    command = [*emulator, sys.executable, "-m", "tests.portable.work"]
    done = subprocess.run(command, env={**os.environ, **VARIABLES}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Print where digests agree with the committed ones; return 1 if they do not somewhere."""
    expected, agree = json.loads(EXPECTED.read_text()), True
    places = {processor_name(): ()} | (
        {f"{name}, emulated": (_EMULATOR, "-cpu", name) for name in EMULATED} if shutil.which(_EMULATOR) else {}
    )
    for place, emulator in places.items():
        found = digests(*emulator)
        if found["versions"] != expected["versions"]:
            print(f"{place}: nothing to compare, versions are {found['versions']}, not {expected['versions']}")
            continue
        equal = found["digests"] == expected["digests"]
        print(f"{place}: {'equal' if equal else f'other: {found}'}", flush=True)
        agree = agree and equal
    if len(places) == 1:
        print(f"{_EMULATOR} is not there: no emulated processor was tried")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
