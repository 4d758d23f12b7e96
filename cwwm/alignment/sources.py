"""Which tensor of a suspect holds which layer of the owner's copy, where an exporter or an attacker renamed them.

A name that is there is believed. The rest is matched by shape (matrices also transposed, as an exporter turns a
linear layer into a product and a sum), among equal shapes by content, and where content says nothing by order.
Content is compared row by row, whatever a row was scaled by, without the weights that carry the mark.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cwwm.support.progress import tell
from cwwm.weights.carrier import prunable
from cwwm.weights.view import WEIGHT_DTYPES, Weights

_ORDER = 0.05  # of likeness: what a place at the other end of the order costs
_CLEAR = 0.25  # of likeness: by which a square matrix is taken for a transposed one
_TELLING = 64  # rows of a layer that tell it from another
_MOST = 1000  # tensors of one shape that are looked at

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Where a layer's weights are in a suspect: its tensor of that name, with both axes exchanged or not."""

    name: str
    transposed: bool = False

    def shape(self, suspect: Weights) -> Shape:
        """Return the shape as the owner has it; widths may differ."""
        shape = suspect.shape(self.name)
        return shape[::-1] if self.transposed else shape

    def tensor(self, suspect: Weights) -> Tensor:
        """Return the suspect's weights, float32, on the CPU."""
        tensor = suspect.tensor(self.name).detach().cpu().float()
        return tensor.T if self.transposed else tensor


def find_sources(owner: Weights, suspect: Weights, hidden: Mapping[str, Tensor]) -> dict[str, Source]:
    """Return where each convolution and linear weight of the owner's copy is, as far as it is.

    Args:
        owner: the owner's copy.
        suspect: with names of its own, perhaps.
        hidden: flat indices, int64, by tensor, of the owner's weights that are not looked at.

    Returns:
        Sources by the owner's names, in the order of `owner`; no tensor of the suspect twice.
    """
    names = prunable(owner)
    found = {name: source for name in names if (source := _by_name(name, owner, suspect, hidden)) is not None}
    taken = {source.name for source in found.values()}
    free = [name for name in suspect.names() if name not in taken and _is_weight(suspect, name)]
    found |= _by_content([name for name in names if name not in found], free, owner, suspect, hidden)
    return {name: found[name] for name in names if name in found}


