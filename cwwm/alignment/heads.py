"""Undoes a matrix inside attention heads: each head of the owner's copy as mixtures of the dimensions of one head.

Queries and keys of a head meet only in their products, and values are read by one linear layer, so an invertible
matrix may stand inside each head without changing an answer. No assignment undoes it; but a head's rows then still
span what they spanned. Which head went where is an assignment of these spans, and the matrix a least-squares fit,
for each row of the owner's over the weights that do not carry the mark: what is read of those that do follows from
the suspect and from other weights alone.

Followed is attention as timm writes it: one layer ``qkv`` with (3, heads, head size) outputs, and one, ``proj``,
that reads (heads, head size). A file does not say how many heads there are: the smallest size that explains most is
taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cwwm.alignment.channel_map import NONE, ChannelMap, Indices

_FUSED, _READS = ".qkv.weight", ".proj.weight"
_LEAST_SIZE, _MOST_SIZE = 8, 128  # of a head
_MOST_STREAMS = 16  # that are tried
_ALIKE = 0.02  # by which a size may explain less than the best one
_SURE = 0.9  # explained beyond chance, that ends the search for the inputs' order
_VISIBLE = 1.1  # weights of a row that are compared, at least, for each one that is fitted
_RIDGE = 1e-10  # of the squares of the suspect's rows, in the first fit


@dataclass(frozen=True, eq=False)
class Mixture:
    """The change of groups of `size` neighbouring channels by a matrix each.

    Attributes:
        matrices: float32 (groups, size, size): the owner's channels are these times the suspect's.
    """

    matrices: Tensor

    def off_outputs(self, weights: Tensor) -> Tensor:
        """Return the weights of a layer that gives these channels without the change."""
        groups, size, _ = self.matrices.shape
        return (self.matrices @ weights.reshape(groups, size, -1)).reshape(weights.shape)

    def off_inputs(self, weights: Tensor) -> Tensor:
        """Return the weights of a linear layer that reads these channels without the change."""
        return self.off_outputs(weights[..., 0].T.contiguous()).T[..., None]


@dataclass(frozen=True, eq=False)
class Heads:
    """How the heads of one attention module are brought back.

    Attributes:
        given, read: maps of the outputs of ``qkv`` and of the inputs of ``proj``: whole heads change places.
        stream: of the channels that ``qkv`` reads and ``proj`` gives.
        mixed, unmixed: what was done inside the heads, for ``qkv`` and ``proj``.
        shares: of both layers' weights, how much is explained beyond chance, in [0, 1].
    """

    given: ChannelMap
    read: ChannelMap
    stream: ChannelMap
    mixed: Mixture
    unmixed: Mixture
    shares: tuple[float, float]


def attention_layers(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the names of ``qkv`` and ``proj`` of each attention module among tensor names."""
    for name in names:
        reads = name.removesuffix(_FUSED) + _READS
        if name.endswith(_FUSED) and reads in names:
            yield name, reads


