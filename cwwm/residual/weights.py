"""A suspect as the original lets it be read: in every layer what its weights say for a one, instead of them."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from cwwm.residual.expected import Expected
from cwwm.residual.layer import ALL_STEPS, Steps, coefficients
from cwwm.weights.view import Weights

_ROWS = 1 << 24  # weights that are compared at once
_KEPT = 1 << 26  # weights whose coefficients are all kept; of more, those of the layer that was read last
_ALIKE = 0.35  # mean magnitude of the cosine of a layer's rows with the original's, from which on they are in place


class ResidualWeights(Weights):
    """Coefficients of the layers that a mark lives in; see `cwwm.residual.layer.coefficients`."""

    matched = True

    def __init__(
        self,
        suspect: Weights,
        original: Weights,
        expected: Mapping[str, Expected],
        steps: Steps = ALL_STEPS,
    ) -> None:
        """View `suspect`, whose names and shapes are the original's; layers that it lacks are missing here, too.

        So are tensors of one axis, which have no rows to be read by: no mark that proves anything is in them.
        """
        self.aligned = suspect.aligned
        self._shapes = {
            name: original.shape(name)
            for name in expected
            if name in suspect and suspect.shape(name) == original.shape(name) and len(original.shape(name)) > 1
        }
        small = sum(math.prod(shape) for shape in self._shapes.values()) <= _KEPT
        self._read = lru_cache(maxsize=None if small else 1)(
            lambda name: coefficients(suspect.tensor(name), original.tensor(name), expected[name], steps)
        )

    def names(self) -> Sequence[str]:
        """Return the layers of the mark that the suspect has."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the original's shape."""
        return self._shapes[name]

    def tensor(self, name: str) -> Tensor:
        """Return the coefficients, float32."""
        return self._read(name)

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Refuse: coefficients are for reading."""
        raise TypeError("residuals are read only")


def in_place(suspect: Weights, original: Weights, names: Sequence[str]) -> bool:
    """Say whether the rows of all these layers of a suspect still lie where the original has them.

    A suspect without tensors of its own names, one shard of several say, only lacks what it does not hold.
    """
    there = [name for name in names if name in suspect]
    if len(there) < len(names) and not (there and all(name in original for name in suspect.names())):
        return False
    return all(
        suspect.shape(name) == original.shape(name)
        and _likeness(suspect.tensor(name), original.tensor(name)) >= _ALIKE
        for name in there
    )


def _likeness(suspect: Tensor, original: Tensor) -> float:
    """Return the mean magnitude of the cosine of rows, of those of which anything is left; 1 if nothing is."""
    rows = max(1, _ROWS // max(1, math.prod(suspect.shape[1:])))
    pairs = zip(*(torch.split(t.detach(), rows) for t in (suspect, original)), strict=True)
    cosines = torch.cat([_cosines(*pair) for pair in pairs])
    return float(cosines.abs().mean()) if len(cosines) else 1.0


def _cosines(suspect: Tensor, original: Tensor) -> Tensor:
    """Return the cosines of rows of which anything is left, float32."""
    read = suspect.float().nan_to_num(0.0, 0.0, 0.0).reshape(len(suspect), -1)
    known = original.to(read.device).float().reshape(len(original), -1)
    norms = read.norm(dim=1) * known.norm(dim=1)
    left = norms > 0
    cosines: Tensor = (read * known).sum(1)[left] / norms[left]
    return cosines
