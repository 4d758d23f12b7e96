"""Calls on a Ray cluster, or on a Ray that is started here for the run."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any, cast

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.execution.cluster.engine import Call, Ended
from bench.support.numerics import VARIABLES
from cwwm.support.errors import BadInput

_REACHED = 5.0  # seconds that an address has to answer
#: the worker, its node or its memory is gone; whatever else Ray raises is a fault that another try would meet too
_LOST = (WorkerCrashedError, NodeDiedError, LocalRayletDiedError, OutOfMemoryError, ObjectLostError)
_KEPT = (*VARIABLES, "PYTHONPATH", "CWWM_NODE_CACHE")  # what a worker takes from the driver's environment


class RayEngine:
    """Calls are Ray tasks that are not tried again by Ray: the driver decides."""

    name = "ray"

    def __init__(self, address: str | None) -> None:
        """Join the cluster at an address, such as ``"10.0.0.1:6379"`` or ``"auto"``; None starts one here.

        Raises:
            BadInput: if nothing answers there, or it cannot be joined.
        """
        _check_reachable(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
        options: dict[str, Any] = {} if address or "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
        try:
            with _own_signals():
                ray.init(
                    address=address,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    runtime_env={"env_vars": variables},
                    **options,
                )
        except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
            ray.shutdown()
            first = str(error).strip().splitlines()[:1]
            raise BadInput(
                f"cannot join the Ray cluster at {address or 'this machine'}: {' '.join(first)}"
            ) from error
        self._device, self._threads = "cpu", 1

    def nodes(self) -> Sequence[str | None]:
        """Return the nodes that have what a call needs."""
        kind, least = ("GPU", 1.0) if self._device == "cuda" else ("CPU", float(self._threads))
        nodes = [node for node in cast(Any, ray.nodes)() if node["Alive"]]
        return [node["NodeID"] for node in nodes if node["Resources"].get(kind, 0.0) >= least]

    def has_gpus(self) -> bool:
        """Say whether some node has a GPU."""
        return bool(_resources().get("GPU", 0.0))

    def use(self, device: str, threads: int) -> None:
        """Note what calls need from now on."""
        self._device, self._threads = device, threads

    def slots(self) -> float:
        """Return the GPUs of the cluster, or its processors by threads of a call."""
        there = _resources()
        if self._device == "cuda":
            return float(there.get("GPU", 0.0))
        return float(there.get("CPU", 0.0) // self._threads)

    def submit(self, calls: Sequence[Call]) -> Sequence[Hashable]:
        """Hand calls over; a call claims its share of a GPU, or a processor a thread."""
        return [self._submit(call) for call in calls]

    def _submit(self, call: Call) -> Hashable:
        options: dict[str, Any] = {"max_retries": 0, "num_cpus": self._threads}
        if self._device == "cuda":
            options |= {"num_gpus": call.share, "num_cpus": min(1.0, call.share)}
        if call.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(call.node, soft=False)
        remote = cast(Any, ray.remote(**options)(call.function))
        return cast(Hashable, remote.remote(call.argument))

    def wait(self, handles: Collection[Hashable], seconds: float) -> Sequence[tuple[Hashable, Ended]]:
        """Return the calls that have ended, after so many seconds at most if none has."""
        if not handles:
            return []
        references = list[Any](handles)
        ray.wait(references, num_returns=1, timeout=seconds)
        done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [(reference, _ended(reference)) for reference in done]

    def close(self) -> None:
        """Leave the cluster: what still runs for this driver ends."""
        ray.shutdown()


def _resources() -> dict[str, float]:
    """Return what the nodes that are alive have, by kind."""
    return dict(cast(Any, ray.cluster_resources)())


def _ended(reference: Any) -> Ended:  # noqa: ANN401 (a reference of ray)
    try:
        return Ended(result=ray.get(reference))
    except _LOST as error:
        return Ended(lost=type(error).__name__)
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Ended(raised=" ".join(lines[-1:]) or type(error).__name__)


def _check_reachable(address: str | None) -> None:
    """Refuse an address where nothing listens at once: Ray itself tries for a minute."""
    if address is None or address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        raise BadInput(f"--address is HOST:PORT of the head of a Ray cluster, or auto, not '{address}'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED).close()
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"nothing answers at {address} ({error}); start the cluster there: ray start --head --port {port}"
        ) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM that a command has: Ray sets one of its own when it is joined."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, own)
