"""Distillation: its loss by hand, what the attacker gets and sees, what schemes read from students, the study."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks import ATTACKS, AttackContext, Attacked, make_attack
from bench.attacks.distillation import Distillation, agreement, distillation_loss, halves, top_only
from bench.data import Dataset, load
from bench.execution.preflight import preflight
from bench.metrics.accuracy import accuracy, answers
from bench.models.registry import HostRecipe, build_model, find_models
from bench.studies import distillation as study
from bench.suite import load_suite
from cwwm.ownership.keys import Key
from cwwm.schemes import SCHEMES, Claim, EmbedContext, make_scheme, scheme_of
from cwwm.support.console import run_app
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.view import as_weights

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=64, lr=3e-3)
NONCE = bytes(range(16))
KEY = Key.for_harness(seed=0)


@cache
def data() -> Dataset:
    return load("digits", size=16, channels=1)


def grey(name: str) -> Dataset:
    """Return a data set, its colours averaged."""
    found = load(name, size=16)
    train, test = (replace(split, x=split.x.mean(1, keepdim=True)) for split in (found.train, found.test))
    return replace(found, train=train, test=test)


def build(name: str | None, seed: int) -> nn.Module:
    (spec,) = find_models([name or "convnet16_32"])
    return build_model(replace(spec, data="digits", size=16, channels=1), 10, seed)


@cache
def teacher() -> nn.Module:
    """Return a trained model; tests must not change it."""
    model = build(None, 0)
    train(model, data().train, RECIPE, seed=0)
    return model


def context(epochs: int = 3) -> AttackContext:
    recipe = HostRecipe(mark=replace(RECIPE, epochs=epochs))
    return AttackContext(data(), recipe, 7, CPU, grey, build=build)


def distil(strength: float = 1.0, epochs: int = 3, **parameters: object) -> Attacked:
    attack = make_attack({"name": "distill", **parameters}, "test")
    return next(attack.curve([teacher()], [strength], context(epochs)))


def distil_stolen(strength: float = 1.0, epochs: int = 1, **parameters: object) -> Attacked:
    attack = make_attack({"name": "distill-stolen", **parameters}, "test")
    return next(attack([teacher()], [strength], replace(context(epochs), build=None)))


def some_logits(count: int = 16, seed: int = 0, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    taught, mine = (spread * torch.randn(count, 10, generator=generator, dtype=torch.float64) for _ in range(2))
    return taught, mine.requires_grad_()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_loss_is_the_divergence_summed_over_classes_and_averaged_over_images(
    temperature: float, power: float
) -> None:
    taught, mine = some_logits()
    total = 0.0
    for t, s in zip(taught.tolist(), mine.tolist(), strict=True):
        p, q = (np.exp(np.array(row) / temperature) for row in (t, s))
        p, q = p / p.sum(), q / q.sum()
        total += float(np.sum(p * np.log(p / q)))
    loss = distillation_loss(taught, mine, temperature, power)
    assert float(loss.detach()) == pytest.approx(temperature**power * total / 16)


def test_the_gradient_is_t_times_the_difference_of_softened_answers() -> None:
    taught, mine = some_logits()
    for temperature in (1.0, 5.0):
        (gradient,) = torch.autograd.grad(distillation_loss(taught, mine, temperature, 2.0), mine)
        difference = (mine.detach() / temperature).softmax(1) - (taught / temperature).softmax(1)
        assert torch.allclose(gradient, temperature * difference / 16)


def test_at_large_temperatures_it_matches_centred_logits() -> None:
    """T^2 KL tends to |s - t|^2 / (2 K) of centred logits (Hinton et al., Sec. 2.1), whatever T."""
    taught, mine = some_logits()
    apart = mine.detach() - taught
    apart = apart - apart.mean(1, keepdim=True)
    expected = float(apart.square().sum(1).mean()) / 20
    assert float(distillation_loss(taught, mine, 1e3, 2.0).detach()) == pytest.approx(expected, rel=0.02)
    assert float(distillation_loss(taught, mine, 1e4, 2.0).detach()) == pytest.approx(expected, rel=0.002)


def test_a_copy_of_the_teacher_has_no_divergence_and_no_gradient() -> None:
    taught, _ = some_logits()
    mine = (taught + 5).requires_grad_()  # a constant makes no difference to answers
    loss = distillation_loss(taught, mine, 3.0, 2.0)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-9)
    assert float(torch.autograd.grad(loss, mine)[0].abs().max()) < 1e-9


def test_top_k_shows_the_largest_probabilities_and_their_sum() -> None:
    taught, _ = some_logits()
    full, shown = taught.softmax(1), top_only(taught, 3).exp()
    assert torch.allclose(shown.sum(1), torch.ones(16, dtype=torch.float64))
    for p, q in zip(full, shown, strict=True):
        best = p.topk(3).indices
        others = [i for i in range(10) if i not in best]
        assert torch.allclose(p[best], q[best])
        assert torch.allclose(q[others], (1 - p[best].sum()) / 7)
    assert torch.allclose(top_only(taught, 9).exp(), full)  # nine known ones leave nothing open


def test_the_objective_mixes_teacher_and_labels_by_what_is_shown() -> None:
    x, y, model = data().train.x[:40], data().train.y[:40], teacher()
    _, logits = some_logits(40)
    with torch.no_grad():
        taught = model.eval()(x).double()
    named = -logits.log_softmax(1)[torch.arange(40), y].mean()
    hard = -logits.log_softmax(1)[torch.arange(40), taught.argmax(1)].mean()
    soft = distillation_loss(taught, logits, 4.0, 2.0)
    for parameters, temperature, expected in (
        ({}, 4.0, soft),
        ({"mixing": 0.3}, 4.0, 0.3 * soft + 0.7 * named),
        ({"mixing": 0.3, "transfer": "out-of-distribution"}, 4.0, 0.3 * soft + 0.7 * hard),
        ({"labels": "hard"}, 1.0, hard),
        ({"labels": "top-k", "top": 2}, 4.0, distillation_loss(top_only(taught, 2), logits, 4.0, 2.0)),
    ):
        loss = Distillation(**parameters).objective(model, temperature)(x, y, logits)
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_asking_the_teacher_leaves_its_mode_and_its_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(256, 10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = torch.zeros(8, 10, requires_grad=True)
    loss = Distillation().objective(model, 2.0)(data().train.x[:8], data().train.y[:8], logits)
    loss.backward()
    assert model.training
    assert model[0].training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_student_learns_the_teachers_answers_and_says_how_well() -> None:
    item = distil(epochs=4)
    test = data().test
    assert item.model is not teacher()
    assert item.task is None
    assert not item.masks
    assert item.achieved["transfer"] == len(data().train)
    assert item.achieved["parameters"] == item.achieved["parameters_before"]
    same = (answers(item.model, test.x) == answers(teacher(), test.x)).float().mean()
    assert item.achieved["agreement"] == pytest.approx(float(same))
    assert item.achieved["agreement"] > 0.9
    assert (item.cost.data_fraction, item.cost.samples) == (1.0, 4 * len(data().train))
    assert item.cost.steps == 4 * -(-len(data().train) // 64)


def test_students_start_from_the_seed_alone_the_same_at_each_temperature() -> None:
    """With a rate that moves nothing, the student is what it started from."""
    still = replace(context(1), recipe=HostRecipe(mark=replace(RECIPE, epochs=1, lr=1e-30)))
    attack = make_attack("distill", "test")
    other = build(None, 9)
    students = [
        {name: tensor.clone() for name, tensor in item.model.state_dict().items()}
        for model in (teacher(), other)
        for item in attack.curve([model], [1.0, 10.0], still)
    ]
    assert all(torch.equal(student[n], students[0][n]) for student in students for n in student)
    assert not any(torch.equal(students[0][n], teacher().state_dict()[n]) for n in students[0])


def test_held_out_images_are_never_those_that_accuracy_is_measured_on() -> None:
    seen, task = halves(data())
    assert len(seen) + len(task.test) == len(data().test)
    assert {tuple(x.flatten().tolist()) for x in seen.x}.isdisjoint(
        {tuple(x.flatten().tolist()) for x in task.test.x}
    )
    item = distil(transfer="held-out", epochs=1)
    assert item.task is not None
    assert torch.equal(item.task.test.x, task.test.x)
    assert item.task.name == data().name
    assert item.achieved["transfer"] == len(seen)
    assert item.cost.data_fraction == 0.0


def test_out_of_distribution_images_carry_the_teachers_knowledge_less_well() -> None:
    item = distil(transfer="out-of-distribution", epochs=1)
    assert item.achieved["transfer"] == len(load("textures", size=16).train)
    assert item.cost.data_fraction == 0.0
    assert item.task is None
    assert 0.3 < item.achieved["agreement"] < distil(epochs=1).achieved["agreement"]


def test_agreement_counts_equal_answers_and_no_nan() -> None:
    broken = build(None, 0)
    assert agreement(teacher(), teacher(), data().test) == 1.0
    with torch.no_grad():
        broken.fc.bias.fill_(float("nan"))
    assert agreement(broken, broken, data().test) == 0.0


def test_a_student_that_diverges_is_a_result() -> None:
    wild = replace(context(1), recipe=HostRecipe(mark=replace(RECIPE, epochs=1, lr=1e30)))
    item = next(make_attack("distill", "test").curve([teacher()], [1.0], wild))
    assert item.achieved["diverged"] is True
    assert item.cost.steps == -(-len(data().train) // RECIPE.batch_size)


@pytest.mark.parametrize(
    ("parameters", "strength", "why"),
    [
        ({"labels": "hard"}, 2.0, "hard labels have no temperature"),
        ({"labels": "top-k", "top": 10}, 2.0, "top 10 of 10 classes are all"),
        ({"student": "convnet12_25"}, 1.0, "did you mean convnet12_24"),
        ({"transfer": "out-of-distribution", "transfer_data": "texture"}, 1.0, "did you mean textures"),
    ],
)
def test_impossible_distillations_are_refused(parameters: dict[str, object], strength: float, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        distil(strength, **parameters)


def test_a_attacker_who_cannot_build_networks_is_refused() -> None:
    with pytest.raises(BadInput, match="needs a fresh student"):
        next(make_attack("distill", "test").curve([teacher()], [1.0], replace(context(), build=None)))


def test_masks_held_before_do_not_bind_a_student_but_those_found_after_do() -> None:
    prune, tiny = {"name": "magnitude"}, {"name": "distill", "epochs": 1}
    after = make_attack({"name": "then", "first": prune, "second": tiny}, "test")
    item = next(after.curve([teacher()], [0.9], context()))
    assert not item.masks
    assert not any(bool((tensor == 0).any()) for tensor in (p for p in item.model.parameters() if p.ndim > 1))
    narrow = {**tiny, "student": "convnet12_24"}
    item = next(
        make_attack({"name": "then", "first": narrow, "second": prune, "second_strength": 0.5}, "test").curve(
            [teacher()], [1.0], context()
        )
    )
    assert item.achieved["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert all(not item.model.get_parameter(name)[~mask].any() for name, mask in item.masks.items())


def test_a_random_pruning_after_another_keeps_the_zeros_of_both() -> None:
    both = {"name": "then", "first": "magnitude", "second": "random", "second_strength": 0.5}
    item = next(make_attack(both, "test").curve([teacher()], [0.5], context()))
    assert all(not item.model.get_parameter(name)[~mask].any() for name, mask in item.masks.items())


def test_the_preflight_looks_for_the_transfer_data(tmp_path: Path) -> None:
    suite = tmp_path / "attacker.yaml"
    suite.write_text(
        "description: an attacker with images that are not there\nmodels: [test_resnet]\nseeds: 1\npayloads: [64]\n"
        "schemes: [{name: carriers}]\nattacks:\n"
        "  - {name: distill, transfer: out-of-distribution, transfer_data: texture, strengths: [1]}\n"
    )
    with pytest.raises(BadInput, match="did you mean textures"):
        preflight(load_suite(str(suite)), tmp_path, needed=True)
    assert ATTACKS["new-head"]().other_data == ("textures",)
    assert ATTACKS["distill"]().other_data == ()


SMALL = {
    "protected-cwc": {"blocks": 24, "block_length": 32, "block_weight": 2, "survive": 0.8, "low": 0.5},
    "sign-erasure": {"survive": 0.3},
    "deepsigns": {"triggers": 2},
    "riga": {"settling": 5, "hidden": 16},
    "ingrain": {"ingrainer_steps": 2},
    "neuralmark": {"columns": 32, "rounds": 2},
    "wrong-key": {"scheme": "sign"},
}


#: `structural` has no room here; its own tests read networks of other widths
READ = [name for name in SCHEMES if name not in ("none", "structural")]


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("student", ["convnet12_24", "lenet300_100", "convnet16_32"])
def test_every_scheme_reads_a_student_without_raising_and_no_message(name: str, student: str) -> None:
    """In another width a position-keyed mark has no place, or only zeros where a layer has none."""
    scheme = make_scheme(name, {"payload_bits": 16, **SMALL.get(name, {})})
    host, message = build(None, 0), np.random.default_rng(0).integers(2, size=16).astype(np.uint8)
    embedding = scheme.begin(
        as_weights(host), message, KEY, EmbedContext(data=data().train, classes=10, seed=1, nonce=NONCE)
    )
    mark = embedding.finish()
    found = scheme.extract(as_weights(build(student, 5)), KEY, mark)
    assert found.bits.shape == (16,)
    assert not (found.ok and np.array_equal(found.bits, message))
    assert scheme.evidence(found, Claim(KEY, mark, message)).combined > -4
    assert found.applicable == (name in ("carriers", "ingrain") or student == "convnet16_32")
    assert found.applicable or found.reason


@cache
def projected(epochs: int) -> tuple[nn.Module, Claim]:
    """Return a host with a mark of scheme uchida that is recovered, and the claim on it."""
    scheme, host = make_scheme("uchida", {"payload_bits": 64, "strength": 0.3}), build(None, 0)
    message = KEY.choices(NONCE).stream("message").bits(64)
    embedding = scheme.begin(as_weights(host), message, KEY, EmbedContext(data().train, 10, 1, CPU, NONCE))
    train(host, data().train, replace(RECIPE, epochs=epochs), seed=1, embedding=embedding)
    mark = embedding.finish()
    assert mark.report["embedded_errors"] == 0
    return host, Claim(KEY, mark, message)


def test_a_projected_mark_reads_as_noise_in_students_of_the_same_shape() -> None:
    host, claim = projected(5)
    scheme = scheme_of(claim.mark)
    errors = []
    for seed in range(4):
        item = next(make_attack("distill", "test").curve([host], [1.0], replace(context(1), seed=seed)))
        found = scheme.extract(as_weights(item.model), KEY, claim.mark)
        assert found.applicable
        assert scheme.evidence(found, claim).combined > -3
        errors.append(float(np.mean(found.bits != claim.message)))
    assert 0.35 <= float(np.mean(errors)) <= 0.65
    assert all(abs(error - 0.5) < 4.5 * 0.5 / math.sqrt(64) for error in errors)


def test_the_page_has_means_seeds_threshold_and_the_warning() -> None:
    def students(carriers: float | None) -> dict[float, study.Score]:
        return dict.fromkeys((1.0, 10.0), study.Score(90, carriers))

    outcomes = [
        study.Outcome(host, seed, study.Score(98 + seed, carriers), students(carriers))
        for host, carriers in (("direct", 100.0), ("unmarked", None))
        for seed in (0, 1)
    ]  # fmt: skip
    text = study.page(outcomes, CPU)
    assert study.threshold() == 28
    assert "at a false-positive rate of 1e-12 takes 28 of 60" in " ".join(text.split())
    assert "Means over 2 seeds" in text
    assert "reconstruction" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert ["direct", "mean", "98.5 / 100.0", "90.0 / 100.0", "90.0 / 100.0"] in rows
    assert ["unmarked", "1", "99.0 / -", "90.0 / -", "90.0 / -"] in rows
    assert [row[0] for row in rows if row[1] in "01"] == ["unmarked"] * 2 + ["direct"] * 2


def test_the_study_wants_a_markdown_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(study.app, "study", ["-o", "table.txt"]) == 2
    assert "name it table.md" in capsys.readouterr().err


@cache
def outcome(host: str, seed: int) -> study.Outcome:
    """Return an outcome of the study, measured once for all slow tests."""
    return study.outcome(host, seed, CPU)


DIRECT, INGRAIN = "direct", "ingrain, lambda 0.5"
SEEDS = range(study.FIRST, study.FIRST + 3)


@pytest.mark.slow
def test_distillation_removes_carriers_that_were_embedded_directly() -> None:
    unmarked, direct = (outcome(host, study.FIRST) for host in ("unmarked", DIRECT))
    student = direct.students[1.0]
    assert direct.teacher.carriers is not None
    assert student.carriers is not None
    assert direct.teacher.carriers >= 95
    assert direct.teacher.accuracy >= unmarked.teacher.accuracy - 1
    assert student.carriers <= 25
    assert student.accuracy >= direct.teacher.accuracy - 1.5


@pytest.mark.slow
def test_our_reconstruction_of_ingrain_keeps_more_carriers_than_direct_embedding() -> None:
    """A check of our reconstruction, not of the paper."""
    direct, ingrain = ([outcome(host, seed) for seed in SEEDS] for host in (DIRECT, INGRAIN))
    assert min(o.teacher.carriers or 0 for o in ingrain) >= 95
    assert study.mean([o.teacher for o in ingrain]).accuracy >= study.mean([o.teacher for o in direct]).accuracy - 2
    kept, lost = (study.mean([o.students[10.0] for o in found]).carriers for found in (ingrain, direct))
    assert kept is not None
    assert lost is not None
    assert kept >= lost + 8


@pytest.mark.slow
def test_a_smaller_student_answers_the_task_and_has_no_place_for_a_projection() -> None:
    host, claim = projected(20)
    attack = make_attack({"name": "distill", "student": "convnet12_24"}, "test")
    for item in attack.curve([host], [1.0, 4.0, 20.0], context(20)):
        assert accuracy(item.model, data().test).percent > accuracy(host, data().test).percent - 2
        assert not scheme_of(claim.mark).extract(as_weights(item.model), KEY, claim.mark).applicable


def moved(student: nn.Module) -> float:
    """Return the squared change from the teacher's weights, relative to their squares."""
    pairs = list(zip(teacher().parameters(), student.parameters(), strict=True))
    apart = sum(float((a - b).detach().square().sum()) for a, b in pairs)
    return apart / sum(float(a.detach().square().sum()) for a, _ in pairs)


def test_a_student_that_starts_stolen_stays_near_its_teacher() -> None:
    before = [value.clone() for value in teacher().state_dict().values()]
    stolen, fresh = distil_stolen(), distil(epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(before, teacher().state_dict().values(), strict=True))
    assert 0 < moved(stolen.model) < 0.1 * moved(fresh.model)
    assert stolen.achieved["agreement"] > fresh.achieved["agreement"]
    assert stolen.achieved["agreement"] > 0.9
    assert stolen.cost.data_fraction == 1


def test_images_of_another_kind_move_a_stolen_student_further() -> None:
    assert moved(distil_stolen(transfer="out-of-distribution").model) > moved(distil_stolen().model)


def test_a_stolen_student_needs_no_builder_of_networks() -> None:
    with pytest.raises(BadInput, match="needs a builder of fresh networks"):
        next(make_attack("distill", "test")([teacher()], [1.0], replace(context(1), build=None)))
    assert distil_stolen(labels="hard").achieved["diverged"] is False
