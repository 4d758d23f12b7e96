"""The one Python entry: it measures what its parts measure, and refuses in one line what it cannot do."""

import copy
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from bench import Evaluation, evaluate
from bench.attacks import Attack, AttackContext, Attacked, Cost, make_attack
from bench.attacks.base import DATA, NETWORKS
from bench.data import Dataset, load
from bench.metrics.accuracy import accuracy
from cwwm.schemes import make_scheme
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train

SIGNS: dict[str, Any] = {"name": "sign-repetition", "payload_bits": 64}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load("digits", size=8)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip


@pytest.fixture(scope="module")
def trained(data: Dataset) -> nn.Module:
    model = network()
    train(model, data.train, Recipe(epochs=3, lr=3e-3), seed=0)
    return model


def test_what_survives_is_measured_and_printed(trained: nn.Module, data: Dataset) -> None:
    before = copy.deepcopy(trained.state_dict())
    found = evaluate(trained, SIGNS, {"magnitude": [0.3, 0.99], "permute": [1]}, data)
    assert [(row.attack, row.strength) for row in found.rows] == [
        ("magnitude", 0.3), ("magnitude", 0.99), ("permute", 1.0)
    ]  # fmt: skip
    assert (found.marked.recovered, found.marked.bit_error_rate, found.marked.strength) == (True, 0.0, None)
    assert found.marked.log10_p == pytest.approx(-64 * 0.30103, abs=0.01)  # 64 bits of 64 by chance
    mild, hard, moved = found.rows
    assert mild.recovered
    assert not hard.recovered
    assert not moved.recovered
    assert hard.bit_error_rate > 0.1
    assert hard.log10_p > mild.log10_p
    assert found.host_accuracy == accuracy(copy.deepcopy(trained), data.test).percent
    assert moved.accuracy == found.marked.accuracy
    assert hard.accuracy is not None
    assert hard.accuracy < 60 < (mild.accuracy or 0)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    lines = str(found).splitlines()
    assert lines[0].startswith("sign-repetition, 64 bits; ")
    assert [line.split("|")[3].strip() for line in lines[4:]] == ["yes", "yes", "no", "no"]


