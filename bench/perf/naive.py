"""The plain versions that the fast ones are timed beside: what one writes first from the papers' formulas."""

import math

import numpy as np
import numpy.typing as npt


def naive_encode(bits: npt.NDArray[np.uint8], length: int, weight: int) -> npt.NDArray[np.bool_]:
    """Encode by the papers' recurrence, one position at a time, with Python integers."""
    rank = int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")
    word = np.zeros(length, dtype=np.bool_)
    words, left = math.comb(length, weight), weight
    for n in range(length, 0, -1):
        without = words * (n - left) // n
        if left and rank >= without:
            word[n - 1] = True
            rank -= without
            words, left = words * left // n, left - 1
        else:
            words = without
    return word


def naive_decode(word: npt.NDArray[np.bool_], weight: int) -> npt.NDArray[np.uint8]:
    """Decode by the papers' recurrence, one position at a time, with Python integers."""
    length, rank = len(word), 0
    count = math.comb(length, weight).bit_length() - 1
    words, left = math.comb(length, weight), weight
    for n in range(length, 0, -1):
        without = words * (n - left) // n
        if word[n - 1]:
            rank += without
            words, left = words * left // n, left - 1
        else:
            words = without
    digits = np.frombuffer(rank.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(digits, count=count, bitorder="little")
