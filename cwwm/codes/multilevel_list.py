"""Successive-cancellation list decoding of multilevel polar codes: one list of paths across all levels.

Imai and Hirakawa 1977 (multistage decoding); Seidl, Schenk, Stierstorfer and Huber 2013 (multilevel polar codes).
A symbol is one of 2M places: a row of M, and a sign; its bits are decided level by level, the most significant bit
of the row first and the sign last. A level's soft value of a symbol is the logarithm of the sum of the likelihoods
of the places that begin with the path's bits and a 0, less that of those with a 1. There are only 2M - 1 such
beginnings, so all are summed once a word, and the paths look theirs up.

A path is charged with log(1 + exp(-|y|)) a symbol and level beside what the list decoder charges, that is, in all,
with the log-likelihood of its places less what all places come to: paths of unlike beginnings are compared fairly,
and a list of all words ranks them by likelihood. All arithmetic is on integers, log-sum-exp by its table of
corrections (Robertson, Villebrun and Hoeher 1995): the result is the same for one word or many, on any device.
"""

from collections.abc import Sequence

import numpy as np

from cwwm.codes.polar_list import Array, Search, Subtree, count, namespace, total, whole

_UNIT = 256  # integers to one unit of log-likelihood
_CUT = 64 * _UNIT  # most that a symbol says on a level: no outlier drowns the others, and sums fit int32
_MOST = 1 << 28
_LAST = 8 * _UNIT  # from there on the correction is below half an integer
_CORRECTIONS = np.rint(_UNIT * np.log1p(np.exp(-np.arange(_LAST + 1) / _UNIT))).astype(np.int32)


def log_likelihoods(correlations: Array, factor: float) -> Array:
    """Return `factor` times finite correlations (words, n, M) as int32 of 1/256.

    Each is that of the row with sign 1, and the negative of that with sign -1. A word whose largest would not fit
    is scaled down as a whole.
    """
    xp = namespace(correlations)
    exact = correlations.astype(np.float64) if xp is np else correlations.to(xp.float64)
    largest = xp.amax(abs(exact.reshape(len(exact), -1)), 1)
    most = _MOST / (_UNIT * factor)
    shrunk = xp.where(largest > most, most / xp.where(largest > most, largest, 1.0), 1.0)
    return whole(xp.round(exact * (_UNIT * factor * shrunk)[:, None, None]))


def decode_places(trees: Sequence[Subtree], values: Array, paths: int) -> Array:
    """Return the words that the surviving paths end with, likeliest first.

    Args:
        trees: of each level, log2(M) + 1 of them, of n inputs each.
        values: int32 (words, n, M) from `log_likelihoods`.
        paths: L, most paths that are kept, a power of two.

    Returns:
        Each symbol's place, twice its row, plus 1 if its sign is -1: int64 (words, survivors, n).
    """
    words, symbols, _ = values.shape
    search = Search(values[:, :, 0], paths)
    places = count(values, symbols) * 0 + 0 * count(values, words)[:, None]
    for tree, ratios in zip(trees, _ratios(values), strict=True):
        read = _looked_up(ratios, places)
        search.cost = search.cost + total(_correction(read))
        signs, origin = search.walk(tree, read)
        places = 2 * (places if origin is None else places[origin])
        places = places if signs is None else places + (1 - signs) // 2
    return places[search.keep(search.cost.reshape(words, -1))].reshape(words, -1, symbols)


def _ratios(values: Array) -> list[Array]:
    """Return each level's soft values, int32 (words, n, beginnings), positive where a bit 0 is likelier."""
    ratios, sums = [2 * values], abs(values) + _correction(2 * values)
    while sums.shape[2] > 1:
        zero, one = sums[:, :, 0::2], sums[:, :, 1::2]
        ratios.append(zero - one)
        sums = namespace(values).maximum(zero, one) + _correction(ratios[-1])
    return ratios[::-1]


def _looked_up(ratios: Array, places: Array) -> Array:
    """Return what a level says to each path after its `places` so far, int32 (rows, n), cut."""
    rows, symbols = places.shape
    each = count(places, rows)[:, None] // (rows // len(ratios)) * symbols + count(places, symbols)
    return ratios.reshape(-1)[each * ratios.shape[2] + places].clip(-_CUT, _CUT)


def _correction(difference: Array) -> Array:
    """Return log(exp(0) + exp(-|difference|)), int32."""
    at = abs(difference).clip(None, _LAST)
    if isinstance(difference, np.ndarray):
        return _CORRECTIONS[at]
    return namespace(difference).as_tensor(_CORRECTIONS, device=difference.device)[at]
