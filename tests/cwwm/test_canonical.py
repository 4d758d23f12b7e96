"""Laws of the canonical width: inserted channels go, answers and all other channels stay."""

import copy

import pytest
import torch
from torch import nn

from cwwm.channels.canonical import canonicalise
from cwwm.channels.graph import interior_groups
from cwwm.support.errors import BadInput
from tests.plain_net import CONVOLUTIONS, WIDTHS, answers, insert, plain_net

pytest.importorskip("torch_pruning")

IMAGES = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def _widths(model: nn.Sequential) -> tuple[int, ...]:
    return tuple(len(model[place].weight) for place in CONVOLUTIONS)


@pytest.mark.parametrize("kind", ["unread", "unfed", "split", "clique"])
def test_inserted_channels_go_and_the_answers_stay(kind: str) -> None:
    model = plain_net()
    before = answers(model)
    for place in CONVOLUTIONS:
        insert(model, place, kind, 3, seed=place)
    widened = answers(model)
    assert torch.allclose(widened, before, atol=1e-4 * float(before.abs().max()))
    assert _widths(model) == tuple(width + 3 for width in WIDTHS)
    removed = canonicalise(model, IMAGES)
    assert removed == {f"{place}.weight": 3 for place in CONVOLUTIONS}
    assert _widths(model) == WIDTHS
    assert torch.allclose(answers(model), before, atol=1e-4 * float(before.abs().max()))


def test_insertions_on_top_of_each_other_go() -> None:
    model = plain_net()
    before = answers(model)
    for index, place in enumerate([*CONVOLUTIONS, *reversed(CONVOLUTIONS), *CONVOLUTIONS]):
        insert(model, place, ("split", "unread", "clique", "unfed")[index % 4], 2, seed=index)
    canonicalise(model, IMAGES)
    assert _widths(model) == WIDTHS
    assert torch.allclose(answers(model), before, atol=1e-4 * float(before.abs().max()))


def test_a_network_without_such_channels_stays_as_it_is() -> None:
    model = plain_net()
    model.train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    assert canonicalise(model, IMAGES) == {}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert (model[0].training, model[1].training) == (True, False)


def test_only_what_was_inserted_goes() -> None:
    model = plain_net()
    filters = model[0].weight.detach().clone()
    insert(model, 0, "unread", 5)
    canonicalise(model, IMAGES)
    left = model[0].weight.detach()
    assert {tuple(row.flatten().tolist()) for row in left} == {tuple(row.flatten().tolist()) for row in filters}


def test_channels_that_pruning_emptied_go_but_for_one() -> None:
    model = plain_net()
    with torch.no_grad():
        model[3].weight[:, 5:9] = 0
        model[10].weight.zero_()
    removed = canonicalise(model, IMAGES)
    assert removed["0.weight"] == 4
    assert removed["7.weight"] == 63  # nobody weighs it any more


def test_constant_channels_that_are_heard_stay() -> None:
    """A zero filter behind a shifting norm gives a constant, which the next layer adds but at its borders."""
    model = plain_net()
    with torch.no_grad():
        model[0].weight[4] = 0
        model[1].running_mean[4], model[1].bias[4] = 0.0, 0.7
    assert canonicalise(model, IMAGES) == {}


class Normed(nn.Module):
    """A hidden layer under a layer norm, whose mean every channel has a part in."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.outer = nn.Linear(4, 12), nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.outer(self.norm(self.inner(x.flatten(1))))
        return hidden


class Mixed(Normed):
    """The same with a softmax, which mixes channels and has no weights to show it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Softmax(dim=1)  # type: ignore[assignment]


def test_layers_that_mix_channels_are_left_alone_or_refused() -> None:
    images = torch.randn(2, 1, 2, 2)
    for network in (Normed(), Mixed()):
        with torch.no_grad():
            network.outer.weight[:, 3] = 0
        assert [group.width for group in interior_groups(network, images)] == [12]
        if isinstance(network, Mixed):
            with pytest.raises(BadInput, match="mix channels out of sight"):
                canonicalise(network, images)
        else:
            assert canonicalise(network, images) == {}
