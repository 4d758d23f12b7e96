"""The tables of multilevel polar codes, which `cwwm.codes.multilevel_design` makes: orders of inputs, channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

TABLES = Path(__file__).with_name("multilevel_tables.safetensors")
#: M and n that there are tables for
ROWS = (4, 16, 64, 256, 1024)
SYMBOLS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Tables:
    """What was simulated for one number of rows M.

    Attributes:
        orders: by number of symbols n, the inputs, the most reliable first: level times n plus index, uint16
            ((log2(M) + 1) n,).
        channel: signal to noise ratio of a symbol in decibel, bits of information that it gives, and their
            variance: float64 (points, 3), ascending.
    """

    orders: Mapping[int, npt.NDArray[np.uint16]]
    channel: npt.NDArray[np.float64]


def pack(tables: Mapping[int, Tables]) -> bytes:
    """Return the tables of several numbers of rows as the bytes of their file."""
    arrays: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.uint16]] = {}
    for rows, table in tables.items():
        arrays[f"channel {rows}"] = table.channel
        arrays |= {f"order {rows} {symbols}": order for symbols, order in table.orders.items()}
    return bytes(save(arrays))


@cache
def tables_of(rows: int) -> Tables:
    """Return the tables for M = `rows`, one of `ROWS`."""
    arrays = _arrays()
    return Tables({n: arrays[f"order {rows} {n}"] for n in SYMBOLS}, arrays[f"channel {rows}"])


@cache
def _arrays() -> Mapping[str, npt.NDArray[Any]]:
    arrays: Mapping[str, npt.NDArray[Any]] = load(TABLES.read_bytes())
    return arrays


def capacity_and_dispersion(rows: int, mean_square: float) -> tuple[float, float]:
    """Return C in bits and V in bits^2 of a symbol, one of 2M places, its row read as N(+-sqrt(mean_square), 1).

    As simulated, straight in decibel between two points; in proportion to `mean_square` below the first.
    """
    decibels, *curves = tables_of(rows).channel.T
    if mean_square <= 0:
        return 0.0, 0.0
    at, first = 10 * np.log10(mean_square), 10 ** (decibels / 10)
    capacity, dispersion = (float(np.interp(at, decibels, curve / first)) for curve in curves)
    known = min(mean_square, first[-1])
    return capacity * known, dispersion * known
