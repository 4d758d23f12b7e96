"""Split layers: the same answers and the same products, under names and values that no reader knows."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.attacks.pruning import prunable_tensors
from bench.attacks.splitting import orthogonal, split_layer, splittable
from bench.attacks.symmetry.base import logits, relative_difference
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.weights.view import as_weights
from tests.bench.real_networks import EACH, MOBILE, RESIDUAL, attacked, attacker, real_network

IMAGES = torch.randn(4, 6, 9, 9, generator=torch.Generator().manual_seed(0))
LAYERS = {
    "linear": lambda: nn.Linear(9, 5),
    "no bias": lambda: nn.Linear(9, 5, bias=False),
    "convolution": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1),
    "groups": lambda: nn.Conv2d(6, 8, 3, groups=2, bias=False),
    "depthwise": lambda: nn.Conv2d(6, 12, 3, groups=6, dilation=2),
}


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_two_layers_give_what_one_gave(kind: str, rotate: bool) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind]().double()
    images, before = IMAGES.double(), layer.weight.detach().clone()
    with torch.no_grad():
        expected = layer(images)
        two = split_layer(layer, torch.Generator().manual_seed(1) if rotate else None)
        assert relative_difference(two(images), expected) < 1e-14
    assert two[0].weight.shape == before.shape
    assert two[0].bias is None
    assert torch.equal(two[0].weight, before) == (not rotate)


def test_the_product_of_both_is_the_layer() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 8, 3, groups=2, bias=False)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        first, second = split_layer(layer, torch.Generator().manual_seed(1))
        turn = second.weight.view(2, 4, 4)
        product = (turn @ first.weight.view(2, 4, -1)).view(before.shape)
    assert torch.allclose(product, before, atol=1e-6)
    assert not torch.allclose(first.weight, before, atol=0.05)


def test_matrices_are_orthogonal_and_turn_either_way() -> None:
    found = orthogonal(200, 5, torch.Generator().manual_seed(0))
    identity = torch.eye(5).double()
    assert torch.allclose(found @ found.transpose(1, 2), identity.expand(200, 5, 5), atol=1e-12)
    assert 60 < int((torch.linalg.det(found) > 0).sum()) < 140
    assert abs(float(found.mean())) < 0.05  # QR alone would favour a sign of the diagonal
    assert set(orthogonal(50, 1, torch.Generator().manual_seed(0)).flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(orthogonal(2, 5, None), identity.expand(2, 5, 5))


@pytest.mark.parametrize("kind", ["rotate", "identity"])
@pytest.mark.parametrize("name", EACH)
def test_a_split_network_answers_as_before_and_holds_no_known_name(name: str, kind: str) -> None:
    model = real_network(name)
    before, images = prunable_tensors(model), attacker().data.test.x[:50]
    item = attacked(model, {"name": "split-layers", "kind": kind}, 1.0)
    assert relative_difference(logits(item.model, images), logits(model, images)) < 1e-5
    assert item.achieved["difference"] < 1e-5
    assert before.keys().isdisjoint(prunable_tensors(item.model))
    assert {f"{layer}.weight" for layer in item.achieved["split"]} == set(before)
    for layer, weight in before.items():
        assert item.model.state_dict()[layer.replace(".weight", ".0.weight")].shape == weight.shape


def test_more_layers_include_the_fewer() -> None:
    model = real_network(MOBILE)
    few, many = (attacked(model, "split-layers", share).achieved["split"] for share in (0.2, 0.6))
    assert many[: len(few)] == few
    assert len(many) == int(0.6 * len(splittable(model)))


def test_layers_that_share_or_change_their_weight_stay_whole() -> None:
    shared = nn.Linear(4, 4)
    changed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    model = nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), changed)
    model[2].weight = shared.weight
    assert splittable(model) == ["0"]


def test_readers_by_name_lose_the_split_layers_and_no_others() -> None:
    model = real_network(RESIDUAL)
    scheme, key = make_scheme("spread-spectrum", {"payload_bits": 64}), Key.for_harness(owner=1)
    message = (np.arange(64) % 2).astype(np.uint8)
    _, mark = embed(scheme, as_weights(model), message, key, EmbedContext(nonce=bytes(16)))
    item = attacked(model, "split-layers", 0.25)
    assert mark.carrier is not None
    missing = {mark.carrier.layers[i].name for i in mark.carrier.missing(as_weights(item.model))}
    assert missing == {f"{layer}.weight" for layer in item.achieved["split"]}
    assert scheme.extract(as_weights(item.model), key, mark).applicable
    assert not scheme.extract(as_weights(attacked(model, "split-layers", 1.0).model), key, mark).applicable
