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
from itertools import chain, pairwise
from typing import NamedTuple

from cwwm.codes.integers import Integers

# Measured: shorter runs cost more to join than they save in full-size products.
_LEAST_RUN = 64
# Four roundings of 2^-52 (GMP truncates) is the most that one quantity of `_float_run` takes between bounds.
_ROUNDING = 2.0**-49
# A wrong guess is repaired by one step at a time; past this many the whole integers decide.
_REPAIRS = 4
_LOG_2 = math.log(2)


class Run(NamedTuple):
    """A run of ones from a state D: D becomes D p / q, the rank grows by D t / q; `tops` are its positions."""

    p: int
    q: int
    t: int
    tops: Sequence[int]


class Place(NamedTuple):
    """The one that was placed last: the `ordinal`-th, at position `top`; so D = C(top, ordinal)."""

    top: int
    ordinal: int

    def after(self, run: Run) -> "Place":
        """Return the place of the last one of `run`."""
        return Place(run.tops[-1], self.ordinal - len(run.tops))


def rank_of(positions: Sequence[int], length: int, integers: Integers) -> int:
    """Return sum_j C(p_j, j) of ascending distinct `positions` below `length`; fewer than `length` of them."""
    packed = next((i for i, p in enumerate(positions) if p != i), len(positions))
    # C(p_j, j) = 0 for the packed ones at 0, 1, 2, ...: a zero would end the chain of ratios.
    tops = [length, *reversed(positions[packed:])]
    first = len(positions) + 1
    steps = [_step(top, first - i, top - low, integers) for i, (top, low) in enumerate(pairwise(tops))]
    state = integers.choose(length, first)
    return int(_summed(steps, state, _run_length(length, len(positions), state), integers))


def _summed(steps: list[tuple[int, int]], state: int, size: int, integers: Integers) -> int:
    """Return the sum of the states that `steps` lead to, in runs of `size` steps."""
    total = integers.of(0)
    if size == 1:
        for p, q in steps:
            state = integers.exact_quotient(state * p, q)
            total += state
        return total
    for start in range(0, len(steps), size):
        p_run, q_run = map(list, zip(*steps[start : start + size], strict=True))
        gain, state = _advance(state, _join(p_run, q_run, p_run, ()), integers)
        total += gain
    return total


def positions_of(rank: int, length: int, weight: int, integers: Integers) -> list[int]:
    """Return the ascending positions of the `weight` < `length` ones of the word numbered `rank`."""
    found: list[int] = []
    rest, state, at = integers.of(rank), integers.choose(length, weight + 1), Place(length, weight + 1)
    size = _run_length(length, weight, state)
    window = 128 + size * state.bit_length() // (weight + 1)
    while rest:
        run = _window_run(rest, state, at, window, integers) if size > 1 else None
        if run:
            tops = run.tops
            gain, state = _advance(state, run, integers)
        else:
            state, top = _exact_step(rest, state, at, integers)
            gain, tops = state, [top]
        rest -= gain
        found += tops
        at = Place(tops[-1], at.ordinal - len(tops))
    return [*range(at.ordinal - 1), *reversed(found)]


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
        b, d, slack = b - d * run.t // run.q, d * run.p // run.q, slack * (1 + ratio) + 2
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
    for the new one, the j-th at p. Past the last one the true ratio is 0, which no float can tell from -0:
    so whole integers always place that.
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
        scale = float(q) / float(p) if gap * top.bit_length() < 1000 else _quotient(q, p)
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


def _exact_step(rest: int, state: int, at: Place, integers: Integers) -> tuple[int, int]:
    """Return C(p, j - 1) and p, the largest p for which that is <= rest, by whole integers; rest > 0."""
    top, ordinal = at
    left = ordinal - 1
    gap = _gap(_log_quotient(rest, state) + math.log((top - left) / ordinal), top, left)
    while True:
        p, q = _step(top, ordinal, gap, integers)
        term = integers.exact_quotient(state * p, q)
        above = top - gap + 1
        if term > rest:
            gap += 1
        elif rest * (above - left) >= term * above:
            gap -= 1
        else:
            return term, top - gap


def _log_quotient(a: int, b: int) -> float:
    drop = max(0, a.bit_length() - 64)
    more = max(0, b.bit_length() - 64)
    return math.log(float(a >> drop) / float(b >> more)) + (drop - more) * _LOG_2


def _gap(log_ratio: float, top: int, ones: int) -> int:
    """Guess the least gap >= 1 with C(top - gap, ones) / C(top, ones) <= exp(log_ratio).

    The quotient is a product of `gap` nearly equal factors: all are taken as the one at half the gap, which
    is right to about gap^3 / (12 top^2).
    """
    half = -log_ratio * top / (2 * ones)
    if 16 * half < top - ones and half * half * half < 0.1 * top * top:
        return max(math.ceil(log_ratio / math.log1p(-ones / (top - half))), 1)
    return _gap_by_bisection(log_ratio, top, ones)


def _gap_by_bisection(log_ratio: float, top: int, ones: int) -> int:
    goal = log_ratio + math.lgamma(top + 1) - math.lgamma(top - ones + 1)
    low, high = 0, top - ones
    while high - low > 1:
        middle = (low + high) // 2
        value = math.lgamma(top - middle + 1) - math.lgamma(top - middle - ones + 1)
        low, high = (low, middle) if value <= goal else (middle, high)
    return high
