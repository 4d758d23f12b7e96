"""Deployment keeps the answers, shows what lies in the file, and an aligned owner reads it."""

import copy
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext, Attacked, make_attack
from bench.attacks.deploy.attack import WAYS
from bench.attacks.deploy.folding import fold_batch_norms, foldable
from bench.studies.deployed import Owned, kept_outcomes, shipped
from bench.studies.deployed_page import FLIPPED, READINGS, SCHEMES, UNFOLDED, UNMARKED, Case, Outcome, cases, page
from bench.studies.symmetry import attacker, randomised
from bench.testing.subject import everything
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import prunable
from cwwm.weights.view import as_weights

NEEDS = {"onnx": "onnxscript", "onnx-legacy": "onnx"}
TOLERANCE = 1e-5  # of the largest logit, in float32


class _Branches(nn.Module):
    """What folding must tell apart: a norm alone, two that read the same, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.conv, self.norm = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.shared, self.one, self.other = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.twice, self.after = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.fc, self.last = nn.Linear(8, 10, bias=False), nn.BatchNorm1d(10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(torch.relu(self.norm(self.conv(self.before(x)))))
        x = self.one(x) + self.other(x)
        x = self.after(self.twice(torch.relu(self.twice(x))))
        logits: Tensor = self.last(self.fc(x.mean((2, 3))))
        return logits


def _drawn(model: nn.Module) -> nn.Module:
    """Give all batch norms statistics, offsets and factors of both signs."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.1, 3, generator=generator)
        elif value.ndim == 1 and value.is_floating_point():
            value.normal_(0, 1, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def context() -> AttackContext:
    return attacker(32, torch.device("cpu"))


def _deployed(model: nn.Module, way: str, context: AttackContext | None = None) -> Attacked:
    if way in NEEDS:
        pytest.importorskip(NEEDS[way])
    return next(make_attack({"name": "deploy", "way": way}, "test")(model, [1.0], context or everything()))


def test_folding_takes_each_norm_that_alone_reads_a_layer_and_no_other() -> None:
    torch.manual_seed(0)
    model = _drawn(_Branches()).double()
    assert foldable(model) == [("conv", "norm"), ("fc", "last")]
    folded, x = copy.deepcopy(model), torch.randn(3, 3, 9, 9, dtype=torch.float64)
    assert fold_batch_norms(folded) == 2
    assert torch.allclose(folded(x), model(x), rtol=1e-12)
    factors = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    assert torch.allclose(folded.conv.weight, model.conv.weight * factors[:, None, None, None])
    names = dict(folded.named_parameters()).keys()
    assert "fc.bias" in names
    assert "norm.weight" not in names


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_every_way_keeps_the_answers_and_computes_with_what_it_shows(way: str) -> None:
    from bench.testing.subject import network

    model = _drawn(network())
    item = _deployed(model, way)
    assert item.achieved["difference"] < TOLERANCE
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.allclose(item.model(images), model(images), atol=1e-4)
        again = copy.deepcopy(item.model)
        for value in again.parameters():
            value.zero_()
        assert not again(images).any()


@pytest.mark.parametrize(("name", "ways"), [("test_resnet", ("fold",)), ("repvgg_a0", ("fold", "reparametrise"))])
def test_networks_of_timm_are_folded_whole(name: str, ways: tuple[str, ...], context: AttackContext) -> None:
    model = randomised(name)
    left = {"fold": 17 if name == "repvgg_a0" else 0, "reparametrise": 0}  # norms of branches that are no layer
    for way in ways:
        item = _deployed(model, way, context)
        assert item.achieved["difference"] < TOLERANCE
        assert sum(isinstance(x, nn.BatchNorm2d) for x in item.model.modules()) == left[way]
        assert item.achieved["kept"] == (1 if way == "fold" else pytest.approx(1 / 45))


def test_a_network_without_batch_norms_is_left_as_it_is(context: AttackContext) -> None:
    """torch.fx cannot trace this one, and need not."""
    model = randomised("test_vit", img_size=32, patch_size=16)
    item = _deployed(model, "fold", context)
    assert item.achieved["difference"] == item.achieved["change"] == 0
    assert item.achieved["kept"] == 1


def test_masks_are_carried_where_their_weights_are(context: AttackContext) -> None:
    first = {"name": "then", "first": "magnitude", "second": {"name": "deploy"}}
    item = next(make_attack(first, "test")(randomised("test_resnet"), [0.6], context))
    zeros = {name: value == 0 for name, value in item.model.named_parameters() if name in item.masks}
    assert len(zeros) == 16
    assert all(bool(zeros[name][~mask].all()) for name, mask in item.masks.items())


@pytest.mark.parametrize("value", [{"way": "zip"}, {}])
def test_unknown_ways_and_other_strengths_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"unknown way 'zip'; |the strength is 1, not 0.5"):
        make_attack({"name": "deploy", **value}, "test").check_strength(0.5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["fold", "onnx-legacy", "onnx"])
