"""How fuzzing changes valid files: bytes anywhere, and values, keys and nesting of JSON."""

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

_BYTES = (b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x1b[31m", b"\n", b"0", b"9" * 30, b"[" * 200)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 8, 16, 255, 256, 257, 4096, 65535, 65536, 2**20, 2**24, 2**31 - 1, 2**31,
    2**32, 10**10, 5 * 10**9, 2**53, 2**62, 2**63, 2**64, 10**30, 0.0, 0.5, 0.999999999, 1.0, 1e-300, 1e308,
    float("inf"), float("-inf"), float("nan"), "", "x", "0" * 64, "\x1b[2J", "\ud800", "float32", "int8", "all", [],
    {}, [0], [1, 1], [2**40, 2**40], {"a": 1},
    [[[[]]]], "cwc", "protected-cwc", "structural", "riga", "uchida",
    "st-dm", "deepsigns", "carriers", "ingrain", "wrong-key", "sign-erasure", "spread-spectrum", "none",
)  # fmt: skip
_NAMES = ("length", "weight", "payload_bits", "repetition", "blocks", "block_length", "block_weight", "check_bits",
          "survive", "density", "scheme", "settings", "step", "widths", "layers", "hidden", "x")  # fmt: skip
PLACE = st.floats(0, 1, exclude_max=True)

Bytes = tuple[str, float, float, bytes]
Json = tuple[str, tuple[float, ...], Any, str]

byte_edits: st.SearchStrategy[list[Bytes]] = st.lists(
    st.tuples(
        st.sampled_from(("flip", "overwrite", "insert", "cut", "repeat", "end")),
        PLACE,
        PLACE,
        st.sampled_from(_BYTES) | st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)

values: st.SearchStrategy[Any] = (
    st.sampled_from(_VALUES)
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.recursive(st.none() | st.integers(-9, 9), lambda inner: st.lists(inner, max_size=3), max_leaves=8)
)

json_edits: st.SearchStrategy[list[Json]] = st.lists(
    st.tuples(
        st.sampled_from(("set", "set", "set", "remove", "repeat", "add")),
        st.lists(PLACE, min_size=1, max_size=5).map(tuple),
        values,
        st.sampled_from(_NAMES),
    ),
    min_size=1,
    max_size=4,
)


def changed_bytes(data: bytes, edits: list[Bytes]) -> bytes:
    """Return `data` after some edits at places given as shares of its length."""
    found = bytearray(data)
    for kind, at, size, new in edits:
        start = int(at * len(found))
        stop = start + int(size * size * (len(found) - start))
        if kind == "flip" and found:
            found[start] ^= 1 << int(8 * size)
        elif kind == "overwrite":
            found[start : start + len(new)] = new
        elif kind == "insert":
            found[start:start] = new
        elif kind == "cut":
            del found[start:stop]
        elif kind == "repeat":
            found[start:start] = found[start:stop]
        elif kind == "end":
            del found[start:]
    return bytes(found)


def changed_json(value: Any, edits: list[Json]) -> Any:  # noqa: ANN401
    """Return a JSON value after some edits, each at a path given as shares of the children."""
    found = copy.deepcopy(value)
    for kind, path, new, name in edits:
        parent: Any = None
        key: Any = None
        child = found
        for step in path:
            if not isinstance(child, (dict, list)) or not child:
                break
            parent = child
            keys = list(child) if isinstance(child, dict) else range(len(child))
            key = keys[int(step * len(keys))]
            child = child[key]
        if parent is not None:
            _edit(parent, key, kind, new, name)
    return found


def _edit(parent: Any, key: Any, kind: str, value: Any, name: str) -> None:  # noqa: ANN401
    new = copy.deepcopy(value)  # later edits may enter it
    if kind == "remove":
        del parent[key]
    elif kind == "repeat" and isinstance(parent, list):
        parent.extend(copy.deepcopy(parent[:8]))
    elif kind == "add" and isinstance(parent, dict):
        parent[name] = new
    else:
        parent[key] = new


def rewritten(data: bytes, edits: list[Json], dumps: Callable[[Any], str] = json.dumps) -> bytes:
    """Return the bytes of a JSON file after edits of its value."""
    return dumps(changed_json(json.loads(data), edits)).encode("utf-8", "surrogatepass")
