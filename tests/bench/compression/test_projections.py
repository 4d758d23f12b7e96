"""Projections are (nearly) nearest points of their sets, keep what was asked for, and repeat without effect."""

from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.attacks.compression.projections import Clusters, Groups, Levels, Projection, TopK
from cwwm.support.errors import BadInput

TIED = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=8)  # many ties, zeros among them
SIZES = st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 3)] * 2)
KINDS = ("filters", "channels", "shapes")


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().sum())


@given(values=TIED, data=st.data())
@settings(max_examples=80, deadline=None)
def test_top_k_is_the_nearest_of_all_choices(values: list[float], data: st.DataObject) -> None:
    tensor, keep = torch.tensor(values), data.draw(st.integers(1, len(values)))
    projected = TopK(keep)(tensor)
    least = min(
        distance(tensor, torch.zeros_like(tensor).index_copy(0, torch.tensor(c), tensor[torch.tensor(c)]))
        for c in combinations(range(len(values)), keep)
    )
    assert distance(tensor, projected) == least
    assert int((projected != 0).sum()) == min(keep, int((tensor != 0).sum()))
    assert torch.equal(TopK(keep)(projected), projected)


@given(values=TIED, data=st.data())
@settings(max_examples=80, deadline=None)
def test_top_k_never_leaves_its_mask(values: list[float], data: st.DataObject) -> None:
    tensor = torch.tensor(values)
    keep = data.draw(st.integers(1, len(values)))  # also more than the mask has
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    projected = TopK(keep, mask)(tensor)
    assert not projected[~mask].any()
    assert int((projected != 0).sum()) == min(keep, int((tensor[mask] != 0).sum()))
    assert distance(tensor, projected) == distance(tensor, TopK(keep)(tensor * mask))


def one_kind_after_another(values: Tensor, groups: Groups) -> Tensor:
    """Zero the weakest filters, then channels, then shapes, one at a time: the order of arXiv 1807.11091."""
    out = values.clone()
    rows, channels = out.shape[:2]
    places: dict[str, list[tuple[Any, ...]]] = {
        "filters": [(a,) for a in range(rows)],
        "channels": [(slice(None), b) for b in range(channels)],
        "shapes": [(slice(None), *i) for i in torch.ones(out.shape[1:]).nonzero().tolist()],
    }
    for kind in KINDS:
        keep = getattr(groups, kind)
        ranked = sorted(places[kind], key=lambda place: float(out[place].double().square().sum()))
        for place in ranked[: len(ranked) - keep] if keep is not None else []:
            out[place] = 0
    return out


def most(kept: Tensor, kind: str) -> int:
    """Return how many groups of a kind have a weight left."""
    flat = kept.flatten(2) if kept.ndim > 2 else kept[:, :, None]
    left = {"filters": flat.any(2).any(1), "channels": flat.any(2).any(0), "shapes": flat.any(0)}
    return int(left[kind].sum())


@given(size=SIZES, axes=st.sampled_from([2, 3, 4]), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=80, deadline=None)
def test_groups_are_as_many_as_asked_and_no_worse_than_one_kind_after_another(
    size: tuple[int, int, int, int], axes: int, seed: int, data: st.DataObject
) -> None:
    values = normal(size[:axes], seed)
    counts = {"filters": size[0], "channels": size[1], "shapes": values[0].numel()}
    groups = Groups(**{k: data.draw(st.none() | st.integers(1, n)) for k, n in counts.items()})
    projected = groups(values)
    kept = projected != 0
    assert all(most(kept, kind) <= (getattr(groups, kind) or counts[kind]) for kind in KINDS)
    assert torch.equal(projected, values * kept)
    assert distance(values, projected) <= distance(values, one_kind_after_another(values, groups)) * (1 + 1e-6)
    assert torch.equal(groups(projected), projected)


def nearest_distance(values: Tensor, filters: int, shapes: int) -> float:
    """Return the least squared distance of all choices of so many rows and columns."""
    energy = values.double().square()
    rows = torch.tensor(list(combinations(range(len(values)), filters)))
    return float(energy.sum() - energy[rows].sum(1).topk(shapes, dim=1).values.sum(1).max())


