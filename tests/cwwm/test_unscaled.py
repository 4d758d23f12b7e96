"""Weights without scales: factors of channels are no change to them, and marks by sign or correlation stay."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cwwm.ownership.keys import Key
from cwwm.readers import find_reader, view_of
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.unscaled import UnscaledWeights, unscaled
from cwwm.weights.view import TensorWeights

SHAPES = [(24, 16, 3, 3), (24, 1, 3, 3), (30, 50), (12, 8, 1, 1), (1, 40)]


def normal(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scaled(weight: Tensor, seed: int = 1) -> Tensor:
    """Return a weight with factors from e^-3 to e^3 on its outputs and its inputs."""
    rows, columns = (normal((size,), seed + axis).exp() for axis, size in enumerate(weight.shape[:2]))
    extra = (1,) * (weight.dim() - 2)
    return weight * rows.view(-1, 1, *extra) * columns.view(1, -1, *extra)


@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_factors_of_channels_are_no_change(shape: tuple[int, ...], zeros: float) -> None:
    weight = normal(shape) * (torch.rand(shape, generator=torch.Generator().manual_seed(2)) >= zeros)
    found = unscaled(scaled(weight))
    assert torch.allclose(found, unscaled(weight), rtol=2e-3, atol=1e-5)
    assert torch.equal(found == 0, weight == 0)
    assert torch.equal(found.sign(), weight.sign().float())


def test_normal_weights_come_out_standard_normal() -> None:
    found = unscaled(0.02 * normal((256, 300)))
    assert float(found.square().mean()) == pytest.approx(1, rel=0.02)


def test_what_is_not_finite_or_zero_altogether_is_zero() -> None:
    weight = normal((6, 5, 3, 3))
    weight[0, 0, 0, 0], weight[1, 1, 1, 1], weight[2] = float("nan"), float("inf"), 0
    found = unscaled(weight)
    assert found.isfinite().all()
    assert (found[0, 0, 0, 0], found[1, 1, 1, 1], float(found[2].abs().max())) == (0, 0, 0)


@pytest.mark.parametrize("name", ["spread-spectrum", "sign-repetition"])
def test_a_message_comes_back_from_rescaled_channels(
    name: str, state: dict[str, Tensor], harness_key: Key, nonce: bytes
) -> None:
    scheme = make_scheme(name, {"payload_bits": 64})
    message = np.arange(64, dtype=np.uint8) % 2
    _, mark = embed(scheme, TensorWeights(state), message, harness_key, EmbedContext(nonce))
    moved = {k: scaled(w.double()) if w.dim() > 1 else w for k, w in state.items()}
    reader = find_reader("per-channel")
    view = view_of(reader, scheme, TensorWeights(moved), harness_key, mark)
    extraction = view.extraction(scheme, harness_key, mark)
    assert extraction.ok
    assert np.array_equal(extraction.bits, message)


def test_answers_have_no_scales_to_take_away() -> None:
    with pytest.raises(BadInput, match="read it blind"):
        find_reader("per-channel").require(make_scheme("deepsigns", {}))


def test_the_view_is_for_reading(state: dict[str, Tensor]) -> None:
    view = UnscaledWeights(TensorWeights(state))
    assert torch.equal(view.tensor("norm.weight"), state["norm.weight"])
    assert (view.names(), view.shape("block.weight")) == (list(state), (140, 300))
    with pytest.raises(TypeError):
        view.write("norm.weight", torch.zeros(1, dtype=torch.int64), torch.zeros(1))
