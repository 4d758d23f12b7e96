"""Numbers for the rows of all records: so the page names what a number comes from."""

from collections.abc import Iterable

from bench.leaderboard.points import RunRow
from bench.records.record import Record


class Places:
    """Numbers the rows of all records, one record after the other."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._numbers: dict[int, int] = {}
        self._kept = list(records)  # ids name rows only while these live
        for record in self._kept:
            for row in record.rows or ():
                self._numbers[id(row)] = len(self._numbers)

    def of(self, rows: Iterable[RunRow]) -> list[int]:
        """Return the numbers of rows."""
        return [self._numbers[id(row.row)] for row in rows]
