"""How alike the channels of two weight tensors are, whatever they and the channels on the other side are scaled by.

The cosine between slices of the two tensors, after the other axis has been brought to the same scale; negated where
a channel of the suspect is certainly the owner's with all signs turned. The
entries that carry a mark are hidden from it (zero in the owner's copy): what is read afterwards at the places that
were found is no echo of the search.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cwwm.alignment.channel_map import NONE, ChannelMap, Indices
from cwwm.alignment.signs import upright
from cwwm.ownership.evidence import log10_match_tail

FEATURES = 4096  # of a slice that are compared; the cosine of unrelated ones is then 0 +- 1/64
CHANCE, SURE = 0.08, -4.0  # share of unrelated rows that stand out, at most; log10 p below which it is no chance
MARGIN = 1.0  # by which a distinct match exceeds all others, in standard deviations of all cosines


@dataclass(frozen=True)
class LayerPair:
    """One weight tensor of the owner's copy and of the suspect, as (outputs, inputs a group, kernel).

    Attributes:
        name: of the tensor.
        owner: float32, hidden entries zero.
        suspect: float32.
    """

    name: str
    owner: Tensor
    suspect: Tensor

    @property
    def depthwise(self) -> bool:
        """Say whether each channel has its own kernel and no other input."""
        return self.owner.shape[1] == self.suspect.shape[1] == 1 < len(self.owner)

    def groups(self, columns: ChannelMap) -> tuple[int, int] | None:
        """Return in how many groups each tensor splits these input channels; None if it cannot have them."""
        counts = []
        for tensor, size in ((self.owner, columns.size), (self.suspect, columns.width)):
            groups, rest = divmod(size, tensor.shape[1])
            if rest or not groups or len(tensor) % groups:
                return None
            counts.append(groups)
        return counts[0], counts[1]


def dense(tensor: Tensor, groups: int) -> Tensor:
    """Return a grouped weight as the full one, (outputs, inputs, kernel), zero where groups do not meet."""
    if groups == 1:
        return tensor
    outputs, inputs, kernel = tensor.shape
    full = tensor.new_zeros(outputs, groups * inputs, kernel)
    each = outputs // groups
    for group in range(groups):
        rows = slice(group * each, (group + 1) * each)
        full[rows, group * inputs : (group + 1) * inputs] = tensor[rows]
    return full


def row_cosines(pair: LayerPair, columns: ChannelMap, rows: Tensor | None = None) -> Tensor:
    """Return the cosines of the outputs' weights, (rows of the owner's copy, rows of the suspect), signs undone.

    Args:
        pair: the tensors.
        columns: of their inputs; `pair.groups` accepts them.
        rows: of the owner's copy, to look at a sample of them.
    """
    groups = pair.groups(columns)
    if groups is None:
        raise ValueError(f"{pair.name} has no such inputs")
    owner, suspect = dense(pair.owner, groups[0]), dense(pair.suspect, groups[1])
    slices = _slices(owner, suspect, columns, rows)
    return upright(slices.cosines, slices.owner, slices.suspect)


def column_cosines(pair: LayerPair, rows: ChannelMap) -> Tensor:
    """Return the cosines of the inputs' weights, (inputs of the owner's copy, inputs of the suspect)."""
    return _slices(pair.owner.transpose(0, 1), pair.suspect.transpose(0, 1), rows, None).cosines


def kernel_cosines(pair: LayerPair) -> Tensor:
    """Return the cosines of a depthwise layer's kernels, signs as they are: of so few weights none is certain."""
    return _slices(pair.owner, pair.suspect, ChannelMap.identity(1), None).cosines


@dataclass(frozen=True)
class _Slices:
    """Rows of both tensors over what both have of the other axis.

    Attributes:
        owner, suspect: (rows, features).
        scales: of the features of the suspect, which bring its other axis to the owner's scale.
    """

    owner: Tensor
    suspect: Tensor
    scales: Tensor

    @property
    def cosines(self) -> Tensor:
        """Return the cosines of the owner's rows with the suspect's, brought to one scale."""
        return unit(self.owner) @ unit(self.suspect * self.scales).T


