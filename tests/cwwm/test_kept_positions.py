"""Keyed positions are made once while one mark is read many times; what is read is the same."""

import numpy as np
import pytest
import torch
from torch import nn

from cwwm import Key
from cwwm.codes import Bits
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, Scheme, embed, make_scheme
from cwwm.schemes.common.keyed import place, placed
from cwwm.weights.view import TensorWeights, as_weights

MESSAGE: Bits = np.resize([1, 0, 0, 1, 1], 32).astype(np.uint8)
KEY = Key.for_harness(seed=5)


@pytest.fixture(scope="module", params=["cwc", "protected-cwc", "sign-repetition", "dm-qim", "spread-spectrum"])
def marked(request: pytest.FixtureRequest) -> tuple[Scheme, nn.Module, Mark]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 600), nn.ReLU(), nn.Linear(600, 10))
    scheme = make_scheme(request.param, {"payload_bits": len(MESSAGE)})
    _, mark = embed(scheme, as_weights(model), MESSAGE, KEY, EmbedContext())
    return scheme, model, mark


def attacked(model: nn.Module) -> list[TensorWeights]:
    """Return suspects of which some lack a layer: the marked model, pruned, and with other shapes."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruned = {name: tensor * (tensor.abs() > 0.05) for name, tensor in state.items()}
    return [TensorWeights(s) for s in (state, pruned, state | {"2.weight": torch.zeros(3, 600)}, state)]


def test_a_mark_that_is_read_often_gives_what_a_fresh_one_gives(marked: tuple[Scheme, nn.Module, Mark]) -> None:
    scheme, model, mark = marked
    for suspect in attacked(model):
        fresh_key = Key.for_harness(seed=5)  # which remembers nothing
        kept, fresh = scheme.extract(suspect, KEY, mark), scheme.extract(suspect, fresh_key, mark)
        assert np.array_equal(kept.bits, fresh.bits)
        assert np.array_equal(kept.reliabilities, fresh.reliabilities)
        assert (kept.ok, kept.erased, kept.counts) == (fresh.ok, fresh.erased, fresh.counts)


def test_positions_are_those_of_the_key_the_mark_and_their_number(marked: tuple[Scheme, nn.Module, Mark]) -> None:
    mark = marked[2]
    assert mark.carrier is not None
    keys = KEY, Key.for_harness(seed=6), KEY
    for key, count in zip(keys, (500, 500, 20), strict=True):
        streams = mark.streams(key)
        kept, fresh = placed(mark.carrier, streams, count), place(mark.carrier, streams, count)
        assert np.array_equal(kept.layer, fresh.layer)
        pairs = zip(kept.parts, fresh.parts, strict=True)
        assert all(torch.equal(a, b) for (_, *own), (_, *other) in pairs for a, b in zip(own, other, strict=True))
        assert placed(mark.carrier, streams, count) is kept
