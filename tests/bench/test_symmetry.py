"""Permuted, rescaled and widened networks answer as before, while their weights are elsewhere or different."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bench.models.networks  # noqa: F401 (registers LeNet with timm)
from bench.attacks import AttackContext, make_attack
from bench.attacks.base import Attacked, measure_sparsity
from bench.attacks.pruning import prunable_tensors
from bench.attacks.symmetry.base import Probe, relative_difference
from bench.attacks.symmetry.permutation import Permutation, Reordering
from bench.studies.symmetry import ATTACKS, NETWORKS, SIZE, attacker, randomised
from cwwm.ownership.keys import Key, Stream
from cwwm.schemes import EmbedContext, embed
from cwwm.schemes.sign_repetition import SignRepetition
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.view import as_weights

pytest.importorskip("torch_pruning")

CPU = torch.device("cpu")
SMALL: dict[str, dict[str, Any]] = {
    "test_resnet": {},
    "test_vit": {"img_size": 32, "patch_size": 16},
    "test_vit2": {"img_size": 32, "patch_size": 16},
    "test_convnext2": {},
    "test_efficientnet": {},
    "test_byobnet": {},
    "lenet5": {"in_chans": 1},
    "lenet300_100": {"in_chans": 1},
}
IDS = [" ".join(map(str, spec.values())) for spec, _ in ATTACKS]


NOWHERE = {("insert", "convnextv2_atto")}  # global response norm spans what else would be interior


class Mixture(nn.Module):
    """What the zoo's networks lack: group norm, slopes, groups that give and read, halves, sums, flattened maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.slope = nn.Conv2d(3, 24, 3, stride=2), nn.GroupNorm(4, 24), nn.PReLU(24)
        self.conv2 = nn.Conv2d(24, 24, 3, padding=1, groups=6)
        self.conv3, self.norm3 = nn.Conv2d(24, 20, 3, stride=2), nn.BatchNorm2d(20, affine=False)
        self.left, self.right = nn.Conv2d(12, 8, 1), nn.Conv2d(8, 10, 1)
        self.transposed = nn.ConvTranspose2d(18, 12, 2, stride=2)
        self.hidden, self.fc = nn.Linear(12 * 36, 30), nn.Linear(30, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.norm1(self.conv1(x)))
        x = x + torch.nn.functional.leaky_relu(self.conv2(x))
        left, right = self.norm3(self.conv3(x)).split([12, 8], dim=1)
        x = torch.cat([torch.relu(self.left(left)), self.right(right)], 1)
        x = torch.relu(self.transposed(x)).flatten(1)
        logits: Tensor = self.fc(torch.relu(self.hidden(x)))
        return logits


def mixture() -> nn.Module:
    torch.manual_seed(0)
    model = Mixture()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def small(name: str) -> tuple[nn.Module, AttackContext]:
    create = SMALL[name]
    channels = create.get("in_chans", 3)
    return randomised(name, **create), attacker(28 if channels == 1 else 32, CPU, channels=channels)


