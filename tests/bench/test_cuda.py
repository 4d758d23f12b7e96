"""What must hold where there is a GPU: the same mark, read alike on both devices, and the same records again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.attacks import make_attack
from bench.data import load
from bench.data.dataset import Split
from bench.execution.run_suite import Means, run_suite
from bench.models.registry import ModelSpec, build_model, find_models
from bench.records.store import RecordStore
from bench.studies.symmetry import ATTACKS, attacker, randomised
from bench.suite import load_suite, narrow
from bench.suite.expand import cells
from bench.support.environment import prepare
from bench.verification.comparison import reproducible
from cwwm.codes import Bits, Check
from cwwm.codes.multilevel import MultilevelPolar
from cwwm.codes.polar import PolarCode
from cwwm.ownership.keys import Key, Stream
from cwwm.ownership.mark import Mark
from cwwm.readers import find_reader, view_of
from cwwm.schemes import EmbedContext, Extraction, Scheme, embed, make_scheme
from cwwm.schemes.common.keyed import keyed_check
from cwwm.training import Recipe, train
from cwwm.weights.order_statistics import MagnitudeTable, Rank
from cwwm.weights.view import TensorWeights, Weights, as_weights
from tests.cwwm.test_schemes import CASES, CONTROLS, TRAINED

pytestmark = pytest.mark.cuda

K = 64
KEY, MESSAGE = Key.for_harness(test="cuda"), Stream(bytes(32)).bits(K)
ENCODINGS = [case for case in CASES if case[0] not in CONTROLS]
INFORMED = ("cwc", "protected-cwc", "sign-repetition", "spread-spectrum", "spread-cwc", "tattooed")
SUMMED = ("spread-cwc",)  # divided by standard deviations, which are summed in another order there
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
    if case[0] in SUMMED:
        np.testing.assert_allclose(here.reliabilities, there.reliabilities, rtol=1e-4, atol=1e-4)
    else:
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


@pytest.mark.parametrize("spec", load_suite("nightly").models, ids=lambda spec: spec.name)
def test_a_network_of_the_nightly_suite_trains_to_the_same_weights_again(
    spec: ModelSpec, accelerator: torch.device
) -> None:
    prepare(accelerator, 1)
    data = load(spec.data, size=spec.size, device=accelerator)
    batch = 32 if accelerator.type == "cuda" else 4  # a CPU takes a minute for a VGG's
    some = Split(data.train.x[: 2 * batch], data.train.y[: 2 * batch])
    trained = []
    for _ in range(2):
        host = build_model(spec, data.classes, 0).to(accelerator)
        train(host, some, Recipe(epochs=2, batch_size=batch, shift=4, flip=True), seed=0)
        trained.append(host.state_dict())
    for tensor_name, tensor in trained[0].items():
        assert torch.equal(tensor, trained[1][tensor_name]), tensor_name


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


def test_words_of_the_polar_code_are_decoded_alike_on_both_devices(accelerator: torch.device) -> None:
    code, random = PolarCode(payload_bits=K, length=512), np.random.default_rng(0)
    check = keyed_check(KEY.choices(bytes(16)), code.check_bits)
    words = 2.0 * np.array([code.encode(random.integers(0, 2, K, dtype=np.uint8), check) for _ in range(40)]) - 1
    half_lost = words * np.sqrt(130 / 512) + random.standard_normal(words.shape)
    assert_decoded_alike(code, torch.from_numpy(half_lost), check, accelerator)


def test_words_of_the_multilevel_code_are_decoded_alike_on_both_devices(accelerator: torch.device) -> None:
    code, random = MultilevelPolar(payload_bits=K, symbols=32, rows=256), np.random.default_rng(0)
    check = keyed_check(KEY.choices(bytes(16)), code.check_bits)
    half_lost = random.standard_normal((40, code.symbols, code.rows), dtype=np.float32)
    for values in half_lost:
        places, signs = code.encode(random.integers(0, 2, K, dtype=np.uint8), check)
        values[np.arange(code.symbols), places] += signs * np.float32(np.sqrt(130 / code.symbols))
    assert_decoded_alike(code, torch.from_numpy(half_lost), check, accelerator)


def assert_decoded_alike(
    code: PolarCode | MultilevelPolar, values: torch.Tensor, check: Check, device: torch.device
) -> None:
    here, there = (code.decode_many(where, [check] * len(where)) for where in (values.numpy(), values.to(device)))
    assert {found.ok for found in here} == {True, False}
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.bits, other.bits)
        assert (one.ok, one.candidates) == (other.ok, other.candidates)


def test_processes_that_share_a_device_give_the_records_of_one(accelerator: torch.device, tmp_path: Path) -> None:
    chosen = narrow(load_suite("smoke"), models=["test_resnet-40"], schemes=["cwc"], attacks=["magnitude"])
    planned, found = cells(chosen, prepare(accelerator, 1)), []
    for jobs in (1, 2):
        record_store = RecordStore(tmp_path / str(jobs))
        assert run_suite(chosen, planned, record_store, Means(accelerator, jobs=jobs)).run == len(planned)
        found.append({record.identity: reproducible(record) for record in record_store.records()})
    assert len(found[0]) == len(planned) > 1
    assert found[0] == found[1]


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
