"""Under which names a suspect has the layers of a mark: a common prefix added, removed or exchanged.

Wrappers put one prefix before all names (``module.``, ``_orig_mod.``, ``backbone.``). It is found by names and
shapes alone: no weight is read, so the search tells nothing of a mark. Averages that lie beside the weights under
names of their own (``ema.``, ``model_ema.``, ``_ema``) are told apart first.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from cwwm.support.errors import BadInput
from cwwm.weights.view import Weights

T = TypeVar("T")

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Table = Mapping[str, str]  # names as shown, and as stored

_MOST_PARTS = 8  # dotted parts of a name that a prefix may have
_WORDS = frozenset({"ema", "shadow", "swa", "averaged"})


@dataclass(frozen=True)
class Naming:
    """How names are told from a mark's: `added` stands before those that `removed` was taken from."""

    added: str = ""
    removed: str = ""

    @property
    def plain(self) -> bool:
        """Say whether names are the mark's own."""
        return not self.added and not self.removed

    @property
    def rank(self) -> int:
        """Return which is believed first where several fit alike: plain, added, removed, exchanged."""
        return bool(self.added) + 2 * bool(self.removed)

    def of_mark(self, name: str) -> str | None:
        """Return the mark's name of a tensor; None for one that is not under the prefix."""
        return self.removed + name.removeprefix(self.added) if name.startswith(self.added) else None

    def __str__(self) -> str:
        """Say it in a few words."""
        if self.added and self.removed:
            return f"prefix '{self.added}' in place of '{self.removed}'"
        if self.added:
            return f"prefix '{self.added}' added"
        return f"prefix '{self.removed}' removed" if self.removed else "plain names"


PLAIN = Naming()


class RenamedWeights(Weights):
    """Tensors of a model under other names; reading and writing go to the model."""

    def __init__(self, stored: Weights, names: Table) -> None:
        """View `stored`; `names` are those shown, with those stored."""
        self._stored, self._names = stored, dict(names)
        self.exported, self.aligned, self.origin = stored.exported, stored.aligned, stored.origin
        shown = {its: mine for mine, its in names.items()}
        counted = {mine: shown.get(stored.tied.get(its, "")) for mine, its in names.items()}
        self.tied = {mine: other for mine, other in counted.items() if other is not None}

    def names(self) -> Sequence[str]:
        """Return the names shown, of tied tensors one."""
        return [name for name in self._names if name not in self.tied]

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor is shown under that name."""
        return name in self._names

    def tensor(self, name: str) -> Tensor:
        """Return the tensor as it is stored."""
        return self._stored.tensor(self._names[name])

    def stored(self, name: str) -> Tensor | None:
        """Return the tensor as the model keeps it."""
        return self._stored.stored(self._names[name])

    def unreadable(self, name: str) -> str:
        """Return what the model says of the tensor."""
        return self._stored.unreadable(self._names[name])

    def entries(self, name: str, index: Tensor) -> Tensor:
        """Return entries as they are stored."""
        return self._stored.entries(self._names[name], index)

    def remembered(self, name: str, what: str, make: Callable[[], T]) -> T:
        """Return what is remembered of the tensor that is stored."""
        return self._stored.remembered(self._names[name], what, make)

    def shape(self, name: str) -> Shape:
        """Return the shape as it is stored."""
        return self._stored.shape(self._names[name])

    def dtype(self, name: str) -> str:
        """Return the dtype as it is stored."""
        return self._stored.dtype(self._names[name])

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write where it is stored."""
        self._stored.write(self._names[name], index, values)


@dataclass(frozen=True, order=True)
class Fit:
    """How many layers of a mark are there: with their shapes, and with as many axes."""

    shapes: int = 0
    axes: int = 0

    def is_most_of(self, layers: Shapes) -> bool:
        """Say whether half of the layers are there: fewer fit a stranger by chance."""
        return 2 * self.axes >= len(layers) > 0


def fit_of(layers: Shapes, shapes: Shapes) -> Fit:
    """Return how many layers are there under their own names."""
    there = [(shape, shapes[name]) for name, shape in layers.items() if name in shapes]
    return Fit(sum(a == b for a, b in there), sum(len(a) == len(b) for a, b in there))


