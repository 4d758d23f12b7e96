"""SparseGPT and GPTQ: the sweep against its definition, and less error in the answers than the plain ways."""

import pytest
import torch
from torch import Tensor

from bench.attacks.calibrated.column_sweep import DAMPING, inverse_factor, output_error, swept
from bench.attacks.calibrated.layer_inputs import calibration, gram, importance, input_moments, squares
from bench.attacks.calibrated.rows import kept_in_rows
from bench.attacks.calibrated.second_order import GPTQ, Changed, SparseGPT
from bench.attacks.pruning import prunable_tensors
from bench.attacks.quantisation import quantised
from cwwm.weights.order_statistics import pruned_count
from tests.bench.real_networks import EACH, RESIDUAL, attacked, attacker, real_network


def correlated(columns: int, samples: int = 400, groups: int = 1) -> Tensor:
    """Return X^T X, (groups, columns, columns), of inputs that depend on each other."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(groups, columns, columns, generator=generator)
    inputs = torch.randn(groups, samples, columns, generator=generator) @ mixing
    return gram(inputs)


def half_zero(part: Tensor, diagonal: Tensor) -> Changed:
    """Set every other column to zero."""
    return lambda column, j: column * float(j % 2)


def damped(moments: Tensor) -> Tensor:
    return moments + DAMPING * moments.diagonal(dim1=1, dim2=2).mean() * torch.eye(moments.shape[1])


def test_the_factor_is_of_the_damped_inverse() -> None:
    moments = correlated(12)
    factor = inverse_factor(moments)
    assert torch.allclose(factor[0].T @ factor[0] @ damped(moments)[0], torch.eye(12).double(), atol=1e-8)
    assert torch.equal(factor, factor.triu())
    silent = inverse_factor(torch.zeros(2, 3, 3, dtype=torch.float64))
    assert torch.equal(silent, torch.eye(3).double().expand(2, 3, 3))


@pytest.mark.parametrize("block", [2, 4, 64])
def test_each_update_is_the_least_squares_answer_of_the_columns_to_come(block: int) -> None:
    moments, weight = correlated(6), torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    hessian, expected = damped(moments)[0], weight.double().clone()
    for j in (0, 2, 4):
        rest = list(range(j + 1, 6))
        step = torch.linalg.solve(hessian[rest][:, rest], hessian[rest][:, [j]])
        expected[:, rest] += expected[:, [j]] * step.T
        expected[:, j] = 0
    assert torch.allclose(swept(weight, moments, block, half_zero), expected, atol=1e-9)


def test_groups_of_a_convolution_are_swept_by_themselves() -> None:
    moments, weight = correlated(9, groups=4), torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    together = swept(weight, moments, 4, half_zero)
    for group in range(4):
        rows = slice(2 * group, 2 * group + 2)
        alone = swept(weight[rows], moments[group : group + 1], 4, half_zero)
        assert torch.allclose(together[rows], alone, atol=1e-12)


@pytest.mark.parametrize("name", EACH)
def test_sparsegpt_errs_less_than_wanda_and_magnitude_at_the_same_sparsity(name: str) -> None:
    model, rate = real_network(name), 0.5
    before = prunable_tensors(model)
    item = attacked(model, "sparsegpt", rate)
    split, share = calibration(attacker(), 128)
    moments = input_moments(model, split.x, gram)
    sums = input_moments(model, split.x, squares)
    found: dict[str, list[float]] = {"sparsegpt": [], "wanda": [], "magnitude": []}
    for layer, weight in before.items():
        after = prunable_tensors(item.model)[layer]
        found["sparsegpt"].append(output_error(weight, after, moments[layer]))
        by_inputs = kept_in_rows(importance(weight, sums[layer]), rate)
        by_magnitude = kept_in_rows(weight.abs(), rate)
        found["wanda"].append(output_error(weight, weight * by_inputs, moments[layer]))
        found["magnitude"].append(output_error(weight, weight * by_magnitude, moments[layer]))
        if weight.shape[1:].numel() <= 128:
            assert int((after == 0).sum()) == pruned_count(rate, weight.numel())
    assert item.achieved["output_error"] == pytest.approx(sum(found["sparsegpt"]) / len(before), rel=1e-6)
    assert sum(found["sparsegpt"]) < sum(found["wanda"]) < sum(found["magnitude"])
    assert sum(a <= b for a, b in zip(found["sparsegpt"], found["magnitude"], strict=True)) == len(before)
    assert item.achieved["sparsity"] == pytest.approx(rate, abs=0.01)
    assert (item.cost.samples, item.cost.data_fraction) == (128, share)


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("name", EACH)
def test_gptq_errs_less_than_rounding_to_nearest(name: str, bits: int) -> None:
    model = real_network(name)
    item = attacked(model, {"name": "gptq", "block": 4096}, bits)
    split, _ = calibration(attacker(), 128)
    moments = input_moments(model, split.x, gram)
    pairs = []
    for layer, weight in prunable_tensors(model).items():
        nearest = quantised(weight.flatten(1), bits).view(weight.shape)
        after = prunable_tensors(item.model)[layer]
        pairs.append((output_error(weight, after, moments[layer]), output_error(weight, nearest, moments[layer])))
        assert max(len(row.unique()) for row in after.flatten(1)) <= 2**bits - 1
    assert sum(ours for ours, _ in pairs) < sum(plain for _, plain in pairs)
    assert sum(ours <= plain for ours, plain in pairs) >= 0.95 * len(pairs)  # greedy: no law of each layer


def test_gptq_moves_weights_by_more_than_half_a_step() -> None:
    model, bits = real_network(RESIDUAL), 4
    after = prunable_tensors(attacked(model, {"name": "gptq", "block": 4096}, bits).model)
    steps = []
    for layer, weight in prunable_tensors(model).items():
        rows = weight.flatten(1)
        step = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        steps.append(float(((after[layer].flatten(1) - rows).abs() / step).max()))
    assert max(steps) > 0.6


def test_nothing_is_swept_at_no_rate_and_everything_goes_at_one() -> None:
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    kept, gone = (
        swept(
            weight, correlated(5), 2, lambda part, diagonal, rate=rate: SparseGPT().rounding(part, diagonal, rate)
        )
        for rate in (0.0, 1.0)
    )
    assert torch.equal(kept, weight.double())
    assert not gone.any()


def test_steps_of_gptq_are_taken_anew_in_each_block_of_each_output() -> None:
    weight = torch.tensor([[1.0, 0.5, 8.0, 3.0], [0.0, 0.0, 2.0, 1.0]])
    identity = torch.eye(4).double()[None]
    rounded = swept(weight, identity, 2, lambda part, diagonal: GPTQ().rounding(part, diagonal, 2))
    assert torch.equal(rounded, torch.tensor([[1.0, 0.0, 8.0, 0.0], [0.0, 0.0, 2.0, 0.0]]).double())
