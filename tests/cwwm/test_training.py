"""Laws of the one training loop: reproducible, masks held, the frozen stays, hooks called in their order."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from cwwm.ownership.mark import Mark
from cwwm.schemes import Embedding
from cwwm.support.errors import BadInput
from cwwm.training import Batch, Recipe, train
from tests.plain_data import blobs


class Recorder(Embedding):
    """An embedding with a learned extra parameter: adds a loss, holds one weight, writes down what was called."""

    def __init__(self, model: nn.Module) -> None:
        self.host = model.get_parameter("head.weight").detach()
        self.learned = Parameter(torch.zeros(()))
        self.steps: list[int] = []
        self.projections = 0

    def parameters(self) -> list[dict[str, Any]]:
        return [{"params": [self.learned], "lr": 0.1}]

    def loss(self, batch: Batch) -> Tensor | None:
        self.steps.append(batch.step)
        assert batch.logits.shape == (len(batch.x), 16)
        assert len(batch.y) == len(batch.x)
        return None if batch.step == 0 else (self.learned - 3.0) ** 2

    def project(self) -> None:
        self.projections += 1
        with torch.no_grad():
            self.host[0, 0] = 0.75

    def finish(self) -> Mark:
        raise NotImplementedError("the loop never finishes an embedding")


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs >= 1"),
        ({"batch_size": 1}, "batch_size >= 2"),
        ({"lr": 0.0}, "lr > 0"),
        ({"lr": float("nan")}, "lr > 0"),
        ({"optimizer": "adam"}, "'adamw' or 'sgd', not 'adam'"),
        ({"schedule": "step"}, "not 'step'"),
    ],
)
def test_impossible_recipes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Recipe(**{"epochs": 1, **changes})


def test_recipe_as_json_rebuilds_it() -> None:
    recipe = Recipe(epochs=2, optimizer="sgd", flip=True)
    assert Recipe(**recipe.to_json()) == recipe


def test_schedules_have_their_shapes() -> None:
    rates = {
        name: [Recipe(epochs=1, schedule=name).rate_factor(i / 100) for i in range(100)]
        for name in ("constant", "cosine", "onecycle")
    }
    assert set(rates["constant"]) == {1.0}
    assert rates["cosine"][0] == 1.0
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert rates["onecycle"][:21] == pytest.approx([i / 20 for i in range(21)])
    assert rates["onecycle"][20:] == sorted(rates["onecycle"][20:], reverse=True)
    assert max(rates["cosine"][-1], rates["onecycle"][-1]) < 0.01


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
def test_training_learns(optimizer: str, schedule: str, tiny_net: nn.Module) -> None:
    recipe = Recipe(epochs=3, batch_size=10, lr=0.01, optimizer=optimizer, schedule=schedule)
    done: list[tuple[int, int]] = []
    report = train(tiny_net, blobs(), recipe, seed=0, progress=lambda step, total: done.append((step, total)))
    assert report.loss < 0.5 < math.log(16)
    assert (report.steps, report.samples) == (18, 180)
    assert done == [(6, 18), (12, 18), (18, 18)]
    assert report.seconds > 0


def _trained(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(7)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 24), nn.Dropout(0.3), nn.Linear(24, 2))
    torch.manual_seed(torch.seed())  # the loop's own seed must fix drop-out whatever the state before
    train(model, blobs(), Recipe(epochs=2, batch_size=16), seed=seed)
    return _weights(model)


def test_equal_seeds_give_bit_identical_weights() -> None:
    first, again, other = _trained(1), _trained(1), _trained(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_masked_weights_stay_exactly_zero(optimizer: str, tiny_net: nn.Module) -> None:
    masks = {name: torch.rand(value.shape) < 0.4 for name, value in _weights(tiny_net).items() if value.ndim > 1}
    with torch.no_grad():
        for name, mask in masks.items():
            tiny_net.get_parameter(name).mul_(mask)
    before = _weights(tiny_net)
    train(tiny_net, blobs(), Recipe(epochs=2, batch_size=16, lr=0.01, optimizer=optimizer), seed=0, masks=masks)
    for name, mask in masks.items():
        after = tiny_net.get_parameter(name).detach()
        assert not after[~mask].any()
        assert (after[mask] != before[name][mask]).any()


def test_trainable_freezes_the_rest_and_thaws_it_afterwards(tiny_net: nn.Module) -> None:
    before = _weights(tiny_net)
    train(tiny_net, blobs(), Recipe(epochs=1), seed=0, trainable=lambda name: name.startswith("head."))
    after = _weights(tiny_net)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}
    assert all(weight.requires_grad for weight in tiny_net.parameters())


def test_nothing_trainable_is_refused(tiny_net: nn.Module) -> None:
    with pytest.raises(BadInput, match="nothing to train"):
        train(tiny_net, blobs(), Recipe(epochs=1), seed=0, trainable=lambda _: False)


def test_a_diverging_loss_is_an_error(tiny_net: nn.Module) -> None:
    recipe = Recipe(epochs=3, batch_size=10, lr=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(FloatingPointError, match="diverged in epoch 1"):
        train(tiny_net, blobs(), recipe, seed=0)


def test_embedding_hooks_are_called_at_every_step(tiny_net: nn.Module) -> None:
    embedding = Recorder(tiny_net)
    train(tiny_net, blobs(), Recipe(epochs=5, batch_size=20, lr=1e-3), seed=0, embedding=embedding)
    assert embedding.steps == list(range(15))
    assert embedding.projections == 15
    assert float(embedding.learned.detach()) > 0.2
    assert float(tiny_net.get_parameter("head.weight").detach()[0, 0]) == 0.75
