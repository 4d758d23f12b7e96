"""Kernels of our own where torch's add up in any order: they compute the same."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.support.determinism import pooling_backward

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(inputs=SIZES, outputs=SIZES, seed=st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_the_gradient_of_adaptive_pooling_is_that_of_torch(
    inputs: tuple[int, int], outputs: tuple[int, int], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, *inputs, generator=random, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(2, 3, *outputs, generator=random, dtype=torch.float64)
    torch.nn.functional.adaptive_avg_pool2d(maps, outputs).backward(gradient)
    assert maps.grad is not None
    torch.testing.assert_close(pooling_backward(gradient, maps.detach()), maps.grad)


def test_its_dtype_and_device_are_the_gradients() -> None:
    found = pooling_backward(torch.ones(1, 7, 7), torch.empty(1, 2, 2))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(), torch.tensor(49.0))
