"""What layers read on an attacker's images: second moments of the inputs of every convolution and linear layer."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bench.attacks.base import AttackContext
from bench.attacks.means import drawn
from bench.attacks.pruning import prunable_tensors
from bench.data.dataset import Split
from cwwm.channels.graph import evaluating
from cwwm.support.errors import BadInput

IMAGES = 128  # calibration samples, as many as Wanda, SparseGPT and GPTQ take sequences
_BATCH = 16  # unfolded inputs of a convolution are large

#: of inputs (groups, samples, columns): (groups, columns) or (groups, columns, columns), float64
Moment = Callable[[Tensor], Tensor]


def check_images(attack: str, images: int) -> None:
    """Raise BadInput, led by the attack's name, for less than one calibration image."""
    if images < 1:
        raise BadInput(f"{attack}: images is a whole number of at least 1, not {images}")


def calibration(context: AttackContext, count: int) -> tuple[Split, float]:
    """Return `count` images of the attacker's training data (`drawn`), and which share of it they are.

    Raises:
        BadInput: for a data set without training images.
    """
    train = context.data.train
    if not len(train):
        raise BadInput(f"data set '{context.data.name}' has no training images, from which calibration takes some")
    split = drawn(train, count, context)
    return split, len(split) / len(train)


def squares(inputs: Tensor) -> Tensor:
    """Return the sum of squares of each input, float64 (groups, columns), of inputs (groups, samples, columns)."""
    return inputs.square().sum(1).double()


def gram(inputs: Tensor) -> Tensor:
    """Return X^T X, float64 (groups, columns, columns), of inputs X (groups, samples, columns)."""
    return (inputs.transpose(1, 2) @ inputs).double()


def input_moments(model: nn.Module, images: Tensor, moment: Moment) -> dict[str, Tensor]:
    """Return for each weight the sum over images and places of a moment of its layer's inputs.

    A layer's inputs are what each output sums over: for a convolution its unfolded patches, padding included, one
    set a group of channels; columns have the order of the weight's second and later axes. Layers are seen where
    they call PyTorch's linear or 2-d convolution with the parameter itself, however a model pads before.

    Args:
        model: run in evaluation mode, without gradients; left as it is.
        images: (n, c, h, w).
        moment: `squares` or `gram`.

    Returns:
        by name; weights whose layer was not seen (weight-standardised, 1-d or 3-d, unused) are left out.
    """
    names = {id(model.get_parameter(name)): name for name in prunable_tensors(model)}
    listener = _Listener(names, moment)
    with evaluating(model), listener:
        for batch in torch.split(images, _BATCH):
            model(batch)
    return listener.found


class _Listener(TorchFunctionMode):
    """Adds up a moment of what linear layers and convolutions of known weights read."""

    def __init__(self, names: Mapping[int, str], moment: Moment) -> None:
        super().__init__()
        self.found: dict[str, Tensor] = {}
        self._names, self._moment = names, moment

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 (whatever the function returns)
        given = kwargs or {}
        if func is functional.linear:
            self._add(*_linear(*args, **given))
        elif func is functional.conv2d:
            self._add(*_convolution(*args, **given))
        return func(*args, **given)

    def _add(self, weight: Tensor, inputs: Callable[[], Tensor]) -> None:
        name = self._names.get(id(weight))
        if name is not None:
            value = self._moment(inputs().detach().float())
            self.found[name] = self.found[name] + value if name in self.found else value


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Callable[[], Tensor]]:
    return weight, lambda: x.reshape(1, -1, x.shape[-1])


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> tuple[Tensor, Callable[[], Tensor]]:
    kernel = tuple(weight.shape[2:])

    def patches() -> Tensor:
        padded, sides = _padded(x, padding, kernel, dilation)
        unfolded = functional.unfold(padded, kernel, dilation, sides, stride)
        samples = unfolded.view(len(x), groups, math.prod(weight.shape[1:]), -1)
        return samples.permute(1, 0, 3, 2).flatten(1, 2)

    return weight, patches


def _padded(
    x: Tensor, padding: int | str | tuple[int, ...], kernel: tuple[int, ...], dilation: int | tuple[int, ...]
) -> tuple[Tensor, int | tuple[int, ...]]:
    """Return the images and the padding that is left to add; PyTorch's ``"same"`` may be uneven."""
    if not isinstance(padding, str):
        return x, padding
    if padding == "valid":
        return x, 0
    steps = (dilation,) * 2 if isinstance(dilation, int) else dilation
    total = [step * (size - 1) for step, size in zip(steps, kernel, strict=True)]
    sides = [side for size in reversed(total) for side in (size // 2, size - size // 2)]
    return functional.pad(x, sides), 0


def importance(weight: Tensor, sums: Tensor | None) -> Tensor:
    """Return |w_ij| ||x_j||, float32 in the weight's shape (Wanda, arXiv 2306.11695, Eq. 1).

    Args:
        weight: (outputs, inputs, kernel).
        sums: `squares` of the layer's inputs, or None if they are not known: all norms are then 1.
    """
    if sums is None:
        return weight.float().abs()
    rows = weight.float().abs().reshape(len(sums), -1, sums.shape[1])
    return (rows * sums.sqrt().float()[:, None]).reshape(weight.shape)
