"""Laws of every scheme, driven by one table: round trip, wrong keys, invariances, refusals, damaged suspects."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import SCHEMES, Claim, EmbedContext, Extraction, Scheme, embed, make_scheme, scheme_of
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights

K = 64
CASES: list[tuple[str, dict[str, Any]]] = [
    ("cwc", {}),
    ("cwc", {"covert": True}),
    ("cwc", {"projection": "end", "density": 0.25}),
    ("cwc", {"lift": 1.5, "covert": True}),
    ("cwc", {"length": 400, "weight": 20, "survive": 0.97}),
    ("protected-cwc", {"block_length": 128, "survive": 0.99}),
    ("protected-cwc", {"blocks": 60, "block_length": 32, "block_weight": 2, "survive": 0.95, "low": 0.8}),
    ("protected-cwc", {"block_length": 64, "survive": 0.99, "covert": True}),
    ("sign-repetition", {}),
    ("sign-repetition", {"repetition": 1, "floor": 0.3}),
    ("sign", {}),
    ("sign", {"strength": 2.0}),
    ("sign-erasure", {"survive": 0.5}),
    ("dm-qim", {}),
    ("dm-qim", {"repetition": 5, "step": 1.0}),
    ("fixed-weights", {}),
    ("spread-spectrum", {}),
    ("none", {}),
    ("wrong-key", {"scheme": "cwc"}),
]
TRAINED = {"uchida", "st-dm", "deepsigns", "riga", "carriers", "ingrain"}  # see test_trained_schemes.py
WIDTHS = {"structural"}  # carried by no weight, and needs a module: see test_structural.py
CONTROLS = {"none", "wrong-key"}  # read nothing back, by intention
ABSOLUTE = {"dm-qim"}  # a lattice of fixed step does not read a rescaled model

all_schemes = pytest.mark.parametrize(("name", "parameters"), CASES)
encodings = pytest.mark.parametrize(("name", "parameters"), [case for case in CASES if case[0] not in CONTROLS])
State = dict[str, Tensor]


def _scheme(name: str, parameters: dict[str, Any], **more: Any) -> Scheme:  # noqa: ANN401 (any parameter)
    return make_scheme(name, {"payload_bits": K, **parameters, **more})


def _message(bits: int = K) -> Bits:
    """Return a message with as many ones as zeros."""
    return np.random.default_rng(5).permutation(np.arange(bits) % 2).astype(np.uint8)


def _embed(scheme: Scheme, host: State | nn.Module, key: Key, nonce: bytes) -> Mark:
    return embed(scheme, as_weights(host), _message(scheme.payload_bits), key, EmbedContext(nonce=nonce))[1]


def _extract(host: State | nn.Module, key: Key, mark: Mark) -> Extraction:
    return scheme_of(mark).extract(as_weights(host), key, mark)


def _whole(found: Extraction) -> bool:
    return found.ok and np.array_equal(found.bits, _message(len(found.bits)))


def test_the_table_covers_every_scheme() -> None:
    assert {name for name, _ in CASES} | TRAINED | WIDTHS == set(SCHEMES)
    assert {name for name, scheme in SCHEMES.items() if not scheme.one_shot} == TRAINED


@encodings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip(
    name: str, parameters: dict[str, Any], dtype: torch.dtype, state: State, harness_key: Key, nonce: bytes
) -> None:
    host = {tensor: value.to(dtype) for tensor, value in state.items()}
    mark = _embed(_scheme(name, parameters), host, harness_key, nonce)
    found = _extract(host, harness_key, mark)
    assert _whole(found)
    assert scheme_of(mark).overlap(found, Claim(harness_key, mark, _message())) == 1.0
    assert all(value.dtype == dtype for value in host.values())


@encodings
def test_round_trip_on_a_module_through_its_state_dict(
    name: str, parameters: dict[str, Any], tiny_net: nn.Module, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), tiny_net, harness_key, nonce)
    assert _whole(_extract(tiny_net, harness_key, mark))
    assert _whole(_extract(tiny_net.state_dict(), harness_key, mark))
    assert tiny_net(torch.zeros(2, 3, 8, 8)).isfinite().all()


@all_schemes
def test_only_host_weights_change(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    before = {tensor: value.clone() for tensor, value in state.items()}
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    changed = {tensor: int((state[tensor] != before[tensor]).sum()) for tensor in state}
    assert sum(changed.values()) == mark.report["touched"]
    assert not any(changed[tensor] for tensor in ("norm.weight", "block.bias", "head.bias"))
    energy = sum(float((state[t].double() - before[t].double()).square().sum()) for t in state)
    assert mark.report["squared_change"] == pytest.approx(energy, rel=1e-5)


@all_schemes
def test_a_wrong_key_reads_noise(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    wrong = [_extract(state, Key.for_harness(wrong=i), mark) for i in range(50)]
    error = np.mean([found.bits != _message() for found in wrong])
    assert abs(error - 0.5) < 4.5 * 0.5 / np.sqrt(50 * K)
    assert not any(_whole(found) for found in wrong)


@encodings
def test_another_salt_reads_noise(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    assert not _whole(_extract(state, harness_key, replace(mark, salt=bytes(32))))


@encodings
@pytest.mark.parametrize("scale", [2.0**-3, 3.7])
def test_a_common_positive_scale_does_not_matter(
    name: str, parameters: dict[str, Any], scale: float, state: State, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    for tensor in state.values():
        tensor.mul_(scale)
    assert _whole(_extract(state, harness_key, mark)) == (name not in ABSOLUTE)


@encodings
@pytest.mark.parametrize("how", ["gone", "reshaped"])
def test_a_missing_layer_reads_like_a_zeroed_one(
    name: str, parameters: dict[str, Any], how: str, state: State, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    whole = _extract(state, harness_key, mark)
    state["block.weight"].zero_()
    zeroed = _extract(state, harness_key, mark)
    if how == "gone":
        del state["block.weight"]
    else:
        state["block.weight"] = torch.ones(70, 600)
    missing = _extract(state, harness_key, mark)
    assert missing.applicable
    assert missing.erased == zeroed.erased
    assert np.array_equal(missing.bits, zeroed.bits)
    assert np.array_equal(missing.reliabilities, zeroed.reliabilities)
    assert not np.array_equal(missing.reliabilities, whole.reliabilities)


@all_schemes
def test_a_suspect_without_any_layer_is_not_applicable(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    found = _extract({"other.weight": torch.ones(3, 3)}, harness_key, mark)
    claim = Claim(harness_key, mark, _message())
    assert not found.applicable
    assert not found.ok
    assert "stem.weight" in found.reason
    assert scheme_of(mark).evidence(found, claim).combined == 0.0
    assert scheme_of(mark).overlap(found, claim) == 0.0


@encodings
def test_a_model_of_zeros_proves_nothing(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    found = _extract({tensor: torch.zeros_like(value) for tensor, value in state.items()}, harness_key, mark)
    assert found.applicable
    assert found.erased > 0
    assert scheme_of(mark).evidence(found, Claim(harness_key, mark, _message())).combined > -4


@all_schemes
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_weights_are_refused_by_embed(
    name: str, parameters: dict[str, Any], bad: float, state: State, harness_key: Key, nonce: bytes
) -> None:
    state["head.weight"][3, 4] = bad
    before = {tensor: value.clone() for tensor, value in state.items()}
    with pytest.raises(BadInput, match=r"head\.weight holds NaN or infinite"):
        _embed(_scheme(name, parameters), state, harness_key, nonce)
    assert all(torch.equal(state[t].nan_to_num(), before[t].nan_to_num()) for t in state)


@all_schemes
@pytest.mark.parametrize("share", [0.02, 1.0])
def test_non_finite_weights_do_not_stop_extract(
    name: str, parameters: dict[str, Any], share: float, state: State, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), state, harness_key, nonce)
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():
        tensor[torch.rand(tensor.shape, generator=generator) < share] = float("nan")
        tensor[torch.rand(tensor.shape, generator=generator) < share] = float("inf")
    found = _extract(state, harness_key, mark)
    assert set(np.unique(found.bits)) <= {0, 1}
    assert np.isfinite(found.reliabilities).all()
    evidence = scheme_of(mark).evidence(found, Claim(harness_key, mark, _message()))
    assert np.isfinite(evidence.combined)
    assert share < 1 or evidence.combined > -4  # a model of NaN proves nothing


@encodings
def test_a_payload_too_large_for_the_pool_is_refused(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    short = {key: value for key, value in parameters.items() if key not in ("length", "weight", "blocks")}
    scheme = _scheme(name, short, payload_bits=6400, carrier="classifier")
    with pytest.raises(BadInput, match=r"carrier 'classifier' has 5,200 weights, the code needs .*; choose"):
        _embed(scheme, state, harness_key, nonce)


@encodings
def test_a_sparse_pool_is_refused(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    for tensor in state.values():
        tensor[torch.rand(tensor.shape, generator=torch.Generator().manual_seed(0)) < 0.99] = 0
    with pytest.raises(BadInput, match="sparse already"):
        _embed(_scheme(name, parameters), state, harness_key, nonce)


@all_schemes
@pytest.mark.parametrize("message", [np.zeros(K - 1, np.uint8), np.full(K, 2), np.zeros((1, K))])
def test_a_message_of_another_kind_is_refused(
    name: str, parameters: dict[str, Any], message: Bits, state: State, harness_key: Key
) -> None:
    with pytest.raises(BadInput, match="64 bits of 0 and 1"):
        embed(_scheme(name, parameters), as_weights(state), message, harness_key, EmbedContext())


@encodings
def test_same_salt_key_and_message_give_the_same_weights(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    twin = {tensor: value.clone() for tensor, value in state.items()}
    other = {tensor: value.clone() for tensor, value in state.items()}
    first = _embed(_scheme(name, parameters), state, harness_key, nonce)
    second = _embed(scheme_of(first), twin, harness_key, nonce)  # the mark's parameters rebuild the scheme
    _embed(_scheme(name, parameters), other, harness_key, bytes(16))
    assert first.to_json() == second.to_json()
    assert all(torch.equal(state[t], twin[t]) for t in state)
    assert not all(torch.equal(state[t], other[t]) for t in state)


@all_schemes
def test_parameters_and_repr_rebuild_the_scheme(name: str, parameters: dict[str, Any]) -> None:
    scheme = _scheme(name, parameters)
    assert make_scheme(name, json.loads(json.dumps(scheme.parameters))) == scheme
    assert eval(repr(scheme), {type(scheme).__name__: type(scheme)}) == scheme


@encodings
def test_the_mark_survives_json_and_holds_neither_key_nor_message(
    name: str, parameters: dict[str, Any], state: State, nonce: bytes
) -> None:
    key = Key(bytes(range(32)), origin="harness")
    mark = _embed(_scheme(name, parameters), state, key, nonce)
    text = json.dumps(mark.to_json())
    assert Mark.from_json(json.loads(text), packed=mark.packed()) == mark
    assert _whole(_extract(state, key, Mark.from_json(json.loads(text), packed=mark.packed())))
    message = _message()
    spellings = ["".join(map(str, message)), ", ".join(map(str, message)), np.packbits(message).tobytes().hex()]
    spellings += [np.packbits(message, bitorder="little").tobytes().hex(), bytes(range(32)).hex()]
    assert not any(spelling in text for spelling in spellings)


@encodings
@pytest.mark.parametrize("attack", ["magnitude", "random", "unheard of"])
def test_survival_is_a_probability_that_falls(name: str, parameters: dict[str, Any], attack: str) -> None:
    law = [_scheme(name, parameters).survival(attack, rate) for rate in np.linspace(0, 0.99, 12)]
    if attack == "unheard of":
        assert law == [None] * 12
        return
    values = [value for value in law if value is not None]
    assert len(values) == 12
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[-1] >= 0.0


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("cwc", {"payload_bits": 0}, "payload_bits is from 1 to"),
        ("cwc", {"survive": 1.0}, "low < survive < 1"),
        ("cwc", {"low": 0.95}, "low < survive < 1"),
        ("cwc", {"projection": "never"}, "'step' or 'end'"),
        ("cwc", {"interval": 0}, "interval"),
        ("cwc", {"lift": 0.9}, "lift"),
        ("cwc", {"length": 20, "weight": 10}, "carries 17 bits, not 64"),
        ("cwc", {"lenght": 20}, "did you mean length"),
        ("cwc", {"density": "much"}, "scheme 'cwc'"),
        ("sign-repetition", {"repetition": 0}, "repetition >= 1"),
        ("sign-repetition", {"floor": 0.0}, "floor"),
        ("cwx", {}, "did you mean cwc"),
    ],
)
def test_impossible_parameters_are_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _scheme(name, parameters)