@pytest.mark.parametrize("scheme", ["protected-cwc", "spread-spectrum"])
def test_the_owner_reads_a_deployed_network_of_turned_and_dead_channels(
    scheme: str, way: str, context: AttackContext
) -> None:
    owned = Owned.of(shipped(FLIPPED, context.data.train.x[:64]), Case(FLIPPED, scheme, 0, way))
    suspect = _deployed(owned.model, way, context).model
    recovered, log10_p = owned.read(suspect, "copy")
    assert recovered
    assert log10_p < -70
    assert owned.read(suspect, "blind")[1] > log10_p + 10


def test_the_study_draws_factors_as_measured(context: AttackContext) -> None:
    model = shipped("test_resnet", context.data.train.x[:64])
    pairs = [(model.get_submodule(a), model.get_submodule(b)) for a, b in foldable(model)]
    factors = torch.cat([norm.weight / (norm.running_var + norm.eps).sqrt() for _, norm in pairs]).detach()
    found = np.quantile(factors.numpy(), [0.1, 0.5, 0.9])
    assert found.tolist() == pytest.approx([0.33, 2.9, 12], rel=0.3)
    with torch.no_grad():
        assert bool(torch.isfinite(model(context.data.test.x[:4])).all())


def measured(readings: dict[str, tuple[bool, float]]) -> list[Outcome]:
    """Return an outcome of each case, with these readings where there is a mark."""
    return [Outcome(case, 1e-6, readings if case.scheme != UNMARKED else {}) for case in cases()]


def test_the_page_counts_marks_and_says_what_was_not_measured() -> None:
    readings = {"blind": (False, -1.0), "per-channel": (True, -2.0), "copy": (True, -9.5), UNFOLDED: (True, -2.2)}
    every = [
        outcome if outcome.case.scheme != "cwc" else Outcome(outcome.case, note="no room")
        for outcome in measured(readings)
    ]
    text = page(every, torch.device("cpu"))
    assert re.search(r"resnet18 +\| protected-cwc +\| 0/5 -1.0 +\| 5/5 -2.0 +\| 5/5 -2.2 +\| 5/5 -9.5", text)
    assert "log10 p by 0.2 at most (" in text
    assert re.search(r"brings back (\d+) of \1 of `protected-cwc` and", text)
    assert "- resnet18, cwc: no room" in text
    assert f"{len(every)} of {len(every)} cases measured" in text


def test_the_page_fits_100_columns() -> None:
    longest = dict.fromkeys((*READINGS, UNFOLDED, "original"), (True, -1057.5))
    text = page(measured(longest), torch.device("cpu"))
    assert max(len(line) for line in text.splitlines() if "torch 2" not in line) <= 100  # one names the processor


@pytest.mark.parametrize("scheme", SCHEMES)
def test_folding_by_positive_factors_is_no_change_without_scales(scheme: str, context: AttackContext) -> None:
    owned = Owned.of(shipped("test_resnet", context.data.train.x[:64]), Case("test_resnet", scheme, 0, "fold"))
    before = owned.read(owned.model, "per-channel")
    after = owned.read(_deployed(owned.model, "fold", context).model, "per-channel")
    assert after[0] == before[0]
    assert after[1] == pytest.approx(before[1], abs=0.5)


def test_kept_outcomes_are_read_again_and_others_are_refused(tmp_path: Path) -> None:
    case = Case("test_resnet", "cwc", 0, "fold")
    kept = [
        Outcome(case, 1e-6, dict.fromkeys(READINGS, (True, -2.5))),
        Outcome(case, note="no room"),
    ]
    path = tmp_path / "kept.jsonl"
    lines = [json.dumps(asdict(outcome)) for outcome in kept]
    path.write_text("\n".join(lines))
    assert list(kept_outcomes(path)) == kept
    assert list(kept_outcomes(tmp_path / "absent.jsonl")) == []
    without = json.dumps(asdict(replace(kept[0], readings={"blind": (True, -2.5), "copy": (True, -2.5)})))
    old = json.dumps({"case": asdict(case), "difference": 0.0, "blind": [True, -2.5], "copy": [True, -2.5]})
    for line in (without, old, lines[0][:60], '{"readings": []}'):
        path.write_text(f"{lines[0]}\n{line}\n")
        with pytest.raises(BadInput, match=r"kept.jsonl, line 2: .* remove the line, or the file"):
            list(kept_outcomes(path))


def test_as_many_layers_are_read_in_a_file_as_the_network_has(context: AttackContext) -> None:
    pytest.importorskip("onnx")
    from cwwm.alignment import align

    model = randomised("test_vit", img_size=32)
    suspect = _deployed(model, "onnx-legacy", context).model
    alignment = align(as_weights(model), as_weights(suspect))
    assert alignment.tensors["matched"] == len(prunable(as_weights(model)))
    assert alignment.tensors["transposed"] >= 12
    assert alignment.score > 0.99
