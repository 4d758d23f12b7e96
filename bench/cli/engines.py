"""The options of a run past one machine, and the machines that they ask for."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from bench.execution.cluster.opening import Wanted

Engine = Annotated[
    str,
    typer.Option("--engine", help="inline (this machine), ray or slurm; see docs/scaling.md."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="HOST:PORT of a Ray cluster's head, or auto; without, Ray is started here."),
]
Shared = Annotated[
    str | None,
    typer.Option("--shared", help="Folder or URL that all machines reach; default: shared, in the run's folder."),
]
Slots = Annotated[int, typer.Option("--slots", min=1, help="Jobs of Slurm that may be queued or run at once.")]
Slurm = Annotated[
    list[str] | None,
    typer.Option("--slurm", help="KEY=VALUE of Slurm's jobs, such as partition=gpu; cluster=local tries it here."),
]


def wanted(
    engine: str, out: Path, address: str | None, shared: str | None, slots: int, slurm: list[str] | None
) -> "Wanted":
    """Return the machines that the options of a run into `out` ask for.

    Raises:
        BadInput: for options that do not go together.
    """
    from bench.execution.cluster.opening import INLINE, Wanted

    if engine == INLINE and shared is not None:
        raise BadInput("--shared is for several machines: add --engine ray or --engine slurm")
    return Wanted(engine, shared or str(out / "shared"), address, slots, _parameters(slurm or ()))


def _parameters(given: Iterable[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, _, value = (part.strip() for part in text.partition("="))
        if not (name and value):
            raise BadInput(f"--slurm is KEY=VALUE, such as partition=gpu, not '{text}'")
        found[name] = value
    return found