@dataclass(frozen=True, eq=False)
class Attention:
    """Both layers of an attention module of one network, with (outputs, inputs) axes, float32.

    Attributes:
        given: of ``qkv``, (3 x inner, channels). read: of ``proj``, transposed: (inner, channels).
    """

    given: Tensor
    read: Tensor

    @classmethod
    def of(cls, given: Tensor, read: Tensor) -> "Attention | None":
        """Return both weights, (outputs, inputs, 1), as a module; None if their shapes are not those of one."""
        if (
            given.shape[0] != 3 * read.shape[1]
            or given.shape[1] != read.shape[0]
            or given.shape[2] * read.shape[2] > 1
        ):
            return None
        return cls(given[..., 0], read[..., 0].T.contiguous())

    @property
    def inner(self) -> int:
        """Return the number of dimensions of all heads."""
        return len(self.read)

    def rows(self, size: int) -> Tensor:
        """Return queries, keys, values and what reads them by head, (heads, 4, size, channels)."""
        stacked = torch.cat([self.given, self.read]).view(4, self.inner // size, size, -1)
        return stacked.transpose(0, 1)

    def through(self, stream: ChannelMap) -> "Attention":
        """Return a suspect's with its channels in the owner's order, zero where one is gone."""
        sources = torch.from_numpy(stream.partner)
        kept = (sources != NONE).to(self.given.dtype)
        return Attention(*(part[:, sources.clamp(min=0)] * kept for part in (self.given, self.read)))


def align_heads(owner: Attention, suspect: Attention, streams: Sequence[ChannelMap]) -> Heads | None:
    """Return how a suspect's heads are brought back, or None where nothing can be told.

    Args:
        owner: the owner's copy, zero where hidden: these weights are not compared.
        suspect: with heads of the same size, of which some may be gone.
        streams: matchings of channels, of any widths, among which is that of the residual stream.
    """
    channels, sizes = (owner.given.shape[1], suspect.given.shape[1]), _head_sizes(owner, suspect)
    best: _Guess | None = None
    for stream in [stream for stream in streams if (stream.size, stream.width) == channels][:_MOST_STREAMS]:
        guess = _guessed(owner, suspect.through(stream), stream, sizes)
        if guess is not None and (best is None or guess.share > best.share):
            best = guess
        if best is not None and best.share > _SURE:
            break
    return None if best is None else _fitted(owner, best)


@dataclass(frozen=True, eq=False)
class _Guess:
    """A size of heads and an order of the stream.

    `spanned` says how much of each head's weights lies in the span of each of the suspect's, `share` how much the
    best of them explain beyond chance; `suspect` has its channels in the owner's order.
    """

    size: int
    stream: ChannelMap
    suspect: Attention
    spanned: Tensor
    share: float


def _head_sizes(owner: Attention, suspect: Attention) -> list[int]:
    """Return the sizes that the heads of both may have, ascending."""
    most = min(_MOST_SIZE, owner.given.shape[1] // 2)
    return [size for size in range(_LEAST_SIZE, most + 1) if owner.inner % size == 0 == suspect.inner % size]


def _guessed(owner: Attention, suspect: Attention, stream: ChannelMap, sizes: Sequence[int]) -> _Guess | None:
    """Return the smallest size that explains most; None without any."""
    guesses = []
    for size in sizes:
        spanned = _spanned(owner, suspect, size)
        share = _beyond_chance(spanned.max(1).values.mean(), size, owner.given.shape[1])
        guesses.append(_Guess(size, stream, suspect, spanned, share))
    most = max((guess.share for guess in guesses), default=0.0)
    return next((guess for guess in guesses if guess.share >= most - _ALIKE), None)


def _spanned(owner: Attention, suspect: Attention, size: int) -> Tensor:
    """Return how much of each head's weights lies in the span of a suspect's head, (owner's heads, suspect's)."""
    mine, theirs = owner.rows(size), suspect.rows(size)
    energy = mine.square().sum((1, 2, 3)).clamp(min=1e-30)
    spans = torch.linalg.qr(theirs.transpose(2, 3)).Q  # (heads, 4, channels, size)
    inside = torch.stack([(mine @ span[None]).square().sum((1, 2, 3)) for span in spans], 1)
    return inside / energy[:, None]


def _beyond_chance(explained: Tensor, fitted: int, features: float) -> float:
    """Return the share explained, less what as many random rows explain, of what is left to explain."""
    chance = fitted / features
    return float((explained - chance) / (1 - chance)) if chance < 1 else 0.0


def _fitted(owner: Attention, guess: _Guess) -> Heads:
    """Return the heads, each fitted to its best partner."""
    from scipy.optimize import linear_sum_assignment  # takes a quarter of a second to load

    size, suspect = guess.size, guess.suspect
    mine, theirs = linear_sum_assignment(guess.spanned.numpy(), maximize=True)
    rows = owner.rows(size)
    matrices, shares = rows.new_zeros(len(rows), 4, size, size), rows.new_zeros(len(rows), 4)
    partners = suspect.rows(size)
    for head, partner in zip(mine.tolist(), theirs.tolist(), strict=True):
        for part in range(4):
            matrices[head, part], shares[head, part] = fit(rows[head, part], partners[partner, part])
    given, read = _maps(mine, theirs, size, owner.inner, suspect.inner)
    by_layer = shares.clamp(0, 1).mean(0)
    mixed = Mixture(matrices[:, :3].transpose(0, 1).reshape(-1, size, size))
    explained = float(by_layer[:3].mean()), float(by_layer[3])
    return Heads(given, read, guess.stream, mixed, Mixture(matrices[:, 3]), explained)


def fit(owner: Tensor, suspect: Tensor) -> tuple[Tensor, float]:
    """Return the matrix by which a head's rows follow from a suspect's, and the share explained beyond chance.

    Each row is fitted over the weights of its own that are not zero, which hidden ones are. Ridge regression,
    twice: what the first fit leaves says how much is noise, and so how far the second shrinks.

    Args:
        owner: float32 (size, channels), zero where hidden. suspect: float32 (size, channels).

    Returns:
        float32 (size, size), zero for rows with too few weights to compare; and the share, of those rows alone.
    """
    visible = owner != 0
    enough = visible.sum(1) >= _VISIBLE * len(suspect)
    if not bool(enough.any()):
        return suspect.new_zeros(len(owner), len(suspect)), 0.0
    mine, theirs, seen = owner.double(), suspect.double(), visible.double()
    gram = torch.einsum("ac,rc,bc->rab", theirs, seen, theirs)
    right = mine @ theirs.T
    first = _solved(gram, right, _RIDGE * float(theirs.square().sum(1).mean()))
    left = ((mine - first @ theirs) * seen)[enough].square().sum()
    noise = left / (seen.sum(1) - len(suspect))[enough].sum()
    spread = first[enough].square().mean().clamp(min=1e-30)
    matrix = torch.where(enough[:, None], _solved(gram, right, float(noise / spread)), 0.0)
    explained = 1 - left / mine[enough].square().sum().clamp(min=1e-30)
    return matrix.float(), _beyond_chance(explained, len(suspect), float(seen[enough].sum(1).mean()))


def _solved(gram: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Return the rows x of x (gram + ridge I) = right; `gram` is (rows, size, size), `right` (rows, size)."""
    own = gram + max(ridge, 1e-30) * torch.eye(gram.shape[-1], dtype=gram.dtype)
    rows: Tensor = torch.linalg.solve(own, right[..., None])[..., 0]
    return rows


def _maps(mine: Indices, theirs: Indices, size: int, inner: int, their_inner: int) -> tuple[ChannelMap, ChannelMap]:
    """Return the maps of the outputs of ``qkv`` and of the inputs of ``proj`` for heads that changed places."""
    partner = np.full(inner, NONE)
    for head, other in zip(mine, theirs, strict=True):
        partner[head * size : (head + 1) * size] = other * size + np.arange(size)
    read = ChannelMap(partner, their_inner)
    return read.then(read).then(read), read
