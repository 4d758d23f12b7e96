"""Opens a cluster for a run: the engine by its name, the shared folder, and the machines tried."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.execution.cluster.driver import Cluster
from bench.execution.cluster.engine import Engine
from bench.execution.cluster.probing import probe
from bench.execution.cluster.shared_folder import PathFolder, SharedFolder, open_shared
from bench.execution.cluster.task import Place
from cwwm.support.errors import BadInput, unknown_name

INLINE, RAY, SLURM = "inline", "ray", "slurm"


@dataclass(frozen=True)
class Wanted:
    """What the options of a run ask for.

    Attributes:
        engine: its name. address: of a Ray cluster, or None. shared: URL or path of the shared folder.
        slots, parameters: of Slurm's jobs.
    """

    engine: str
    shared: str
    address: str | None = None
    slots: int = 16
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def here(self) -> bool:
        """Say whether this machine alone is wanted."""
        return self.engine == INLINE

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.engine not in (INLINE, RAY, SLURM):
            raise unknown_name("engine", self.engine, (INLINE, RAY, SLURM), "--engine")
        if self.address is not None and self.engine != RAY:
            raise BadInput(f"--address is of a Ray cluster: add --engine ray, not {self.engine}")
        if self.parameters and self.engine != SLURM:
            raise BadInput(f"--slurm is for --engine slurm, not {self.engine}")


@contextlib.contextmanager
def opened(
    wanted: Wanted,
    device: str,
    *,
    threads: int,
    plugins: tuple[str, ...],
    cache_bytes: int,
    say: Callable[[str], None],
) -> Iterator[Cluster | None]:
    """Yield the machines of an engine, each of them tried, and leave them in the end; None for this one alone.

    Args:
        wanted: what is asked for. device: auto, cpu or cuda, of the workers. threads: of torch in each.
        plugins: modules that workers need. cache_bytes: bound on the models that a node keeps.
        say: is told what is done.

    Raises:
        BadInput: if the engine's package is missing, it cannot be reached, or its nodes do not share the folder.
    """
    if wanted.here:
        yield None
        return
    shared = open_shared(wanted.shared)
    engine = _engine(wanted, shared)
    try:
        if device == "auto":
            device = "cuda" if engine.has_gpus() else "cpu"
        engine.use(device, threads)
        place = Place(
            shared=shared.url,
            device=device,
            threads=threads,
            plugins=plugins,
            path=os.getcwd(),
            cache_bytes=cache_bytes,
        )
        yield Cluster(engine, shared, place, probe(engine, shared, place, say))
    finally:
        engine.close()


def _engine(wanted: Wanted, shared: SharedFolder) -> Engine:
    if wanted.engine == RAY:
        from bench.execution.cluster.ray_engine import RayEngine

        return RayEngine(wanted.address)
    from bench.execution.cluster.slurm_engine import SlurmEngine

    if not isinstance(shared, PathFolder):
        raise BadInput(f"Slurm's jobs lie in the shared folder: --shared is to be a path, not {shared.url}")
    return SlurmEngine(Path(shared.path, "jobs"), wanted.slots, wanted.parameters)