def _slices(owner: Tensor, suspect: Tensor, other: ChannelMap, rows: Tensor | None) -> _Slices:
    """Return the rows of both over what both have of the other axis, `FEATURES` of it at most, evenly spaced."""
    known, kernel = other.matched, owner.shape[2]
    scale = torch.zeros(suspect.shape[1])
    mine, theirs = torch.from_numpy(known), torch.from_numpy(other.partner[known])
    scale[theirs] = _spread(owner)[mine] / _spread(suspect)[theirs].clamp(min=1e-30)
    count = len(known) * kernel
    chosen = torch.arange(count) if count <= FEATURES else torch.linspace(0, count - 1, FEATURES).long()
    channel, tap = chosen // kernel, chosen % kernel
    if rows is not None:
        owner = owner[rows]
    mine, theirs = mine[channel], theirs[channel]
    return _Slices(owner[:, mine, tap], suspect[:, theirs, tap], scale[theirs])


def _spread(tensor: Tensor) -> Tensor:
    """Return the root mean square of each channel of the second axis."""
    return tensor.square().mean((0, 2)).sqrt()


def unit(rows: Tensor) -> Tensor:
    """Return the rows divided by their norms; zero stays zero."""
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return unit


@dataclass(frozen=True)
class Match:
    """A matching and which of the owner's channels are distinctly recognised by it, bool (n,)."""

    map: ChannelMap
    distinct: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @property
    def share(self) -> float:
        """Return the share of channels recognised, of as many as the suspect could have."""
        return float(self.distinct.sum()) / max(1, min(len(self.distinct), self.map.width))


def assign(cosines: Tensor) -> Match:
    """Return the matching with the largest sum of cosines (linear sum assignment), what is unlike left out.

    A pair no better than chance is no pair: channels that were removed or inserted have no partner.
    """
    from scipy.optimize import linear_sum_assignment  # takes a quarter of a second to load

    values = cosines.double().cpu().numpy()
    best = values.argmax(1)
    if len(np.unique(best)) == len(best):  # all take their best: no assignment is better
        rows, partners = np.arange(len(best)), best
    else:
        rows, partners = linear_sum_assignment(values, maximize=True)
    partner = np.full(len(values), NONE)
    partner[rows] = partners
    distinct = np.zeros(len(values), bool)
    distinct[rows] = _margins(values, rows, partners) > MARGIN * values.std()
    chance = values.mean() + values.std()
    partner[rows[(values[rows, partners] < chance) & ~distinct[rows]]] = NONE
    return Match(ChannelMap(partner.astype(np.int64), values.shape[1]), distinct)


@dataclass(frozen=True)
class Recognition:
    """How well a sample of rows is recognised.

    Attributes:
        share: of the rows whose best cosine stands out, of as many as can; 0 if chance explains it.
        likeness: mean of these cosines; where only some of the other axis is matched rightly, rows still stand out,
            but are less alike.
    """

    share: float
    likeness: float


def recognise(cosines: Tensor, size: int) -> Recognition:
    """Return how well rows are recognised.

    Args:
        cosines: (sampled rows of the owner's copy, rows of the suspect).
        size: how many rows the owner's copy has in all.
    """
    count, width = cosines.shape
    if width < 2:
        return Recognition(1.0, float(cosines.mean()))
    top = cosines.topk(2, dim=1).values
    distinct = top[:, 0] - top[:, 1] > MARGIN * cosines.std()
    number = int(distinct.sum())
    if log10_match_tail(number, count, CHANCE) > SURE:
        return Recognition(0.0, 0.0)
    share = min(1.0, number / count / min(1.0, width / size))
    return Recognition(share, float(top[distinct, 0].mean()))


def _margins(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], rows: Indices, partners: Indices
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return by how much each chosen cosine exceeds all others of its row and its column."""
    chosen = values[rows, partners]
    others = values.copy()
    others[rows, partners] = -np.inf
    rival = np.maximum(others.max(1)[rows], others.max(0)[partners])
    return np.where(np.isfinite(rival), chosen - rival, np.inf)
