"""Which channels of a suspect have their weights turned in sign, as folding a negative factor into them does.

A batch norm's factor may be negative; folded into the layer before it, it turns all weights of an output. A channel
is taken for turned only where chance does not explain it, so that what was never turned is found as if nobody
asked.
"""

import torch
from torch import Tensor

from cwwm.alignment.channel_map import NONE, ChannelMap

_CERTAIN = -8.0  # standard errors of a cosine below zero; networks pruned to a few weights reach -6 by chance
_LIKELY = -3.0  # the same, where another channel of the layer is turned for certain
_WHOLE = 1 - 1e-6  # a cosine's logarithms are finite below it
_FEWEST = 4  # features of which a cosine tells a sign


def upright(cosines: Tensor, owner: Tensor, suspect: Tensor) -> Tensor:
    """Return cosines of rows with the columns of turned channels negated.

    The best partner of a turned channel is its most negative cosine. It counts only where it outdoes every positive
    cosine of its row and of its column (two opposite filters of one network have better partners in the other), and
    where it is far below zero.

    Args:
        cosines: (rows of the owner's copy, channels of the suspect).
        owner, suspect: what they are of, (rows, features) and (channels, features), as it is, since bringing inputs
            to one scale blurs what was only folded. The owner's is zero where hidden.
    """
    least, rows = cosines.min(0)
    rivals = torch.maximum(cosines.max(0).values, cosines.max(1).values[rows])
    doubtful = (-least > rivals.clamp(min=0)).nonzero()[:, 0]
    if not len(doubtful):
        return cosines
    turned = doubtful[_scores(owner[rows[doubtful]], suspect[doubtful]) < _CERTAIN]
    if not len(turned):
        return cosines
    return cosines.index_copy(1, turned, -cosines[:, turned])


def signs(owner: Tensor, moved: Tensor) -> Tensor:
    """Return the sign of each matched channel, float32 (outputs,): -1 where it is turned, else 1.

    Args:
        owner: (outputs, ...); zero where hidden.
        moved: the suspect's weights in the owner's order and shape.
    """
    scores = _scores(owner.flatten(1), moved.flatten(1))
    turned = scores < (_LIKELY if bool((scores < _CERTAIN).any()) else _CERTAIN)
    return torch.where(turned, -1.0, 1.0)


def signs_by_partner(turned: Tensor, outputs: ChannelMap) -> Tensor:
    """Return the signs of the suspect's channels, (width,), from those of the owner's; 1 for added ones."""
    found = torch.ones(outputs.width)
    matched = torch.from_numpy(outputs.matched)
    found[torch.from_numpy(outputs.partner[outputs.partner != NONE])] = turned[matched]
    return found


def _scores(owner: Tensor, suspect: Tensor) -> Tensor:
    """Return by how many standard errors the cosine of each two rows differs from zero (Fisher's transform).

    Only the weights count that both have: the owner's is zero where it is hidden.
    """
    both = (owner != 0) & (suspect != 0)
    features = both.sum(1)
    suspect = torch.where(owner != 0, suspect, 0.0)
    cosines = (owner * suspect).sum(1) / (owner.norm(dim=1) * suspect.norm(dim=1)).clamp(min=1e-30)
    scores = cosines.clamp(-_WHOLE, _WHOLE).atanh() * (features - 3).clamp(min=1).sqrt()
    return torch.where(features >= _FEWEST, scores, 0.0)
