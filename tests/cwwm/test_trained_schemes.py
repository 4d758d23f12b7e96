"""Laws of the encodings that need training: round trip, wrong keys, files, damage, refusals, pruning."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.ownership.evidence import log10_match_tail
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark, load_mark, save_mark
from cwwm.schemes.base import FORWARD, TRAINING, Claim, EmbedContext, Extraction, Scheme
from cwwm.schemes.carriers import Carriers
from cwwm.schemes.common.projected import (
    ProjectedScheme,
    TrainedEmbedding,
    TrainedScheme,
    host_layer,
    keyed_gaussian,
)
from cwwm.schemes.deepsigns import DeepSigns, FeatureTap
from cwwm.schemes.ingrain import Ingrain
from cwwm.schemes.one_shot import embed
from cwwm.schemes.riga import Riga
from cwwm.schemes.st_dm import SpreadTransformDither
from cwwm.schemes.uchida import Uchida
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train, train_marked
from cwwm.weights.view import as_weights
from tests.plain_data import Shuffled, digits

K = 64
NONCE = bytes(range(16))
KEY = Key.for_harness(seed=0)
MARKING = Recipe(epochs=12, batch_size=64, lr=3e-3)
SCHEMES: dict[str, TrainedScheme] = {
    "uchida": Uchida(payload_bits=K, strength=1.0),
    "st-dm": SpreadTransformDither(payload_bits=K),
    "deepsigns": DeepSigns(payload_bits=K),
    "riga": Riga(payload_bits=K),
    "carriers": Carriers(payload_bits=K, strength=1.0),
    "ingrain": Ingrain(payload_bits=K, strength=1.0, ingrainer_steps=100),
}
CODED = {"carriers", "ingrain"}  # a message that does not pass its check is all zeros; see test_carriers.py
LAYERED = ["uchida", "st-dm", "riga"]
all_schemes = pytest.mark.parametrize("name", list(SCHEMES))
layered = pytest.mark.parametrize("name", LAYERED)


DATA = digits(600, channels=3)


class Net(nn.Module):
    """Two convolutions with batch norm, and a classifier of 192 features: the host's vector has 288 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 48, 3, padding=1, stride=2)
        self.head = nn.Linear(48 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))
        return logits


def _net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


@cache
def _host() -> Net:
    model = _net()
    train(model, DATA, Recipe(epochs=2, batch_size=64, lr=3e-3), seed=0)
    return model


@cache
def _control() -> Net:
    """Return the host after the second phase, without a mark."""
    model = copy.deepcopy(_host())
    train(model, DATA, MARKING, seed=1)
    return model


@dataclass(frozen=True)
class Marked:
    """A scheme, the model it marked, and the mark."""

    scheme: TrainedScheme
    model: nn.Module
    mark: Mark

    def read(self, model: nn.Module | dict[str, Tensor] | None = None, key: Key = KEY) -> Extraction:
        return self.scheme.extract(as_weights(self.model if model is None else model), key, self.mark)

    def errors(self, model: nn.Module | dict[str, Tensor] | None = None) -> int:
        return int(np.sum(self.read(model).bits != _message()))

    def claim(self) -> Claim:
        return Claim(KEY, self.mark, _message())


def _message(bits: int = K) -> Bits:
    return np.random.default_rng(5).permutation(np.arange(bits) % 2).astype(np.uint8)


def _context(data: Shuffled | None = DATA, seed: int = 1) -> EmbedContext:
    return EmbedContext(data=data, classes=10, seed=seed, nonce=NONCE)


def _marked(scheme: TrainedScheme, recipe: Recipe = MARKING) -> Marked:
    model = copy.deepcopy(_host())
    embedding = scheme.begin(as_weights(model), _message(scheme.payload_bits), KEY, _context())
    train(model, DATA, recipe, seed=1, embedding=embedding)
    return Marked(scheme, model, embedding.finish())


