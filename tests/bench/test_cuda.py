"""What must hold where there is a GPU: the same mark, read alike on both devices. Not yet run on one."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.attacks import make_attack
from bench.data import load
from bench.data.dataset import Split
from bench.models.registry import build_model, find_models
from bench.studies.symmetry import ATTACKS, attacker, randomised
from cwwm.codes import Bits
from cwwm.ownership.keys import Key, Stream
from cwwm.ownership.mark import Mark
from cwwm.readers import find_reader, view_of
from cwwm.schemes import EmbedContext, Extraction, Scheme, embed, make_scheme
from cwwm.training import Recipe, train
from cwwm.weights.order_statistics import MagnitudeTable, Rank
from cwwm.weights.view import TensorWeights, Weights, as_weights
from tests.cwwm.test_schemes import CASES, CONTROLS, TRAINED

pytestmark = pytest.mark.cuda

K = 64
KEY, MESSAGE = Key.for_harness(test="cuda"), Stream(bytes(32)).bits(K)
ENCODINGS = [case for case in CASES if case[0] not in CONTROLS]
INFORMED = ("cwc", "protected-cwc", "sign-repetition", "spread-spectrum", "tattooed")
Case = tuple[str, dict[str, Any]]


def build(device: torch.device) -> nn.Module:
    (spec,) = find_models(["test_resnet"])
    return build_model(spec, 10, 0).to(device)


def on_cpu(weights: Weights) -> TensorWeights:
    return TensorWeights({name: weights.tensor(name).detach().cpu() for name in weights.names()})


def marked(case: Case, device: torch.device) -> tuple[Scheme, Weights, Mark]:
    scheme = make_scheme(case[0], {"payload_bits": K, **case[1]})
    return scheme, *embed(
        scheme, as_weights(build(device)), MESSAGE, KEY, EmbedContext(device=device, nonce=bytes(16))
    )


def whole(found: Extraction, message: Bits = MESSAGE) -> bool:
    return found.ok and np.array_equal(found.bits, message)


@pytest.mark.parametrize("case", ENCODINGS, ids=str)
def test_a_mark_is_read_alike_on_both_devices(case: Case, accelerator: torch.device) -> None:
    scheme, weights, mark = marked(case, accelerator)
    there, here = (scheme.extract(suspect, KEY, mark) for suspect in (weights, on_cpu(weights)))
    assert whole(there)
    assert whole(here)
    assert np.array_equal(here.reliabilities, there.reliabilities)


@pytest.mark.parametrize("case", [case for case in ENCODINGS if case[0] in INFORMED], ids=str)
def test_a_mark_is_read_alike_against_the_original(case: Case, accelerator: torch.device) -> None:
    original = as_weights(build(accelerator))
    scheme, weights, mark = marked(case, accelerator)

    def read(suspect: Weights, owned: Weights) -> Extraction:
        return view_of(find_reader("informed"), scheme, suspect, KEY, mark, owned).extraction(scheme, KEY, mark)

    there, here = read(weights, original), read(on_cpu(weights), on_cpu(original))
    assert whole(there)
    assert whole(here)
    np.testing.assert_allclose(here.reliabilities, there.reliabilities, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_a_mark_is_trained_in(name: str, accelerator: torch.device) -> None:
    data = load("digits", size=16, device=accelerator)
    scheme = make_scheme(name, {"payload_bits": K, **TRAINED[name]})
    context = EmbedContext(data=data.train, classes=data.classes, device=accelerator, nonce=bytes(16))
    host = build(accelerator)
    embedding = scheme.begin(as_weights(host), MESSAGE, KEY, context)
    some = Split(data.train.x[:128], data.train.y[:128])
    assert train(host, some, Recipe(epochs=1), seed=0, embedding=embedding).steps == 2
    found = scheme.extract(embedding.weights, KEY, embedding.finish())
    assert found.applicable, found.reason
    assert len(found.bits) == K


def test_order_statistics_are_equal_on_both_devices(accelerator: torch.device) -> None:
    tensor = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0))
    questions = [Rank((0,), rank) for rank in (1, 500_000, 900_000, 1_000_000)]
    assert MagnitudeTable([tensor]).kth(questions) == MagnitudeTable([tensor.to(accelerator)]).kth(questions)


@pytest.mark.parametrize(("spec", "strength"), ATTACKS, ids=[" ".join(spec.values()) for spec, _ in ATTACKS])
def test_what_preserves_the_function_does_so_there_and_makes_the_same_choices(
    spec: dict[str, str], strength: float, accelerator: torch.device
) -> None:
    pytest.importorskip("torch_pruning")
    model = randomised("test_resnet")
    here, there = (
        next(make_attack(spec, "test").curve([model.to(device)], [strength], attacker(32, device)))
        for device in (torch.device("cpu"), accelerator)
    )
    assert there.achieved["difference"] <= 1e-4
    for key in ("groups", "moved", "layers", "skipped"):
        assert there.achieved[key] == here.achieved[key]
