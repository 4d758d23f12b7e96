"""Records of cells that are not run, since an earlier attack has decided their run."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.execution.run_cell import head
from bench.records.record import Record, new_record, with_attempts
from bench.records.schema import NOT_NEEDED
from bench.suite.cell import Cell
from bench.suite.stopping import Stopping
from bench.support.environment import environment

Skip = Callable[[Cell], Record | None]  # gives the record of a cell that is not to be run


def skip_none(cell: Cell) -> None:
    """Run every cell."""


@dataclass(frozen=True)
class SkipDecided:
    """Skips what `stopping` says is not needed, on a device."""

    stopping: Stopping
    device: torch.device

    def __call__(self, cell: Cell) -> Record | None:
        """Return the record of a cell that is not needed, with what failed before; else None."""
        if (reason := self.stopping.reason(cell)) is None:
            return None
        machine = {**environment(self.device), "others_load": None}
        made = new_record({**head(cell), "status": NOT_NEEDED, "reason": reason, "environment": machine})
        earlier = self.stopping.record_store.read(cell.identity)
        return with_attempts(made, earlier if earlier is not None and earlier.failed else None)