def names_by_content(owner: Weights, suspect: Weights, hidden: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the suspect's names of layers that go by another layer's name there, of one shape, as content tells.

    For a suspect whose layers under their own names are not like the owner's, while under each other's they are.

    Args:
        owner: the owner's copy. suspect: with the owner's names, in another order perhaps.
        hidden: flat indices, int64, by tensor, of the owner's weights that are not looked at.

    Returns:
        Names in the suspect by the owner's, of layers that changed places; empty where content is not clear.
    """
    both = [name for name in prunable(owner) if name in suspect and suspect.shape(name) == owner.shape(name)]
    groups = defaultdict[Shape, list[str]](list)  # a matrix of the transposed shape is another layer here
    for name in both:
        if _is_weight(suspect, name):
            groups[owner.shape(name)].append(name)
    found = dict[str, str]()
    for names in groups.values():
        found |= _exchanged(names[:_MOST], owner, suspect, hidden)
    return found


def _exchanged(
    names: Sequence[str], owner: Weights, suspect: Weights, hidden: Mapping[str, Tensor]
) -> dict[str, str]:
    """Return which of the layers of one shape changed places."""
    if len(names) < 2:
        return {}
    tell(f"layers sought in each other's places, {names[0]} and others of its shape", 0, len(names))
    mine = {name: _some(_rows(owner, name, hidden)) for name in names}
    theirs = {name: _some(Source(name).tensor(suspect)) for name in names}
    unlike = [name for name in names if _likeness(mine[name], theirs[name]) < _CLEAR]
    if len(unlike) < 2:
        return {}
    likeness = np.array([[_likeness(mine[a], theirs[b]) for b in unlike] for a in unlike])
    pairs = {unlike[row]: unlike[column] for row, column in zip(*_assigned(likeness), strict=True)}
    clear = any(likeness.max(1) - likeness.diagonal() > _CLEAR)
    return {name: other for name, other in pairs.items() if clear and name != other}


def _some(rows: Tensor) -> Tensor:
    """Return some of a layer's rows, spread over it: enough to tell layers apart, whose pairs are many."""
    return rows[:: -(-len(rows) // _TELLING)].clone()


def _is_weight(suspect: Weights, name: str) -> bool:
    return suspect.dtype(name) in WEIGHT_DTYPES and not suspect.unreadable(name)


def _by_name(name: str, owner: Weights, suspect: Weights, hidden: Mapping[str, Tensor]) -> Source | None:
    if name not in suspect:
        return None
    mine, theirs = owner.shape(name), suspect.shape(name)
    if len(mine) != len(theirs) or mine[2:] != theirs[2:] or suspect.dtype(name) not in WEIGHT_DTYPES:
        return None
    if len(mine) > 2 or mine != theirs[::-1]:
        return Source(name)
    if mine != theirs:
        return Source(name, transposed=True)
    rows, tensor = _rows(owner, name, hidden), Source(name).tensor(suspect)
    return Source(name, transposed=_likeness(rows, tensor.T) > _likeness(rows, tensor) + _CLEAR)


def _by_content(
    wanted: Sequence[str], free: Sequence[str], owner: Weights, suspect: Weights, hidden: Mapping[str, Tensor]
) -> dict[str, Source]:
    """Return the sources of the layers `wanted` among the suspect's tensors `free`."""
    layers, tensors = _by_shape(wanted, owner), _by_shape(free, suspect)
    found = dict[str, Source]()
    for shape, mine in layers.items():
        theirs = tensors[shape][:_MOST]
        if not theirs:
            continue
        likeness = np.empty((len(mine), len(theirs)))
        ways = dict[tuple[int, int], Source]()
        for row, name in enumerate(mine):
            tell(f"layers of shape {shape} sought by content, now {name}", row, len(mine))
            rows = _rows(owner, name, hidden)
            for column, other in enumerate(theirs):
                likeness[row, column], ways[row, column] = _best(rows, other, suspect)
        places = np.abs(np.arange(len(mine))[:, None] - np.arange(len(theirs)))
        worth = likeness - _ORDER * places / max(likeness.shape)
        found |= {mine[row]: ways[row, column] for row, column in zip(*_assigned(worth), strict=True)}
    return found


def _assigned(worth: npt.NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Return rows and columns of the assignment of the largest sum."""
    from scipy.optimize import linear_sum_assignment  # takes a quarter of a second to load

    rows, columns = linear_sum_assignment(worth, maximize=True)
    return rows.tolist(), columns.tolist()


def _by_shape(names: Sequence[str], weights: Weights) -> defaultdict[Shape, list[str]]:
    """Return names by shape, that of a matrix in either order."""
    groups = defaultdict[Shape, list[str]](list)
    for name in names:
        shape = weights.shape(name)
        groups[shape if len(shape) > 2 else tuple(sorted(shape))].append(name)
    return groups


def _best(rows: Tensor, name: str, suspect: Weights) -> tuple[float, Source]:
    """Return how like a layer a tensor is, read as it is or transposed, and how it is read."""
    shape = suspect.shape(name)
    ways = [Source(name)] if rows.shape == shape else []
    if rows.ndim == 2 and rows.shape == shape[::-1]:
        ways.append(Source(name, transposed=True))
    found = [_likeness(rows, way.tensor(suspect)) for way in ways]
    best = int(np.argmax(found))
    return found[best], ways[best]


def _rows(owner: Weights, name: str, hidden: Mapping[str, Tensor]) -> Tensor:
    """Return the owner's weights, float32 (outputs, ...), zero where hidden."""
    tensor = owner.tensor(name).detach().cpu().float().contiguous().clone()
    if name in hidden:
        tensor.view(-1)[hidden[name].cpu()] = 0
    return tensor


def _likeness(rows: Tensor, tensor: Tensor) -> float:
    """Return the mean squared cosine of the rows of two tensors of one shape, the first zero where hidden."""
    mine, theirs = rows.flatten(1), tensor.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    theirs = torch.where(mine != 0, theirs, 0.0)
    norms = mine.norm(dim=1) * theirs.norm(dim=1)
    cosines = (mine * theirs).sum(1) / norms.clamp(min=1e-30)
    return float(cosines.square().nan_to_num(0.0, 0.0, 0.0).clamp(max=1).mean())
