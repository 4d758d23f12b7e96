"""An engine of this process, and what is lost on it: a call is answered, cut off at some cell, or never begun."""

import random
from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace

from bench.execution.cluster.engine import Call, Ended
from bench.execution.cluster.task import Request
from bench.execution.cluster.worker import work


class Here:
    """Calls are made when they are waited for, in any order; some lose their worker before the end.

    A share `lost` of the tasks are; these come to some cell before, if workers come `far`.
    """

    name = "here"

    def __init__(self, seed: int, lost: float = 0.0, *, far: bool = True, slots: int = 2) -> None:
        self._moments, self._lost, self._far, self._slots = random.Random(seed), lost, far, slots
        self._calls: dict[Hashable, Call] = {}
        self.count, self.most = 0, 0

    def nodes(self) -> Sequence[str | None]:
        return [None]

    def has_gpus(self) -> bool:
        return False

    def use(self, device: str, threads: int) -> None:
        assert device == "cpu"

    def slots(self) -> float:
        return self._slots

    def submit(self, calls: Sequence[Call]) -> Sequence[Hashable]:
        handles = range(self.count, self.count + len(calls))
        self.count += len(calls)
        self._calls.update(zip(handles, calls, strict=True))
        self.most = max(self.most, len(self._calls))
        return list(handles)

    def wait(self, handles: Collection[Hashable], seconds: float) -> Sequence[tuple[Hashable, Ended]]:
        if not handles:
            return []
        handle = self._moments.choice(list(handles))
        call = self._calls.pop(handle)
        if call.function is not work or self._moments.random() >= self._lost:
            return [(handle, Ended(result=call.function(call.argument)))]
        request = Request.parse(call.argument)
        count = self._moments.randrange(len(request.before) + 1) if self._far else 0
        done = dict(list(request.before.items())[:count])
        if done:  # its worker came so far
            call.function(replace(request, before=done).text())
        return [(handle, Ended(lost="by chance"))]

    def close(self) -> None:
        self._calls.clear()
