"""Dropped blocks: which can go, who goes first, and what a reader of names still finds."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.attacks.blocks import loss_without, similarities
from bench.attacks.calibrated.layer_inputs import calibration
from bench.attacks.pruning import prunable_tensors
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights
from tests.bench.real_networks import ATTENTION, EACH, MOBILE, RESIDUAL, attacked, attacker, real_network
from tests.residual_net import residual_net

BLOCKS = {
    RESIDUAL: ["layer1.0"],
    ATTENTION: [f"blocks.{i}" for i in range(6)],
    MOBILE: [f"blocks.{i}" for i in ("1.1", "2.1", "2.2", "3.0", "3.1", "4.1", "4.2")],
}


@pytest.mark.parametrize("name", EACH)
def test_blocks_that_give_the_shape_they_take_can_go(name: str) -> None:
    model = real_network(name)
    found = similarities(model, attacker().data.test.x[:8])
    assert list(found) == BLOCKS[name]
    assert all(-1 <= cosine <= 1 for cosine in found.values())


@pytest.mark.parametrize("name", EACH)
def test_all_other_tensors_keep_names_and_values(name: str) -> None:
    model = real_network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    item = attacked(model, "drop-blocks", 1.0)
    after, dropped = item.model.state_dict(), item.achieved["dropped"]
    assert sorted(dropped) == BLOCKS[name]
    inside = {key for key in before if any(key.startswith(f"{block}.") for block in dropped)}
    assert after.keys() == before.keys() - inside
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    gone = sum(t.numel() for n, t in prunable_tensors(model).items() if n in inside)
    assert item.achieved["weights"] == pytest.approx(
        gone / sum(t.numel() for t in prunable_tensors(model).values())
    )


def test_a_block_that_does_nothing_goes_first_and_is_not_missed() -> None:
    model = residual_net()
    nn.init.zeros_(model.get_parameter("stages.2.0.conv2.weight"))
    nn.init.zeros_(model.get_parameter("stages.2.0.conv2.bias"))
    images = attacker().data.test.x[:20]
    for by in ("similarity", "loss"):
        item = attacked(model, {"name": "drop-blocks", "by": by}, 0.25)
        if by == "similarity":
            assert item.achieved["dropped"] == ["stages.2.0"]
            with torch.no_grad():
                assert torch.equal(item.model.eval()(images), model.eval()(images))
        assert len(item.achieved["dropped"]) == 1


def test_by_loss_the_block_whose_absence_costs_least_goes_first() -> None:
    model = residual_net()
    item = attacked(model, {"name": "drop-blocks", "by": "loss", "images": 64}, 0.25)
    split, share = calibration(attacker(), 64)
    losses = {name: loss_without(model, name, split) for name in similarities(model, split.x)}
    assert item.achieved["dropped"] == [min(losses, key=lambda name: losses[name])]
    assert loss_without(item.model, "stages.0.0", split) > 0
    assert (item.cost.samples, item.cost.data_fraction) == (64 * (1 + len(losses)), share)
    assert item.achieved["blocks"] == len(losses) == 4


def test_masks_of_dropped_blocks_are_not_held() -> None:
    model = residual_net()
    spec = {"name": "then", "first": "magnitude", "second": "drop-blocks", "second_strength": 0.5}
    item = attacked(model, spec, 0.3)
    assert set(item.masks) == set(prunable_tensors(item.model))


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(BadInput, match="no numbered block that gives the shape it takes"):
        attacked(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)), "drop-blocks", 0.5)


def test_a_reader_of_names_finds_erasures_as_many_as_hosts_were_there() -> None:
    model = real_network(ATTENTION)
    scheme, key = make_scheme("protected-cwc", {"payload_bits": 64}), Key.for_harness(owner=1)
    message = (np.arange(64) % 2).astype(np.uint8)
    _, mark = embed(scheme, as_weights(model), message, key, EmbedContext(nonce=bytes(16)))
    item = attacked(model, "drop-blocks", 0.5)
    assert mark.carrier is not None
    missing = mark.carrier.missing(as_weights(item.model))
    lost = {mark.carrier.layers[index].name for index in missing}
    assert lost == {
        n for n in prunable_tensors(model) if n.rpartition(".")[0] and n not in prunable_tensors(item.model)
    }
    found = scheme.extract(as_weights(item.model), key, mark)
    assert found.applicable
    size = sum(mark.carrier.layers[index].size for index in missing) / mark.carrier.size
    assert size == pytest.approx(item.achieved["weights"], abs=0.05)