@pytest.fixture(scope="module")
def marked() -> Callable[[str], Marked]:
    """Return the marked model of a scheme by name, trained once for all tests; tests must not change it."""
    return cache(lambda name: _marked(SCHEMES[name]))


def _pruned(model: nn.Module, rate: float) -> nn.Module:
    """Return a copy in which each layer has lost its smallest magnitudes."""
    victim = copy.deepcopy(model)
    with torch.no_grad():
        for weight in victim.parameters():
            if weight.ndim > 1:
                threshold = weight.abs().flatten().kthvalue(max(1, int(rate * weight.numel()))).values
                weight[weight.abs() <= threshold] = 0
    return victim


def _accuracy(model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        return float((model(DATA.x).argmax(1) == DATA.y).float().mean())


@all_schemes
def test_the_message_is_whole_after_training_and_the_task_is_learnt(
    name: str, marked: Callable[[str], Marked]
) -> None:
    case = marked(name)
    found = case.read()
    assert found.ok
    assert np.array_equal(found.bits, _message())
    assert (found.reliabilities > 0).all()
    assert case.mark.report["embedded_errors"] == 0
    assert case.scheme.overlap(found, case.claim()) == 1.0
    certain = -60.0 if name in CODED else -K * np.log10(2)  # 60 carriers of 10 classes
    assert case.scheme.evidence(found, case.claim()).combined == pytest.approx(certain)
    assert _accuracy(case.model) > 0.85


@all_schemes
def test_a_wrong_key_reads_noise(name: str, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    wrong = np.array([case.read(key=Key.for_harness(wrong=i)).bits != _message() for i in range(50)])
    assert abs(wrong.mean() - 0.5) < 4.5 * 0.5 / np.sqrt(50 * K)
    assert name in CODED or 0.25 * K < wrong.sum(1).var() * 4 * 0.5 < K  # binomial: variance k / 4


@all_schemes
@pytest.mark.parametrize("suspect", ["host", "control", "strangers"])
def test_an_unmarked_model_is_no_proof(name: str, suspect: str, marked: Callable[[str], Marked]) -> None:
    """A learned extractor must not read its message from just any weights, near the host or unrelated."""
    case = marked(name)
    models = {"host": [_host()], "control": [_control()], "strangers": [_net(seed) for seed in range(1, 9)]}
    for model in models[suspect]:
        assert case.scheme.evidence(case.read(model), case.claim()).combined > -4


@layered
def test_a_state_dict_reads_like_its_module(name: str, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    from_state, from_module = case.read(case.model.state_dict()), case.read()
    assert np.array_equal(from_state.bits, from_module.bits)
    assert np.array_equal(from_state.reliabilities, from_module.reliabilities)


@layered
def test_the_order_of_the_filters_does_not_matter(name: str, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    state = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    state["conv2.weight"] = state["conv2.weight"].flip(0)
    assert case.errors(state) == 0


@pytest.mark.parametrize(("name", "matters"), [("uchida", False), ("riga", False), ("st-dm", True)])
def test_only_the_lattice_feels_a_common_scale(name: str, matters: bool, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    state = {name: 3.7 * tensor for name, tensor in case.model.state_dict().items()}
    assert (case.errors(state) > K / 4) == matters
    assert matters or case.errors(state) == 0


@all_schemes
def test_the_mark_survives_its_files(name: str, tmp_path: Path, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    save_mark(case.mark, tmp_path / "mark.json")
    loaded = load_mark(tmp_path / "mark.json")
    assert loaded.to_json() == case.mark.to_json()
    assert {n: t.dtype for n, t in loaded.tensors.items()} == {n: t.dtype for n, t in case.mark.tensors.items()}
    assert Marked(case.scheme, case.model, loaded).errors() == 0
    assert type(case.scheme)(**json.loads(json.dumps(dict(loaded.parameters)))) == case.scheme
    assert eval(repr(case.scheme), {type(case.scheme).__name__: type(case.scheme)}) == case.scheme


@all_schemes
def test_one_seed_one_result(name: str) -> None:
    torch.manual_seed(99)  # the global generator must not matter
    scheme = replace(SCHEMES[name], **({"settling": 20} if name == "riga" else {}))
    first, again = (_marked(scheme, Recipe(epochs=1, batch_size=64)) for _ in range(2))
    assert first.mark.to_json() == again.mark.to_json()
    for tensors, others in (
        (first.model.state_dict(), again.model.state_dict()),
        (first.mark.tensors, again.mark.tensors),
    ):
        assert all(torch.equal(tensors[n], others[n]) for n in tensors)


@all_schemes
def test_beginning_changes_neither_weights_nor_mode_nor_generator(name: str) -> None:
    model = copy.deepcopy(_host())
    model.train()
    model.bn1.eval()  # a mode of its own
    before = {n: t.clone() for n, t in model.state_dict().items()}
    generator = torch.get_rng_state()
    embedding = SCHEMES[name].begin(as_weights(model), _message(), KEY, _context())
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert (model.training, model.conv1.training, model.bn1.training) == (True, True, False)
    assert torch.equal(generator, torch.get_rng_state())
    assert embedding.finish().report["embedded_errors"] > K / 8  # untrained: nothing is embedded, and it says so


@all_schemes
def test_non_finite_suspects_prove_nothing(name: str, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    for bad in (float("nan"), float("inf"), -float("inf"), 3e38):
        victim = copy.deepcopy(case.model)
        with torch.no_grad():
            for weight in victim.parameters():
                weight.fill_(bad)
        found = case.read(victim)
        assert np.isfinite(found.reliabilities).all()
        assert case.scheme.evidence(found, case.claim()).combined > -4


@pytest.mark.parametrize("name", ["uchida", "deepsigns", "riga"])
def test_a_model_of_zeros_is_erased(name: str, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    victim = copy.deepcopy(case.model)
    with torch.no_grad():
        for weight in victim.parameters():
            weight.zero_()
    assert case.read(victim).erased == K


@layered
def test_a_few_bad_weights_count_as_zero(name: str, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    bad, zeroed = ({n: t.clone() for n, t in case.model.state_dict().items()} for _ in range(2))
    bad["conv2.weight"][3, :4] = float("nan")
    bad["conv2.weight"][4, :4] = -float("inf")
    zeroed["conv2.weight"][3:5, :4] = 0
    assert np.array_equal(case.read(bad).reliabilities, case.read(zeroed).reliabilities)


@layered
def test_a_suspect_without_the_layer_is_not_applicable(name: str, marked: Callable[[str], Marked]) -> None:
    case = marked(name)
    reshaped = {**case.model.state_dict(), "conv2.weight": torch.ones(48, 30, 3, 3)}
    for state in ({"head.weight": torch.ones(3, 3)}, reshaped):
        found = case.read(state)
        assert not found.applicable
        assert "conv2.weight" in found.reason
        assert case.scheme.evidence(found, case.claim()).combined == 0.0
        assert case.scheme.overlap(found, case.claim()) == 0.0


@all_schemes
def test_non_finite_hosts_are_refused(name: str) -> None:
    model = copy.deepcopy(_host())
    with torch.no_grad():
        model.conv2.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(BadInput, match=r"tensor conv2\.weight holds NaN or infinite weights"):
        SCHEMES[name].begin(as_weights(model), _message(), KEY, _context())


@all_schemes
def test_bare_tensors_other_messages_and_one_shot_are_refused(name: str) -> None:
    scheme, weights = SCHEMES[name], as_weights(_host())
    assert not scheme.one_shot
    assert scheme.needs == frozenset({TRAINING})
    with pytest.raises(BadInput, match="needs a model that runs, not only weights"):
        scheme.begin(as_weights(_host().state_dict()), _message(), KEY, _context())
    with pytest.raises(BadInput, match="64 bits of 0 and 1"):
        scheme.begin(weights, _message(K - 1), KEY, _context())
    with pytest.raises(BadInput, match="marks only while training"):
        embed(scheme, weights, _message(), KEY, _context())


@pytest.mark.parametrize(
    ("scheme", "parameters", "message"),
    [
        (Uchida, {"strength": 0.0}, "uchida needs a finite strength above 0"),
        (Riga, {"strength": float("nan")}, "riga needs a finite strength"),
        (Riga, {"hidden": 0}, "hidden >= 1"),
        (Riga, {"covertness": -1.0}, "covertness >= 0"),
        (SpreadTransformDither, {"beta": float("inf")}, "finite alpha and beta"),
        (DeepSigns, {"clustering": 0.0}, "finite clustering"),
        (DeepSigns, {"triggers": 0}, "1 trigger a class"),
        (DeepSigns, {"marked_classes": 1}, "2 classes or more"),
        (Carriers, {"carriers": 0}, "at least 1 carrier"),
        (Carriers, {"amplitude": 0.0}, "finite amplitude"),
        (Carriers, {"kind": "faces"}, "kind is 'abstract', 'noise', 'content', not 'faces'"),
        (Carriers, {"target_classes": 1}, "2 classes or more"),
        (Ingrain, {"target_classes": 1}, "only carriers of one target class learns a constant"),
        (Ingrain, {"target_classes": 1, "ingrainer_data": "data+carriers"}, "2 classes or more"),
        (Ingrain, {"ingrainer_data": "data"}, "ingrainer_data is 'carriers'"),
        (Ingrain, {"domain": "carriers"}, "domain is 'data'"),
        (Ingrain, {"temperature": 0.0}, "coefficient and temperature above 0"),
        (Ingrain, {"coefficient": float("inf")}, "coefficient and temperature above 0"),
        (Ingrain, {"ingrainer_steps": 0}, "at least 1 step"),
    ],
)
def test_impossible_parameters_are_refused(scheme: type[Scheme], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        scheme(**parameters)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (Uchida(payload_bits=289), r"layer conv2\.weight has 288 filter-averaged weights, fewer than the 289"),
        (SpreadTransformDither(payload_bits=28, layer="conv1.weight"), r"conv1\.weight has 27 filter-averaged"),
        (
            Uchida(payload_bits=8, layer="conv3.weight"),
            r"unknown layer 'conv3\.weight'; did you mean conv2\.weight",
        ),
        (Riga(payload_bits=8, layer="bn1.bias"), r"bn1\.bias is float32 of shape \[32\]"),
        (DeepSigns(payload_bits=1729), "10 marked classes of 192 features carry at most 1728 bits"),
        (DeepSigns(payload_bits=193, marked_classes=2), "2 marked classes of 192 features carry at most 192 bits"),
        (DeepSigns(payload_bits=8, marked_classes=11), "the data has 10 classes"),
        (Carriers(payload_bits=149), "hold at most 148 payload bits beside the check, not 149; take 61 carriers"),
        (Carriers(payload_bits=29, target_classes=3), "60 carriers of 3 classes hold at most 28 payload bits"),
        (Carriers(payload_bits=8, target_classes=11), "11 target classes, but the data has 10"),
        (Carriers(payload_bits=8, kind="noise", carriers=600), "as many training images; the data has 599"),
    ],
)
def test_a_payload_beyond_the_host_is_refused(scheme: Scheme, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        scheme.begin(as_weights(_host()), _message(scheme.payload_bits), KEY, _context())


def test_the_longest_vector_is_chosen() -> None:
    zeros = torch.zeros
    weights = as_weights(
        {"a.weight": zeros(9, 10, 1, 1), "b.weight": zeros(4, 5, 2, 1), "c.weight": zeros(8, 5, 2, 1)}
    )
    assert host_layer(weights, "", 10).name == "a.weight"  # equal vectors: the larger layer
    linear = as_weights({"a.weight": zeros(9, 10, 1, 1), "b.weight": zeros(4, 50), "head.weight": zeros(3, 90)})
    assert host_layer(linear, "", 10).name == "a.weight"  # a convolution goes first
    assert host_layer(linear, "", 11).name == "b.weight"  # unless it is too short
    assert host_layer(linear, "head.weight", 60).name == "head.weight"
    with pytest.raises(BadInput, match="beside its classifier"):
        host_layer(as_weights({"head.weight": zeros(3, 90)}), "", 1)


def test_keyed_gaussian_is_standard_normal_and_keyed() -> None:
    matrix = keyed_gaussian(KEY.choices(NONCE).stream("projection"), 300, 400)
    assert matrix.shape == (300, 400)
    assert abs(float(matrix.mean())) < 4.5 / np.sqrt(120_000)
    assert abs(float(matrix.std()) - 1) < 4.5 / np.sqrt(240_000)
    assert float(matrix.abs().max()) < 6
    assert torch.equal(matrix, keyed_gaussian(KEY.choices(NONCE).stream("projection"), 300, 400))
    assert not torch.equal(matrix, keyed_gaussian(KEY.choices(bytes(16)).stream("projection"), 300, 400))


@pytest.mark.parametrize("name", ["uchida", "st-dm"])
def test_the_loss_is_lambda_times_the_summed_cross_entropy(name: str) -> None:
    scheme = SCHEMES[name]
    assert isinstance(scheme, ProjectedScheme)
    embedding = scheme.begin(as_weights(_host()), _message(), KEY, _context())
    assert isinstance(embedding, TrainedEmbedding)
    vector = _host().conv2.weight.detach().mean(0).flatten()
    probability = torch.sigmoid(scheme.keyed_map(embedding.streams, vector)(vector).double())
    target = torch.from_numpy(_message() ^ embedding.streams.stream("pad").bits(K)).double()
    expected = -(target * probability.log() + (1 - target) * (1 - probability).log()).sum()
    loss = embedding.loss(None)  # type: ignore[arg-type]
    assert loss is not None
    assert float(loss.detach()) == pytest.approx(scheme.strength * float(expected), rel=1e-4)


def test_uchida_bit_error_grows_slowly_from_zero_under_pruning(marked: Callable[[str], Marked]) -> None:
    case = marked("uchida")
    errors = [case.errors(_pruned(case.model, rate)) for rate in (0.1, 0.65, 0.97)]
    assert errors[0] == 0
    assert errors[1] <= K / 8  # by its paper it survives 0.65
    assert 0 < errors[2] < K / 2


def test_pruning_turns_the_vector_out_of_the_lattice(marked: Callable[[str], Marked]) -> None:
    case = marked("st-dm")
    before = case.model.get_parameter("conv2.weight").detach().mean(0).flatten()
    cosines, errors = [], []
    for rate in (0.0, 0.5, 0.8, 0.95):
        victim = _pruned(case.model, rate)
        after = victim.get_parameter("conv2.weight").detach().mean(0).flatten()
        cosines.append(float(torch.cosine_similarity(before, after, dim=0)))
        errors.append(case.errors(victim))
    assert cosines[0] > 0.999
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[-1] < 0.9
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert errors[-1] > K / 4  # far sooner gone than Uchida's half-spaces at the same rate
    assert case.scheme.survival("magnitude", 0.5) is None


def test_dithered_rows_have_one_length_and_keyed_phases() -> None:
    scheme = SpreadTransformDither(payload_bits=K, alpha=1.0, beta=2.0)
    logits = scheme.keyed_map(KEY.choices(NONCE), torch.zeros(50, dtype=torch.float64))
    origin = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    at_zero = logits(origin)
    phases = 2 * np.pi * KEY.choices(NONCE).stream("dither").uniform(K)
    assert np.allclose(at_zero.detach().numpy(), np.sin(phases))
    (slope,) = torch.autograd.grad(at_zero[0], origin)
    assert float(slope.norm()) == pytest.approx(2.0 * np.sqrt(50) * abs(np.cos(phases[0])))


def test_deepsigns_keeps_bounded_triggers_of_each_class(marked: Callable[[str], Marked]) -> None:
    mark = marked("deepsigns").mark
    groups, triggers = mark.tensors["groups"], mark.tensors["triggers"]
    assert torch.equal(torch.bincount(groups), torch.full((10,), 16))
    labels = []
    for trigger in triggers:
        where = (DATA.x == trigger).flatten(1).all(1).nonzero()
        labels.append(int(DATA.y[where[0, 0]]))  # every trigger is a training sample
    pairs = set(zip(groups.tolist(), labels, strict=True))
    assert len(pairs) == 10  # one group, one class


def test_deepsigns_reads_a_running_model_and_leaves_it_as_it_was(marked: Callable[[str], Marked]) -> None:
    case = marked("deepsigns")
    assert case.scheme.extraction_needs == frozenset({FORWARD})
    found = case.read(case.model.state_dict())
    assert not found.applicable
    assert found.reason == "it needs a model that runs, not only weights"
    model = copy.deepcopy(case.model)  # finish removed the hook, so it copies
    model.train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    case.read(model)
    assert model.training
    assert not model.get_submodule("head")._forward_pre_hooks
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_deepsigns_survives_a_new_head_but_not_new_features(marked: Callable[[str], Marked]) -> None:
    case = marked("deepsigns")
    model = copy.deepcopy(case.model)
    model.head = nn.Linear(192, 4)
    assert case.errors(model) == 0
    model.head = nn.Linear(100, 4)
    assert case.read(model).reason == "head.weight has shape [4, 100], not 192 features"
    model.head = nn.Identity()
    assert case.read(model).reason == "it has no tensor head.weight"


def test_deepsigns_listens_no_longer_when_the_model_fails(marked: Callable[[str], Marked]) -> None:
    case = marked("deepsigns")
    model = copy.deepcopy(case.model)
    model.conv1 = nn.Conv2d(1, 32, 3, padding=1)  # takes no coloured trigger
    model.train()
    with pytest.raises(RuntimeError, match="channels"):
        case.read(model)
    assert model.training
    assert not model.get_submodule("head")._forward_pre_hooks


def test_deepsigns_needs_data_and_a_classifier() -> None:
    nameless = nn.Sequential(nn.Flatten(), nn.Linear(192, 24), nn.Linear(24, 10))
    for model, data in ((_host(), None), (nameless, DATA)):
        with pytest.raises(BadInput, match="a model with a classifier, and training data"):
            DeepSigns(payload_bits=8).begin(as_weights(model), _message(8), KEY, _context(data))


def test_features_are_averaged_over_positions() -> None:
    tokens, maps = nn.Linear(5, 3), nn.Conv2d(5, 3, 1)
    model = nn.ModuleDict({"tokens": tokens, "maps": maps})
    x, y = torch.randn(2, 7, 5), torch.randn(2, 5, 4, 4)
    with FeatureTap(model, "tokens.weight") as tap:
        tokens(x)
        assert torch.allclose(tap.features, x.mean(1))
    with FeatureTap(model, "maps.weight") as tap:
        maps(y)
        assert torch.allclose(tap.features, y.mean((2, 3)))


def test_marked_classes_are_keyed() -> None:
    scheme, weights = DeepSigns(payload_bits=8, marked_classes=3, triggers=4), as_weights(_host())
    chosen = []
    for key in [KEY, KEY, *(Key.for_harness(other=i) for i in range(4))]:
        mark = scheme.begin(weights, _message(8), key, _context()).finish()
        assert mark.report["classes"] == 3
        assert len(mark.tensors["triggers"]) == 12
        chosen.append(mark.tensors["triggers"])
    assert torch.equal(chosen[0], chosen[1])
    assert not any(torch.equal(chosen[0], other) for other in chosen[2:])


def test_the_extractor_is_part_of_the_mark(marked: Callable[[str], Marked]) -> None:
    case = marked("riga")
    assert set(case.mark.learned) == {"inner", "inner_bias", "outer", "outer_bias"}
    assert case.mark.report["stranger_match"] < 0.75
    kept = {n: case.mark.learned[n] for n in ("inner", "outer_bias")}
    damaged = Marked(case.scheme, case.model, replace(case.mark, learned=kept))
    with pytest.raises(BadInput, match="lacks its extractor's tensors inner_bias, outer"):
        damaged.read()


def test_unmarked_weights_read_as_the_keyed_other_message(marked: Callable[[str], Marked]) -> None:
    streams = marked("riga").mark.streams(KEY)
    decoy = streams.stream("decoy").bits(K) ^ streams.stream("pad").bits(K)
    for model in (_host(), _control(), _net(3)):
        assert int(np.sum(marked("riga").read(model).bits != decoy)) <= 1


def test_the_discriminator_keeps_the_histogram_nearer_to_the_unmarked_one() -> None:
    """Measured as the distance between sorted host weights, against an embedding with the same strength."""
    strong = Riga(payload_bits=K, strength=1.0, settling=0)
    reference = _host().conv2.weight.detach().flatten().sort().values
    distances = []
    for covertness in (0.0, 10.0):
        case = _marked(replace(strong, covertness=covertness), replace(MARKING, epochs=6))
        weights = case.model.get_parameter("conv2.weight").detach().flatten().sort().values
        distances.append(float((weights - reference).square().mean().sqrt()))
    assert distances[1] < 0.9 * distances[0]


def test_evidence_is_the_binomial_tail(marked: Callable[[str], Marked]) -> None:
    case = marked("uchida")
    found = case.read()
    bits = found.bits.copy()
    bits[:5] ^= 1
    evidence = case.scheme.evidence(replace(found, bits=bits), case.claim())
    assert evidence.log10_p == {"matched bits": log10_match_tail(K - 5, K)}


@pytest.mark.parametrize(("strength", "epochs"), [(1.0, 2), (0.1, 4), (1e-6, 6)])
def test_marking_goes_on_until_the_message_reads_up_to_three_times_as_long(strength: float, epochs: int) -> None:
    recipe, scheme = replace(MARKING, epochs=2), Uchida(payload_bits=K, strength=strength)
    plain, model = _marked(scheme, recipe), copy.deepcopy(_host())
    embedding = scheme.begin(as_weights(model), _message(), KEY, _context())
    report = train_marked(model, DATA, recipe, seed=1, embedding=embedding)
    steps = -(-len(DATA) // recipe.batch_size)
    assert (report.epochs, report.training.steps, report.training.samples) == (
        epochs, epochs * steps, epochs * len(DATA)
    )  # fmt: skip
    assert embedding.embedded() == (strength > 1e-6)
    assert (embedding.finish().report["embedded_errors"] == 0) == embedding.embedded()
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.model.parameters(), strict=True))
    assert same == (epochs == 2)  # embedded by the recipe alone: not a bit differs


@pytest.mark.parametrize("name", ["deepsigns", "riga", "carriers"])
def test_looking_whether_it_reads_changes_nothing(name: str) -> None:
    ends = []
    for looks in (0, 2):
        model, recipe = copy.deepcopy(_host()), replace(MARKING, epochs=1)
        embedding = SCHEMES[name].begin(as_weights(model), _message(), KEY, _context())
        for seed in (1, 2):
            for _ in range(looks):
                embedding.embedded()
            train(model, DATA, recipe, seed=seed, embedding=embedding)
        ends.append((model.state_dict(), embedding.finish().packed()))
    for one, other in zip(*ends, strict=True):
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
