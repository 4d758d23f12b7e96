"""A polar code with a keyed check that picks one of the paths of a list decoder, for soft values of any scale.

Arikan 2009 (the code), Tal and Vardy 2015 (list decoding with a check), Niu and Chen 2012 (the same with a CRC;
here the check is keyed, so that nobody without the key can aim at it). The code itself is public: what is secret is
added by who uses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.codes.base import Bits, Check, Decoded, Word, check_message
from cwwm.codes.finite_length import best_success
from cwwm.codes.polar_design import erasure_sum, information_set
from cwwm.codes.polar_list import Array, Subtree, decode_list, integers, namespace, tree_of
from cwwm.support.errors import BadInput

CHECK_BITS = 24
_LONGEST = 1 << 16
_MOST_PATHS = 1024
#: n rho^2 a bit at which the positions are chosen: little above what is needed, for 256 bits about 1.5 times that
_DESIGN = 800 / 280
_LOSS, _LOSSLESS = 0.035, 24
_EXPANSION = 6  # least positions an information bit of the default length: rate 1/6 to 1/12


@dataclass(frozen=True, kw_only=True)
class PolarCode:
    """Words of the information bits (payload, check) at the most reliable inputs, all other inputs zero.

    A false message passes with probability 2^-check_bits a candidate, of which there are up to `paths`: 2^-19 in
    all by default.

    Args:
        payload_bits: message bits k, at least 1.
        length: n, positions of a codeword, a power of two, at least k + check_bits.
        check_bits: keyed check bits, at least 1.
        paths: L, size of the list, a power of two.
        design: sum over the word of the squared mean of a read N(rho, 1), for which the inputs are chosen; None
            takes 800 / 280 times the information bits.

    Raises:
        BadInput: for a length that is no power of two or too short, or other parameters that make no code.
    """

    payload_bits: int
    length: int
    check_bits: int = CHECK_BITS
    paths: int = 32
    design: float | None = None

    def __post_init__(self) -> None:
        if self.payload_bits < 1 or self.check_bits < 1:
            raise BadInput("a polar code needs payload_bits >= 1 and check_bits >= 1")
        if not (_power_of_two(self.length) and self.information <= self.length <= _LONGEST):
            raise BadInput(
                f"a polar code of {self.payload_bits} message bits and {self.check_bits} check bits needs a length "
                f"that is a power of two from {self.information} to {_LONGEST:,}, not {self.length}"
            )
        if not (_power_of_two(self.paths) and self.paths <= _MOST_PATHS):
            raise BadInput(f"paths is a power of two up to {_MOST_PATHS}, not {self.paths}")
        if self.design is not None and not 0 < self.design < float("inf"):
            raise BadInput(f"design is a finite number above 0, not {self.design}")

    @property
    def information(self) -> int:
        """Return the number of payload and check bits."""
        return self.payload_bits + self.check_bits

    @cached_property
    def inputs(self) -> npt.NDArray[np.int64]:
        """Return which inputs carry information, ascending int64 (information,)."""
        design = _DESIGN * self.information if self.design is None else self.design
        return information_set(self.length, self.information, design)

    @cached_property
    def tree(self) -> Subtree:
        """Return the tree that the decoder walks."""
        free = np.zeros(self.length, np.bool_)
        free[self.inputs] = True
        return tree_of(free)

    def encode(self, bits: npt.ArrayLike, check: Check) -> Word:
        """Return the codeword, bool (length,), of the payload `bits` (payload_bits,) and its check.

        Raises:
            BadInput: if `bits` are not payload_bits zeros and ones.
        """
        payload = check_message(bits, self.payload_bits)
        return self.word(np.concatenate([payload, check(payload, 0)]))

    def word(self, data: Bits) -> Word:
        """Return the codeword, bool (length,), of information bits, uint8 (information,)."""
        inputs = np.zeros(self.length, np.uint8)
        inputs[self.inputs] = data
        return transform(inputs).astype(np.bool_)

    def decode(self, values: Array, check: Check) -> Decoded:
        """Return what soft `values`, finite floats (length,), carry: positive for one, zero where erased."""
        return self.decode_many(values[None], [check])[0]

    def decode_many(self, values: Array, checks: Sequence[Check]) -> list[Decoded]:
        """Return what each of several words carries, the same as one by one, bit by bit.

        Args:
            values: finite floats (words, length), NumPy or torch on any device: positive for one, zero where
                erased, of any scale.
            checks: of each word.

        Raises:
            BadInput: if these are not finite words of this length.
        """
        if values.shape != (len(checks), self.length) or not bool(namespace(values).isfinite(values).all()):
            raise BadInput(f"words to decode are {self.length} finite values each, not shape {tuple(values.shape)}")
        if not len(checks):
            return []
        signs = decode_list(self.tree, integers(-values), self.paths)
        wholes = _array(signs) < 0
        read = _array(values)
        return [self._chosen(*each) for each in zip(wholes, read, checks, strict=True)]

    def _chosen(self, words: npt.NDArray[np.bool_], values: npt.NDArray[Any], check: Check) -> Decoded:
        """Return the likeliest of a word's candidates, bool (paths, length), that agrees with the check."""
        erased = int(np.sum(values == 0))
        nothing = np.zeros(self.payload_bits, np.uint8)
        if self.length - erased < self.information:
            return Decoded(nothing, ok=False, erased=erased)
        for tried, data in enumerate(transform(words.astype(np.uint8))[:, self.inputs], start=1):
            payload = data[: self.payload_bits]
            if np.array_equal(check(payload, 0), data[self.payload_bits :]):
                corrected = int(np.sum((words[tried - 1] != (values > 0)) & (values != 0)))
                return Decoded(payload, ok=True, erased=erased, corrected=corrected, candidates=tried)
        return Decoded(nothing, ok=False, erased=erased, candidates=len(words))

    def erasure_failure(self, erased: float) -> float:
        """Return a bound on the block error if each position is erased with that probability and none is wrong.

        It is the union bound of successive cancellation; a list does better.
        """
        return min(1.0, erasure_sum(self.length, self.inputs, erased))

    def success(self, snr: float) -> float:
        """Return about the probability that a word is recovered by 32 paths from reads N(+-rho, 1).

        The normal approximation of the best code at an snr that is smaller by 1 + 0.035 log2(information / 24):
        fitted to simulations of 64 to 4,096 bits (results/codes.md), which it meets within 3 % of the snr.

        Args:
            snr: n rho^2, at least 0.
        """
        loss = 1 + _LOSS * max(0.0, np.log2(self.information / _LOSSLESS))
        return best_success(self.length, self.information, snr / loss)


def default_length(payload_bits: int, check_bits: int = CHECK_BITS) -> int:
    """Return the least power of two of at least six positions an information bit."""
    return _longer(_EXPANSION * (payload_bits + check_bits))


def length_for_erasures(payload_bits: int, erased: float, failure: float = 1e-3) -> int:
    """Return the least length that fails with at most that probability by `PolarCode.erasure_failure`.

    Raises:
        BadInput: if even the longest code fails more often.
    """
    length = _longer(payload_bits + CHECK_BITS)
    while PolarCode(payload_bits=payload_bits, length=length).erasure_failure(erased) > failure:
        length *= 2
    return length


def transform(bits: Bits) -> Bits:
    """Return bits (..., n) times the n-by-n power of [[1, 0], [1, 1]], modulo 2; it undoes itself."""
    out, half = bits.copy(), 1
    while half < out.shape[-1]:
        pairs = out.reshape(*out.shape[:-1], -1, 2, half)
        pairs[..., 0, :] ^= pairs[..., 1, :]
        half *= 2
    return out


def _longer(positions: int) -> int:
    """Return the least power of two that is not below."""
    return 1 << (positions - 1).bit_length()


def _power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _array(values: Array) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else np.asarray(values.double().cpu())