def find_naming(layers: Shapes, shapes: Shapes, plain: bool = True) -> Naming | None:
    """Return the naming under which most layers of a mark are among tensors; None if nothing fits half of them.

    Args:
        layers: names and shapes of the mark's layers.
        shapes: names and shapes of a model's tensors.
        plain: whether the mark's own names are believed where nothing fits better.

    Raises:
        BadInput: if two prefixes of one kind fit equally well.
    """
    own = fit_of(layers, shapes)
    if own.shapes == len(layers):
        return PLAIN
    found = {naming: fit for naming, fit in _candidates(layers, shapes).items() if fit.is_most_of(layers)}
    best = max(found.values(), default=Fit())
    if best <= own:
        return PLAIN if plain or own.is_most_of(layers) else None
    alike = sorted(
        (naming for naming, fit in found.items() if fit == best), key=lambda naming: (naming.rank, naming.added)
    )
    first, *others = [naming for naming in alike if naming.rank == alike[0].rank]
    if others and best.shapes:
        raise BadInput(
            f"the mark's layers are there twice: with the {first}, and with the {others[0]}; save each as a file "
            "of its own, and count both with --tried suspects=2"
        )
    return PLAIN if others else first


def _candidates(layers: Shapes, shapes: Shapes) -> dict[Naming, Fit]:
    """Return prefixes under which layers are found, each with how many."""
    exact, axes = Counter[Naming](), Counter[Naming]()
    for naming, layer, stored in _places(layers, shapes):
        exact[naming] += layers[layer] == shapes[stored]
        axes[naming] += len(layers[layer]) == len(shapes[stored])
    return {naming: Fit(exact[naming], axes[naming]) for naming in axes}


def _places(layers: Shapes, shapes: Shapes) -> Iterator[tuple[Naming, str, str]]:
    """Yield prefixes with the layer and the tensor that they make one."""
    for cut in _cuts(_common(layers)):
        removed, rests = next(iter(layers))[:cut], {layer[cut:]: layer for layer in layers}
        for stored in shapes:
            for place in _cuts(stored)[1:]:
                if stored[place:] in rests and stored[:place] != removed:
                    yield Naming(stored[:place], removed), rests[stored[place:]], stored
    for layer in layers:
        for cut in _cuts(layer)[1:]:
            if layer[cut:] in shapes:
                yield Naming(removed=layer[:cut]), layer, layer[cut:]


def _common(names: Iterable[str]) -> str:
    """Return the longest beginning that all names share, up to a dot, that leaves each two parts or more."""
    parts = [name.split(".")[:-2] for name in names]
    shared = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return "".join(part + "." for part in shared)


def _cuts(name: str) -> list[int]:
    """Return where a prefix may end: 0, and behind each of the first dots."""
    ends, at = [0], name.find(".") + 1
    while at and len(ends) <= _MOST_PARTS:
        ends.append(at)
        at = name.find(".", at) + 1
    return ends


def renamed(weights: Weights, table: Table, naming: Naming, layers: Iterable[str] = ()) -> Weights:
    """Return tensors under the mark's names; layers that are not under the prefix, under their own.

    Args:
        weights: the model. table: names shown, with those stored, of the tensors that count.
        naming: how the names shown are told from the mark's.
        layers: of the mark.
    """
    names = {mine: stored for shown, stored in table.items() if (mine := naming.of_mark(shown)) is not None}
    kept = {layer: table[layer] for layer in layers if layer not in names and layer in table}
    return RenamedWeights(weights, names | kept)


def averages(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what names call an average (``ema.``, ``_ema``): by that word, names without it and as stored.

    A part of a name may be the word (``model_ema.fc.weight``), or only hold it (``fc.weight_ema``): both readings
    are returned, that of more tensors first, and shapes say which one is meant.
    """
    found = defaultdict[str, dict[str, str]](dict)
    for name in names:
        for word, bare in _bare(name):
            found[word][bare] = name
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _bare(name: str) -> Iterator[tuple[str, str]]:
    """Yield the word by which a name is an average's, and the name without it, in both readings."""
    parts = name.split(".")
    at = next((n for n, part in enumerate(parts) if not _WORDS.isdisjoint(part.split("_"))), None)
    if at is None:
        return
    part, before, behind = parts[at], parts[:at], parts[at + 1 :]
    if behind:
        yield f"{part}.", ".".join([*before, *behind])
    words = part.split("_")
    if len(words) > 1 and words[-1] in _WORDS:
        yield f"_{words[-1]}", ".".join([*before, "_".join(words[:-1]), *behind])
    elif len(words) > 1 and words[0] in _WORDS:
        yield f"{words[0]}_", ".".join([*before, "_".join(words[1:]), *behind])


def is_average(name: str) -> bool:
    """Say whether a tensor's name, or that of a copy, says that it is an average."""
    return not _WORDS.isdisjoint(name.replace(".", "_").split("_"))


def undotted(layers: Iterable[str], table: Table) -> dict[str, str]:
    """Return a table whose names lost their dots, as buffers of an average do, under the names of layers."""
    names = list(layers)
    for cut in _cuts(_common(names)):
        found = {name: table[bare] for name in names if (bare := name[cut:].replace(".", "")) in table}
        if found:
            return found
    return {}
