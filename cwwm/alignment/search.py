"""Finds where a suspect's channels come from, layer by layer from the image on, by weights alone.

A layer whose inputs are known has its outputs matched by the cosines of their weights (linear sum assignment); the
layers that read these come next. Which layers those are is not read off a running model but tried: every matching
found so far that fits a layer's width (whole, flattened, a third of fused queries, keys and values, or concatenated
ones) is a candidate for its inputs, and the right one stands out, for under a wrong one no output resembles any.
Then all layers that share channels are pooled, and each matching is solved again until none changes: coordinate
descent over the network's permutations, as weight matching does (Ainsworth, Hayase and Srinivasa, "Git Re-Basin",
arXiv 2209.04836), here for partial matchings between networks of different widths.

Where both models ran, what their channels answer (`Responses`, the activation matching of that paper) joins in: it
places layers that too few weights are left to place, and is pooled with the weights of the layers that it is of.
It only proposes: what is recognised in the end is said by weights alone.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cwwm.alignment.channel_map import NONE, ChannelMap
from cwwm.alignment.responses import Responses, weighted_answers
from cwwm.alignment.signs import signs, signs_by_partner
from cwwm.alignment.similarity import (
    LayerPair,
    Match,
    assign,
    column_cosines,
    dense,
    kernel_cosines,
    recognise,
    row_cosines,
)
from cwwm.alignment.transforms import axes, bring_back
from cwwm.support.progress import tell

IMAGE_CHANNELS = 4  # at most: the inputs of a network's first layers, whose order nobody can change
RECOGNISED = 0.25  # share of channels that must stand out; of an unrelated layer at most 0.05 do
SAME = 0.5  # agreement from which two matchings are one, if none of their channels speaks against it:
_FAR, _ODD = 3.0, 0.02  # more than so large a share is less alike by so many standard deviations
CLEAR = 0.75  # share of a layer that is placed first
_ALIKE = 0.95  # likeness that ends the search for a better candidate
_SAMPLE = 64  # rows that judge a candidate
_AGREES = 6.0  # standard errors
_PASSES = 4
_PARTS = (2, 3)  # fused projections: gate and value; queries, keys and values


@dataclass(frozen=True)
class Route:
    """How the inputs of a layer come from known channels.

    Attributes:
        sites: numbers of the matchings, concatenated.
        factor: inputs a channel, where a feature map is flattened.
        chunk: (number, parts) where only one of equal parts is read.
    """

    sites: tuple[int, ...]
    factor: int = 1
    chunk: tuple[int, int] | None = None

    def resolve(self, maps: Sequence[ChannelMap]) -> ChannelMap | None:
        """Return the map of the layer's inputs; None where a chunk is torn."""
        joined = maps[self.sites[0]]
        for site in self.sites[1:]:
            joined = joined.then(maps[site])
        if self.chunk:
            return joined.chunk(*self.chunk)
        return joined.expanded(self.factor) if self.factor > 1 else joined


@dataclass(frozen=True)
class Found:
    """Where a layer's channels are: the number of its outputs' matching, and the route of its inputs.

    Depthwise layers have no inputs of their own: their route is None.
    """

    pair: LayerPair
    outputs: int
    inputs: Route | None


