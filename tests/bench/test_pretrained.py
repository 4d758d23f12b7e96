"""Real ImageNet weights, marked in one shot: the classifier carries 256 bits and the answers stay."""

import pytest
import torch

from bench.studies.pretrained import Outcome, crops, mark_one_shot, page, pretrained_model, rounded, top1
from bench.workshop import relative_change
from cwwm.carrier import Carrier
from cwwm.weights import as_weights


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return pretrained_model()


@pytest.mark.parametrize("carrier", ["classifier", "large", "all"])
def test_the_mark_is_whole_after_pruning(model: torch.nn.Module, carrier: str) -> None:
    marked, whole = mark_one_shot(model, carrier)
    assert whole
    pool = Carrier.choose(as_weights(model), carrier)
    assert 0 < relative_change(model, marked, pool) < 0.01
    others = [n for n in as_weights(model).names() if n not in {layer.name for layer in pool.layers}]
    assert all(torch.equal(as_weights(model).tensor(n), as_weights(marked).tensor(n)) for n in others)


@pytest.mark.slow
def test_a_mark_in_the_classifier_keeps_the_answers(model: torch.nn.Module) -> None:
    x = crops().test.x
    assert len(x) == 1000
    original = top1(model, x)
    marked, _ = mark_one_shot(model, "classifier")
    assert float((top1(marked, x) == original).double().mean()) >= 0.98


def test_the_page_names_every_change() -> None:
    text = page([Outcome("cwc, carrier all", 1e-4, 0.5, False)], 10, torch.device("cpu"))
    assert "cwc, carrier all" in text
    assert "50.0%" in text
    assert "lost" in text


def test_rounding_is_what_bfloat16_does(model: torch.nn.Module) -> None:
    weight = as_weights(rounded(model)).tensor("classifier.weight")
    assert torch.equal(weight, weight.bfloat16().float())
