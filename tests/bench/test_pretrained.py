"""Real ImageNet weights, marked in one shot: the classifier carries 256 bits and the answers stay."""

import pytest
import torch

from bench.metrics.energy import relative_change
from bench.studies.pretrained import (
    CARRIERS,
    MARKS,
    PAYLOAD,
    Outcome,
    crops,
    mark_one_shot,
    page,
    pretrained_model,
    rounded,
    top1,
)
from cwwm.design import Targets, design
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import as_weights


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return pretrained_model()


@pytest.mark.parametrize(("name", "carrier"), MARKS)
def test_the_mark_is_whole_after_pruning(model: torch.nn.Module, name: str, carrier: str) -> None:
    marked, whole = mark_one_shot(model, name, carrier)
    assert whole
    pool = Carrier.choose(as_weights(model), carrier)
    assert 0 < relative_change(as_weights(model), as_weights(marked), pool) < 0.01
    others = [n for n in as_weights(model).names() if n not in {layer.name for layer in pool.layers}]
    assert all(torch.equal(as_weights(model).tensor(n), as_weights(marked).tensor(n)) for n in others)


def test_the_default_plan_marks_the_classifier_and_refuses_the_rest(model: torch.nn.Module) -> None:
    weights = as_weights(model)
    assert design(weights, CARRIERS, Targets(payload_bits=PAYLOAD))[0].carrier == "classifier"
    for carrier in ("large", "all"):
        with pytest.raises(BadInput, match=r"budget-depth.*fine-tuned"):
            design(weights, [carrier], Targets(payload_bits=PAYLOAD))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["protected-cwc", "cwc"])
def test_a_mark_in_the_classifier_keeps_the_answers(model: torch.nn.Module, name: str) -> None:
    x = crops().test.x
    assert len(x) == 1000
    original = top1(model, x)
    marked, _ = mark_one_shot(model, name, "classifier")
    assert float((top1(marked, x) == original).double().mean()) >= 0.98


def test_the_page_names_every_change() -> None:
    text = page([Outcome("cwc, carrier all", 1e-4, 0.5, False)], 10, torch.device("cpu"))
    assert "cwc, carrier all" in text
    assert "50.0%" in text
    assert "lost" in text


def test_rounding_is_what_bfloat16_does(model: torch.nn.Module) -> None:
    weight = as_weights(rounded(model)).tensor("classifier.weight")
    assert torch.equal(weight, weight.bfloat16().float())
