"""Laws of small codes by counting all equally likely words one by one, in exact fractions: no formula is used."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from cwwm.codes import Bits, ConstantWeightCode, ProtectedCode, Word
from cwwm.codes.linear import LinearCode
from cwwm.ownership.evidence import log10_match_tail, log10_overlap_tail, log10_vacancy_tail
from cwwm.schemes.constant_weight import known_ones

Read = Callable[[Word, npt.NDArray[np.float64]], Word]


@dataclass(frozen=True)
class Tail:
    """One tail: what was counted, how often it happens, and the p-value that evidence gives for it.

    Attributes:
        case: the code, in words.
        event: the count whose tail it is.
        exact: probability of that count or a more extreme one.
        log10_p: of the law.
    """

    case: str
    event: str
    exact: Fraction
    log10_p: float

    @property
    def ratio(self) -> float:
        """Return the true probability over the p-value: 1 if the law is exact, above 1 if it says too little."""
        return float(self.exact) / 10**self.log10_p


def overlap_tails(length: int, weight: int, known: int, read: Read = known_ones) -> Iterator[Tail]:
    """Yield tails of the overlap where `known` of the ones stand above all others, which are tied.

    All places of these ones are counted against all words that stand for a message.

    Args:
        length, weight: L and alpha.
        known: 0 to `weight`.
        read: gives the ones that count, of the word of the largest magnitudes and the magnitudes.
    """
    code = ConstantWeightCode(length=length, weight=weight)
    words = np.array([code.unrank(rank) for rank in range(2**code.payload_bits)])
    counts: Counter[int] = Counter()
    drawn = known
    for places in combinations(range(length), known):
        magnitudes = np.zeros(length)
        magnitudes[list(places)] = 1.0
        ones = read(code.ones(magnitudes), magnitudes)
        drawn = int(ones.sum())  # the same for all places
        counts.update((words & ones).sum(axis=1).tolist())
    case = f"overlap, L = {length}, weight {weight}, {known} known"
    yield from _upper(case, counts, lambda count: log10_overlap_tail(count, length, weight, drawn))


def block_tails(length: int, weight: int, log10_p: Callable[[int, int], float] | None = None) -> Iterator[Tail]:
    """Yield tails of right blocks, given how many are known, of two blocks of a protected code.

    All places of the ones of both blocks are counted against all pairs of symbols.

    Args:
        length, weight: L_b and alpha_b.
        log10_p: the p-value of (right, known); that of `log10_match_tail` at 2^-m by default.
    """
    code = ProtectedCode(payload_bits=1, blocks=2, block_length=length, block_weight=weight, check_bits=1)
    symbols = range(2**code.symbol_bits)
    law = log10_p or (lambda right, known: log10_match_tail(right, known, 2.0**-code.symbol_bits))
    blocks = np.array([[i in ones for i in range(length)] for ones in combinations(range(length), weight)], float)
    read = [code.read(np.concatenate(pair)) for pair in product(blocks, repeat=2)]
    counts = {known: Counter[int]() for known in (1, 2)}
    for one in read:
        sure = one.gaps > 0
        if sure.any():
            pairs = np.array(list(product(symbols, repeat=2)))
            counts[int(sure.sum())].update(((one.values == pairs) & sure).sum(axis=1).tolist())
    for known, found in counts.items():
        case = f"blocks, ({length}, {weight}), {known} known"
        if found:
            yield from _upper(case, found, lambda right, known=known: law(right, known))  # type: ignore[misc]


def vacancy_tails(pool: int, survivors: int, hosts: int) -> Iterator[Tail]:
    """Yield tails of surviving hosts over all choices of hosts from a pool."""
    counts = Counter(sum(place < survivors for place in chosen) for chosen in combinations(range(pool), hosts))
    total, summed = sum(counts.values()), 0
    for count in sorted(counts):
        summed += counts[count]
        case = f"vacancy, {hosts} hosts, {survivors} of {pool} survive"
        law = log10_vacancy_tail(count, hosts, pool, survivors)
        yield Tail(case, f"at most {count}", Fraction(summed, total), law)


def match_tails(bits: int) -> Iterator[Tail]:
    """Yield tails of matched bits over all pads; the bits read are the same for all, as where all sums are zero."""
    counts = Counter(sum(pad) for pad in product((0, 1), repeat=bits))
    yield from _upper(f"matched bits, k = {bits}", counts, lambda count: log10_match_tail(count, bits))


def label_tails(carriers: int, classes: int) -> Iterator[Tail]:
    """Yield tails of right carriers over all keyed turns of their labels, for a suspect that answers anything."""
    answers = [index % classes for index in range(carriers)]
    counts: Counter[int] = Counter()
    for turns in product(range(classes), repeat=carriers):
        counts[sum((1 + turn) % classes == answer for turn, answer in zip(turns, answers, strict=True))] += 1
    case = f"labels, {carriers} carriers, C = {classes}"
    yield from _upper(case, counts, lambda count: log10_match_tail(count, carriers, 1 / classes))


def coded_tails(length: int) -> Iterator[Tail]:
    """Yield tails of coded bits over all generators of one message bit and one check bit, and all pads.

    The pad of the coded word makes the law hold for information bits that are all zero, too, which give the zero
    word under every generator.
    """
    code = LinearCode(payload_bits=1, length=length, check_bits=1)
    read = np.arange(length) % 2 == 0
    counts: Counter[int] = Counter()
    pads = np.array(list(product((False, True), repeat=length)))
    for bits in product((0, 1), repeat=2 * length):
        generator = np.array(bits, np.uint8).reshape(2, length)
        for message, check in product((0, 1), repeat=2):
            word = code.encode([message], generator, _fixed(check))
            counts.update(np.sum((word ^ pads) == read, axis=1).tolist())
    yield from _upper(f"coded bits, n = {length}", counts, lambda count: log10_match_tail(count, length))


def _fixed(bit: int) -> Callable[[Bits, int], Bits]:
    return lambda bits, number: np.array([bit], np.uint8)


def all_tails() -> list[Tail]:
    """Return all that the study counts."""
    overlaps = [
        (length, weight, known)
        for length, weight in ((6, 3), (7, 2), (9, 4), (8, 6))
        for known in range(weight + 1)
    ]
    found: list[Iterable[Tail]] = [overlap_tails(*case) for case in overlaps]
    found += [block_tails(*kind) for kind in ((4, 1), (5, 1), (6, 2), (7, 1), (7, 3), (8, 1))]
    found += [vacancy_tails(*case) for case in ((9, 4, 3), (10, 2, 5), (12, 11, 6), (10, 0, 4))]
    found += [match_tails(bits) for bits in (1, 8, 14)]
    found += [label_tails(*case) for case in ((5, 4), (4, 10), (8, 2))]
    found += [coded_tails(length) for length in (2, 4)]
    return [tail for tails in found for tail in tails]


def _upper(case: str, counts: Counter[int], log10_p: Callable[[int], float]) -> Iterator[Tail]:
    total, summed = sum(counts.values()), 0
    for count in sorted(counts, reverse=True):
        summed += counts[count]
        yield Tail(case, f"at least {count}", Fraction(summed, total), log10_p(count))