@pytest.mark.parametrize("keep", [(2, 3), (3, 2), (3, 4), (4, 4)])
def test_filters_with_shapes_are_nearest_of_all_choices_but_for_few(keep: tuple[int, int]) -> None:
    matrices = [normal((6, 8), seed) for seed in range(250)]
    least = torch.tensor([nearest_distance(values, *keep) for values in matrices])
    groups = Groups(filters=keep[0], shapes=keep[1])
    ratio = torch.tensor([distance(values, groups(values)) for values in matrices]) / least
    ordered = (
        torch.tensor([distance(values, one_kind_after_another(values, groups)) for values in matrices]) / least
    )
    assert float((ratio < 1 + 1e-5).double().mean()) >= 0.99
    assert 1 - 1e-5 < float(ratio.min()) <= float(ratio.max()) < 1.07
    assert float((ordered < 1 + 1e-5).double().mean()) < 0.65  # what this is better than


@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_one_kind_are_the_nearest_of_all_choices(kind: str) -> None:
    values = normal((4, 4, 2, 1), 3)
    axis = {"filters": values, "channels": values.transpose(0, 1), "shapes": values.flatten(1).T}[kind]
    keep = 2
    least = min(
        float(axis.square().sum() - axis[torch.tensor(chosen)].square().sum())
        for chosen in combinations(range(len(axis)), keep)
    )
    assert distance(values, Groups(**{kind: keep})(values)) == pytest.approx(least)


@given(keep=st.integers(1, 6))
@settings(deadline=None)
def test_groups_keep_their_number_among_equals(keep: int) -> None:
    kept = Groups(filters=keep)(torch.ones(6, 2, 3, 3))
    assert int(kept.flatten(1).any(1).sum()) == keep
    assert int(Groups(shapes=keep)(torch.ones(4, 6)).any(0).sum()) == keep


@pytest.mark.parametrize(
    "project", [TopK(7), TopK(7, torch.arange(72).view(4, 2, 3, 3) % 2 == 0), Groups(2, 1, 5)], ids=repr
)
def test_memory_format_makes_no_difference(project: Projection) -> None:
    values = normal((4, 2, 3, 3), 5)
    assert torch.equal(project(values.to(memory_format=torch.channels_last)), project(values))


@given(seed=st.integers(0, 99), bits=st.integers(1, 4), offset=st.sampled_from([0.0, 0.5]))
@settings(max_examples=40, deadline=None)
def test_levels_are_few_and_zeros_stay(seed: int, bits: int, offset: float) -> None:
    values, mask = normal((40,), seed), normal((40,), seed + 1) > 0
    project = Levels(0.2, bits, mask, offset)
    levels = project(values)
    assert not levels[~mask].any()
    assert bool((levels[mask] != 0).all())
    assert len(torch.unique(levels[mask])) <= 2**bits
    assert torch.equal(project(levels), levels)
    grid = (torch.arange(1, 2 ** (bits - 1) + 1) - offset) * 0.2
    grid = torch.cat([-grid, grid])
    least = (values[mask, None] - grid).abs().amin(1)
    assert torch.allclose((values - levels)[mask].abs(), least, atol=1e-6)


@given(seed=st.integers(0, 99), bits=st.integers(1, 4), share=st.floats(0.05, 1))
@settings(max_examples=40, deadline=None)
def test_clusters_are_few_means_and_zeros_stay(seed: int, bits: int, share: float) -> None:
    values = normal((60,), seed)
    mask = torch.rand(60, generator=torch.Generator().manual_seed(seed)) < share
    mask[0] = True
    clusters = Clusters(values, bits, mask)
    shared = clusters(values)
    assert not shared[~mask].any()
    assert 1 <= len(torch.unique(shared[mask])) <= min(2**bits, int(mask.sum()))
    members = clusters.members(values)
    for number, centroid in enumerate(clusters.centroids):
        assert float(values[mask][members == number].mean()) == pytest.approx(float(centroid), abs=1e-6)
    nearest = (values[mask, None] - clusters.centroids).abs().amin(1)
    assert torch.allclose((values - shared)[mask].abs(), nearest, atol=1e-6)


def test_clusters_follow_the_weights_and_never_grow_in_number() -> None:
    values = torch.tensor([-3.0, -1.0, 1.0, 3.0]).repeat(50) + 0.1 * normal((200,), 1)
    clusters = Clusters(values, 2, torch.ones(200, dtype=torch.bool))
    shared, before = clusters(values), clusters.centroids
    assert torch.allclose(clusters(values + 0.3), shared + 0.3, atol=1e-6)
    assert torch.allclose(clusters.centroids, before + 0.3, atol=1e-6)
    clusters(values.sign())
    assert clusters.centroids.tolist() == [-1.0, 1.0]
    assert len(torch.unique(clusters(values))) == 2


def test_clusters_need_a_survivor() -> None:
    with pytest.raises(BadInput, match="no weight left; prune less"):
        Clusters(torch.ones(3), 2, torch.zeros(3, dtype=torch.bool))