class Search:
    """Matches the layers of two models; see the module.

    Attributes:
        maps: the matchings, each shared by all axes that it was found for.
        found: the layers that could be placed, by name.
    """

    def __init__(
        self, pairs: Sequence[LayerPair], classifiers: Container[str], responses: Responses | None = None
    ) -> None:
        """Match `pairs`, in the model's order; the outputs of the layers `classifiers` are the task's classes."""
        self.maps: list[ChannelMap] = []
        self.found: dict[str, Found] = {}
        self._fixed: set[int] = set()
        self._classifiers = classifiers
        self._answers = weighted_answers(pairs, responses) if responses is not None else {}
        waiting = list(pairs)
        tell("layers placed", 0, len(pairs))
        while waiting:
            left = self._place_some(waiting)
            if len(left) == len(waiting):
                break
            waiting = left
        self._refine()

    def _place_some(self, pairs: Sequence[LayerPair]) -> list[LayerPair]:
        """Place what is surest, which tells what the others could read; return the others."""
        stages = (lambda p: self._place(p, CLEAR), self._place_by_responses, lambda p: self._place(p, RECOGNISED))
        left = list(pairs)
        for stage in stages:
            left = [pair for pair in pairs if not stage(pair)]
            if len(left) < len(pairs):
                break
        return left

    def _place(self, pair: LayerPair, least: float) -> bool:
        """Place one layer if its inputs, or else its outputs, are known; say whether it could be done."""
        tell(f"layers placed, now {pair.name}", len(self.found))
        if pair.depthwise:
            return self._place_depthwise(pair)
        inputs = self._best_inputs(pair, least)
        if inputs is not None:
            self.found[pair.name] = Found(pair, self._outputs(pair, inputs), inputs)
            return True
        outputs = self._best_outputs(pair, least)
        if outputs is None:
            return False
        self._place_above(pair, outputs)
        return True

    def _place_above(self, pair: LayerPair, outputs: int) -> None:
        """Place a layer whose outputs are known: its inputs follow from them."""
        cosines = column_cosines(pair, self.maps[outputs])
        columns = self._site(assign(cosines).map, cosines)
        self.found[pair.name] = Found(pair, outputs, Route((columns,)))

    def _place_by_responses(self, pair: LayerPair) -> bool:
        """Place a layer by its answers to images, if its weights agree; say whether it could be done."""
        answers = self._answers.get(pair.name)
        if answers is None or pair.depthwise:
            return False
        proposed = self.maps[self._fixed_site(len(answers))] if self._gives_classes(pair) else assign(answers).map
        inputs = self._agreeing_inputs(pair, proposed)
        if inputs is not None:
            self.found[pair.name] = Found(pair, self._outputs(pair, inputs), inputs)
            return True
        if not _halves_agree(pair, proposed):
            return False
        self._place_above(pair, self._site(proposed, answers))
        return True

    def _agreeing_inputs(self, pair: LayerPair, proposed: ChannelMap) -> Route | None:
        """Return the route under which a layer's weights agree best with a matching of its outputs."""
        rows = torch.linspace(0, len(pair.owner) - 1, min(_SAMPLE, len(pair.owner))).long()
        sampled = ChannelMap(proposed.partner[rows.numpy()], proposed.width)
        scores = {
            route: _diagonal_score(row_cosines(pair, columns, rows), sampled)
            for route, columns in self._candidates(pair)
        }
        best = max(scores, key=lambda route: scores[route], default=None)
        return best if best is not None and scores[best] > _AGREES else None

    def _place_depthwise(self, pair: LayerPair) -> bool:
        """Give a depthwise layer the channels under which its kernels agree best."""
        maps = {site: self.maps[site] for site in self._sites_of(pair)}
        scores = {site: _diagonal_score(_kernels_under(pair, known), known) for site, known in maps.items()}
        if not scores:
            return False
        self.found[pair.name] = Found(pair, max(scores, key=lambda site: scores[site]), None)
        return True

    def _best_inputs(self, pair: LayerPair, least: float) -> Route | None:
        """Return the route under which a sample of outputs is recognised and most alike; None where too few are."""
        if pair.owner.shape[1] == pair.suspect.shape[1] <= IMAGE_CHANNELS:
            return Route((self._fixed_site(pair.owner.shape[1]),))
        rows = torch.linspace(0, len(pair.owner) - 1, min(_SAMPLE, len(pair.owner))).long()
        best, most = None, 0.0
        for route, columns in self._candidates(pair):
            found = recognise(row_cosines(pair, columns, rows), len(pair.owner))
            if found.share > least and found.share * found.likeness > most:
                best, most = route, found.share * found.likeness
            if found.share > CLEAR and found.likeness > _ALIKE:
                break
        return best

    def _candidates(self, pair: LayerPair) -> Iterator[tuple[Route, ChannelMap]]:
        """Yield the routes that a layer can have, each with the map of its inputs."""
        for route in self._routes(pair):
            columns = route.resolve(self.maps)
            if columns is not None and len(columns.matched) and pair.groups(columns) is not None:
                yield route, columns

    def _routes(self, pair: LayerPair) -> Iterator[Route]:
        """Yield how the inputs of a layer could come from what is known, the latest first, then as they are."""
        size, width = pair.owner.shape[1], pair.suspect.shape[1]
        sites = list(reversed(range(len(self.maps))))
        yield from (Route((site,)) for site in sites if pair.groups(self.maps[site]) == (1, 1))
        for site in sites:
            known = self.maps[site]
            if pair.groups(known) not in (None, (1, 1)):
                yield Route((site,))
            factor = size // known.size
            if factor > 1 and (known.size * factor, known.width * factor) == (size, width):
                yield Route((site,), factor=factor)
                yield Route((site,) * factor)
            for parts in _PARTS:
                if (known.size, known.width) == (parts * size, parts * width):
                    yield from (Route((site,), chunk=(number, parts)) for number in range(parts))
        yield from self._concatenations(size, width)
        if size == width:
            yield Route((self._identity_site(size),))

    def _concatenations(self, size: int, width: int) -> Iterator[Route]:
        """Yield what a layer could read that another reads, or gives, with one more set of channels behind it."""
        routes = {found.inputs.sites for found in self.found.values() if found.inputs is not None}
        for sites in dict.fromkeys([*sorted(routes), *((site,) for site in range(len(self.maps)))]):
            left = size - sum(self.maps[site].size for site in sites)
            room = width - sum(self.maps[site].width for site in sites)
            for site in reversed(range(len(self.maps))):
                if (self.maps[site].size, self.maps[site].width) == (left, room):
                    yield Route((*sites, site))

    def _best_outputs(self, pair: LayerPair, least: float) -> int | None:
        """Return the known matching of a layer's outputs under which its inputs stand out."""
        sites = self._sites_of(pair)
        if self._gives_classes(pair):
            sites = [self._fixed_site(len(pair.owner))]
        size = pair.owner.shape[1]
        shares = {site: recognise(column_cosines(pair, self.maps[site]), size).share for site in sites}
        best = max(shares, key=lambda site: shares[site], default=None)
        return best if best is not None and shares[best] > least else None

    def _sites_of(self, pair: LayerPair) -> list[int]:
        """Return the matchings that have the widths of a layer's outputs."""
        widths = len(pair.owner), len(pair.suspect)
        return [site for site, known in enumerate(self.maps) if (known.size, known.width) == widths]

    def _gives_classes(self, pair: LayerPair) -> bool:
        """Say whether the order of a layer's outputs is that of the task's classes."""
        return pair.name in self._classifiers and len(pair.owner) == len(pair.suspect)

    def _outputs(self, pair: LayerPair, inputs: Route) -> int:
        """Match the outputs of a layer whose inputs are known."""
        if self._gives_classes(pair):
            return self._fixed_site(len(pair.owner))
        columns = inputs.resolve(self.maps)
        if columns is None:
            raise ValueError(f"{pair.name} has no inputs")
        cosines = row_cosines(pair, columns)
        if pair.name in self._answers:  # of one scale: a sum over weights
            cosines = len(columns.matched) * pair.owner.shape[2] * cosines + self._answers[pair.name]
        return self._site(assign(cosines).map, cosines)

    def _site(self, found: ChannelMap, cosines: Tensor) -> int:
        """Return the number of a matching: that of a known one that does as well on these cosines, or a new one."""
        agreement = {
            site: known.agreement(found)
            for site, known in enumerate(self.maps)
            if (known.size, known.width) == (found.size, found.width) and not _contradicts(known, found, cosines)
        }
        best = max(agreement, key=lambda site: agreement[site], default=None)
        if best is not None and agreement[best] >= SAME:
            return best
        self.maps.append(found)
        return len(self.maps) - 1

    def _identity_site(self, size: int) -> int:
        """Return the number of the matching that moves nothing, made where there is none."""
        identity = ChannelMap.identity(size)
        for site, known in enumerate(self.maps):
            if (known.size, known.width) == (size, size) and known.agreement(identity) == 1:
                return site
        self.maps.append(identity)
        return len(self.maps) - 1

    def _fixed_site(self, size: int) -> int:
        """Return the number of one that nobody can change: of image channels, or of classes."""
        for site in self._fixed:
            if self.maps[site].size == size:
                return site
        self.maps.append(ChannelMap.identity(size))
        self._fixed.add(len(self.maps) - 1)
        return len(self.maps) - 1

    def _refine(self) -> None:
        """Solve each matching again from all layers that share it, until none changes."""
        members = [list(self._members(site)) for site in range(len(self.maps))]
        for _ in range(_PASSES):
            changed = False
            for site, where in enumerate(members):
                tell("matchings of channels solved again", site, len(members))
                if site in self._fixed or not where:
                    continue
                match = assign(self._pooled(site, where, self._answers))
                changed |= not np.array_equal(match.map.partner, self.maps[site].partner)
                self.maps[site] = match.map
            if not changed:
                return

    def _members(self, site: int) -> "Iterator[tuple[Found, int | None]]":
        """Yield the layers with these outputs (None), or with these inputs at a place of their route."""
        for found in self.found.values():
            if found.outputs == site:
                yield found, None
            if found.inputs is not None:
                yield from ((found, place) for place, part in enumerate(found.inputs.sites) if part == site)

    def _pooled(
        self, site: int, members: "Sequence[tuple[Found, int | None]]", answers: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the sum of a matching's cosines over the layers, each times the weights that it compares.

        `answers` join the sum: `self._answers`, or none.
        """
        known = self.maps[site]
        total = torch.zeros(known.size, known.width)
        for found, place in members:
            cosines = self._row_part(found) if place is None else self._column_part(found, place)
            if cosines is not None:
                (top, left), values, features = cosines
                total[top : top + len(values), left : left + values.shape[1]] += features * values
            if place is None and found.pair.name in answers:
                total += answers[found.pair.name]
        return total

    def _row_part(self, found: Found) -> "tuple[tuple[int, int], Tensor, int] | None":
        if found.inputs is None:
            return (0, 0), _kernels_under(found.pair, self.maps[found.outputs]), found.pair.owner.shape[2]
        columns = found.inputs.resolve(self.maps)
        if columns is None or not len(columns.matched):
            return None
        return (0, 0), row_cosines(found.pair, columns), len(columns.matched) * found.pair.owner.shape[2]

    def _column_part(self, found: Found, place: int) -> "tuple[tuple[int, int], Tensor, int] | None":
        route, rows = found.inputs, self.maps[found.outputs]
        if route is None or not len(rows.matched):
            return None
        before = [self.maps[site] for site in route.sites[:place]]
        own = self.maps[route.sites[place]]
        inside = (sum(known.size for known in before), sum(known.width for known in before))
        columns = route.resolve(self.maps)
        groups = None if columns is None else found.pair.groups(columns)
        if columns is None or groups is None:
            return None
        owner = _channelwise(dense(found.pair.owner, groups[0]), route.factor)
        suspect = _channelwise(dense(_upright(found.pair, rows, columns), groups[1]), route.factor)
        top = left = 0
        if route.chunk:
            number, parts = route.chunk
            top, left = number * own.size // parts, number * own.width // parts
        else:
            owner = owner[:, inside[0] : inside[0] + own.size]
            suspect = suspect[:, inside[1] : inside[1] + own.width]
        pair = replace(found.pair, owner=owner, suspect=suspect)
        return (top, left), column_cosines(pair, rows), len(rows.matched) * owner.shape[2]

    def match(self, found: Found) -> Match:
        """Return the outputs of a placed layer as its weights alone would match them: a check of what was pooled.

        The few weights of a depthwise kernel tell no channel apart: such a layer is recognised by all that share
        its channels, if its kernels agree with the matching at all.
        """
        tell(f"layers placed, now checking {found.pair.name}", len(self.found), len(self.found))
        if found.inputs is None:
            known = self.maps[found.outputs]
            agrees = _diagonal_score(_kernels_under(found.pair, known), known) > _AGREES
            pooled = assign(self._pooled(found.outputs, list(self._members(found.outputs)), {}))
            return pooled if agrees else replace(pooled, distinct=np.zeros_like(pooled.distinct))
        part = self._row_part(found)
        if part is None:
            return Match(self.maps[found.outputs], np.zeros(self.maps[found.outputs].size, bool))
        return assign(part[1])


def _halves_agree(pair: LayerPair, proposed: ChannelMap) -> bool:
    """Say whether the inputs that half of a layer's outputs tell suit the other half.

    The outputs that told them would always suit: among so many inputs some resemble whatever is proposed.
    """
    rows = np.arange(proposed.size)
    half = ChannelMap(np.where(rows % 2, NONE, proposed.partner), proposed.width)
    others = ChannelMap(proposed.partner[1::2], proposed.width)
    columns = assign(column_cosines(pair, half)).map
    if not len(half.matched) or not len(columns.matched):
        return False
    return _diagonal_score(row_cosines(pair, columns, torch.from_numpy(rows[1::2])), others) > _AGREES


def _contradicts(known: ChannelMap, found: ChannelMap, cosines: Tensor) -> bool:
    """Say whether some channels are far more alike as found than as known: then these are two matchings.

    Where noise alone decides between two partners, both are about as alike.
    """
    both = (known.partner != found.partner) & (known.partner != NONE) & (found.partner != NONE)
    rows = torch.from_numpy(np.flatnonzero(both))
    gain = (
        cosines[rows, torch.from_numpy(found.partner[both])] - cosines[rows, torch.from_numpy(known.partner[both])]
    )
    return int((gain > _FAR * cosines.std()).sum()) > _ODD * known.size


def _upright(pair: LayerPair, rows: ChannelMap, columns: ChannelMap) -> Tensor:
    """Return the suspect's weights with the turned signs of outputs undone."""
    turned = signs(pair.owner, bring_back(pair.suspect, axes(pair.owner.shape), rows, columns))
    if not bool((turned < 0).any()):
        return pair.suspect
    return pair.suspect * signs_by_partner(turned, rows)[:, None, None]


def _channelwise(tensor: Tensor, factor: int) -> Tensor:
    """Return (outputs, channels, factor * kernel) of a layer that reads a flattened feature map."""
    return tensor.reshape(len(tensor), tensor.shape[1] // factor, -1) if factor > 1 else tensor


def _kernels_under(pair: LayerPair, known: ChannelMap) -> Tensor:
    """Return the cosines of a depthwise layer's kernels, or their magnitudes if only these agree with a matching.

    Then many kernels are turned in sign. Magnitudes are compared with magnitudes: of strangers neither agree.
    """
    cosines = kernel_cosines(pair)
    magnitudes = cosines.abs()
    signed = _diagonal_score(cosines, known) > _AGREES
    return magnitudes if not signed and _diagonal_score(magnitudes, known) > _AGREES else cosines


def _diagonal_score(cosines: Tensor, known: ChannelMap) -> float:
    """Return by how many standard errors the cosines of a matching exceed those of all pairs."""
    rows = torch.from_numpy(known.matched)
    if not len(rows):
        return 0.0
    chosen = cosines[rows, torch.from_numpy(known.partner[known.matched])]
    return float((chosen.mean() - cosines.mean()) / cosines.std().clamp(min=1e-30) * len(rows) ** 0.5)
