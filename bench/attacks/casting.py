"""Casts to the number formats that models are published in: bf16, fp16, fp8, NormalFloat and groups of integers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import prunable_tensors
from bench.attacks.quantisation import AFFINE, CHANNEL, SYMMETRIC, TENSOR, affine, quantised
from cwwm.support.errors import BadInput

BF16, FP16, E4M3, E5M2, NORMAL, INTEGER = "bf16", "fp16", "fp8-e4m3", "fp8-e5m2", "nf", "int"
_HALF = {BF16: torch.bfloat16, FP16: torch.float16}
_EIGHTH = {E4M3: torch.float8_e4m3fn, E5M2: torch.float8_e5m2}
_GROUPS = {NORMAL: 64, INTEGER: 128}  # weights that share a scale, unless told
_BITS: dict[str, Sequence[int]] = {
    **dict.fromkeys(_HALF, (16,)),
    **dict.fromkeys(_EIGHTH, (8,)),
    **dict.fromkeys(_GROUPS, range(2, 9)),
}


@dataclass(frozen=True, kw_only=True)
class Casting(Attack):
    """Casts the weights to a number format and back, as everybody does who publishes or serves a model.

    The strength is the bits of a weight, so that a format stands in the tables on the axis of `quantise`; floats of
    one width are formats and not strengths, as none of them is the harder one. Laws, for a weight w that becomes q:

    - a float of p significant bits rounds to nearest, so |q - w| <= |w| 2^-p / (1 + 2^-p) for normal numbers: 1/257
      of |w| in bf16 (p = 8), 1/2049 in fp16 (11), 1/17 in e4m3 (4), 1/9 in e5m2 (3);
    - in fp8 the scale puts the largest magnitude m on the format's largest number (448 or 57,344), so that normal
      numbers begin at m / 28,672 (e4m3) or m / 939,524,096 (e5m2); below, errors are at most 2^-4 or 2^-3 of that;
    - NF of k bits (QLoRA, arXiv 2305.14314, section 3 and appendix E) has the levels of `normal_levels` times the
      largest magnitude m of a block, which stays exact, and what is nearer to 1 than to the next level ties with
      it: NF4 leaves 2.29 weights of magnitude m in a block of 64 Gaussian ones, and hides which was the largest;
    - integers of b bits: |q - w| <= m / (2^b - 2) about zero (`symmetric`, as GPTQ and compressed-tensors use by
      default; levels from -m to m), or half of (max - min) / (2^b - 1) (`affine`, a zero point of its own).

    Zeros stay zero, and casting twice is casting once. The 16-bit floats are cast as ``model.to(dtype)`` does it:
    every parameter and float buffer. The others change convolution and linear weights alone and leave embeddings,
    norms and biases as they are, the practice of bitsandbytes, torchao and llm-compressor. The model keeps
    the values in its own dtype, float32 in the bench, so that it runs and is read as before.

    Attributes:
        format: ``"bf16"``, ``"fp16"``, ``"fp8-e4m3"``, ``"fp8-e5m2"``, ``"nf"`` or ``"int"`` (2 to 8 bits).
        granularity: of fp8: one scale a ``"tensor"``, or one an output ``"channel"`` (axis 0).
        group: of NF and integers: how many weights share a scale; None for 64 (QLoRA) and 128. NF counts them
            through the whole tensor, integers along the inputs of one output channel; the last group may be short.
        scheme: of integers: ``"symmetric"`` or ``"affine"``.
    """

    name: ClassVar[str] = "cast"
    strength: ClassVar[str] = "bits a weight"
    free: ClassVar[bool] = True

    format: str = BF16
    granularity: str = TENSOR
    group: int | None = None
    scheme: str = SYMMETRIC

    def __post_init__(self) -> None:
        """Refuse an unknown format, and what the format has no use for."""
        if self.format not in _BITS:
            raise BadInput(f"cast: format is one of {', '.join(map(repr, _BITS))}, not '{self.format}'")
        self._check("granularity", self.granularity, (TENSOR, CHANNEL), _EIGHTH)
        self._check("scheme", self.scheme, (SYMMETRIC, AFFINE), {INTEGER: None})
        if self.group is not None and (self.format not in _GROUPS or self.group < 2):
            raise BadInput(f"cast: group is at least 2 weights, of {' and '.join(map(repr, _GROUPS))} alone")

    def _check(self, name: str, value: str, known: tuple[str, str], formats: Mapping[str, object]) -> None:
        """Refuse an unknown value, and any but the first for other formats than these."""
        if value not in known:
            raise BadInput(f"cast: {name} is '{known[0]}' or '{known[1]}', not '{value}'")
        if value != known[0] and self.format not in formats:
            raise BadInput(f"cast: {name} is of {' and '.join(map(repr, formats))}, not of '{self.format}'")

    def check_strength(self, strength: float) -> None:
        """Refuse bits that the format has not."""
        if strength not in (bits := _BITS[self.format]):
            said = f"an integer from {bits[0]} to {bits[-1]}" if len(bits) > 1 else str(bits[0])
            raise BadInput(f"cast: the bits of '{self.format}' are {said}, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Cast in place; `achieved` has the share of weights that became ``zeroed``, and the change.

        Raises:
            BadInput: for bits that the format has not.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            for tensor in (_floats(model) if self.format in _HALF else tensors).values():
                tensor.copy_(self.cast(tensor, int(strength)))
        zeroed = sum(int(((tensors[name] == 0) & (old != 0)).sum()) for name, old in before.items())
        count = sum(tensor.numel() for tensor in tensors.values())
        achieved = {"bits": int(strength), "zeroed": zeroed / max(1, count), **measure_change(before, tensors)}
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def cast(self, tensor: Tensor, bits: int) -> Tensor:
        """Return the values, float32, that a tensor of any shape has in the format."""
        if dtype := _HALF.get(self.format):
            return tensor.to(dtype).float()
        if dtype := _EIGHTH.get(self.format):
            rows = tensor.reshape(len(tensor) if self.granularity == CHANNEL else 1, -1)
            return scaled(rows, dtype).reshape(tensor.shape)
        rows = tensor.reshape(1 if self.format == NORMAL else len(tensor), -1)
        return by_group(rows, self.group or _GROUPS[self.format], self._rounding(bits)).reshape(tensor.shape)

    def _rounding(self, bits: int) -> Callable[[Tensor], Tensor]:
        """Return what rounds groups (g, n) of NF or integers."""
        if self.format == NORMAL:
            return partial(normal_float, bits=bits)
        return partial(affine if self.scheme == AFFINE else quantised, bits=bits)


def _floats(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and float buffer, sharing the model's memory."""
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def scaled(groups: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `groups` (g, n) in an 8-bit float of a scale a row, float32; a row of zeros stays.

    The scale, a float32, puts the row's largest magnitude on the largest number of the format.
    """
    values, largest = groups.float(), torch.finfo(dtype).max
    scales = values.abs().amax(1, keepdim=True) / largest
    cast = (values / scales).clamp(-largest, largest).to(dtype).float() * scales
    return torch.where(scales > 0, cast, values)


def by_group(rows: Tensor, size: int, rounded: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `rows` (r, n) rounded in groups of `size` neighbours in a row, float32; the last group may be short.

    Args:
        rows: of a tensor.
        size: weights of a group, at least 1.
        rounded: takes and returns groups, (g, `size`) float32; zeros in a group must change nothing.
    """
    count = rows.shape[1]
    padded = functional.pad(rows.float(), (0, -count % size))
    return rounded(padded.reshape(-1, size)).reshape(padded.shape)[:, :count]


def normal_float(groups: Tensor, bits: int) -> Tensor:
    """Return `groups` (g, n), each weight at the nearest level of its row's NF, float32; a row of zeros stays."""
    values = groups.float()
    largest = values.abs().amax(1, keepdim=True)
    levels = torch.tensor(normal_levels(bits), device=values.device)
    codes = torch.bucketize(values / largest, (levels[1:] + levels[:-1]) / 2)
    return torch.where(largest > 0, levels[codes] * largest, values)


@cache
def normal_levels(bits: int) -> tuple[float, ...]:
    """Return the 2^k levels of NF of k bits, from -1 to 1, in order.

    Quantiles of the normal distribution at even probabilities, divided by the largest: 2^(k-1) + 1 of them from 1/2
    to 1 - d for what is not negative, 2^(k-1) from d to 1/2 for what is not positive, zero being in both. d is
    (1 / 2^(k+1) + 1 / (2^(k+1) - 2)) / 2: (1/32 + 1/30) / 2 for k = 4, as in bitsandbytes, which rounds 1 - d to
    0.9677083, so that the paper's own list differs from this by less than 3e-7.
    """
    half = 2 ** (bits - 1)
    outer = 1 - (1 / (4 * half) + 1 / (4 * half - 2)) / 2
    above, below = (
        [NormalDist().inv_cdf(0.5 + (outer - 0.5) * part / parts) for part in range(1, parts + 1)]
        for parts in (half, half - 1)
    )
    return (*(-level / below[-1] for level in reversed(below)), 0.0, *(level / above[-1] for level in above))
