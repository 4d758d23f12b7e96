"""Laws of what channels answer to images: it is theirs in any order and at any scale, and it only proposes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cwwm.alignment import AlignedWeights, Responses, align, record_responses
from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.weights.carrier import prunable
from cwwm.weights.view import as_weights
from tests.plain_net import plain_net

IMAGES = torch.randn(96, 1, 16, 16, generator=torch.Generator().manual_seed(0))
MESSAGE: Bits = (np.arange(64) % 2).astype(np.uint8)


def both(owner: nn.Module, suspect: nn.Module) -> Responses:
    return Responses(record_responses(owner, IMAGES), record_responses(suspect, IMAGES))


def test_every_layer_is_recorded_and_the_model_left_as_it_was() -> None:
    model = plain_net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = record_responses(model, IMAGES)
    assert list(found) == list(prunable(as_weights(model)))
    for name, answers in found.items():
        assert len(answers) == len(model.get_parameter(name))
        assert not answers.requires_grad
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@given(st.integers(2, 40), st.integers(0, 99))
def test_answers_find_a_channel_in_any_order_and_at_any_scale(channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(channels, channels, generator=generator) @ torch.randn(channels, 400, generator=generator)
    order = torch.randperm(channels, generator=generator)
    scales = torch.rand(channels, 1, generator=generator) * 3 + 0.2
    found = Responses({"w": mixed}, {"w": mixed[order] * scales + 1.5}).correlations("w")
    assert found is not None
    assert torch.equal(found[order].argmax(1), torch.arange(channels))


def test_answers_that_cannot_be_compared_are_none() -> None:
    answers = torch.randn(4, 30)
    assert Responses({"w": answers}, {}).correlations("w") is None
    assert Responses({"w": answers}, {"w": answers[:, :20]}).correlations("w") is None


def test_answers_change_nothing_where_weights_are_enough() -> None:
    owner, suspect = plain_net(0), plain_net(0)
    alone = align(as_weights(owner), as_weights(suspect))
    helped = align(as_weights(owner), as_weights(suspect), responses=both(owner, suspect))
    assert alone.score == helped.score == 1
    assert alone.channels == helped.channels


def test_a_stranger_is_refused_whatever_it_answers() -> None:
    owner, stranger = plain_net(0), plain_net(1)
    assert not align(as_weights(owner), as_weights(stranger), responses=both(owner, stranger)).accepted


@pytest.fixture(scope="module")
def marked() -> tuple[nn.Module, Mark, Key]:
    model, key = plain_net(0), Key.for_harness(seed=3)
    scheme = make_scheme("protected-cwc", {"payload_bits": 64, "blocks": 40, "block_length": 64})
    _, mark = embed(scheme, as_weights(model), MESSAGE, key, EmbedContext(nonce=bytes(16)))
    return model, mark, key


def noisy(model: nn.Module, deviations: float) -> nn.Module:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            noise: Tensor = torch.randn(parameter.shape, generator=generator)
            parameter.add_(deviations * noise * parameter.std())
    return model


@pytest.mark.parametrize("deviations", [0.5, 1.0])
def test_no_mark_is_read_into_an_unmarked_relative(deviations: float, marked: tuple[nn.Module, Mark, Key]) -> None:
    owner, mark, key = marked
    scheme = make_scheme("protected-cwc", mark.parameters)
    relative = noisy(plain_net(0), deviations)
    hidden = hidden_hosts(key, mark, scheme.hosts)
    alignment = align(as_weights(owner), as_weights(relative), hidden, both(owner, relative))
    view = AlignedWeights(as_weights(owner), as_weights(relative), alignment)
    claim = Claim(key, mark, MESSAGE)
    if alignment.accepted:
        assert scheme.evidence(scheme.extract(view, key, mark), claim).combined > -4
