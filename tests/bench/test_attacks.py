"""One table drives every attack: it leaves its target alone, repeats, and reports what it achieved."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import ATTACKS, AttackContext, make_attack
from bench.attacks.base import Attack, measure_sparsity
from bench.attacks.pruning import prunable_tensors
from bench.data import load
from bench.zoo import HostRecipe
from cwwm.carrier import classifier
from cwwm.errors import BadInput
from cwwm.order_statistics import pruned_count
from cwwm.training import Recipe
from cwwm.weights import as_weights

RECIPE = HostRecipe(mark=Recipe(epochs=1, batch_size=64, lr=1e-3))
PRUNE = {"name": "magnitude"}
TABLE = [
    ({"name": "magnitude"}, [0.0, 0.5, 0.9]),
    ({"name": "magnitude", "ranking": "layer"}, [0.3, 0.97]),
    ({"name": "random"}, [0.1, 0.5]),
    ({"name": "random", "ranking": "layer"}, [0.2]),
    ({"name": "structured"}, [0.25, 0.5]),
    ({"name": "structured", "ranking": "global", "norm": 2}, [0.25]),
    ({"name": "finetune", "epochs": 1}, [0.5]),
    ({"name": "new-head", "scope": "head", "epochs": 1, "task": "digits"}, [1.0]),
    ({"name": "bn"}, [0.5]),
    ({"name": "then", "first": PRUNE, "second": {"name": "finetune", "epochs": 1}}, [0.6]),
    ({"name": "then", "first": PRUNE, "second": "bn"}, [0.6]),
]
IDS = [make_attack(spec, "test").label for spec, _ in TABLE]


class TinyNet(nn.Module):
    """Two convolutions with batch norm, and a classifier that can be replaced as timm's can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 10)

    def reset_classifier(self, classes: int) -> None:
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        y: Tensor = self.fc(x.mean((2, 3)))
        return y


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return TinyNet()


@pytest.fixture(scope="module")
def context() -> AttackContext:
    data = load("digits", size=16)
    return AttackContext(data, RECIPE, 7, torch.device("cpu"), lambda name: load(name, size=16))


def run(
    attack: Attack, model: nn.Module, strengths: list[float], context: AttackContext
) -> Iterator[dict[str, Tensor]]:
    for item in attack.curve([model], strengths, context):
        assert item.cost.seconds >= 0
        assert item.achieved
        yield {name: value.clone() for name, value in item.model.state_dict().items()}


@pytest.mark.parametrize(("spec", "strengths"), TABLE, ids=IDS)
def test_an_attack_repeats_and_leaves_its_target_alone(
    spec: dict[str, object], strengths: list[float], model: nn.Module, context: AttackContext
) -> None:
    attack = make_attack(spec, "test")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = list(run(attack, model, strengths, context))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    again = list(run(make_attack(attack.to_json(), "test"), model, strengths, context))
    assert len(first) == len(strengths)
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_table_covers_every_attack() -> None:
    assert {spec["name"] for spec, _ in TABLE} == set(ATTACKS)


@pytest.mark.parametrize("name", ["magnitude", "random"])
@pytest.mark.parametrize("ranking", ["global", "layer"])
def test_pruning_removes_exactly_floor_of_rate_times_size(
    name: str, ranking: str, model: nn.Module, context: AttackContext
) -> None:
    rates = [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0]
    attack = make_attack({"name": name, "ranking": ranking}, "test")
    sizes = {n: t.numel() for n, t in prunable_tensors(model).items()}
    for rate, item in zip(rates, attack.curve([model], rates, context), strict=True):
        zeros = {n: int((t == 0).sum()) for n, t in prunable_tensors(item.model).items()}
        if ranking == "layer":
            assert zeros == {n: pruned_count(rate, size) for n, size in sizes.items()}
        else:
            assert sum(zeros.values()) == pruned_count(rate, sum(sizes.values()))


