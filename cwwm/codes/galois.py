"""Arithmetic in the fields GF(2^m), m = 2 to 16, on whole arrays by tables of logarithms."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from cwwm.support.errors import BadInput

Elements = npt.NDArray[np.uint16]
Exponents = npt.NDArray[np.int64]

LEAST_BITS, MOST_BITS = 2, 16
# x generates the field modulo these (Lin and Costello, Error Control Coding, appendix A; m = 8 as in QR codes).
_PRIMITIVE = {
    2: 0x7, 3: 0xB, 4: 0x13, 5: 0x25, 6: 0x43, 7: 0x89, 8: 0x11D, 9: 0x211,
    10: 0x409, 11: 0x805, 12: 0x1053, 13: 0x201B, 14: 0x4443, 15: 0x8003, 16: 0x1100B,
}  # fmt: skip
# Products looked up at once in `matmul`: their indices stay in a core's cache.
_PRODUCTS = 2**16


@dataclass(frozen=True, eq=False)
class Field:
    """GF(2^m): an element is the uint16 whose bits are its coefficients, addition is XOR, alpha = x = 2.

    The logarithm of zero is 2 (2^m - 1), past every sum of two logarithms, and the antilogarithms from there
    on are zero: so a product needs no test for zero.

    Attributes:
        order: 2^m - 1, the order of alpha; exponents count modulo it.
        log: int64 (2^m,), logarithms to base alpha.
        antilog: uint16 (4 order + 1,), powers of alpha by exponents of 0 up to 2 order - 1, then zeros.
    """

    order: int
    log: Exponents
    antilog: Elements

    def multiply(self, a: Elements, b: Elements) -> Elements:
        """Return the products of two uint16 arrays that broadcast."""
        product: Elements = self.antilog[self.log[a] + self.log[b]]
        return product

    def inverse(self, a: Elements) -> Elements:
        """Return 1 / a of a uint16 array without zeros."""
        return self.antilog[self.order - self.log[a]]

    def scale(self, a: Elements, exponents: Exponents) -> Elements:
        """Return a alpha^exponents, exponents in [0, order], of two arrays that broadcast."""
        product: Elements = self.antilog[self.log[a] + exponents]
        return product

    def matmul(self, a: Elements, log_b: Exponents) -> Elements:
        """Return the matrix product, uint16 (B, c), of `a` (B, k) and a matrix (k, c) given by its logarithms."""
        total = np.zeros((len(a), log_b.shape[1]), np.uint16)
        log_a = self.log[a]
        at_once = max(1, _PRODUCTS // max(1, total.size))
        for start in range(0, len(log_b), at_once):
            part = slice(start, start + at_once)
            products = self.antilog[log_a[:, part, None] + log_b[None, part]]
            total ^= np.bitwise_xor.reduce(products, axis=1)
        return total


@cache
def field(bits: int) -> Field:
    """Return GF(2^bits), its tables built once.

    Raises:
        BadInput: bits is not in 2 to 16.
    """
    if bits not in _PRIMITIVE:
        raise BadInput(f"there are symbols of {LEAST_BITS} to {MOST_BITS} bits, not of {bits}")
    order = 2**bits - 1
    log = np.full(order + 1, 2 * order, np.int64)
    antilog = np.zeros(4 * order + 1, np.uint16)
    power = 1
    for exponent in range(order):
        log[power] = exponent
        antilog[exponent] = antilog[exponent + order] = power
        power <<= 1
        if power > order:
            power ^= _PRIMITIVE[bits]
    return Field(order, log, antilog)