def test_an_evaluation_repeats_and_its_seed_gives_another_key(trained: nn.Module) -> None:
    attacks = {"random": [0.9], "noise": [4.0]}
    first, again, other = (evaluate(trained, SIGNS, attacks, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.rows != other.rows


def test_schemes_and_attacks_may_be_given_in_every_form(trained: nn.Module) -> None:
    scheme, attack = make_scheme("sign-repetition", {"payload_bits": 64}), make_attack("magnitude", "test")
    forms: list[Any] = [
        {"magnitude": [0.5]}, [("magnitude", [0.5])], [(attack, [0.5])], [({"name": "magnitude"}, [0.5])],
        [{"name": "magnitude", "strengths": [0.5]}],
    ]  # fmt: skip
    found = [evaluate(trained, given, form) for given in (SIGNS, scheme) for form in forms]
    assert all(one == found[0] for one in found)
    assert len(found[0].rows) == 1


def test_tensors_will_do_as_data(trained: nn.Module, data: Dataset) -> None:
    x, y = data.train.x[:400], data.train.y[:400]
    found = evaluate(trained, SIGNS, [({"name": "finetune", "epochs": 1}, [0.1])], (x, y))
    held_out = type(data.test)(x[::4], y[::4])
    assert found.host_accuracy == accuracy(copy.deepcopy(trained), held_out).percent
    assert found.rows[0].recovered


def test_a_scheme_that_trains_marks_while_training(trained: nn.Module, data: Dataset) -> None:
    given = {"name": "uchida", "payload_bits": 16, "strength": 1.0}
    found = evaluate(trained, given, {"magnitude": [0.2]}, data, recipe=Recipe(epochs=2, lr=3e-3))
    assert found.marked.recovered
    assert found.rows[0].recovered


def test_colluders_hold_copies_with_other_marks(trained: nn.Module) -> None:
    (row,) = evaluate(trained, SIGNS, {"collude": [5]}).rows
    assert not row.recovered


def test_distillation_takes_a_builder(trained: nn.Module, data: Dataset) -> None:
    attack = ({"name": "distill", "epochs": 1}, [2.0])
    (row,) = evaluate(trained, SIGNS, [attack], data, build=lambda name, seed: network(seed)).rows
    assert not row.recovered
    assert row.accuracy is not None
    assert row.accuracy > 20


def test_interpolation_takes_the_public_base(trained: nn.Module, data: Dataset) -> None:
    before = copy.deepcopy(trained.state_dict())
    kept, gone = evaluate(trained, SIGNS, {"interpolate": [0.0, 1.0]}, data, base=trained).rows
    assert (kept.recovered, gone.recovered) == (True, False)
    assert gone.log10_p > -2
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    with pytest.raises(BadInput, match="'interpolate' needs the model's public base: give it"):
        evaluate(trained, SIGNS, {"interpolate": [1.0]}, data)


@pytest.mark.parametrize(
    ("scheme", "attacks", "named"),
    [
        ("sign-repetitoin", {}, "did you mean sign-repetition"),
        ({"payload_bits": 8}, {}, "a scheme is a name"),
        ("uchida", {}, "'uchida' marks only while training; give data"),
        (SIGNS, {"magnitud": [0.5]}, "did you mean magnitude"),
        (SIGNS, {"magnitude": [2]}, "between 0 and 1, not 2"),
        (SIGNS, ["magnitude"], "with strengths, not 'magnitude'"),
        (SIGNS, {"finetune": [0.1]}, "attack 'finetune' needs data"),
        (SIGNS, [({"name": "then", "first": "magnitude", "second": "bn"}, [0.5])], "attack 'bn' needs data"),
        (SIGNS, {"new-head": [1.0]}, "asks for data set 'textures'"),
        ({**SIGNS, "payload_bits": 4096}, {}, "larger carrier"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    scheme: Any,  # noqa: ANN401
    attacks: Any,  # noqa: ANN401
    named: str,
) -> None:
    with pytest.raises(BadInput, match=named) as refusal:
        evaluate(network(), scheme, attacks)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(9, 3, 8, 8), torch.zeros(9)),
        (torch.zeros(9, 3, 8, 8, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64)),
        (torch.zeros(9, 3, 8, 8), torch.zeros(8, dtype=torch.int64)),
        (torch.zeros(3, 3, 8, 8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(9, 3, 8, 8), torch.full((9,), -1)),
    ],
)
def test_tensors_that_are_no_data_are_refused(x: torch.Tensor, y: torch.Tensor) -> None:
    with pytest.raises(BadInput, match="evaluate: data"):
        evaluate(network(), SIGNS, {}, (x, y))


def test_importing_the_laboratory_waits_for_no_torch() -> None:
    code = "import bench, cwwm, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert isinstance(Evaluation, type)
    import bench

    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        bench.evalute  # noqa: B018


def test_an_attack_is_called_with_a_model_and_strengths_alone() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    items = [item.achieved["sparsity"] for item in make_attack("magnitude", "test")(model, [0.25, 0.5])]
    assert items == pytest.approx([0.25, 0.5], abs=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_call_refuses_before_anything_is_attacked(data: Dataset) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        make_attack("magnitude", "test")(network(), [0.5, 7])
    with pytest.raises(BadInput, match="needs a builder of fresh networks and data"):
        make_attack("distill", "test")(network(), [1])
    cpu = torch.device("cpu")
    some = AttackContext(data, AttackContext.bare(cpu).recipe, 0, cpu, lambda name: data)
    assert (AttackContext.bare(cpu).has, some.has) == (frozenset(), {DATA})
    with pytest.raises(BadInput, match="needs a builder of fresh networks: give"):
        make_attack("distill", "test")(network(), [1], some)


@dataclass(frozen=True, kw_only=True)
class Needy(Attack):
    """Only `apply` is abstract, and what it needs is data on the class."""

    name: ClassVar[str] = "needy"
    strength: ClassVar[str] = "nothing"
    needs: ClassVar[frozenset[str]] = frozenset({NETWORKS})

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        return Attacked(model, strength, {"seed": context.seed}, {}, Cost())


def test_an_attack_of_ones_own_needs_a_name_and_apply_only() -> None:
    assert Attack.__abstractmethods__ == {"apply"}
    with pytest.raises(BadInput, match="'needy' needs a builder of fresh networks"):
        evaluate(network(), SIGNS, [(Needy(), [1])])
    found = evaluate(network(), SIGNS, [(Needy(), [1])], build=lambda name, seed: network())
    assert found.rows[0].recovered
