"""What the owner's commands take on models of 4, 25 and 86 million weights: seconds, processor time and memory.

Run it with ``python -m bench.studies.owner_speed -o results/owner-speed.md`` (some minutes on one core). Each
command runs in an interpreter of its own, as an owner starts it, with its imports and the stretch of its key.
Weights are timm's random ones: what marking and reading take follows from shapes, and says nothing of answers kept.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file
from tabulate import tabulate

from bench.studies.output import Output, measured_on, publish
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput

MODELS = ("efficientnet_lite0", "resnet50", "vit_base_patch16_224")
RUNS = 3
MESSAGE = ("--message", "it is mine")
ANSWERS = {0: "yes", 1: "no"}
MIB = 1 << 10  # KiB, in which the system counts


@dataclass(frozen=True)
class Usage:
    """What one command took: wall and processor seconds, most memory in MiB, mapped files included; its answer."""

    wall: float
    processor: float
    memory: float
    answer: str


@dataclass(frozen=True)
class Command:
    """A command of the study: its name in the table, and its arguments."""

    label: str
    arguments: tuple[str, ...]


def commands(folder: Path) -> tuple[Command, ...]:
    """Return what an owner runs on folder/model.safetensors, in order."""
    model, marked, key = (str(folder / name) for name in ("model.safetensors", "marked.safetensors", "owner.key"))
    mark, commitment = (str(folder / f"marked.{kind}.json") for kind in ("mark", "commitment"))
    secrets = ("--key", key, "--mark", mark)
    claim = (*secrets, "--commitment", commitment, *MESSAGE)
    return (
        Command("plan", ("plan", model)),
        Command("embed", ("embed", model, "--key", key, *MESSAGE, "-o", marked, "--force")),
        Command("extract --original", ("extract", marked, *secrets, "--original", model)),
        Command("verify", ("verify", marked, *claim)),
        Command("verify --original", ("verify", marked, *claim, "--original", model)),
    )


# Starts a command and says what it took. It is small: a process counts the memory of the one that started it.
_WATCH = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
ended = subprocess.run(sys.argv[1:], capture_output=True, text=True)
wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([ended.returncode, ended.stderr, wall, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def run(arguments: Sequence[str]) -> Usage:
    """Run ``cwwm`` in an interpreter of its own, one torch thread.

    Raises:
        BadInput: if it ends with anything but 0 or 1.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-c", _WATCH, sys.executable, "-m", "cwwm.cli", *arguments]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    code, said, wall, processor, memory = json.loads(told)
    if code not in ANSWERS:
        raise BadInput(f"cwwm {arguments[0]} ended with {code}: {said.strip()}")
    return Usage(wall, processor, memory / MIB, ANSWERS[code])


@dataclass(frozen=True)
class Line:
    """A line of the table: a command on a model, run several times."""

    model: str
    weights: int
    command: str
    runs: tuple[Usage, ...]

    def row(self) -> tuple[object, ...]:
        """Return medians, and from which to which the wall times go."""
        wall = [usage.wall for usage in self.runs]
        busy = statistics.median(usage.processor for usage in self.runs)
        most = max(usage.memory for usage in self.runs)
        return (
            self.model, f"{self.weights / 1e6:.1f} M", self.command, f"{statistics.median(wall):.1f}",
            f"{min(wall):.1f} to {max(wall):.1f}", f"{busy:.1f}", f"{most:,.0f}", self.runs[0].answer,
        )  # fmt: skip


def measured(name: str, times: int) -> Iterator[Line]:
    """Yield the lines of a model of timm."""
    import timm

    torch.manual_seed(0)
    state = timm.create_model(name, pretrained=False).state_dict()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_file(state, folder / "model.safetensors")
        run(("keygen", "-o", str(folder / "owner.key")))
        size = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
        for command in commands(folder):
            yield Line(name, size, command.label, tuple(run(command.arguments) for _ in range(times)))


COLUMNS = ("model", "weights", "cwwm", "seconds", "from, to", "processor seconds", "memory, MiB", "answer")


def page(lines: Sequence[Line]) -> str:
    """Return the table as Markdown."""
    table = tabulate([line.row() for line in lines], COLUMNS, tablefmt="github", disable_numparse=True)
    return (
        "# What the owner's commands take\n\n"
        "256 bits by the default scheme in float32 checkpoints of safetensors, medians of "
        f"{len(lines[0].runs)} runs of one torch thread, each in a fresh interpreter: imports and the stretch of "
        "the key (some tenths of a second, on purpose) are in all times. Memory is the most resident, mapped "
        "files included; the answer is that of the exit code (a blind reading has a weaker proof, or none). "
        f"{measured_on(torch.device('cpu'))}.\n\n{table}\n"
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    model: Annotated[list[str] | None, typer.Option(help="By timm's name; may repeat.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often each command runs.")] = RUNS,
) -> int:
    """Run the commands; print and write the table."""
    lines = []
    for name in model or MODELS:
        for line in measured(name, runs):
            lines.append(line)
            print(*line.row(), sep=" | ", file=sys.stderr, flush=True)
    publish(page(lines), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.owner_speed")
