"""Storage against an encoder written out entry by entry, and against the figures of the papers."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.attacks.compression.storage import (
    best_width,
    data_bits,
    fillers,
    gaps,
    index_bits,
    measure_storage,
)
from cwwm.support.errors import BadInput

MASKS = st.lists(st.booleans(), max_size=80)


def encoded(mask: list[bool], width: int) -> list[tuple[int, bool]]:
    """Return the entries of relative coding, (index, is a weight), written one after another."""
    entries, at = [], 0
    for position in (i for i, kept in enumerate(mask) if kept):
        while position - at > 2**width - 1:
            entries.append((2**width - 1, False))
            at += 2**width - 1
        entries.append((position - at, True))
        at = position
    return entries


@given(mask=MASKS, width=st.integers(1, 5))
def test_sizes_are_those_of_a_code_that_can_be_read_back(mask: list[bool], width: int) -> None:
    entries = encoded(mask, width)
    at, read = 0, []
    for step, is_weight in entries:
        assert 0 <= step < 2**width
        at += step
        read += [at] if is_weight else []
    assert read == [i for i, kept in enumerate(mask) if kept]
    kept = torch.tensor(mask, dtype=torch.bool)
    assert index_bits(kept, width) == len(entries) * width
    assert fillers(kept, width) == sum(not is_weight for _, is_weight in entries)


@given(mask=MASKS, value_bits=st.integers(0, 8))
def test_no_width_is_cheaper_than_the_best(mask: list[bool], value_bits: int) -> None:
    kept = torch.tensor(mask, dtype=torch.bool)

    def cost(width: int) -> int:
        return index_bits(kept, width) + fillers(kept, width) * value_bits

    best = best_width(kept, value_bits)
    assert all(cost(best) <= cost(width) for width in range(1, 12))
    assert all(cost(best) < cost(width) for width in range(1, best))


@given(mask=MASKS)
@settings(max_examples=40)
def test_a_mask_of_any_shape_and_its_positions_are_the_same(mask: list[bool]) -> None:
    kept = torch.tensor(mask, dtype=torch.bool)
    assert torch.equal(gaps(kept), gaps(kept.nonzero().view(-1)))
    assert torch.equal(gaps(kept.view(1, -1, 1)), gaps(kept))
    assert int(gaps(kept).sum()) == max((i for i, one in enumerate(mask) if one), default=0)


def test_the_data_of_the_167x_lenet_are_7140_bits() -> None:
    assert data_bits([100, 1330, 800, 350], [5, 3, 2, 3]) == 7140
    with pytest.raises(ValueError, match="shorter"):
        data_bits([1, 2], [3])


LENET = {"conv1": (500, 100, 5), "conv2": (25000, 1325, 3), "fc1": (400000, 800, 2), "fc2": (5000, 350, 3)}
BITS = {name: bits for name, (_, _, bits) in LENET.items()}


def compressed_lenet() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (size, kept, bits) in LENET.items():
        levels = torch.arange(1, 2 ** (bits - 1) + 1).float()
        levels = torch.cat([-levels, levels])
        tensors[name] = torch.zeros(size)
        where = torch.randperm(size, generator=generator)[:kept]
        tensors[name][where] = levels.repeat(kept)[:kept] * 0.1
    return tensors


def test_the_report_has_the_ratios_of_the_paper() -> None:
    """arXiv 1811.01907 tables 1 and 3: 167x weights, 1910x data (rounded sizes), 623x with its unstated indices."""
    report = measure_storage(compressed_lenet(), BITS)
    assert report.weight_ratio == pytest.approx(167.2, abs=0.05)
    assert report.data_ratio == pytest.approx(1933, abs=1)
    assert report.ratio_with_index is not None
    assert report.ratio_with_bare_fillers is not None
    assert 450 < report.ratio_with_index < report.ratio_with_bare_fillers < 650
    assert {name: layer.distinct for name, layer in report.layers.items()} == {n: 2**b for n, b in BITS.items()}
    assert all(layer.kept == LENET[name][1] for name, layer in report.layers.items())


def test_the_report_is_json_and_its_totals_are_sums() -> None:
    report = measure_storage(compressed_lenet(), BITS, widths={"fc1": 4})
    read = json.loads(json.dumps(report.to_json()))
    layers = read.pop("storage")
    for field in ("weights", "kept", "data_bits", "index_bits", "filler_bits"):
        assert read[field] == sum(layer[field] for layer in layers.values())
    stored = read["data_bits"] + read["index_bits"] + read["filler_bits"]
    assert read["ratio_with_index"] == pytest.approx(32 * read["weights"] / stored)
    assert layers["fc1"]["index_width"] == 4
    assert layers["fc1"]["filler_bits"] > 0


def test_a_chosen_width_is_never_cheaper_than_the_report_s_own() -> None:
    tensors = compressed_lenet()
    own = measure_storage(tensors, BITS).ratio_with_index
    assert own is not None
    for width in (3, 6, 9, 12):
        fixed = measure_storage(tensors, BITS, dict.fromkeys(BITS, width)).ratio_with_index
        assert fixed is not None
        assert fixed <= own


def test_a_dense_model_at_32_bits_has_ratio_one_and_an_empty_one_none() -> None:
    dense = measure_storage({"a": torch.randn(6, 7), "b": torch.ones(3)}, {"a": 32, "b": 32})
    assert dense.data_ratio == dense.weight_ratio == 1
    assert dense.layers["b"].distinct == 1
    empty = measure_storage({"a": torch.zeros(5)}, {"a": 4})
    assert empty.weight_ratio is None
    assert empty.ratio_with_index is None
    assert json.dumps(empty.to_json())


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(BadInput, match="ascend"):
        gaps(torch.tensor([3, 2]))
    with pytest.raises(BadInput, match="from 1 to 32 bits"):
        index_bits(torch.tensor([1, 2]), 0)
    with pytest.raises(BadInput, match="for b"):
        measure_storage({"a": torch.ones(1), "b": torch.ones(1)}, {"a": 4})
