"""Which tensors answer the classes, from names and shapes alone, whatever their order.

A head is a module that is named like one, nearest to the root of the names and in no numbered block: ``fc`` is a
head, ``blocks.3.attn.fc`` is none. What all names begin with, such as ``module.`` or ``model.``, does not count.
Modules of several branches, equally near (``stem.se.fc``, ``exit.se.fc``), are no heads. Of the layers of a head
the last one answers: a layer whose outputs another one takes is hidden, so are some by their names
(``pre_logits``), and what is left goes by its numbers. Of heads that feed each other (``fc``, then
``classifier``) the last is meant. Heads beside each other with equally many classes, as ``head`` and
``head_dist``, or ``heads.0`` and ``heads.1``, are all meant.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

_WORDS = (  # names of heads, the surest first
    r"(\w+_)?classif\w*|last_linear|predictions|vocab_projector|score|qa_outputs|(\w+_)?lm_head",
    r"fc",
    r"(aux_)?heads?(_dist)?",
    r"output",
)
_ANY_WORD = re.compile("|".join(_WORDS))
_HIDDEN = re.compile(
    r"(^|\.)(pre_classifier|pre_logits|transform|in_conv|last_conv|q|k|v|qkv|lm_head\.dense)(\.|$)"
)
_Path = tuple[str, ...]


@dataclass(frozen=True)
class _Layer:
    """A weight below a head: its name and shape, the head's path, and at which depth that begins."""

    name: str
    shape: Sequence[int]
    head: _Path
    depth: int

    @property
    def order(self) -> tuple[str | int, ...]:
        """Place among layers: by name, numbers by their value."""
        return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", self.name))

    @property
    def rank(self) -> int:
        """How sure its head's name is; 0 is the surest."""
        return next(rank for rank, word in enumerate(_WORDS) if re.fullmatch(word, self.head[self.depth]))

    def is_beside(self, other: "_Layer") -> bool:
        """Say whether a number tells the names apart, both answer as many classes, and none goes into the other."""
        classes = self.shape[0]
        return classes == other.shape[0] != other.shape[1] and _unnumbered(self.name) == _unnumbered(other.name)


def heads(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the weights that answer the classes, the main one first; none if no name says that it is a head's.

    Args:
        shapes: of all convolution and linear weights, by name, in any order.
    """
    groups: dict[_Path, list[_Layer]] = {}
    for layer in _nearest(shapes):
        groups.setdefault(layer.head, []).append(layer)
    lasts = _unfed([_last(groups[head]) for head in _innermost(groups)])
    rank = min((layer.rank for layer in lasts), default=0)
    surest = sorted(
        (layer for layer in lasts if layer.rank == rank), key=lambda layer: (len(layer.name), layer.order)
    )
    alike = [layer for layer in surest if layer.shape[0] == surest[0].shape[0]]
    return [name for layer in alike for name in _with_twins(layer, groups[layer.head])]


def _nearest(shapes: Mapping[str, Sequence[int]]) -> list[_Layer]:
    """Return the layers below the heads that are nearest to the root, in the order of their names."""
    paths = {name: tuple(name.split(".")[:-1]) for name in shapes}
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths.values(), strict=False))
    start = len(_until_word([parts[0] for parts in shared]))
    found = []
    for name, path in paths.items():
        before = _until_word(path[start:])
        depth = start + len(before)
        if depth == len(path) or any(part.isdecimal() for part in before) or _HIDDEN.search(".".join(path)):
            continue
        end = next((at for at in range(depth, len(path)) if not _ANY_WORD.fullmatch(path[at])), len(path))
        found.append(_Layer(name, shapes[name], path[:end], depth))
    depth = min((layer.depth for layer in found), default=0)
    nearest = sorted((layer for layer in found if layer.depth == depth), key=lambda layer: layer.order)
    return nearest if len({layer.head[:depth] for layer in nearest}) == 1 else []


def _until_word(path: Sequence[str]) -> Sequence[str]:
    """Return what stands before the first name of a head."""
    return path[: next((at for at, part in enumerate(path) if _ANY_WORD.fullmatch(part)), len(path))]


def _innermost(paths: Iterable[_Path]) -> list[_Path]:
    """Return the paths below which no other one lies."""
    ordered = sorted(paths)
    return [path for path, after in zip(ordered, [*ordered, ()][1:], strict=True) if after[: len(path)] != path]


def _unfed(layers: Sequence[_Layer]) -> list[_Layer]:
    """Return the layers whose outputs no other one takes, unless it feeds this one in turn; if none, all."""
    outputs: dict[int, set[int]] = {}  # of the layers that take so many inputs
    for layer in layers:
        outputs.setdefault(layer.shape[1], set()).add(layer.shape[0])
    return [layer for layer in layers if outputs.get(layer.shape[0], set()) <= {layer.shape[1]}] or list(layers)


def _last(layers: Sequence[_Layer]) -> _Layer:
    """Return the last of a head's layers; they are in order."""
    return _unfed(layers)[-1]


def _with_twins(layer: _Layer, group: Sequence[_Layer]) -> list[str]:
    """Return the name of a head's last layer with those beside it, the first one first."""
    return [other.name for other in group if other is layer or other.is_beside(layer)]


def _unnumbered(name: str) -> list[str]:
    return re.split(r"\d+", name)
