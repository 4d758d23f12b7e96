"""Which inputs of a multilevel polar code carry information: a simulation whose levels know all earlier bits.

``python -m cwwm.codes.multilevel_design`` writes the tables that `cwwm.codes.multilevel_tables` reads.

The all-zero word is sent, which loses nothing: all levels are symmetric. A symbol's soft value on each level, given
the bits before, is drawn many times; a polarisation step then joins two draws of a level, so that after t steps
there are draws of all 2^t inputs of a code of 2^t symbols, for all lengths in one pass. The probability of an error
is the mean of 1 / (1 + exp |u|) over an input's exact soft values u. An input ranks by the least signal to noise
ratio at which that is below `ERROR`: so one order serves any number of bits.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from cwwm.codes.multilevel_tables import ROWS, SYMBOLS, TABLES, Tables, pack
from cwwm.support.console import DONE, run_program
from cwwm.support.files import write_atomic
from cwwm.support.seeds import derive_seed

Floats = npt.NDArray[np.float64]

DECIBELS = np.arange(-6, 17)  # of the squared mean of a symbol's read, at which is simulated
ERROR = 0.03
DRAWS = 1 << 18  # of a symbol, at each signal to noise ratio
_AT_ONCE = 1 << 22  # reads


def draws(rows: int, snr: float, count: int, seed: int) -> tuple[Floats, Floats]:
    """Return what is read of symbols that are the first row with sign 1, given the bits before each level.

    Args:
        rows: M, a power of two.
        snr: squared mean of the read N(sqrt(snr), 1) of the row that was sent; the others' is N(0, 1).
        count: of symbols. seed: of the draws.

    Returns:
        Soft values, float64 (log2(M) + 1, count), and the information in bits that each symbol gave, (count,).
    """
    generator, step = np.random.default_rng(seed), _AT_ONCE // rows
    parts = [_drawn(rows, snr, min(step, count - at), generator) for at in range(0, count, step)]
    ratios, information = (np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
    return ratios, information


def _drawn(rows: int, snr: float, count: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    read = generator.standard_normal((count, rows), dtype=np.float32)
    read[:, 0] += np.float32(np.sqrt(snr))
    read *= np.float32(np.sqrt(snr))
    both = np.exp(read)
    both += 1 / both
    blocks = [both[:, :1], *(both[:, 1 << level : 2 << level] for level in range(rows.bit_length() - 1))]
    sums = np.array([block.sum(axis=1, dtype=np.float64) for block in blocks])
    zero = np.cumsum(sums, axis=0)
    sign = 2 * read[:, 0].astype(np.float64)
    ratios = np.concatenate([np.log(zero[:-1] / sums[1:])[::-1], sign[None]])
    information = np.log2(2 * rows) - (np.log(zero[-1]) - sign / 2) / np.log(2)
    return ratios, information


def errors(ratios: Floats, steps: int) -> Iterator[Floats]:
    """Yield P(error) of each input, float64 (levels, 2^t), of codes of 2^t symbols for t = 1, ..., `steps`.

    Args:
        ratios: exact soft values of symbols, float64 (levels, count), positive where they are right.
        steps: at most log2(count).
    """
    split = ratios[:, None]
    for _ in range(steps):
        one, other = split[..., 0::2], split[..., 1::2]
        behind = np.logaddexp(0, one + other) - np.logaddexp(one, other)
        split = np.stack([behind, one + other], axis=2).reshape(len(ratios), -1, one.shape[-1])
        yield np.mean(1 / (1 + np.exp(np.minimum(np.abs(split), 700.0))), axis=-1)


def order_of(curves: Floats) -> npt.NDArray[np.uint16]:
    """Return all inputs, the most reliable first: level times n plus index, uint16 (levels n,).

    What is a worse channel than another by construction (Bardet, Dragoi, Otmani and Tillich 2016) ranks behind it
    whatever was drawn, so that no part of a level's tree has information without its better half.

    Args:
        curves: P(error) at each signal to noise ratio, ascending, float64 (points, levels, n).
    """
    crossing = _crossings(np.log(np.maximum(curves, 1e-300)))
    levels, symbols = crossing.shape
    bit = 1
    while bit < symbols:
        pairs = crossing.reshape(levels, -1, 2, bit)
        np.maximum(pairs[:, :, 0], pairs[:, :, 1], out=pairs[:, :, 0])
        bit *= 2
    flat = np.arange(levels * symbols)
    return np.lexsort((-(flat % symbols), crossing.reshape(-1))).astype(np.uint16)


def _crossings(curves: Floats) -> Floats:
    """Return at which point, with fraction, each curve of log P(error) falls below that of `ERROR`."""
    above = curves - np.log(ERROR)
    first = np.argmax(np.concatenate([above, np.full_like(above[:1], -1.0)]) < 0, axis=0)
    low, high = (np.take_along_axis(above, at[None], axis=0)[0] for at in _around(first, len(curves)))
    between = first - 1 + low / np.maximum(low - high, 1e-300)
    outside = np.where(first == 0, above[0], first + above[-1])
    return np.asarray(np.where((first > 0) & (first < len(curves)), between, outside))


def _around(first: npt.NDArray[np.int64], points: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return np.clip(first - 1, 0, points - 1), np.clip(first, 0, points - 1)


def design(rows: int, most_symbols: int, count: int = DRAWS) -> Tables:
    """Return the orders for codes of M = `rows` and up to so many symbols, and the channel's curve."""
    steps = most_symbols.bit_length() - 1
    curves: dict[int, list[Floats]] = {1 << step: [] for step in range(1, steps + 1)}
    channel = []
    for decibel in DECIBELS.tolist():
        seed = derive_seed(multilevel="design", rows=rows, decibel=decibel)
        ratios, information = draws(rows, 10 ** (decibel / 10), count, seed)
        channel.append((decibel, information.mean(), information.var()))
        for found in errors(ratios, steps):
            curves[found.shape[1]].append(found)
    orders = {symbols: order_of(np.array(curves[symbols])) for symbols in SYMBOLS if symbols <= most_symbols}
    return Tables(orders, np.array(channel))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def make(output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = TABLES) -> int:
    """Simulate and write the tables; about five minutes on one core."""
    tables = {}
    for rows in ROWS:
        tables[rows] = design(rows, SYMBOLS[-1])
        print(f"M = {rows}", file=sys.stderr, flush=True)
    write_atomic(output, pack(tables))
    return DONE


if __name__ == "__main__":
    run_program(app, "cwwm.codes.multilevel_design")
