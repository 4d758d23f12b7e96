"""Ranks and unranks large constant-weight words in colexicographic order without visiting every position.

The order is that of Schalkwijk 1972 and Cover 1973: rank = sum_j C(p_j, j) over the ascending positions
p_1 < p_2 < ... of the ones. Walking down from one to the next, with D = C(p, j) and a gap g,

    C(p - g, j - 1) = D P / Q,   P / Q = j C(p - j, g - 1) / (g C(p, g)) = C(p - g, j - 1) / C(p, j),

so a run of ones turns D into D P / Q and adds D T / Q to the rank, with small P, Q, T that binary splitting
joins. Reading a rank finds the gaps first in float64, from the leading digits, then in a window of a few
hundred bits, and touches the full numbers once a window. Each float carries a bound on its error; what the
bound cannot decide is decided by whole integers, so the result is exact.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from cwwm.codes.integers import Integers

# Shorter runs cost more to join than they save.
_LEAST_RUN = 16
# Four roundings of 2^-52 (GMP truncates) is the most that one quantity of `_float_run` takes between bounds.
_ROUNDING = 2.0**-49
# A wrong guess is repaired by one step at a time; past this many the whole integers decide.
_REPAIRS = 4


class Run(NamedTuple):
    """A run of ones from a state D: D becomes D p / q, the rank grows by D t / q; `tops` are its positions."""

    p: int
    q: int
    t: int
    tops: Sequence[int]


class Place(NamedTuple):
    """The one that was placed last: the `index`-th, at position `top`; so D = C(top, index)."""

    top: int
    index: int

    def after(self, run: Run) -> "Place":
        """Return the place of the last one of `run`."""
        return Place(run.tops[-1], self.index - len(run.tops))


def rank_of(positions: Sequence[int], length: int, integers: Integers) -> int:
    """Return sum_j C(p_j, j) of ascending distinct `positions` below `length`; fewer than `length` of them."""
    packed = next((i for i, p in enumerate(positions) if p != i), len(positions))
    # C(p_j, j) = 0 for the packed ones at 0, 1, 2, ...: a zero would end the chain of ratios.
    tops = [length, *reversed(positions[packed:])]
    first = len(positions) + 1
    steps = [
        _step(top, first - i, top - low, integers)
        for i, (top, low) in enumerate(zip(tops, tops[1:], strict=False))
    ]
    total, state = integers.of(0), integers.choose(length, first)
    size = _run_length(length, len(positions), state)
    for start in range(0, len(steps), size):
        p, q = map(list, zip(*steps[start : start + size], strict=True))
        gain, state = _advance(state, _join(p, q, p, ()), integers)
        total += gain
    return int(total)


def positions_of(rank: int, length: int, weight: int, integers: Integers) -> list[int]:
    """Return the ascending positions of the `weight` < `length` ones of the word numbered `rank`."""
    found: list[int] = []
    rest, state, at = integers.of(rank), integers.choose(length, weight + 1), Place(length, weight + 1)
    window = 128 + max(8, _run_length(length, weight, state)) * state.bit_length() // (weight + 1)
    while rest:
        run = _window_run(rest, state, at, window, integers) or _exact_step(rest, state, at, integers)
        gain, state = _advance(state, run, integers)
        rest -= gain
        found += run.tops
        at = at.after(run)
    return [*range(at.index - 1), *reversed(found)]


def _run_length(length: int, weight: int, state: int) -> int:
    """Return for how many ones Q grows about as long as the state: measured to be the best run on 7 codes."""
    ones = int(state.bit_length() * weight / (length * math.log2(4 * weight)))
    return ones if ones >= _LEAST_RUN else 1


def _advance(state: int, run: Run, integers: Integers) -> tuple[int, int]:
    """Return what `run` adds to the rank, and the state after it."""
    after = integers.exact_quotient(state * run.p, run.q)
    # One step adds exactly the state that it reaches.
    return (after if run.t is run.p else integers.exact_quotient(state * run.t, run.q)), after


def _join(p: list[int], q: list[int], t: list[int], tops: Sequence[int]) -> Run:
    """Join consecutive runs, given as three lists of equal length > 0, by binary splitting."""
    while len(p) > 1:
        tail = slice(len(p) & ~1, None)
        t = [a * y + x * b for x, a, b, y in zip(p[::2], t[::2], t[1::2], q[1::2], strict=False)] + t[tail]
        p = [a * b for a, b in zip(p[::2], p[1::2], strict=False)] + p[tail]
        q = [a * b for a, b in zip(q[::2], q[1::2], strict=False)] + q[tail]
    return Run(p[0], q[0], t[0], tops)


def _step(top: int, index: int, gap: int, integers: Integers) -> tuple[int, int]:
    """Return (P, Q) of one step down by `gap`, in the form with the fewer factors."""
    choose = integers.choose
    if gap <= index:
        return choose(top - index, gap - 1) * index, choose(top, gap) * gap
    return choose(top - gap, index - 1), choose(top, index)


def _window_run(rest: int, state: int, at: Place, window: int, integers: Integers) -> Run | None:
    """Read ones from the `window` leading bits of the state; None if these decide nothing.

    `b` and `d` approximate rest / 2^shift and state / 2^shift to within `slack`.
    """
    shift = max(0, state.bit_length() - window)
    b, d, slack = rest >> shift, state >> shift, float(shift > 0)
    runs: list[Run] = []
    while True:
        ratio = _quotient(b, d)
        # _float_run takes the ratio as good to _ROUNDING (1 + ratio): stop while that is still certain.
        run = _float_run(ratio, at, integers) if slack * (1 + ratio) < d >> 53 or not shift else None
        if run is None:
            break
        b, d, slack = b - d * run.t // run.q, d * run.p // run.q, slack * (1 + ratio) + 1
        runs.append(run)
        at = at.after(run)
    if not runs:
        return None
    p, q, t, tops = map(list, zip(*runs, strict=True))
    return _join(p, q, t, [*chain.from_iterable(tops)])


def _quotient(b: int, d: int) -> float:
    """Return b / d from the 62 leading bits of d."""
    drop = max(0, d.bit_length() - 62)
    low = d >> drop
    return float(b >> drop) / float(low) if low else 0.0


def _float_run(ratio: float, at: Place, integers: Integers) -> Run | None:
    """Read ones as long as float64 can tell them; ratio = rest / state, within _ROUNDING (1 + ratio).

    The next ratio is ratio Q / P - 1, and the gap is right if and only if that lies in [0, j / (p - j + 1))
    for the new one, the j-th at p.
    """
    top, index = at
    tops: list[int] = []
    run_p = run_q = 1
    run_t = 0
    error, repairs, gap = _ROUNDING * (1 + ratio), _REPAIRS, 0
    while ratio > error and repairs:
        left = index - 1
        gap = gap or _gap(math.log(ratio * (top - left) / index), top, left)
        p, q = _step(top, index, gap, integers)
        scale = float(q) / float(p) if gap * top.bit_length() < 1000 else float(q / p)
        new_error = (error + _ROUNDING * ratio) * scale
        new_ratio = ratio * scale - 1
        limit = left / (top - gap - left + 1)
        if new_error < new_ratio < limit - new_error:
            run_p, run_q, run_t = run_p * p, run_q * q, run_t * q + run_p * p
            top, index, ratio, error, gap = top - gap, left, new_ratio, new_error, 0
            tops.append(top)
        elif new_ratio < -new_error:
            gap, repairs = gap + 1, repairs - 1
        elif new_ratio > limit + new_error and gap > 1:
            gap, repairs = gap - 1, repairs - 1
        else:
            break
    return Run(run_p, run_q, run_t, tops) if tops else None


def _exact_step(rest: int, state: int, at: Place, integers: Integers) -> Run:
    """Place one `one` by whole integers: the largest p with C(p, index - 1) <= rest, where rest > 0."""
    top, left = at.top, at.index - 1
    log_ratio = _log(rest) - _log(state) + math.log((top - left) / at.index)
    gap = _gap(log_ratio, top, left)
    while True:
        p, q = _step(top, at.index, gap, integers)
        term = integers.exact_quotient(state * p, q)
        above = top - gap + 1
        if term > rest:
            gap += 1
        elif rest * (above - left) >= term * above:
            gap -= 1
        else:
            return Run(p, q, p, [top - gap])


def _log(n: int) -> float:
    drop = max(0, n.bit_length() - 64)
    return math.log(int(n >> drop)) + drop * math.log(2)


def _gap(log_ratio: float, top: int, ones: int) -> int:
    """Guess the least gap >= 1 with C(top - gap, ones) / C(top, ones) <= exp(log_ratio).

    The quotient is a product of nearly equal factors, min(gap, ones) of them: all are taken as the middle one.
    """
    gap = log_ratio / math.log1p(-ones / top)
    if gap * gap > 0.02 * top:
        gap = log_ratio / math.log1p(-ones / max(top - (gap - 1) / 2, ones + 0.5))
        if gap > ones:
            gap = -(top - (ones - 1) / 2) * math.expm1(log_ratio / ones)
        if min(gap, ones) ** 3 > top * top:
            gap = _gap_by_bisection(log_ratio, top, ones)
    return min(max(math.ceil(gap), 1), top - ones)


def _gap_by_bisection(log_ratio: float, top: int, ones: int) -> int:
    goal = log_ratio + math.lgamma(top + 1) - math.lgamma(top - ones + 1)
    low, high = 0, top - ones
    while high - low > 1:
        middle = (low + high) // 2
        value = math.lgamma(top - middle + 1) - math.lgamma(top - middle - ones + 1)
        low, high = (low, middle) if value <= goal else (middle, high)
    return high
