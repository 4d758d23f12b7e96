"""Memristor pairs that hold a quantised weight: programming, what real devices do to it, and reading it back.

Mapping after Yuan et al., ISLPED 2019 (arXiv 1908.11691): a weight is an integer code times its layer's step,
codes are +-1 to +-2^(b-1), and 0 only where a weight was pruned. Each base-16 digit of the magnitude takes a
pair of cells, one a polarity; the pair's difference is the signed digit.

The paper leaves open how 2^(b-1) magnitudes, none of them zero, fit (b-1)-bit digits. Were magnitude i stored
as i - 1, then +1 and -1 would both leave the pair at g_min, and the sign would be lost. Here the digits of
i - 1 are stored with 1 added to the lowest: the lowest digit runs over 1 to 16, every higher one over 0 to 15.
A cell so has the 16 states that its 4 bits can program, and g_min, the erased state, which is that of the
unused polarity and of pruned positions (and 0 in the higher digits). A survivor always differs from zero by
at least one state, with its sign, and 2^(b-1) fits. Each slice spreads its digits evenly over the full range,
g = g_min + (1 - g_min) digit / top with `top` the slice's largest digit, so that few bits stand far apart.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attacks.compression.crossbar import BITS_PER_CELL, gemm_shape, slice_count
from cwwm.support.errors import BadInput

STUCK_ON = 5.2 / 6.2  # share of stuck cells that are stuck on; 5.2 : 1 in the same group's ISQED 2021 paper
_BASE = 2**BITS_PER_CELL
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Device:
    """What the cells of a crossbar are like; conductances are in units of the largest, g_max = 1.

    The paper simulates none of the effects (its mismatch is the level grid alone): they are this project's
    extension, off by default, and act in the order given here.

    Attributes:
        resistance_ratio: largest over smallest resistance (the paper's 10 MOhm over 1 MOhm), so g_min = 1/10.
        state_offset: how far the mean of a state half-way up lies above the linear grid, as a share of the
            range; deterministic, the same for all cells. A level at x of the range moves to
            x + 4 state_offset x (1 - x), a bow with both ends fixed, monotone within +-1/4.
        sigma: each cell's conductance, erased ones too, is multiplied by exp(sigma z), z standard normal.
            Nothing is cut off: a cell near g_max may exceed it.
        stuck: probability that a cell is stuck, on (exactly g_max) or off (exactly g_min) as 5.2 : 1.
        column_gain: each column is read with a gain of exp(column_gain z). A column is one filter in one
            slice: both polarities, subtracted before one converter, share it, and so do all row tiles.
    """

    resistance_ratio: float = 10.0
    state_offset: float = 0.0
    sigma: float = 0.0
    stuck: float = 0.0
    column_gain: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not 1 < self.resistance_ratio < math.inf:
            raise BadInput(f"device: resistance_ratio is a number above 1, not {self.resistance_ratio:g}")
        if not -0.25 <= self.state_offset <= 0.25:
            raise BadInput(f"device: state_offset is between -0.25 and 0.25, not {self.state_offset:g}")
        if not 0 <= self.stuck <= 1:
            raise BadInput(f"device: stuck is a probability between 0 and 1, not {self.stuck:g}")
        for name, value in (("sigma", self.sigma), ("column_gain", self.column_gain)):
            if not 0 <= value < math.inf:
                raise BadInput(f"device: {name} is 0 or a positive number, not {value:g}")

    @property
    def g_min(self) -> float:
        """Return the conductance of an erased cell."""
        return 1 / self.resistance_ratio

    @property
    def is_random(self) -> bool:
        """Return whether programming draws anything at random."""
        return bool(self.sigma or self.stuck or self.column_gain)


@dataclass(frozen=True)
class Programmed:
    """A layer on crossbars.

    Attributes:
        plus, minus: conductances of both polarities, float32, (slices, *shape of the codes), lowest digit first.
        gain: of each column, float32, (slices, filters, 1...).
        kept: bool, the shape of the codes, False where pruned.
        bits: signed bits of a weight.
        device: what the cells are like.
    """

    plus: Tensor
    minus: Tensor
    gain: Tensor
    kept: Tensor
    bits: int
    device: Device


@torch.no_grad()
def program(
    codes: Tensor, bits: int, device: Device | None = None, generator: torch.Generator | None = None
) -> Programmed:
    """Write signed codes into pairs of cells, with everything that the device does to them.

    Args:
        codes: (filters, inputs...), a signed integer dtype, from -2^(bits-1) to 2^(bits-1), 0 where pruned.
        bits: signed bits of a weight, 2 to 16; bits - 1 are sliced into 4-bit digits.
        device: the cells; ideal ones with a resistance ratio of 10 if left out.
        generator: of everything random. Draws are made on its own device, so that a CPU generator gives one
            result on every device.

    Raises:
        BadInput: for codes of another dtype, fewer than two axes, none or out of range, for bits out of range, or
            for a random device without a generator.
    """
    device = device or Device()
    top = _column(_tops(bits), codes)
    digits = _digits(_checked(codes, bits), bits)
    if device.is_random and generator is None:
        raise BadInput("device: sigma, stuck and column_gain are random; give a seeded torch.Generator")
    states = _conductance(digits / top, device)
    erased = torch.full_like(states, device.g_min)
    plus, minus = torch.where(codes > 0, states, erased), torch.where(codes < 0, states, erased)
    gain = torch.ones(len(digits), len(codes), *[1] * (codes.ndim - 1), device=codes.device)
    if generator is not None:
        plus, minus = _vary(plus, device, generator), _vary(minus, device, generator)
        gain = _lognormal(gain, device.column_gain, generator)
    return Programmed(plus, minus, gain, codes != 0, bits, device)


@torch.no_grad()
def read_back(cells: Programmed, *, residue: bool = False) -> Tensor:
    """Return the codes that a layer's cells now stand for, float32, in the shape of the codes.

    The code is the sum over slices of 16^d top (g+ - g-) / (g_max - g_min) times the column's gain.

    Args:
        cells: from `program`.
        residue: False returns exact zeros where pruned (those cells do not exist, or are switched off); True
            leaves what the pair of erased cells there amounts to, as on a layer mapped without compaction.
    """
    place = _column([_BASE**d * top for d, top in enumerate(_tops(cells.bits))], cells.kept)
    signed = (cells.plus - cells.minus) * cells.gain * (place / (1 - cells.device.g_min))
    codes = signed.sum(0)
    return codes if residue else codes.masked_fill(~cells.kept, 0.0)


def _checked(codes: Tensor, bits: int) -> Tensor:
    """Return the magnitudes, int32."""
    gemm_shape(codes.shape)
    if codes.dtype not in _INTEGERS:
        raise BadInput(f"device: codes have a signed integer dtype, not {codes.dtype}; divide by the step, round")
    if codes.numel() == 0:
        raise BadInput("device: there are no codes to program; leave the layer out")
    low, high = (int(end) for end in codes.aminmax())
    largest = 2 ** (bits - 1)
    if max(-low, high) > largest:
        raise BadInput(f"device: a code of {bits} bits is from -{largest} to {largest}, not {low} to {high}")
    return codes.int().abs()


def _digits(magnitudes: Tensor, bits: int) -> Tensor:
    """Return the digits (slices, *shape), lowest first: those of i - 1 in base 16, the lowest plus 1; 0 for 0."""
    index = (magnitudes - 1).clamp(min=0)
    digits = torch.stack([index >> BITS_PER_CELL * d & _BASE - 1 for d in range(slice_count(bits))])
    digits[0] += magnitudes > 0
    return digits


def _tops(bits: int) -> list[int]:
    """Return the largest digit of each slice; the highest slice holds what bits are left over."""
    widths = [min(BITS_PER_CELL, bits - 1 - BITS_PER_CELL * d) for d in range(slice_count(bits))]
    return [2**width - (d > 0) for d, width in enumerate(widths)]


def _column(values: list[int], like: Tensor) -> Tensor:
    """Return one value a slice, float32, shaped to multiply (slices, *shape of `like`)."""
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(-1, *[1] * like.ndim)


def _conductance(level: Tensor, device: Device) -> Tensor:
    """Return the mean conductance of states at `level`, 0 to 1, of the range."""
    bowed = level + 4 * device.state_offset * level * (1 - level)
    return (device.g_min + (1 - device.g_min) * bowed).clamp(device.g_min, 1.0)  # rounding may pass an end


def _vary(cells: Tensor, device: Device, generator: torch.Generator) -> Tensor:
    """Return the cells after lognormal variation, then with some of them stuck."""
    varied = _lognormal(cells, device.sigma, generator)
    if device.stuck == 0:
        return varied
    draw = torch.rand(cells.shape, generator=generator, device=generator.device).to(cells.device)
    varied = varied.masked_fill(draw < device.stuck, device.g_min)
    return varied.masked_fill(draw < device.stuck * STUCK_ON, 1.0)


def _lognormal(values: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Return each value times exp(sigma z)."""
    if sigma == 0:
        return values
    draw = torch.randn(values.shape, generator=generator, device=generator.device).to(values.device)
    return values * torch.exp(sigma * draw)
