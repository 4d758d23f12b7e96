"""Calls as array jobs of Slurm, by submitit; or in processes of this machine, to try the same without Slurm."""

import shutil
import time
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from bench.execution.cluster.engine import Call, Ended
from bench.execution.cluster.laws import IN_FLIGHT
from cwwm.support.errors import BadInput

LOCAL = "local"
_MINUTES = 24 * 60  # of a job, unless it is told otherwise
_POLL = 0.2


class SlurmEngine:
    """Each call is a job of an array; a job that ends without a result was lost, and the driver decides."""

    name = "slurm"

    def __init__(self, folder: Path, slots: int, parameters: Mapping[str, str]) -> None:
        """Keep what submitit writes in a folder that all nodes share.

        Args:
            folder: shared. slots: jobs that may be queued or run at once.
            parameters: of the jobs: those of submitit (timeout_min, mem_gb, cpus_per_task, gpus_per_node) and of
                sbatch (partition, account, qos, constraint, ...); ``cluster=local`` takes processes of this host.

        Raises:
            BadInput: if there is no Slurm here, or it has no such parameter.
        """
        given = dict(parameters)
        cluster = given.pop("cluster", "slurm")
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise BadInput(
                "there is no sbatch here: run on a login node of the cluster, or try it with --slurm cluster=local"
            )
        self._slots, self._gpus = slots, "gpus_per_node" in given
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        self._update({"timeout_min": _MINUTES, **_named(given)})
        self._jobs: set[Any] = set()

    def _update(self, parameters: Mapping[str, Any]) -> None:
        try:
            self._executor.update_parameters(**parameters)
        except (NameError, ValueError, AssertionError) as error:
            raise BadInput(f"--slurm: {error}") from error

    def nodes(self) -> Sequence[str | None]:
        """Return one node that may be any: Slurm chooses."""
        return [None]

    def has_gpus(self) -> bool:
        """Say whether jobs ask for GPUs."""
        return self._gpus

    def use(self, device: str, threads: int) -> None:
        """Ask for a processor a thread, and for one GPU if that is where calls work."""
        self._update({"cpus_per_task": threads} | ({"gpus_per_node": 1} if device == "cuda" else {}))

    def slots(self) -> float:
        """Return what lets no more jobs be handed over than may run: Slurm begins all of them where it has room."""
        return self._slots / IN_FLIGHT

    def submit(self, calls: Sequence[Call]) -> Sequence[Hashable]:
        """Hand calls over as one array."""
        if not calls:
            return []
        with self._executor.batch():
            jobs = [self._executor.submit(call.function, call.argument) for call in calls]
        self._jobs.update(jobs)
        return cast(Sequence[Hashable], jobs)

    def wait(self, handles: Collection[Hashable], seconds: float) -> Sequence[tuple[Hashable, Ended]]:
        """Return the jobs that have ended, after so many seconds at most if none has."""
        end, jobs = time.monotonic() + seconds, list[Any](handles)
        while not (done := [job for job in jobs if job.done()]) and time.monotonic() < end:
            time.sleep(_POLL)
        self._jobs.difference_update(done)
        return [(job, _ended(job)) for job in done]

    def close(self) -> None:
        """Cancel what still runs."""
        for job in self._jobs:
            job.cancel(check=False)


def _ended(job: Any) -> Ended:  # noqa: ANN401 (a job of submitit)
    try:
        return Ended(result=job.result())
    except FailedJobError as error:
        lines = [line for line in str(error).splitlines() if line.strip(" -")]
        return Ended(raised=" ".join(lines[-1:]))
    except UncompletedJobError:
        return Ended(lost=f"job {job.job_id} ended without a result, {job.state}")


def _named(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return parameters as submitit names them, whole numbers as such."""
    own = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "nodes", "name")
    values = {name: int(value) if value.isdecimal() else value for name, value in parameters.items()}
    return {name if name in own else f"slurm_{name}": value for name, value in values.items()}
