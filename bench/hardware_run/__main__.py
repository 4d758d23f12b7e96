"""The command behind `make gpu`: runs the steps of a profile and writes their folder."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.execution.time_budget import parse_budget
from bench.hardware_run.facts import facts
from bench.hardware_run.page import PAGE, page
from bench.hardware_run.plan import CUDA_TESTS, Step, find_profile, plan
from bench.hardware_run.run_step import LOGS, Outcome, run_steps
from bench.support.environment import choose_device
from bench.support.git import ROOT
from bench.support.output_lock import LOCK, writing
from cwwm.support.console import DONE, FAILED, run_program
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic, write_json

FACTS, STEPS = "hardware.json", "steps.json"
NAME = "bench.hardware_run"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cuda",
    profile: Annotated[str, typer.Option(help="full, for a GPU, or tiny.")] = "full",
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; an earlier run there goes.")] = Path(
        "results/gpu"
    ),
    budget: Annotated[
        str | None, typer.Option(help="Time of the suite, such as 60s, if less than the profile's.")
    ] = None,
) -> int:
    """Run tests, timings and a suite on one device within nine minutes; exit with 3 if a step failed."""
    began = time.monotonic()
    find_profile(profile)
    seconds = parse_budget(budget) if budget else None
    if not (ROOT / CUDA_TESTS[0]).exists():
        raise BadInput("this runs tests of the checkout; run it in one: make gpu")
    where, folder = choose_device(device), out.absolute()
    with writing(folder, NAME), tempfile.TemporaryDirectory(prefix="hardware-run-") as scratch:
        known = facts(where, profile)
        steps = plan(profile, where.type, folder, Path(scratch, "suite"), seconds)
        clear(folder, steps)
        write_json(folder / FACTS, known)
        outcomes = list(run_steps(steps, folder, _say, began=began))
        write_json(folder / STEPS, [_noted(outcome) for outcome in outcomes])
        write_atomic(folder / PAGE, page(known, outcomes, folder).encode())
    _say(f"written: {out / PAGE}, {time.monotonic() - began:.0f} s after the start")
    return FAILED if any(outcome.failed for outcome in outcomes) else DONE


def clear(folder: Path, steps: Sequence[Step]) -> None:
    """Remove what an earlier run left there and nothing else; BadInput for a folder that holds none."""
    inside = [path for path in folder.iterdir() if path.name != LOCK]
    if inside and not (folder / FACTS).exists():
        raise BadInput(f"{folder} is not empty and holds no earlier run; name another with --out (make: OUT=...)")
    left = {Path(name).parts[0] for step in steps for name in step.leaves}
    for path in (folder / name for name in sorted({*left, LOGS, PAGE, STEPS})):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _noted(outcome: Outcome) -> dict[str, object]:
    step = outcome.step
    return {"step": step.name, "seconds": round(outcome.seconds, 2), "limit": step.limit, "exit_code": outcome.code}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # steps end with it
    run_program(app, NAME)
