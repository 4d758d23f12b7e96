"""Chooses the big integers that the enumerative code counts with: GMP where gmpy2 is installed, else int."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Integers:
    """One implementation of big integers.

    Attributes:
        name: ``"gmpy2"`` or ``"int"``.
        of: turns an int into this kind.
        choose: (n, k) to C(n, k), of this kind.
        exact_quotient: a / b of two integers where b divides a.
    """

    name: str
    of: Callable[[int], int]
    choose: Callable[[int, int], int]
    exact_quotient: Callable[[int, int], int]


PYTHON = Integers("int", int, math.comb, operator.floordiv)


def fastest() -> Integers:
    """Return GMP's integers if gmpy2 can be imported, Python's own otherwise."""
    try:
        import gmpy2
    except ImportError:
        return PYTHON
    return Integers("gmpy2", gmpy2.mpz, gmpy2.bincoef, gmpy2.divexact)
