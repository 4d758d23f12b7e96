"""The laws of exact order statistics: what sorting says, for every dtype, tie, zero and denormal."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import (
    MagnitudeTable,
    Rank,
    at_most,
    kth_by_sorting,
    next_above,
    pruned_count,
)

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
by_device = pytest.mark.parametrize("where", ["cpu", pytest.param("accelerator", marks=pytest.mark.cuda)])
quick = settings(max_examples=40, deadline=None)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A finite tensor of any dtype and shape: all exponents down to denormals, or ties and zeros."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(1, 9), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        values = rng.integers(-3, 4, shape) * draw(st.sampled_from([1.0, 0.25, 1e-7, 1e-40]))
    else:
        values = rng.standard_normal(shape) * 2.0 ** rng.integers(-148, 14, shape)
    return torch.tensor(values, dtype=torch.float64).to(dtype)


def ranked(pool: list[Tensor]) -> list[float]:
    """All magnitudes, sorted."""
    values: list[float] = torch.cat([t.float().abs().reshape(-1) for t in pool]).sort().values.tolist()
    return values


@quick
@given(st.lists(tensors(), min_size=1, max_size=4), st.data())
def test_every_rank_is_what_sorting_says(pool: list[Tensor], data: st.DataObject) -> None:
    subsets = st.lists(st.sampled_from(range(len(pool))), min_size=1, unique=True).map(tuple)
    questions, expected = [], []
    for members in data.draw(st.lists(subsets, min_size=1, max_size=3)):
        values = ranked([pool[i] for i in members])
        rank = data.draw(st.integers(1, len(values)))
        questions.append(Rank(members, rank))
        expected.append(values[rank - 1])
    table = MagnitudeTable(pool)
    assert table.kth(questions) == expected
    assert kth_by_sorting(pool, questions) == expected, "what a GPU does"
    assert [table.size(q.members) for q in questions] == [
        sum(pool[i].numel() for i in q.members) for q in questions
    ]
    assert table.non_finite() == []


@quick
@given(st.lists(tensors(), min_size=1, max_size=3), st.data())
def test_excluded_values_do_not_count(pool: list[Tensor], data: st.DataObject) -> None:
    flat = [t.float().reshape(-1) for t in pool]
    cuts = [data.draw(st.integers(0, len(t))) for t in flat]
    rest = ranked([t[cut:] for t, cut in zip(flat, cuts, strict=True)])
    assume(rest)
    table = MagnitudeTable(pool, {i: t[:cut] for i, (t, cut) in enumerate(zip(flat, cuts, strict=True)) if cut})
    members = tuple(range(len(pool)))
    assert table.size(members) == len(rest)
    assert table.kth([Rank(members, rank) for rank in range(1, len(rest) + 1)]) == rest


@by_device
@by_dtype
@pytest.mark.parametrize("spread", [None, 3], ids=["normal", "ties"])
def test_a_pool_of_several_chunks_and_more_picks_than_are_sorted(
    dtype: torch.dtype, spread: int | None, where: str, request: pytest.FixtureRequest
) -> None:
    """Three values in 1.2 million weights put all of them into the bins asked for: they are counted in a table."""
    device = request.getfixturevalue(where) if where == "accelerator" else where
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(1_200_000, generator=generator)
    if spread:
        large = large.sign() * torch.randint(0, spread, large.shape, generator=generator)
    pool = [large.to(device, dtype), torch.randn(999, generator=generator).to(device, dtype)]
    excluded = pool[0][:5000].float()
    rest = ranked([pool[0][5000:].cpu(), pool[1].cpu()])
    ranks = [1, *(pruned_count(rate, len(rest)) for rate in np.linspace(0.05, 1, 20))]
    table = MagnitudeTable(pool, {0: excluded})
    assert table.kth([Rank((0, 1), rank) for rank in ranks]) == [rest[rank - 1] for rank in ranks]


@by_dtype
def test_layouts_and_empty_tensors(dtype: torch.dtype) -> None:
    image = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    pool = [
        image.to(memory_format=torch.channels_last),
        torch.empty(0, 3, dtype=dtype),
        image[:, ::2].transpose(0, 1),
    ]
    values = ranked(pool)
    assert MagnitudeTable(pool).kth([Rank((0, 1, 2), rank + 1) for rank in range(len(values))]) == values


@by_dtype
@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf])
def test_tensors_that_are_not_finite_are_named(dtype: torch.dtype, value: float) -> None:
    bad = torch.zeros(3, 7, dtype=dtype)
    bad[2, 4] = value
    largest = torch.tensor([torch.finfo(dtype).max], dtype=dtype)
    table = MagnitudeTable([largest, bad, bad], {2: torch.tensor([value])})
    assert table.non_finite() == [1, 2], "an excluded value is in the tensor all the same"
    assert table.kth([Rank((0, 1), 1), Rank((0,), 1)]) == [0.0, torch.finfo(dtype).max]


@pytest.mark.parametrize("rank", [0, -1, 6, 10**9])
def test_a_rank_outside_the_pool_is_bad_input(rank: int) -> None:
    table = MagnitudeTable([torch.ones(2, 3)], {0: torch.ones(1)})
    with pytest.raises(BadInput, match=rf"rank {rank} is outside 1\.\.5"):
        table.kth([Rank((0,), 1), Rank((0,), rank)])
    with pytest.raises(BadInput, match=rf"rank {rank} is outside 1\.\.5"):
        kth_by_sorting([torch.ones(5)], [Rank((0,), 1), Rank((0,), rank)])


@by_dtype
def test_neighbours(dtype: torch.dtype) -> None:
    """Against torch.nextafter, at numbers of the dtype, beside them and between two of them."""
    largest = torch.finfo(dtype).max

    @quick
    @given(st.floats(0, largest / 2))
    def check(value: float) -> None:
        below, above = at_most(value, dtype), next_above(value, dtype)
        assert below <= value < above
        for number in (below, above):
            assert float(torch.tensor(number, dtype=torch.float64).to(dtype)) == number
        stored = torch.tensor(below, dtype=torch.float64).to(dtype)
        assert float(torch.nextafter(stored, torch.tensor(math.inf, dtype=dtype))) == above
        assert at_most(above, dtype) == above
        assert at_most(below, dtype) == below
        assert next_above(below, dtype) == above

    check()
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    assert next_above(0.0, dtype) == smallest
    assert (at_most(0.0, dtype), at_most(smallest / 2, dtype)) == (0.0, 0.0)


@quick
@given(st.integers(1, 10**9), st.integers(0, 1000))
def test_pruned_count_is_the_floor_in_spite_of_rounding(size: int, thousandths: int) -> None:
    assert pruned_count(thousandths / 1000, size) == size * thousandths // 1000


@quick
@given(st.lists(tensors(), min_size=1, max_size=4), st.data())
def test_near_ranks_are_within_their_bin(pool: list[Tensor], data: st.DataObject) -> None:
    expected = ranked(pool)
    assume(expected)
    ranks = data.draw(st.lists(st.integers(1, len(expected)), max_size=5))
    found = MagnitudeTable(pool).near(range(len(pool)), ranks)
    for value, rank in zip(found.tolist(), ranks, strict=True):
        exact = expected[rank - 1]
        assert value == pytest.approx(exact, rel=0.004, abs=2.0**-126)
