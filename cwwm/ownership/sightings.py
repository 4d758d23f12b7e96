"""Where a mark may be in a model: in which of its copies, and under which names. Each that is read is a try."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cwwm.ownership.evidence import Tried
from cwwm.ownership.mark import Mark
from cwwm.support.errors import BadInput
from cwwm.weights.copies import TorchWeights, copies_of
from cwwm.weights.derived import DerivedWeights, derived
from cwwm.weights.naming import (
    PLAIN,
    Naming,
    RenamedWeights,
    Shapes,
    averages,
    find_naming,
    is_average,
    renamed,
    undotted,
)
from cwwm.weights.view import Weights


@dataclass(frozen=True)
class Sighting:
    """One way to take a model's tensors for the layers of a mark.

    Attributes:
        weights: under the mark's names.
        copy: which copy of the weights it is; empty where the model has one.
        naming: how the names are told from the mark's.
        products: how many weights are stored in parts, by form; see `cwwm.weights.derived`.
        exchanged: how many layers go by each other's names, as their content told.
    """

    weights: Weights
    copy: str = ""
    naming: Naming = PLAIN
    products: tuple[tuple[str, int], ...] = ()
    exchanged: int = 0

    @property
    def label(self) -> str:
        """Say which it is: by copy and prefix."""
        words = [self.copy] if self.copy else []
        return ", ".join(words if self.naming.plain and words else [*words, str(self.naming)])


@dataclass(frozen=True)
class Sightings:
    """All that are read of one model.

    Attributes:
        found: at least one, the raw weights first.
        tries: how many places were looked at: those found, and plain names wherever others were taken instead.
    """

    found: Sequence[Sighting]
    tries: int

    def counted(self, tried: Tried) -> Tried:
        """Return what was tried, with these."""
        return replace(tried, prefixes=self.tries * tried.prefixes)


def sightings(model: Weights, mark: Mark) -> Sightings:
    """Return where a mark may be in a model, by names and shapes alone.

    Plain names that fit are all there is, beside other copies. The module behind weights stays behind them.

    Raises:
        BadInput: if two prefixes fit equally well.
    """
    layers = {layer.name: layer.shape for layer in mark.carrier.layers} if mark.carrier else {}
    if model.exported or not layers:
        return Sightings((Sighting(model),), 1)
    copies = model.copies if isinstance(model, TorchWeights) and model.copies else {"": model}
    found, tries = list[Sighting](), 0
    for copy, weights in copies.items():
        here = list(_of_copy(weights, copy, layers))
        tries += len(here) + (not any(sighting.naming.plain and sighting.copy == copy for sighting in here))
        found += here or [Sighting(weights, copy)]
    return Sightings(tuple(found), tries)


def _of_copy(weights: Weights, copy: str, layers: Shapes) -> Iterator[Sighting]:
    """Yield the sightings of one state dict: of the raw weights, and of averages beside them."""
    whole = derived(weights)
    forms = tuple(whole.forms.items()) if isinstance(whole, DerivedWeights) else ()
    shapes = {name: whole.shape(name) for name in whole.all_names()}
    apart = {} if any(map(is_average, layers)) else averages(shapes)
    raw = [name for name in shapes if not (apart and is_average(name))]
    taken = list[frozenset[str]]()
    naming = find_naming(layers, {name: shapes[name] for name in raw}, plain=not apart)
    if naming is not None:
        table = {name: name for name in raw}
        seen = whole if naming.plain else renamed(whole, table, naming, layers)
        yield Sighting(seen, copy, naming, forms)
    for word, named in apart.items():
        table = undotted(layers, named) or named
        naming = find_naming(layers, {name: shapes[stored] for name, stored in table.items()}, plain=False)
        if naming is None or any(frozenset(table.values()) <= other for other in taken):
            continue
        taken.append(frozenset(table.values()))
        label = f"{copy}: {word}" if copy else word
        yield Sighting(renamed(whole, table, naming, layers), label, naming, forms)


def in_their_places(sighting: Sighting, names: Mapping[str, str]) -> Sighting:
    """Return a sighting whose layers go by each other's names, with `names` of theirs by the mark's, set right."""
    table = {name: name for name in sighting.weights.all_names()} | dict(names)
    return replace(sighting, weights=RenamedWeights(sighting.weights, table), exchanged=len(names))


def same_model(model: Weights, mark: Mark, accepted: Callable[[Weights], bool]) -> Weights | None:
    """Return a model, or that copy or naming of it, which is accepted; None if none is.

    For models that are known by a digest of names and tensors.
    """
    if accepted(model):
        return model
    return next((one for one in _others(model, mark) if accepted(one)), None)


def _others(model: Weights, mark: Mark) -> Iterator[Weights]:
    yield from copies_of(model).values()
    try:
        yield from (sighting.weights for sighting in sightings(model, mark).found)
    except BadInput:  # two prefixes fit: it is neither
        return