def run(spec: object, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
    return next(make_attack(spec, "test").curve([model], [strength], context))


def difference(item: Attacked, model: nn.Module, context: AttackContext) -> float:
    """Compare on images that the attack did not look at."""
    x = context.data.train.x[:4]
    x = torch.cat([x, torch.randn(x.shape, generator=torch.Generator().manual_seed(1))])
    with torch.no_grad():
        return relative_difference(item.model.eval()(x), model.eval()(x))


def check(item: Attacked, model: nn.Module, context: AttackContext, name: str) -> None:
    assert difference(item, model, context) <= 1e-4
    assert item.achieved["difference"] <= 1e-4
    attention = any(hasattr(module, "qkv") for module in model.modules())
    nowhere = (name, model.default_cfg["architecture"]) in NOWHERE or (name == "rotate" and not attention)
    assert (item.achieved["groups"] == 0) == nowhere
    assert list(item.model.state_dict()) == list(model.state_dict())
    assert not [reason for reason in item.achieved["skipped"].values() if reason.startswith("the answers")]
    if name == "permute":
        assert item.achieved["moved"] >= 0.5
        assert item.achieved["skipped"] == {}


@pytest.mark.parametrize(("spec", "strength"), ATTACKS, ids=IDS)
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_answer_as_before(name: str, spec: dict[str, Any], strength: float) -> None:
    model, context = small(name)
    check(run(spec, model, strength, context), model, context, spec["name"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_timm_answer_as_before(name: str) -> None:
    model = randomised(name, **NETWORKS[name])
    context = attacker(NETWORKS[name].get("img_size", SIZE), CPU)
    for spec, strength in ATTACKS:
        check(run(spec, model, strength, context), model, context, spec["name"])


@pytest.mark.parametrize(("spec", "strength"), ATTACKS, ids=IDS)
def test_what_cannot_be_followed_is_left_alone_and_named(spec: dict[str, Any], strength: float) -> None:
    model, context = mixture(), attacker(16, CPU)
    item = run(spec, model, strength, context)
    assert difference(item, model, context) <= 1e-4
    assert item.achieved["groups"] == {"insert": 1, "rotate": 0}.get(spec["name"], 2)
    if spec["name"] == "rotate":
        return
    assert not torch.equal(item.model.hidden.weight, model.hidden.weight)
    skipped = item.achieved["skipped"]
    for name in ("left", "right", "transposed"):
        assert skipped[name] == "channels are not followed through ConvTranspose2d"
        assert torch.equal(item.model.get_parameter(f"{name}.weight"), model.get_parameter(f"{name}.weight"))
    assert "fewer channels" in skipped["conv3"]


def test_permuted_channels_stay_within_their_parts_of_norm_and_convolution() -> None:
    model, context = mixture(), attacker(16, CPU)
    item = run("permute", model, 1.0, context)
    former = model.conv2.bias.detach()
    places = [int((former == value).nonzero()) for value in item.model.conv2.bias.detach()]
    assert places != sorted(places)
    # 4 groups of 6 in the norm, 6 of 4 in the convolution
    assert all(place // 6 == index // 6 and place // 4 == index // 4 for index, place in enumerate(places))


def test_a_permutation_moves_values_and_makes_none() -> None:
    model, context = small("test_vit")
    item = run("permute", model, 1.0, context)
    state = item.model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.flatten().sort().values, state[name].flatten().sort().values)


def test_a_mark_comes_back_when_the_permutation_is_undone() -> None:
    model, context = small("test_resnet")
    scheme, key = SignRepetition(payload_bits=64, repetition=15), Key.for_harness(test="symmetry")
    message = Stream(b"symmetry".ljust(32)).bits(64)
    marked, mark = embed(scheme, as_weights(model), message, key, EmbedContext())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probe = Probe(model, context.data.test.x[:2])
    done = probe.keep(Permutation().proposals(probe, 1.0, 3)[0])
    for change in done:
        change.apply(model)
    lost = scheme.extract(marked, key, mark)
    assert 0.2 < float(np.mean(lost.bits == message)) < 0.8
    for change in reversed(done):
        Reordering(change.group, change.order.argsort()).apply(model)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert np.array_equal(scheme.extract(marked, key, mark).bits, message)


def test_smaller_shares_of_groups_are_permuted_alike_in_larger_ones() -> None:
    model, context = small("test_resnet")
    orders = []
    for strength in (0.0, 0.3, 0.7, 1.0):
        probe = Probe(model, context.data.test.x[:2])
        changes, skipped = Permutation().proposals(probe, strength, 5)
        assert not skipped
        orders.append({change.name: change.order.tolist() for change in changes})
    assert [len(found) for found in orders] == [0, 3, 8, 11]
    for fewer, more in pairwise(orders):
        assert fewer.items() <= more.items()
    untouched = run("permute", model, 0.0, context)
    assert untouched.achieved["moved"] == 0
    other, _ = Permutation().proposals(Probe(model, context.data.test.x[:2]), 1.0, 6)
    assert all(change.order.tolist() != orders[-1][change.name] for change in other)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext2"])
def test_rescaling_changes_no_sign_and_by_a_factor_of_one_nothing(name: str) -> None:
    model, context = small(name)
    with torch.no_grad():
        for tensor in prunable_tensors(model).values():
            tensor[tensor.abs() < tensor.abs().median()] = 0
    item = run("rescale", model, 10.0, context)
    for before, after in zip(prunable_tensors(model).values(), prunable_tensors(item.model).values(), strict=True):
        assert torch.equal(before.sign(), after.sign())
    still = run("rescale", model, 1.0, context)
    assert still.achieved["moved"] == 0
    assert still.achieved["groups"] == item.achieved["groups"]


def test_factors_of_a_channel_keep_their_bounds_and_grow_with_the_strength() -> None:
    model, context = small("lenet5")
    before = model.get_parameter("conv1.weight").detach()
    exponents = []
    for strength in (2.0, 8.0):
        item = run("rescale", model, strength, context)
        ratios = (item.model.get_parameter("conv1.weight").detach() / before).flatten(1).double()
        assert torch.allclose(ratios, ratios[:, :1].expand_as(ratios), rtol=1e-6)
        exponents.append(ratios[:, 0].log() / np.log(strength))
    assert torch.allclose(exponents[0], exponents[1], atol=1e-6)
    assert float(exponents[0].min()) >= -1
    assert float(exponents[0].max()) <= 1
    assert float(exponents[0].std()) == pytest.approx(3**-0.5, rel=0.4)


def test_batch_norm_takes_factors_up_exactly_where_eps_counts() -> None:
    model, context = small("test_resnet")
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.mul_(1e-5)  # as large as eps
    item = run("rescale", model, 10.0, context)
    assert difference(item, model, context) <= 1e-4
    assert item.achieved["moved"] == 1.0


def test_a_rotation_mixes_heads_within_their_norm_and_leaves_the_rest_alone() -> None:
    model, context = small("test_vit")
    for strength in (1.0, 4.0):
        item = run("rotate", model, strength, context)
        changed = {name for name, share in item.achieved["layers"].items() if share}
        assert changed == {name for name in item.achieved["layers"] if ".attn." in name}
        assert all(item.achieved["layers"][name] > 0.999 for name in changed)
        for name in (name for name in changed if name.endswith("qkv.weight")):
            attention = model.get_submodule(name.removesuffix(".qkv.weight"))
            before, after = (
                tensor.detach().view(3, attention.num_heads, -1, tensor.shape[1]).double()
                for tensor in (model.get_parameter(name), item.model.get_parameter(name))
            )
            products = [(q.transpose(1, 2) @ k) for q, k, _ in (before, after)]  # of queries and keys, a head each
            torch.testing.assert_close(products[1], products[0], rtol=1e-4, atol=1e-4)
            kept = torch.allclose(before.square().sum(2), after.square().sum(2), rtol=1e-4)
            assert kept == (strength == 1.0)


@pytest.mark.parametrize("kind", ["zero", "split", "clique"])
@pytest.mark.parametrize("strength", [0.001, 0.25, 1.5])
def test_insertion_widens_by_the_count_asked(kind: str, strength: float) -> None:
    model, context = small("lenet5")
    item = run({"name": "insert", "kind": kind}, model, strength, context)
    least = 2 if kind == "clique" else 1
    added = {name: max(least, round(strength * width)) for name, width in WIDTHS.items()}
    assert item.achieved["inserted"] == added
    for name, width in WIDTHS.items():
        layer = item.model.get_submodule(name)
        assert len(layer.weight) == len(layer.bias) == width + added[name]
    assert item.model.conv2.in_channels == 20 + added["conv1"]
    assert item.model.fc1.in_features == 16 * (50 + added["conv2"])
    assert item.achieved["parameters"] == sum(p.numel() for p in item.model.parameters())
    assert difference(item, model, context) <= 1e-4
    item.model.reset_classifier(3)
    with torch.no_grad():
        assert item.model(context.data.test.x[:2]).shape == (2, 3)


WIDTHS = {"conv1": 20, "conv2": 50, "fc1": 500}


def test_old_channels_keep_order_and_dummies_lie_between_them() -> None:
    model, context = small("lenet5")
    item = run({"name": "insert", "kind": "zero"}, model, 0.5, context)
    rows, old = item.model.conv1.weight.detach(), model.conv1.weight.detach()
    places = [int((rows == row).flatten(1).all(1).nonzero()) for row in old]
    assert places == sorted(places)
    assert places != list(range(20))
    read = item.model.conv2.weight.detach()
    for dummy in set(range(30)) - set(places):
        assert bool((rows[dummy] == 0).all()) != bool((read[:, dummy] == 0).all())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_changed_network_trains_and_saves_as_any(name: str) -> None:
    model, context = small(name)
    item = run({"name": "insert", "kind": "clique"}, model, 0.2, context)
    for spec, strength in (("permute", 1.0), ("rescale", 2.0)):
        item = run(spec, item.model, strength, context)
    assert difference(item, model, context) <= 1e-4
    other = copy.deepcopy(item.model)
    other.load_state_dict({name: tensor.clone() for name, tensor in item.model.state_dict().items()})
    report = train(other, context.data.train, Recipe(epochs=1, batch_size=512, lr=1e-4), seed=0)
    assert np.isfinite(report.loss)


def test_masks_move_with_the_weights_and_are_held_by_what_follows() -> None:
    model, context = small("test_resnet")
    then = {"name": "then", "first": "magnitude", "second": {"name": "permute"}}
    pruned, item = run("magnitude", model, 0.8, context), run(then, model, 0.8, context)
    assert difference(item, pruned.model, context) <= 1e-4
    parameters = dict(item.model.named_parameters())
    for name, mask in item.masks.items():
        assert torch.equal(mask, parameters[name] != 0)
        assert not torch.equal(mask, pruned.masks[name])
    deeper = {"name": "then", "first": then, "second": {"name": "finetune", "epochs": 1}}
    again = run(deeper, model, 0.8, context)
    assert measure_sparsity(again.model)["sparsity"] == pytest.approx(0.8, abs=1e-3)


def test_zeros_that_were_held_stay_held_in_wider_layers() -> None:
    model, context = small("lenet5")
    spec = {"name": "then", "first": "magnitude", "second": {"name": "insert", "kind": "split"}}
    item = run({**spec, "second_strength": 0.5}, model, 0.8, context)
    parameters = dict(item.model.named_parameters())
    assert item.masks["fc1.weight"].shape == (750, 1200)
    assert all(torch.equal(mask, parameters[name] != 0) for name, mask in item.masks.items())


class Louder:
    """A change that shows: one bias is a little larger."""

    name = "louder"

    def apply(self, model: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter("conv1.bias")[0] += 1e-6


class Breaking:
    """A change after which the network does not run."""

    name = "breaking"

    def apply(self, model: nn.Module) -> None:
        model.get_submodule("fc1").weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))


def test_the_probe_keeps_what_does_not_show_and_refuses_the_rest_by_name() -> None:
    model, context = small("lenet5")
    probe = Probe(model, context.data.test.x[:4])
    honest = list(Permutation().proposals(probe, 1.0, 0)[0])
    kept = probe.keep([honest[0], Louder(), honest[1], Breaking(), honest[2]])
    assert [change.name for change in kept] == [change.name for change in honest]
    assert probe.refused["louder"].startswith("the answers change by")
    assert "RuntimeError" in probe.refused["breaking"]
    assert set(probe.refused) == {"louder", "breaking"}


def test_a_model_whose_answers_are_not_finite_is_refused() -> None:
    model, context = small("lenet5")
    model.fc.weight.data[0, 0] = float("nan")
    with pytest.raises(BadInput, match="not finite"):
        run("permute", model, 1.0, context)
