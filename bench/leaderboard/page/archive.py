"""Records made small for the page: equal parts stored once, all values of one place in a column of their own.

The browser puts them together again (js/archive.js). Records of one suite have few shapes, and numbers of one kind
beside each other compress to half of what they take record by record.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bench.records.record import Record
from cwwm.support.seeds import canonical_json

_Path = tuple[str, ...]


class Archive:
    """Records as shapes and columns.

    A shape is a record's objects and lists, with a number in place of each value: of the column in which the value
    stands next, or, below zero, -1 minus that column, where the value is a place in `shared`.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._columns: dict[_Path, list[Any]] = {}
        self._numbers: dict[_Path, int] = {}
        self._shapes: dict[bytes, tuple[int, Any]] = {}
        self._shared: dict[bytes, tuple[int, Any]] = {}
        self._order = [self._number(self._shapes, self._take(record.to_json(), ())) for record in records]

    def to_json(self, leave_out: Collection[str] = ()) -> dict[str, Any]:
        """Return what the page embeds, without what stands under the names in `leave_out`."""
        left = set(leave_out)
        columns = [[] if left.intersection(path) else values for path, values in self._columns.items()]
        return {
            "left_out": sorted(left),
            "order": self._order,
            "shapes": [_without(shape, left) for _, shape in self._shapes.values()],
            "shared": [_without(value, left) for _, value in self._shared.values()],
            "columns": columns,
        }

    def _take(self, value: Any, path: _Path) -> Any:  # noqa: ANN401 (JSON)
        """Return the shape of a value, its leaves appended to their columns."""
        if len(path) == 2 and path[1] != "" and isinstance(value, dict | list):
            return -1 - self._leaf(path, self._number(self._shared, value))
        if isinstance(value, dict):
            return {name: self._take(inner, (*path, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._take(inner, (*path, "")) for inner in value]
        return self._leaf(path, value)

    def _leaf(self, path: _Path, value: Any) -> int:  # noqa: ANN401 (JSON)
        self._columns.setdefault(path, []).append(value)
        return self._numbers.setdefault(path, len(self._numbers))

    @staticmethod
    def _number(pool: dict[bytes, tuple[int, Any]], value: Any) -> int:  # noqa: ANN401 (JSON)
        """Return the place of a value in a pool of different ones."""
        return pool.setdefault(canonical_json(value), (len(pool), value))[0]


def _without(value: Any, names: set[str]) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, Mapping):
        return {name: _without(inner, names) for name, inner in value.items() if name not in names}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without(inner, names) for inner in value]
    return value