def test_magnitude_pruning_removes_the_smallest_whatever_the_ties(context: AttackContext) -> None:
    torch.manual_seed(1)
    model = TinyNet()
    with torch.no_grad():
        for tensor in prunable_tensors(model).values():
            tensor.copy_((tensor * 20).round() / 20)  # many ties, zeros among them
    values = torch.cat([t.abs().flatten() for t in prunable_tensors(model).values()])
    for item in make_attack("magnitude", "test").curve([model], [0.2, 0.55, 0.8], context):
        left = torch.cat([t.abs().flatten() for t in prunable_tensors(item.model).values()])
        removed = values[(left == 0) & (values > 0)]
        assert removed.numel() == 0 or removed.max() <= left[left > 0].min()


def test_random_pruning_is_nested(model: nn.Module, context: AttackContext) -> None:
    items = make_attack("random", "test").curve([model], [0.2, 0.6], context)
    small, large = ({n: m.clone() for n, m in item.masks.items()} for item in items)
    assert all(bool((~small[n] <= ~large[n]).all()) for n in small)


def test_structured_pruning_zeroes_whole_filters_and_spares_the_classifier(
    model: nn.Module, context: AttackContext
) -> None:
    item = next(make_attack("structured", "test").curve([model], [0.5], context))
    for name, tensor in prunable_tensors(item.model).items():
        zero = (tensor.reshape(len(tensor), -1) == 0).all(1)
        if name == classifier(as_weights(model)):
            assert not zero.any()
        else:
            assert int(zero.sum()) == len(tensor) // 2
            norms = prunable_tensors(model)[name].reshape(len(tensor), -1).abs().sum(1)
            assert norms[zero].max() <= norms[~zero].min()


def test_a_repair_holds_the_zeros(model: nn.Module, context: AttackContext) -> None:
    spec = {"name": "then", "first": "magnitude", "second": {"name": "finetune", "epochs": 1}}
    item = next(make_attack(spec, "test").curve([model], [0.7], context))
    assert measure_sparsity(item.model)["sparsity"] >= 0.7 - 1e-3
    assert item.cost.steps > 0
    moved = {
        n: t for n, t in prunable_tensors(item.model).items() if not torch.equal(t, prunable_tensors(model)[n])
    }
    assert moved


def test_batch_norm_reestimation_touches_statistics_only(model: nn.Module, context: AttackContext) -> None:
    item = next(make_attack("bn", "test").curve([model], [1.0], context))
    for name, value in item.model.named_parameters():
        assert torch.equal(value, dict(model.named_parameters())[name])
    assert not torch.equal(item.model.get_buffer("norm1.running_mean"), model.get_buffer("norm1.running_mean"))
    assert item.cost.data_fraction == pytest.approx(1.0)


def test_a_new_head_has_the_new_tasks_classes(model: nn.Module, context: AttackContext) -> None:
    spec = {"name": "new-head", "scope": "head", "epochs": 1, "task": "textures"}
    item = next(make_attack(spec, "test").curve([model], [1.0], context))
    assert item.task is not None
    assert item.model.fc.out_features == item.task.classes == 14
    assert torch.equal(item.model.conv1.weight, model.conv1.weight)


def test_a_diverging_fine_tune_is_a_result(model: nn.Module, context: AttackContext) -> None:
    item = next(make_attack({"name": "finetune", "epochs": 1}, "test").curve([model], [1e30], context))
    assert item.achieved["diverged"] is True


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"name": "magnitud"}, "magnitude"),
        ({"name": "magnitude", "rankin": "layer"}, "ranking"),
        ({"name": "magnitude", "ranking": "sideways"}, "sideways"),
        ({"name": "then", "first": "magnitude"}, "second"),
        ({"name": "structured", "norm": 3}, "norm"),
        ({"name": "new-head", "scope": "body"}, "scope"),
        (7, "an attack is a name"),
    ],
)
def test_a_bad_attack_is_refused_in_one_line(spec: object, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        make_attack(spec, "suite.yaml: attacks[0]")


def test_a_rate_outside_zero_to_one_is_refused(model: nn.Module, context: AttackContext) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        next(make_attack("magnitude", "test").curve([model], [1.5], context))
