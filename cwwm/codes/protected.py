"""The protected constant-weight code: small constant-weight blocks under a Reed-Solomon code with keyed check."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.codes.base import Bits, Check, Decoded, Word, check_message
from cwwm.codes.galois import LEAST_BITS, MOST_BITS, Elements
from cwwm.codes.reed_solomon import ReedSolomon
from cwwm.support.errors import BadInput

Integers = npt.NDArray[np.int64]

_MOST_BLOCK, _MOST_CELLS = 2**16, 2**22
_MOST_LENGTH = 2**31 - 1
_MOST_CHECKS = 256  # what the keyed check gives
# Symbols searched at once: many suspects must not fill the memory.
_SYMBOLS = 2**22


@dataclass(frozen=True)
class Symbols:
    """What the blocks say, the hard part of reading; equal shapes (..., blocks).

    Attributes:
        values: uint16, the symbol of each block; 0 where the block shows a word that stands for none.
        gaps: floats, how far the smallest one stands above the largest zero; 0 where nothing can be told.
    """

    values: Elements
    gaps: npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class ProtectedCode:
    """A payload in `blocks` constant-weight blocks, some of which may be lost.

    Each block of `block_length` symbols has `block_weight` ones and carries m = min(16, floor(log2
    C(block_length, block_weight))) bits: the number of its word in the order of `ConstantWeightCode`; for one
    one (pulse position) its place. Block i is a symbol of codeword i mod c, c = ceil(blocks / (2^m - 1)), of
    Reed-Solomon codes over GF(2^m). The caller puts blocks in keyed random places, so this round robin is a
    keyed interleaving. Each codeword carries its part of the payload (parts differ by one bit at most, the
    longer first), then `check_bits` keyed check bits of that part, then zeros up to `data_symbols`.

    Our own construction: it treats pruning as an erasure channel for the ones. Decoding is Forney's generalised
    minimum distance (1966): the symbols with the smallest gaps are declared erased, ever more of them.

    Args:
        payload_bits: message bits k, at least 1.
        blocks: number of blocks n.
        block_length, block_weight: length and number of ones of a block.
        check_bits: of each codeword, at least 1; a false codeword passes with probability 2^-check_bits.

    Raises:
        BadInput: the payload does not fit, or a block carries less than 2 bits.
    """

    payload_bits: int
    blocks: int
    block_length: int = 256
    block_weight: int = 1
    check_bits: int = 32

    def __post_init__(self) -> None:
        for name in ("payload_bits", "blocks", "check_bits"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be at least 1")
        require_block(self.block_length, self.block_weight)
        if self.check_bits > _MOST_CHECKS or self.length > _MOST_LENGTH:
            raise BadInput(
                f"{self!r} is too large: {_MOST_CHECKS} check bits and {_MOST_LENGTH:,} symbols are the most"
            )
        if not 0 < self.block_weight < self.block_length or self.symbol_bits < LEAST_BITS:
            raise BadInput(
                f"a block of {self.block_length} symbols with {self.block_weight} ones carries less than "
                f"{LEAST_BITS} bits; use block_length >= 4 and 0 < block_weight < block_length"
            )
        if not self._fits(self.blocks):
            raise BadInput(f"{self!r} has too few blocks for its payload; {self._advice()}")

    @cached_property
    def symbol_bits(self) -> int:
        """Bits m that a block carries."""
        return min(MOST_BITS, math.comb(self.block_length, self.block_weight).bit_length() - 1)

    @property
    def codewords(self) -> int:
        """Number c of interleaved Reed-Solomon codewords."""
        return -(-self.blocks // self._longest)

    @property
    def length(self) -> int:
        """Number of binary symbols, blocks times block_length."""
        return self.blocks * self.block_length

    @property
    def weight(self) -> int:
        """Number of ones, blocks times block_weight."""
        return self.blocks * self.block_weight

    @cached_property
    def codeword_lengths(self) -> tuple[int, ...]:
        """Blocks of each codeword; they differ by one at most, the longer first."""
        return tuple(self._split(self.blocks, self.codewords))

    @property
    def data_symbols(self) -> int:
        """Data symbols of every codeword: what the longest part of the payload and its check fill."""
        return self._data_symbols(self.codewords)

    @property
    def redundancy(self) -> int:
        """Parity symbols of all codewords together."""
        return self.blocks - self.codewords * self.data_symbols

    def encode(self, bits: npt.ArrayLike, check: Check) -> Word:
        """Return the word, bool (length,), block after block, of the payload `bits` (payload_bits,).

        Raises:
            BadInput: as `symbols`.
        """
        ones = self._positions(self.symbols(bits, check).astype(np.int64))
        word = np.zeros((self.blocks, self.block_length), np.bool_)
        np.put_along_axis(word, ones, True, axis=1)
        return word.reshape(-1)

    def symbols(self, bits: npt.ArrayLike, check: Check) -> Elements:
        """Return the symbol of each block, uint16 (blocks,), of the payload `bits`, b_0 least significant.

        Raises:
            BadInput: `bits` is not (payload_bits,) of 0 and 1, or `check` gives not `check_bits` of them.
        """
        payload = check_message(bits, self.payload_bits)
        symbols = np.zeros(self.blocks, np.uint16)
        start = 0
        for number, (code, size) in enumerate(zip(self._outer, self._parts, strict=True)):
            part = payload[start : start + size].astype(np.uint8)
            filled = np.zeros((code.data, self.symbol_bits), np.uint16)
            filled.flat[: size + self.check_bits] = np.concatenate([part, self._check_of(part, number, check)])
            data = (filled << np.arange(self.symbol_bits, dtype=np.uint16)).sum(axis=1)
            symbols[number :: self.codewords] = code.encode(data)
            start += size
        return symbols

    def read(self, magnitudes: npt.NDArray[Any]) -> Symbols:
        """Return what the blocks say, (..., blocks), given the host magnitudes, floats (..., length).

        The `block_weight` largest of a block are its ones. The gap is the smallest of them minus the largest of
        the others, 0 for a tie and for a word that stands for no symbol. A common positive scale does not matter.

        Raises:
            BadInput: another length, or values that are not finite real numbers.
        """
        values = np.asarray(magnitudes)
        if values.ndim < 1 or values.shape[-1] != self.length:
            raise BadInput(f"magnitudes of {self!r} have shape (..., {self.length}), got {values.shape}")
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise BadInput(
                f"magnitudes must be finite real numbers, got {values.dtype}; replace NaN and infinities"
            )
        floats = values if values.dtype.kind == "f" else values.astype(np.float64)
        shaped = floats.reshape(*values.shape[:-1], self.blocks, self.block_length)
        ranks, gaps = _pulse(shaped) if self.block_weight == 1 else self._ranked(shaped)
        known = ranks < 2**self.symbol_bits
        return Symbols(np.where(known, ranks, 0).astype(np.uint16), np.where(known, gaps, 0))

    def decode(self, symbols: Symbols, checks: Sequence[Check]) -> list[Decoded]:
        """Return what each row of `symbols`, (S, blocks), carries under the check of the same row.

        First only blocks without gap are erased; if that fails, ever more blocks of small gap, up to the
        redundancy, all numbers of them in one batch, and the least number of erasures wins whose codeword
        agrees with the check.
        A message needs every codeword. `erased` counts the erased blocks of what was accepted (of a failure:
        those without gap), `corrected` the blocks changed beside them.

        Raises:
            BadInput: shapes differ from (S, blocks), or the number of checks is not S.
        """
        values, gaps = symbols.values, symbols.gaps
        if values.ndim != 2 or values.shape != gaps.shape or values.shape != (len(checks), self.blocks):
            raise BadInput(
                f"decode takes values and gaps of shape (S, {self.blocks}) with S checks; "
                f"got {values.shape}, {gaps.shape} and {len(checks)} checks"
            )
        searches = [_Search(check, number) for check in checks for number in range(self.codewords)]
        for code, group in groupby(range(self.codewords), key=self._outer.__getitem__):
            numbers = list(group)
            blocks = np.array([np.arange(number, self.blocks, self.codewords) for number in numbers])
            mine = [searches[row * self.codewords + number] for row in range(len(checks)) for number in numbers]
            shape = (-1, code.length)
            self._search(code, values[:, blocks].reshape(shape), gaps[:, blocks].reshape(shape), mine)
        return [
            self._joined(searches[start : start + self.codewords], int((row == 0).sum()))
            for start, row in zip(range(0, len(searches), self.codewords), gaps, strict=True)
        ]

    def decode_one(self, symbols: Symbols, check: Check) -> Decoded:
        """Return what `symbols`, (blocks,), carry under `check`; as `decode` for one row."""
        return self.decode(Symbols(symbols.values[None], symbols.gaps[None]), [check])[0]

    def _search(
        self, code: ReedSolomon, values: Elements, gaps: npt.NDArray[Any], searches: "list[_Search]"
    ) -> None:
        """Decode one codeword a row, values and gaps (B, code.length), into the row's search."""
        sure = gaps == 0
        self._compare(code, values, sure, np.arange(len(searches)), searches)
        rows = np.array([i for i, search in enumerate(searches) if search.part is None], np.int64)
        place = np.argsort(np.argsort(gaps[rows], axis=1, kind="stable"), axis=1)
        # What r - 1, r - 3, ... erasures decode, one more decodes too.
        levels = np.arange(code.redundancy % 2, code.redundancy + 1, 2)
        which, level = np.nonzero(levels > sure[rows].sum(axis=1)[:, None])
        at_once = max(1, _SYMBOLS // code.length)
        for start in range(0, len(which), at_once):
            part = which[start : start + at_once]
            erased = place[part] < levels[level[start : start + at_once], None]
            self._compare(code, values[rows[part]], erased, rows[part], searches)

    def _compare(
        self,
        code: ReedSolomon,
        values: Elements,
        erased: npt.NDArray[np.bool_],
        rows: Integers,
        searches: "list[_Search]",
    ) -> None:
        """Decode words (B, code.length) and show what comes out, in order, to searches[rows]."""
        found = code.decode(values, erased)
        good = np.flatnonzero(found.ok)
        bits = (found.data[good, :, None] >> np.arange(self.symbol_bits, dtype=np.uint16) & 1).astype(np.uint8)
        for index, word in zip(good.tolist(), bits.reshape(len(good), code.data * self.symbol_bits), strict=True):
            search = searches[rows[index]]
            if search.part is None and search.is_new(word):
                size = self._parts[search.number]
                end = size + self.check_bits
                if word[end:].any():  # the encoder filled up with zeros: no check is needed to refuse this
                    continue
                search.candidates += 1
                if np.array_equal(self._check_of(word[:size], search.number, search.check), word[size:end]):
                    search.part = word[:size]
                    search.erased, search.corrected = int(erased[index].sum()), int(found.errors[index])

    def _joined(self, searches: "list[_Search]", sure: int) -> Decoded:
        candidates = sum(search.candidates for search in searches)
        parts = [search.part for search in searches if search.part is not None]
        if len(parts) < len(searches):
            return Decoded(np.zeros(self.payload_bits, np.uint8), ok=False, erased=sure, candidates=candidates)
        return Decoded(
            bits=np.concatenate(parts),
            ok=True,
            erased=sum(search.erased for search in searches),
            corrected=sum(search.corrected for search in searches),
            candidates=candidates,
        )

    def _check_of(self, part: Bits, number: int, check: Check) -> Bits:
        bits = np.asarray(check(part, number))
        if bits.shape != (self.check_bits,):
            raise BadInput(f"the check gives bits of shape {bits.shape}; {self!r} needs ({self.check_bits},)")
        return bits

    @property
    def _longest(self) -> int:
        """The most symbols of a codeword."""
        return int(2**self.symbol_bits - 1)

    @cached_property
    def _parts(self) -> tuple[int, ...]:
        """Payload bits of each codeword."""
        return tuple(self._split(self.payload_bits, self.codewords))

    @cached_property
    def _outer(self) -> tuple[ReedSolomon, ...]:
        """The code of each codeword; equal codes are one object and neighbours."""
        codes = {
            length: ReedSolomon(length=length, data=self.data_symbols, symbol_bits=self.symbol_bits)
            for length in set(self.codeword_lengths)
        }
        return tuple(codes[length] for length in self.codeword_lengths)

    @staticmethod
    def _split(total: int, count: int) -> list[int]:
        return [total // count + (number < total % count) for number in range(count)]

    def _data_symbols(self, codewords: int) -> int:
        return -(-(-(-self.payload_bits // codewords) + self.check_bits) // self.symbol_bits)

    def _fits(self, blocks: int) -> bool:
        codewords = -(-blocks // self._longest)
        return self._data_symbols(codewords) <= blocks // codewords

    def _advice(self) -> str:
        """Return how many blocks would do."""
        room = self._longest * self.symbol_bits - self.check_bits
        if room < 1:
            return f"no number of blocks is enough: {self.check_bits} check bits fill a codeword; use longer blocks"
        enough = -(-self.payload_bits // room) * self._longest
        return f"it needs {next(n for n in range(1, enough + 1) if self._fits(n))}, and more to survive any loss"

    @cached_property
    def _binomials(self) -> Integers:
        """C(p, j), j = 1..block_weight (rows), p = 0..block_length - 1, cut to 2^m: no symbol is that large."""
        rows = [np.minimum(np.arange(self.block_length), 2**self.symbol_bits)]
        while len(rows) < self.block_weight:
            sums = np.concatenate([[0], np.cumsum(rows[-1][:-1])])
            rows.append(np.minimum(sums, 2**self.symbol_bits))
        return np.array(rows, np.int64)

    def _ranked(self, blocks: npt.NDArray[Any]) -> tuple[Integers, npt.NDArray[Any]]:
        """Return the rank and the gap of each block, (...,), of magnitudes (..., block_length)."""
        first = self.block_length - self.block_weight
        order = np.argpartition(blocks, (first - 1, first), axis=-1)
        cut = np.take_along_axis(blocks, order[..., first - 1 : first + 1], axis=-1)
        ones = np.sort(order[..., first:], axis=-1)
        ranks = self._binomials[np.arange(self.block_weight), ones].sum(axis=-1)
        return ranks, cut[..., 1] - cut[..., 0]

    def _positions(self, ranks: Integers) -> Integers:
        """Return the places of the ones, int64 (n, block_weight), of the words with these numbers (n,)."""
        ones = np.empty((len(ranks), self.block_weight), np.int64)
        for index in reversed(range(self.block_weight)):
            row = self._binomials[index]
            ones[:, index] = np.searchsorted(row, ranks, side="right") - 1
            ranks = ranks - row[ones[:, index]]
        return ones


def require_block(length: int, weight: int) -> None:
    """Raise BadInput for blocks whose words take long to count: 2^16 symbols, and 2^22 symbols times ones."""
    if length > _MOST_BLOCK or length * weight > _MOST_CELLS:
        raise BadInput(
            f"a block of {length:,} symbols with {weight:,} ones is too large: {_MOST_BLOCK:,} symbols, and "
            f"{_MOST_CELLS:,} symbols times ones, are the most"
        )


@dataclass
class _Search:
    """The search for one codeword of one word."""

    check: Check
    number: int
    part: Bits | None = None
    erased: int = 0
    corrected: int = 0
    candidates: int = 0
    seen: set[bytes] = field(default_factory=set)

    def is_new(self, word: Bits) -> bool:
        """Return whether `word` comes for the first time."""
        before = len(self.seen)
        self.seen.add(word.tobytes())
        return len(self.seen) > before


def _pulse(blocks: npt.NDArray[Any]) -> tuple[Integers, npt.NDArray[Any]]:
    """Return the place of each block's largest value and its distance to the next, of (..., block_length)."""
    rest = blocks.copy()
    place = blocks.argmax(axis=-1)[..., None]
    top = np.take_along_axis(blocks, place, axis=-1)
    np.put_along_axis(rest, place, -np.inf, axis=-1)
    return place[..., 0], top[..., 0] - rest.max(axis=-1)
