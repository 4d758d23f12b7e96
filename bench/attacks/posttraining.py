"""Post-training quantisation by the library that an attacker would take: torchao, weights only, without data."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import prunable_tensors
from bench.attacks.quantisation import most_levels
from cwwm.support.errors import BadInput, EnvironmentFault

MINMAX, HQQ = "minmax", "hqq"
_LIBRARY = "torchao"
_BITS = range(2, 9)  # torchao also has one bit, whose two codes are -1 and 0
_ALGORITHMS = {MINMAX: "affine", HQQ: "hqq_scale_only"}  # torchao's names


@dataclass(frozen=True, kw_only=True)
class PostTrainingQuantisation(Attack):
    """Quantises every convolution and linear weight by torchao's `quantize_`, one scale an output channel.

    The integers of b bits, from -2^(b-1) to 2^(b-1) - 1, are symmetric about a zero point of 0, so exact zeros stay
    zero. torchao's configuration scales a convolution by kernel place where it should by filter, and skips what is
    neither 2-d nor 4-d; so each weight is given to it as the linear layer of its matrix view (outputs, the rest),
    in which the scale of a row is the filter's. The dequantised floats go back into the model in its own dtype: it
    has the values of the quantised model and every extractor can read it.

    Attributes:
        algorithm: how scales are chosen: ``"minmax"``, from the extremes, or ``"hqq"``, half-quadratic, which
            lowers the error of most weights at the cost of outliers.
    """

    name: ClassVar[str] = "quantise-torch"
    strength: ClassVar[str] = "bits a weight"

    algorithm: str = MINMAX

    def __post_init__(self) -> None:
        """Refuse an unknown algorithm."""
        if self.algorithm not in _ALGORITHMS:
            raise BadInput(f"{self.name}: algorithm is '{MINMAX}' or '{HQQ}', not '{self.algorithm}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no integer from 2 to 8."""
        if strength not in _BITS:
            raise BadInput(f"{self.name}: bits are an integer from {_BITS[0]} to {_BITS[-1]}, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Quantise in place; `achieved` names library and layers, and counts the levels a channel has at most.

        Raises:
            BadInput: unless the strength is an integer from 2 to 8, and torchao is installed.
        """
        self.check_strength(strength)
        library, quantisation = _load()
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        rows = [tensor.reshape(len(tensor), -1) for tensor in tensors.values()]
        with timed(context.device) as watch:
            for tensor, values in zip(tensors.values(), self._quantised(quantisation, rows, strength), strict=True):
                tensor.copy_(values.reshape(tensor.shape))
        achieved = {
            "bits": int(strength),
            "library": library,
            "quantised": list(tensors),
            "levels": max((most_levels(t.reshape(len(t), -1)) for t in tensors.values()), default=0),
            **measure_change(before, tensors),
        }
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def _quantised(self, quantisation: Any, rows: Sequence[Tensor], bits: float) -> list[Tensor]:  # noqa: ANN401
        """Return the matrices (outputs, inputs), each quantised by row and dequantised, float32."""
        config = quantisation.IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, f"int{int(bits)}"),
            granularity=quantisation.PerAxis(0),
            intx_choose_qparams_algorithm=_ALGORITHMS[self.algorithm],
        )
        layers = nn.ModuleList(_linear(row) for row in rows)
        quantisation.quantize_(layers, config)
        return [layer.get_parameter("weight").dequantize() for layer in layers]


def _linear(rows: Tensor) -> nn.Linear:
    layer = nn.Linear(rows.shape[1], rows.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(rows.float(), requires_grad=False)
    return layer


def _load() -> tuple[str, Any]:
    """Return name with version of the library, and its quantisation package."""
    try:
        library = importlib.import_module(_LIBRARY)
        return f"{_LIBRARY} {library.__version__}", importlib.import_module(f"{_LIBRARY}.quantization")
    except ImportError as error:
        raise EnvironmentFault(f"quantise-torch needs {_LIBRARY}: pip install {_LIBRARY}") from error
