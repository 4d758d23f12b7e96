"""Weights that are stored in parts, read as the product that a network computes with: pruning masks, weight norm.

PyTorch keeps a pruned weight as ``weight_orig`` and ``weight_mask``, and one under weight or spectral norm in the
parts that its parametrisation learns. They are multiplied where a tensor is read, and nowhere before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cwwm.weights.view import Weights


def _masked(weight: Tensor, mask: Tensor) -> Tensor:
    return weight * mask


def _normed(length: Tensor, direction: Tensor) -> Tensor:
    """Return g v / |v|, norms over the axes that g has not (Salimans and Kingma 2016, equation 2)."""
    axes = [n for n in range(direction.dim()) if length.dim() != direction.dim() or length.shape[n] == 1]
    norms = torch.linalg.vector_norm(direction, dim=axes, keepdim=True) if axes else direction.abs()
    return direction * (length / norms.clamp(min=_TINY))


def _spectral(weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return W / (u W v), the vectors as stored (Miyato et al. 2018, algorithm 1)."""
    matrix = weight.movedim(_axis(weight.shape, left.shape, right.shape) or 0, 0).flatten(1)
    return weight / torch.dot(left, matrix @ right)


def _axis(weight: Sequence[int], left: Sequence[int], right: Sequence[int]) -> int | None:
    """Return the axis of a weight's outputs, as the sizes of both vectors tell; None if there is none."""
    fitting = (n for n, size in enumerate(weight) if size == left[0] and size * right[0] == math.prod(weight))
    return next(fitting, None) if len(weight) > 1 else None


def _as_stored(weight: Tensor) -> Tensor:
    return weight


@dataclass(frozen=True)
class _Form:
    """A way to store a weight: what it is called, the ends of the parts' names, and their product."""

    name: str
    parts: tuple[str, ...]
    product: Callable[..., Tensor]
    shaped: int = 0  # the part that has the weight's shape

    def shown(self, base: str) -> str | None:
        """Return the name of the weight whose parts begin with `base`; None where such parts cannot lie."""
        if not self.parts[0].startswith("."):
            return base
        module, _, name = base.rpartition(".")
        inside = f".{module}".endswith("." + _PARAMETRISED)
        return module.removesuffix(_PARAMETRISED) + name if inside else None


_PARAMETRISED = "parametrizations"  # the module that PyTorch keeps such parts in
_TINY = 1e-30
_FORMS = (
    _Form("pruning mask", ("_orig", "_mask"), _masked),
    _Form("weight norm", ("_g", "_v"), _normed, 1),
    _Form("spectral norm", ("_orig", "_u", "_v"), _spectral),
    _Form("weight norm", (".original0", ".original1"), _normed, 1),
    _Form("spectral norm", (".original", ".0._u", ".0._v"), _spectral),
    _Form("parametrisation read as it is stored", (".original",), _as_stored),
)


class DerivedWeights(Weights):
    """A model whose weights in parts are read as products; the parts are not shown."""

    def __init__(self, stored: Weights, products: Mapping[str, tuple[_Form, tuple[str, ...]]]) -> None:
        """View `stored`; of each product, its form and the names of its parts."""
        self._stored, self._products, self.module = stored, dict(products), stored.module
        self.origin = stored.origin
        parts = {part for _, names in products.values() for part in names}
        self._names = [*(name for name in stored.names() if name not in parts), *products]
        self.tied = {n: c for n, c in stored.tied.items() if n not in parts and c not in parts}
        self._known = frozenset((*self._names, *self.tied))

    @property
    def forms(self) -> dict[str, int]:
        """Return how many weights are stored in each form, by its name."""
        forms = [form.name for form, _ in self._products.values()]
        return {name: forms.count(name) for name in dict.fromkeys(forms)}

    def names(self) -> Sequence[str]:
        """Return the names, products last."""
        return self._names

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor or a product of that name is there."""
        return name in self._known

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape without a product being made."""
        return self._stored.shape(self._shaped(name))

    def dtype(self, name: str) -> str:
        """Return the dtype of the part that has the weight's shape."""
        return self._stored.dtype(self._shaped(name))

    def stored(self, name: str) -> Tensor | None:
        """Return a tensor as it is kept, or a product."""
        return self.tensor(name) if name in self._products else self._stored.stored(name)

    def unreadable(self, name: str) -> str:
        """Return what a tensor is, or the first part of a product, that cannot be read."""
        parts = self._products[name][1] if name in self._products else (name,)
        return next((kind for part in parts if (kind := self._stored.unreadable(part))), "")

    def tensor(self, name: str) -> Tensor:
        """Return a tensor, or a product in its dtype; the arithmetic is float32."""
        if name not in self._products:
            return self._stored.tensor(name)
        form, parts = self._products[name]
        found = [self._stored.tensor(part) for part in parts]
        return form.product(*(part.float() for part in found)).to(found[form.shaped].dtype)

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write to a tensor; a product cannot be written, and TypeError says so."""
        if name in self._products:
            raise TypeError("weights that are stored in parts are read only")
        self._stored.write(name, index, values)

    def _shaped(self, name: str) -> str:
        if name not in self._products:
            return name
        form, parts = self._products[name]
        return parts[form.shaped]


def derived(weights: Weights) -> Weights:
    """Return weights with those in parts as products; the same ones where nothing is stored in parts."""
    known = frozenset(weights.all_names())
    products = dict[str, tuple[_Form, tuple[str, ...]]]()
    for form in _FORMS:
        for base in (name.removesuffix(form.parts[0]) for name in known if name.endswith(form.parts[0])):
            shown, parts = form.shown(base), tuple(base + end for end in form.parts)
            taken = shown is None or shown in known or shown in products
            if not taken and all(part in known for part in parts) and _fits(form, list(map(weights.shape, parts))):
                products[str(shown)] = (form, parts)
    return DerivedWeights(weights, {name: products[name] for name in sorted(products)}) if products else weights


def _fits(form: _Form, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Say whether parts of these shapes have a product."""
    if form.product is _masked:
        return shapes[0] == shapes[1]
    if form.product is _normed:
        length, whole = shapes
        same = len(length) == len(whole) and all(a in (1, b) for a, b in zip(length, whole, strict=True))
        return same or length in ((), (1,))
    if form.product is _spectral:
        return all(len(vector) == 1 for vector in shapes[1:]) and _axis(shapes[0], *shapes[1:]) is not None
    return True
