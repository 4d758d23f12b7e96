"""Bits in numbers of channels: quantisation index modulation of how many leave each layer; no torch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cwwm.codes.base import Bits, Check, Decoded, check_message
from cwwm.codes.reed_solomon import ReedSolomon
from cwwm.support.errors import BadInput

_LARGEST_SYMBOL = 16  # bits of a Reed-Solomon symbol


@dataclass(frozen=True, kw_only=True)
class StructuralCode:
    """Segments of a message as numbers of removed channels.

    A layer of C channels takes k_l = floor(log2((most - least) C / step)) bits. A value v in [0, 2^k_l) is written
    by removing the r channels nearest to rate * C, the fewer of two equally near, with least * C <= r <= most * C
    and r mod (step * 2^k_l) = step * v + floor(step / 2), the centre of v's cell; any r of the cell reads as v. The
    rule leaves room for a whole period, so some r always fits. Extraction needs C and the width that is left.

    Layers come in keyed order, and only as many are used as the message needs. Choices of ours: segments in natural
    binary, least significant bit first; the spare bits of the last one are zero and must read as zero. With
    `parity`, every layer used carries `segment` bits, one symbol of a Reed-Solomon code, which corrects layers
    whose width changed: half as many as `parity`, or all of them where they are known to be missing.

    Args:
        payload_bits: message bits.
        check_bits: keyed check bits that follow the message (0 to 256); without any, a wrong message may pass.
        segment: k, the most bits of one layer; 0 takes all that its width has room for.
        parity: layers that carry parity, 0 for none.
        step: d, numbers of removed channels that read alike; floor((step - 1) / 2) either way do no harm.
        rate: p0, share of the channels that is removed if the message does not care.
        least: p_min, and most: p_max, the shares between which it stays.

    Raises:
        BadInput: a number out of its range.
    """

    payload_bits: int
    check_bits: int = 0
    segment: int = 0
    parity: int = 0
    step: int = 1
    rate: float = 0.3
    least: float = 0.15
    most: float = 0.45

    def __post_init__(self) -> None:
        if self.payload_bits < 1 or not 0 <= self.check_bits <= 256:
            raise BadInput("a structural code needs payload_bits >= 1 and check_bits from 0 to 256")
        if self.segment < 0 or self.step < 1 or self.parity < 0:
            raise BadInput("a structural code needs segment >= 0, step >= 1 and parity >= 0")
        if not 0 <= self.least <= self.rate <= self.most < 1 or self.least == self.most:
            raise BadInput("a structural code needs 0 <= least <= rate <= most < 1, and least below most")
        if self.parity and not 2 <= self.segment <= _LARGEST_SYMBOL:
            raise BadInput(
                f"parity takes layers of equally many bits: give a segment of 2 to {_LARGEST_SYMBOL} bits"
            )

    @property
    def information(self) -> int:
        """Return the number of message and check bits."""
        return self.payload_bits + self.check_bits

    def room(self, width: int) -> int:
        """Return k_l, the bits that a layer of `width` channels carries; 0 if it takes no part."""
        period = (_exact(self.most) - _exact(self.least)) * width / self.step
        bits = math.floor(period).bit_length() - 1 if period >= 1 else 0
        if self.parity:
            return self.segment if bits >= self.segment else 0
        return min(bits, self.segment) if self.segment else bits

    def capacity(self, widths: Iterable[int]) -> int:
        """Return the largest payload that `encode` accepts for layers of these widths, 0 if none."""
        rooms = [room for width in widths if (room := self.room(width))]
        if self.parity:
            return max(0, (min(len(rooms), self._longest) - self.parity) * self.segment - self.check_bits)
        return max(0, sum(rooms) - self.check_bits)

    def encode(self, bits: Bits, widths: Sequence[int], check: Check) -> list[int]:
        """Return how many channels to remove of each layer, 0 for those not needed.

        Args:
            bits: the message, uint8 (payload_bits,), best whitened.
            widths: channels of the layers, in keyed order.
            check: gives the check bits of a message.

        Raises:
            BadInput: if the message is no such array, or beyond `capacity`, which is named.
        """
        message = check_message(bits, self.payload_bits)
        if self.payload_bits > self.capacity(widths):
            raise BadInput(self._refusal(widths))
        used = self._used(widths)
        segments = self._segments(np.concatenate([message, self._check(message, check)]), [w for _, w in used])
        removed = [0] * len(widths)
        for (index, width), value in zip(used, segments, strict=True):
            removed[index] = self.removed(width, value)
        return removed

    def decode(self, widths: Sequence[int], removed: Sequence[int | None], check: Check) -> Decoded:
        """Return what layers carry of which so many channels are gone; None where that is not known.

        `bits` are those read, also where the message is known to be lost (`ok` False): unknown layers read 0.

        Args:
            widths: as they were before the mark, in the order of `encode`; removed: of each, negative if it grew.
            check: gives the check bits of a message.
        """
        used = self._used(widths)
        if sum(self.room(width) for _, width in used) < self.information:
            raise BadInput(f"the layers are not those of the mark; {self._refusal(widths)}")
        values = [None if (r := removed[i]) is None else self.value(w, r) for i, w in used]
        symbols = np.array([value or 0 for value in values], np.int64)
        erased, corrected = np.array([value is None for value in values]), 0
        whole = not erased.any()
        if self.parity:
            found = self._reed_solomon.decode(symbols[None], erased[None])
            whole = bool(found.ok[0])
            corrected = int(found.errors[0])
            symbols = (found.data[0] if whole else symbols[: self._reed_solomon.data]).astype(np.int64)
        read = _bits_of(symbols, [self.room(width) for _, width in used])
        message, rest = read[: self.payload_bits], read[self.payload_bits :]
        agrees = np.array_equal(rest, self._tail(message, check, len(rest)))
        return Decoded(message, whole and agrees, int(erased.sum()), corrected, candidates=1)

    def removed(self, width: int, value: int) -> int:
        """Return r, the channels to remove from a layer of `width` so that it reads as `value` < 2^room."""
        period = self.step << self.room(width)
        low, high = math.ceil(_exact(self.least) * width), math.floor(_exact(self.most) * width)
        first = low + (self.step * value + self.step // 2 - low) % period
        wanted = _exact(self.rate) * width
        return min(range(first, high + 1, period), key=lambda r: (abs(r - wanted), r))

    def value(self, width: int, removed: int) -> int:
        """Return the value that a layer reads as."""
        return removed % (self.step << self.room(width)) // self.step

    def margin(self, removed: int) -> int:
        """Return how many channels more or fewer make a layer read as another value, at least 1."""
        place = removed % self.step
        return min(place + 1, self.step - place)

    @property
    def _longest(self) -> int:
        """Number of symbols of the longest Reed-Solomon codeword."""
        return (1 << self.segment) - 1

    @cached_property
    def _reed_solomon(self) -> ReedSolomon:
        data = -(-self.information // self.segment)
        return ReedSolomon(length=data + self.parity, data=data, symbol_bits=self.segment)

    def _used(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """Return (index, width) of the layers that the message needs: the first ones with room."""
        wanted = self.information
        if self.parity:
            wanted = (-(-self.information // self.segment) + self.parity) * self.segment
        used, bits = [], 0
        for index, width in enumerate(widths):
            room = self.room(width)
            if room and bits < wanted:
                used.append((index, width))
                bits += room
        return used

    def _segments(self, bits: Bits, widths: Sequence[int]) -> list[int]:
        """Return the values of the layers used."""
        if self.parity:
            values: list[int] = self._reed_solomon.encode(
                _values_of(bits, [self.segment] * self._reed_solomon.data)
            ).tolist()
            return values
        return _values_of(bits, [self.room(width) for width in widths])

    def _check(self, message: Bits, check: Check) -> Bits:
        return check(message, 0)[: self.check_bits]

    def _tail(self, message: Bits, check: Check, length: int) -> Bits:
        """Return the check bits and the spare zeros that follow a message."""
        tail = np.zeros(length, np.uint8)
        tail[: self.check_bits] = self._check(message, check)
        return tail

    def _refusal(self, widths: Sequence[int]) -> str:
        layers = sum(self.room(width) > 0 for width in widths)
        return (
            f"the payload of {self.payload_bits} bits is too large: {layers} of {len(widths)} layers have room and "
            f"carry at most {self.capacity(widths)} bits; shorten it, or widen the span from least to most"
        )


def _exact(share: float) -> Fraction:
    """Return the decimal that a share is written as: 0.45 - 0.15 is then 0.3, on both sides of the channel."""
    return Fraction(str(share))


def _values_of(bits: Bits, rooms: Sequence[int]) -> list[int]:
    """Return bits as numbers of so many bits each, least significant first, filled up with zeros."""
    filled = np.zeros(sum(rooms), np.int64)
    filled[: len(bits)] = bits
    ends = np.cumsum(rooms)
    return [int(part @ (1 << np.arange(len(part)))) for part in np.split(filled, ends[:-1])]


def _bits_of(values: npt.NDArray[np.int64], rooms: Sequence[int]) -> Bits:
    """Return what `_values_of` took, spare zeros included."""
    return np.concatenate([(v >> np.arange(room)) & 1 for v, room in zip(values, rooms, strict=False)]).astype(
        np.uint8
    )
