"""Ideal pairs read back what was written; each device effect has the law that it states."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest
from torch import Tensor

from bench.attacks.compression.crossbar import cells_per_weight
from bench.attacks.compression.devices import Device, Programmed, program, read_back
from cwwm.support.errors import BadInput

WIDTHS = st.integers(2, 16)
RATIOS = st.floats(1.5, 1e4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_codes(bits: int, shape: tuple[int, ...] = (40, 5, 3, 3), seed: int = 0) -> Tensor:
    """Codes of every sign with a fifth of them pruned."""
    random = generator(seed)
    magnitudes = torch.randint(1, 2 ** (bits - 1) + 1, shape, generator=random)
    signs = torch.randint(0, 2, shape, generator=random) * 2 - 1
    return magnitudes * signs * (torch.rand(shape, generator=random) > 0.2)


def every_code(bits: int) -> Tensor:
    return torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1) + 1).view(1, -1)


def conductances(cells: Programmed) -> Tensor:
    return torch.stack([cells.plus, cells.minus])


@given(WIDTHS, RATIOS, st.floats(1e-3, 1.0))
@settings(max_examples=30, deadline=None)
def test_ideal_cells_read_back_the_quantised_weight(bits: int, ratio: float, largest: float) -> None:
    codes, step = every_code(bits), largest / 2 ** (bits - 1)
    found = read_back(program(codes, bits, Device(resistance_ratio=ratio)))
    assert found.dtype == torch.float32
    assert torch.allclose(found.double() * step, codes.double() * step, rtol=0, atol=1e-6)
    assert torch.equal(found == 0, codes == 0)
    assert torch.equal(found.sign(), codes.sign().float())


@given(WIDTHS, RATIOS, st.sampled_from([-0.25, 0.0, 0.1, 0.25]))
@settings(max_examples=30, deadline=None)
def test_every_state_is_in_range_and_one_polarity_is_erased(bits: int, ratio: float, offset: float) -> None:
    device = Device(resistance_ratio=ratio, state_offset=offset)
    cells = program(every_code(bits), bits, device)
    g = conductances(cells)
    assert 2 * len(cells.plus) == cells_per_weight(bits)
    assert float(g.min()) == pytest.approx(device.g_min)
    assert float(g.max()) <= 1
    assert bool((g >= device.g_min * (1 - 1e-6)).all())
    assert torch.allclose(g.amax((2, 3)), torch.tensor(1.0))  # each polarity and slice uses its whole range
    assert bool((torch.minimum(cells.plus, cells.minus) == g.min()).all())


def test_states_fit_four_bit_cells() -> None:
    cells = program(every_code(9), 9)
    low, high = (torch.tensor(sorted(set(cells.plus[d].flatten().tolist()))) for d in (0, 1))
    assert len(low) == 1 + 16  # the erased state, and 16 that are programmed
    assert len(high) == 16
    gaps = low.diff()
    assert torch.allclose(gaps, gaps.mean().expand(16), atol=1e-6)


@pytest.mark.parametrize("bits", [3, 5, 9])
def test_smallest_survivor_differs_from_zero_by_a_whole_state(bits: int) -> None:
    cells = program(torch.tensor([[1, -1, 0]]), bits)
    pair = (cells.plus - cells.minus)[0, 0]
    assert pair.tolist() == pytest.approx([0.9 / min(16, 2 ** (bits - 1)), -0.9 / min(16, 2 ** (bits - 1)), 0])


def test_negated_codes_swap_the_polarities() -> None:
    codes = draw_codes(7)
    one, other = program(codes, 7), program(-codes, 7)
    assert torch.equal(one.plus, other.minus)
    assert torch.equal(read_back(one), -read_back(other))


@pytest.mark.parametrize("offset", [-0.2, 0.05])
def test_state_offset_bows_the_levels_the_same_way_every_time(offset: float) -> None:
    codes = every_code(5)
    device = Device(state_offset=offset)
    found = read_back(program(codes, 5, device)).view(-1)
    x = codes.view(-1) / 16
    assert torch.allclose(found, 16 * (x + 4 * offset * x * (1 - x.abs())), atol=1e-5)
    assert bool((found.diff() > 0).all())
    assert torch.equal(found, read_back(program(codes, 5, device, generator())).view(-1))


def test_variation_is_lognormal_with_the_stated_sigma_and_independent_in_every_cell() -> None:
    sigma, codes = 0.15, draw_codes(9, (100, 300))
    noisy = conductances(program(codes, 9, Device(sigma=sigma), generator()))
    logs = (noisy / conductances(program(codes, 9))).log().double()
    assert kstest(logs.flatten()[::7].numpy(), "norm", (0, sigma)).pvalue > 1e-3
    n = logs.numel()
    assert abs(float(logs.std()) / sigma - 1) < 3.3 / math.sqrt(2 * n)
    correlation = torch.corrcoef(logs.reshape(4, -1)) - torch.eye(4)  # between polarities and slices
    assert float(correlation.abs().max()) < 4 / math.sqrt(n / 4)


def test_stuck_cells_come_at_the_stated_rates() -> None:
    p, device = 0.03, Device(stuck=0.03, sigma=0.05)
    codes = draw_codes(9, (200, 500))
    g = conductances(program(codes, 9, device, generator(1)))
    clear = conductances(program(codes, 9, Device(sigma=0.05), generator(2)))
    g_min = torch.tensor(device.g_min)
    assert int(((clear == 1) | (clear == g_min)).sum()) < 5  # varied cells are told from stuck ones
    on, off, n = int((g == 1).sum()), int((g == g_min).sum()), g.numel()
    for stuck, rate in ((on, p * 5.2 / 6.2), (off, p / 6.2), (on + off, p)):
        low, high = binom.interval(0.999, n, rate)
        assert low <= stuck <= high
    low, high = binom.interval(0.999, on + off, 5.2 / 6.2)
    assert low <= on <= high


def test_all_cells_stuck() -> None:
    g = conductances(program(draw_codes(5), 5, Device(stuck=1.0), generator()))
    assert bool(((g == 1) | (g == torch.tensor(0.1))).all())


def test_column_gain_is_one_factor_for_each_filter() -> None:
    codes = draw_codes(5, (300, 7, 3))
    found = read_back(program(codes, 5, Device(column_gain=0.1), generator()))
    gains = (found / codes).reshape(300, -1)
    first = gains.nanmean(1)
    assert torch.allclose(gains.nan_to_num(0), torch.where(gains.isnan(), 0, first[:, None]), atol=1e-4)
    assert kstest(first.log().numpy(), "norm", (0, 0.1)).pvalue > 1e-3
    assert bool((found[codes == 0] == 0).all())


def test_column_gain_differs_between_slices() -> None:
    gain = program(draw_codes(9), 9, Device(column_gain=0.1), generator()).gain
    assert gain.shape == (2, 40, 1, 1, 1)
    assert len(set(gain.flatten().tolist())) == 80


def test_residue_of_erased_pairs() -> None:
    codes = draw_codes(5, (100, 200))
    cells = program(codes, 5, Device(sigma=0.1), generator())
    cleared, left = read_back(cells), read_back(cells, residue=True)
    pruned = codes == 0
    assert bool((cleared[pruned] == 0).all())
    assert torch.equal(cleared[~pruned], left[~pruned])
    # difference of two lognormal cells at g_min, in codes: 16 / 0.9 of it
    spread = 0.1 * math.exp(0.1**2 / 2) * math.sqrt(math.expm1(0.1**2)) * math.sqrt(2) * 16 / 0.9
    assert float(left[pruned].std()) == pytest.approx(spread, rel=0.05)
    assert bool((read_back(program(codes, 5), residue=True)[pruned] == 0).all())


def test_narrow_integers_hold_the_smallest_code() -> None:
    codes = torch.tensor([[-128, 127, 0]], dtype=torch.int8)
    assert read_back(program(codes, 8)).view(-1).tolist() == pytest.approx([-128, 127, 0], abs=1e-4)


def test_few_bits_stand_further_apart() -> None:
    """A 3-bit code keeps its sign and level where a 5-bit one does not: each uses the whole range."""
    errors = []
    for bits in (3, 5):
        codes = draw_codes(bits, (50, 100))
        found = read_back(program(codes, bits, Device(sigma=0.1), generator()))
        errors.append(float((found.round() != codes).double().mean()))
    assert errors[0] < errors[1] / 4


def test_one_seed_one_result() -> None:
    codes = draw_codes(9)
    device = Device(sigma=0.1, stuck=0.01, column_gain=0.05, state_offset=0.02)
    first, again, other = (read_back(program(codes, 9, device, generator(seed))) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.cuda
def test_one_seed_one_result_on_every_device(accelerator: torch.device) -> None:
    codes, device = draw_codes(9), Device(sigma=0.1, stuck=0.01, column_gain=0.05)
    there = read_back(program(codes.to(accelerator), 9, device, generator()))
    assert there.device.type == accelerator.type
    assert torch.allclose(there.cpu(), read_back(program(codes, 9, device, generator())), atol=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resistance_ratio": 1.0}, "resistance_ratio"),
        ({"resistance_ratio": math.inf}, "resistance_ratio"),
        ({"sigma": -0.1}, "sigma"),
        ({"sigma": math.nan}, "sigma"),
        ({"stuck": 1.1}, "stuck"),
        ({"state_offset": 0.3}, "state_offset"),
        ({"column_gain": math.inf}, "column_gain"),
    ],
)
def test_bad_devices(values: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Device(**values)


def test_bad_codes() -> None:
    codes = draw_codes(5)
    with pytest.raises(BadInput, match="integer dtype"):
        program(codes.float(), 5)
    with pytest.raises(BadInput, match="integer dtype"):
        program(codes > 0, 5)
    with pytest.raises(BadInput, match="from -8 to 8"):
        program(codes, 4)
    with pytest.raises(BadInput, match="from -64 to 64"):
        program(torch.tensor([[-128]], dtype=torch.int8), 7)
    with pytest.raises(BadInput, match="from -64 to 64"):
        program(torch.tensor([[2**32]]), 7)
    with pytest.raises(BadInput, match="no codes"):
        program(codes[:0], 5)
    with pytest.raises(BadInput, match="filters, inputs"):
        program(codes.view(-1), 5)
    with pytest.raises(BadInput, match="2 to 16"):
        program(codes, 1)
    for device in (Device(sigma=0.1), Device(stuck=0.1), Device(column_gain=0.1)):
        with pytest.raises(BadInput, match="give a seeded"):
            program(codes, 5, device)
