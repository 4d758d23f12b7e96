"""Truncated singular values: the best approximation, and what of a spread mark is left of it."""

import pytest
import torch
from torch import Tensor

from bench.attacks.low_rank import energy_rank
from bench.attacks.pruning import prunable_tensors
from tests.bench.real_networks import EACH, RESIDUAL, attacked, real_network

M, N, RANK = 60, 90, 15


@pytest.mark.parametrize("name", EACH)
def test_the_error_is_the_tail_of_the_singular_values(name: str) -> None:
    model = real_network(name)
    item = attacked(model, "svd", 0.5)
    for layer, weight in prunable_tensors(model).items():
        values = torch.linalg.svdvals(weight.flatten(1).double())
        rank = max(1, round(len(values) / 2))
        after = prunable_tensors(item.model)[layer].flatten(1).double()
        error = float((weight.flatten(1).double() - after).square().sum())
        assert error == pytest.approx(float(values[rank:].square().sum()), rel=1e-4, abs=1e-9)
        assert item.achieved["ranks"][layer] == rank
        assert float(torch.linalg.svdvals(after)[rank:].sum()) <= 1e-5 * float(values.sum())
    assert 0 < item.achieved["stored"] <= 1


def test_no_other_matrix_of_that_rank_is_nearer() -> None:
    model = real_network(RESIDUAL)
    weight = prunable_tensors(model)["fc.weight"].double()
    after = prunable_tensors(attacked(model, "svd", 0.5).model)["fc.weight"].double()
    rank, generator = len(weight) // 2, torch.Generator().manual_seed(0)
    for _ in range(20):
        basis = torch.linalg.qr(torch.randn(len(weight), rank, generator=generator).double()).Q
        nearest = basis @ basis.T @ weight  # the best of all matrices with these columns
        assert float((weight - after).square().sum()) <= float((weight - nearest).square().sum())


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_no_more_energy_goes_than_was_asked_for(share: float) -> None:
    model = real_network(RESIDUAL)
    item = attacked(model, {"name": "svd", "by": "energy"}, share)
    for layer, lost in item.achieved["layers"].items():
        assert lost <= share + 1e-9
        values = torch.linalg.svdvals(prunable_tensors(model)[layer].flatten(1).double()).square()
        rank = item.achieved["ranks"][layer]
        assert rank == 1 or float(values[rank - 1 :].sum() / values.sum()) > share


def test_the_rank_for_an_energy_is_at_least_one() -> None:
    values = torch.tensor([2.0, 1.0, 1.0]).double()
    assert [energy_rank(values, share) for share in (0, 0.2, 0.4, 0.99)] == [3, 2, 1, 1]
    assert energy_rank(torch.zeros(3).double(), 0.5) == 1


def truncated(matrix: Tensor) -> Tensor:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left[:, :RANK] * values[:RANK]) @ right[:RANK]


def test_a_spread_mark_keeps_what_touches_the_kept_spaces() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    host = normal(M, RANK) @ normal(RANK, N)
    law, shares, energies = 1 - (1 - RANK / M) * (1 - RANK / N), [], []
    for _ in range(20):
        mark = torch.sign(normal(M, N)) * 1e-5
        left = truncated(host + mark) - truncated(host)
        shares.append(float((left * mark).sum() / mark.square().sum()))
        energies.append(float(left.square().sum() / mark.square().sum()))
    assert sum(shares) / 20 == pytest.approx(law, abs=4 * (law * (1 - law) / (20 * M * N)) ** 0.5)
    assert sum(energies) / 20 == pytest.approx(law, abs=4 * (law * (1 - law) / (20 * M * N)) ** 0.5)


def test_with_a_tail_that_is_dropped_a_mark_keeps_no_less() -> None:
    generator = torch.Generator().manual_seed(0)
    host = torch.randn(M, N, generator=generator, dtype=torch.float64)
    law = 1 - (1 - RANK / M) * (1 - RANK / N)
    shares = []
    for _ in range(50):
        mark = torch.sign(torch.randn(M, N, generator=generator, dtype=torch.float64)) * 1e-6
        left = truncated(host + mark) - truncated(host)
        shares.append(float((left * mark).sum() / mark.square().sum()))
    assert sum(shares) / 50 > law
