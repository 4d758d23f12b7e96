"""Crossbars are counted by whole tiles, and the counts reproduce the savings of arXiv 1908.11691."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.attacks.compression.crossbar import (
    Crossbar,
    cells_per_weight,
    cost_report,
    kept_shape,
    reduction,
)
from cwwm.support.errors import BadInput

LENET5 = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
KEPT = {"conv1": (12, 25), "conv2": (25, 175), "fc1": (100, 200), "fc2": (10, 200)}  # filters, inputs
SMALL = Crossbar(32, 32)
sizes = st.integers(1, 300)
crossbars = st.builds(Crossbar, st.integers(1, 130), st.integers(1, 70))


def pruned(shape: tuple[int, ...], kept: tuple[int, int]) -> Tensor:
    """A weight with that many filters and inputs left, at random places."""
    torch.manual_seed(sum(shape))
    weight = torch.rand(shape).add(0.1).reshape(shape[0], -1)
    weight[torch.randperm(len(weight))[kept[0] :]] = 0
    weight[:, torch.randperm(weight.shape[1])[kept[1] :]] = 0
    return weight.reshape(shape)


def test_count_of_known_layers() -> None:
    assert SMALL.count((500, 800)) == 25 * 16
    assert SMALL.count((50, 20, 5, 5)) == SMALL.count((50, 500)) == 16 * 2
    assert Crossbar().count((512, 512, 3, 3)) == 36 * 8
    assert Crossbar(rows=128, columns=64).count((128, 64)) == 2
    assert Crossbar(rows=64, columns=128).count((128, 64)) == 1


@given(crossbars, sizes, sizes)
def test_tiles_cover_the_matrix_and_no_row_or_column_of_tiles_is_spare(c: Crossbar, n: int, k: int) -> None:
    count = c.count((n, k))
    assert count * c.rows * c.columns >= n * k
    assert count == sum(1 for _ in range(0, n, c.columns) for _ in range(0, k, c.rows))


@given(crossbars, sizes, sizes, st.data())
def test_whole_tiles_keep_more_for_the_same_crossbars(c: Crossbar, n: int, k: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, n)), data.draw(st.integers(0, k))
    filters, inputs = c.whole_tiles(kept, (n, k))
    assert kept[0] <= filters <= n
    assert kept[1] <= inputs <= k
    assert filters % c.columns == 0 or filters == n
    assert inputs % c.rows == 0 or inputs == k
    assert c.count((filters, inputs)) == c.count(kept)
    assert c.whole_tiles((filters, inputs), (n, k)) == (filters, inputs)


def test_whole_tiles_of_a_partial_last_tile() -> None:
    assert SMALL.whole_tiles((33, 170), (50, 20, 5, 5)) == (50, 192)
    assert SMALL.whole_tiles((32, 500), (50, 20, 5, 5)) == (32, 500)


@pytest.mark.parametrize(("bits", "cells"), [(2, 2), (3, 2), (5, 2), (6, 4), (9, 4), (10, 6), (16, 8)])
def test_cells_per_weight(bits: int, cells: int) -> None:
    assert cells_per_weight(bits) == cells


def test_reduction_reproduces_the_published_savings() -> None:
    assert reduction(29.81, 4, 2) == pytest.approx(98.32, abs=0.01)
    assert reduction(20.88, 4, 2) == pytest.approx(97.61, abs=0.01)
    assert reduction(29.81, 1, 1) == pytest.approx(96.65, abs=0.01)  # crossbars alone, no bit cut
    assert reduction(20.88, 1, 1) == pytest.approx(95.21, abs=0.01)
    assert reduction(math.inf, 4, 2) == 100


def test_kept_shape_ignores_zeros_inside_the_matrix() -> None:
    weight = pruned((50, 20, 5, 5), (25, 175))
    alive = weight.nonzero()[0]
    weight[tuple(alive)] = 0
    assert kept_shape(weight) == (25, 175)
    assert kept_shape(torch.zeros(4, 3)) == (0, 0)
    assert kept_shape(-torch.ones(4, 3, 2)) == (4, 6)


def test_lenet5_counts() -> None:
    weights = {name: pruned(shape, KEPT[name]) for name, shape in LENET5.items()}
    report = cost_report(weights, SMALL, bits=5)
    assert report.crossbars == (1796, 84)
    assert cost_report(weights, SMALL, bits=9).crossbars == (1796, 168)
    assert 100 * (1 - report.relative_cost) == pytest.approx(95.32, abs=0.01)
    assert report.ratio == pytest.approx(16.14, abs=0.01)
    assert report.formula_reduction == pytest.approx(96.90, abs=0.01)


def test_padding_costs_and_a_layer_of_whole_tiles_has_none() -> None:
    whole = cost_report({"w": pruned((128, 256), (64, 128))}, Crossbar(), bits=5)
    assert 100 * (1 - whole.relative_cost) == pytest.approx(whole.formula_reduction)
    padded = cost_report({"w": pruned((128, 256), (65, 129))}, Crossbar(), bits=5)
    assert 100 * (1 - padded.relative_cost) < padded.formula_reduction


def test_report_as_json() -> None:
    weights = {"fc1": pruned((500, 800), (100, 200)), "dead": torch.zeros(10, 500)}
    found = json.loads(json.dumps(cost_report(weights, SMALL, bits=5).to_json()))
    assert found["crossbars"] == {"before": 4 * 416, "after": 2 * 28}
    assert found["cells"] == {"before": 4 * 405_000, "after": 2 * 20_000}
    assert found["relative_power"] == found["relative_area"] == pytest.approx(56 / 1664)
    assert found["layers"]["dead"]["crossbars_per_slice"] == {"before": 16, "after": 0}
    nothing = cost_report({"dead": weights["dead"]}, SMALL, bits=5).to_json()
    assert nothing["ratio"] is None
    assert nothing["reduction_percent"] == {"tiled": 100, "formula": 100}
    json.dumps(nothing, allow_nan=False)


def test_bad_input() -> None:
    for size in ((0, 32), (32, -1), (1.5, 32)):
        with pytest.raises(BadInput, match="at least 1"):
            Crossbar(*size)
    for shape in ((5,), (), (3, -1)):
        with pytest.raises(BadInput, match="filters, inputs"):
            SMALL.count(shape)
    for kept in ((51, 10), (5, 501), (-1, 10)):
        with pytest.raises(BadInput, match="cannot keep"):
            SMALL.whole_tiles(kept, (50, 500))
    for bits in (1, 17, 4.5):
        with pytest.raises(BadInput, match="2 to 16"):
            cells_per_weight(bits)  # type: ignore[arg-type]
    for ratio, before, after in ((0, 4, 2), (2, 0, 2), (2, 4, -1), (math.nan, 4, 2)):
        with pytest.raises(BadInput, match="positive"):
            reduction(ratio, before, after)
    for weights in ({}, {"w": torch.ones(4, 4), "empty": torch.ones(0, 4)}):
        with pytest.raises(BadInput, match="at least one layer"):
            cost_report(weights, SMALL, bits=5)
