"""Survival laws on real pools: the exact one of constant-weight marks, and the bit error of repeated signs."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, Embedding, embed
from cwwm.schemes.constant_weight import ConstantWeight
from cwwm.schemes.sign_repetition import SignRepetition
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights

K = 64
State = dict[str, Tensor]
Groups = list[list[str]]


def _message(bits: int = K) -> Bits:
    return np.random.default_rng(9).integers(0, 2, bits).astype(np.uint8)


def _pool(kind: str, dtype: torch.dtype = torch.float32) -> State:
    """Return four prunable layers of different scales and tails, and a norm."""
    rng = np.random.default_rng(3)
    draw: Callable[[tuple[int, ...]], npt.NDArray[np.float64]] = (
        rng.standard_normal if kind == "gaussian" else lambda shape: rng.standard_t(2.2, shape)
    )
    shapes = {"a": (16, 8, 3, 3), "b": (60, 90), "c": (90, 100), "d": (20, 30)}
    scales = {"a": 0.3, "b": 0.01, "c": 0.05, "d": 1.0}
    state = {f"{name}.weight": torch.tensor(draw(shape) * scales[name]).to(dtype) for name, shape in shapes.items()}
    return {**state, "norm.weight": torch.ones(16)}


def _copy(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


def _begin(scheme: ConstantWeight | SignRepetition, state: State, key: Key, nonce: bytes) -> Embedding:
    return scheme.begin(as_weights(state), _message(scheme.payload_bits), key, EmbedContext(nonce=nonce))


def _mark(scheme: ConstantWeight | SignRepetition, state: State, key: Key, nonce: bytes) -> Mark:
    return embed(scheme, as_weights(state), _message(scheme.payload_bits), key, EmbedContext(nonce=nonce))[1]


def _whole(scheme: ConstantWeight, state: State, key: Key, mark: Mark) -> bool:
    found = scheme.extract(as_weights(state), key, mark)
    return found.ok and np.array_equal(found.bits, _message(scheme.payload_bits))


def _ones(scheme: ConstantWeight, state: State, key: Key, mark: Mark) -> State:
    """Return which weights carry a one, by tensor, bool."""
    assert mark.carrier is not None
    positions = mark.streams(key).stream("positions").sample(mark.carrier.size, scheme.code.length)
    marked = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    word = scheme.codeword(_message(scheme.payload_bits), mark.streams(key))
    mark.carrier.at(positions).scatter(as_weights(marked), torch.from_numpy(word).float())
    return {name: tensor.bool() for name, tensor in marked.items()}


def _prune(state: State, ones: State, names: list[str], rate: float) -> None:
    """Set the floor(rate N) smallest magnitudes of these tensors to zero; of equal ones, ones first."""
    magnitudes = torch.cat([state[name].flatten() for name in names]).float().abs().numpy()
    carries = torch.cat([ones[name].flatten() for name in names]).numpy()
    order = np.lexsort((~carries, magnitudes))
    keep = torch.ones(len(order), dtype=torch.bool)
    keep[torch.from_numpy(order[: math.floor(rate * len(order) + 1e-9)])] = False
    for name, part in zip(names, torch.split(keep, [state[name].numel() for name in names]), strict=True):
        state[name].mul_(part.view(state[name].shape))


def _rankings(state: State, mark: Mark) -> dict[str, Groups]:
    assert mark.carrier is not None
    carrier = [layer.name for layer in mark.carrier.layers]
    everything = [name for name in state if name != "norm.weight"]
    return {"global": [everything], "carrier": [carrier], "per layer": [[name] for name in everything]}


def _attacked(state: State, ones: State, groups: Groups, rate: float) -> State:
    victim = _copy(state)
    for names in groups:
        _prune(victim, ones, names, rate)
    return victim


def _survivors(scheme: ConstantWeight, state: State, key: Key, mark: Mark, rate: float) -> Iterator[bool]:
    ones = _ones(scheme, state, key, mark)
    for groups in _rankings(state, mark).values():
        yield _whole(scheme, _attacked(state, ones, groups, rate), key, mark)


@pytest.mark.parametrize("covert", [False, True])
@pytest.mark.parametrize("carrier", ["all", "^[abc]\\."])
@pytest.mark.parametrize("kind", ["gaussian", "heavy"])
@pytest.mark.parametrize("survive", [0.5, 0.9, 0.97])
def test_magnitude_pruning_law_is_exact(
    survive: float, kind: str, carrier: str, covert: bool, harness_key: Key, nonce: bytes
) -> None:
    state = _pool(kind)
    scheme = ConstantWeight(payload_bits=K, survive=survive, low=0.4, carrier=carrier, covert=covert, density=0.05)
    mark = _mark(scheme, state, harness_key, nonce)
    assert mark.report["unprotected_layers"] == []
    for rate in [*np.linspace(0, survive, 6), survive]:
        assert all(_survivors(scheme, state, harness_key, mark, rate)), f"lost at {rate:.3f}"


@pytest.mark.parametrize("kind", ["gaussian", "heavy"])
@pytest.mark.parametrize("survive", [0.5, 0.9, 0.97])
def test_just_above_the_rate_the_message_is_lost(survive: float, kind: str, harness_key: Key, nonce: bytes) -> None:
    state = _pool(kind)
    scheme = ConstantWeight(payload_bits=K, survive=survive, low=0.4, density=0.05)
    mark = _mark(scheme, state, harness_key, nonce)
    # the thresholds follow the sternest of the rankings: that one kills the mark, a milder one may not
    assert not all(_survivors(scheme, state, harness_key, mark, survive + 0.02))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("survive", [0.5, 0.9])
def test_the_law_holds_in_half_precision_where_ties_abound(
    survive: float, dtype: torch.dtype, harness_key: Key, nonce: bytes
) -> None:
    state = _pool("gaussian", dtype)
    scheme = ConstantWeight(payload_bits=K, survive=survive, low=0.4, density=0.05)
    mark = _mark(scheme, state, harness_key, nonce)
    for rate in np.linspace(survive - 0.1, survive, 5):
        assert all(_survivors(scheme, state, harness_key, mark, rate))


@pytest.mark.parametrize("survive", [0.5, 0.9])
def test_the_law_holds_where_layers_differ_in_dtype(survive: float, harness_key: Key, nonce: bytes) -> None:
    state = _pool("gaussian")
    state["a.weight"], state["c.weight"] = state["a.weight"].half(), state["c.weight"].bfloat16()
    scheme = ConstantWeight(payload_bits=K, survive=survive, low=0.4, density=0.05)
    mark = _mark(scheme, state, harness_key, nonce)
    for rate in np.linspace(survive - 0.1, survive, 5):
        assert all(_survivors(scheme, state, harness_key, mark, rate))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("survive", [0.5, 0.9, 0.97])
def test_t1_is_one_step_above_the_realised_order_statistic(
    survive: float, dtype: torch.dtype, harness_key: Key, nonce: bytes
) -> None:
    state = {"c.weight": _pool("gaussian", dtype)["c.weight"]}
    scheme = ConstantWeight(payload_bits=K, survive=survive, low=0.4)
    mark = _mark(scheme, state, harness_key, nonce)
    smallest_one = state["c.weight"][_ones(scheme, state, harness_key, mark)["c.weight"]].abs().min()
    pool = state["c.weight"].flatten().abs().sort().values
    last_pruned = pool[math.floor(survive * len(pool)) - 1]
    pattern = torch.int32 if dtype == torch.float32 else torch.int16
    assert int(smallest_one.view(pattern)) == int(last_pruned.view(pattern)) + 1


@pytest.mark.parametrize(("rate", "at_most"), [(0.91, -57), (0.99, -5)])
def test_vacancy_proves_the_mark_far_past_the_cliff(
    rate: float, at_most: float, harness_key: Key, nonce: bytes
) -> None:
    weight = torch.randn(512, 1024, generator=torch.Generator().manual_seed(0))
    scheme = ConstantWeight(length=1792, weight=37)
    mark = _mark(scheme, {"w.weight": weight}, harness_key, nonce)
    weight[weight.abs() <= weight.abs().flatten().kthvalue(round(rate * weight.numel())).values] = 0
    found = scheme.extract(as_weights({"w.weight": weight}), harness_key, mark)
    evidence = scheme.evidence(found, Claim(harness_key, mark, _message(256)))
    assert evidence.log10_p["vacancy"] <= at_most  # 1e-67 and 1e-7.8 if no host survives by chance


def _ones_in(scheme: ConstantWeight, state: State, key: Key, nonce: bytes, name: str) -> int:
    embedding = _begin(scheme, _copy(state), key, nonce)
    mark = embedding.finish()
    return int(_ones(scheme, state, key, mark)[name].sum())


def test_a_tiny_layer_full_of_ones_is_named_in_the_report(harness_key: Key) -> None:
    state = {"c.weight": _pool("gaussian")["c.weight"], "tiny.weight": torch.linspace(-0.1, 0.1, 12).view(3, 4)}
    scheme = ConstantWeight(payload_bits=2048, density=0.25)
    nonces = (index.to_bytes(16, "big") for index in range(100))
    nonce = next(nonce for nonce in nonces if _ones_in(scheme, state, harness_key, nonce, "tiny.weight") >= 3)
    mark = _mark(scheme, state, harness_key, nonce)
    assert mark.report["unprotected_layers"] == ["tiny.weight"]
    ones = _ones(scheme, state, harness_key, mark)
    assert _whole(scheme, _attacked(state, ones, [list(state)], 0.9), harness_key, mark)
    assert not _whole(scheme, _attacked(state, ones, [["tiny.weight"]], 0.9), harness_key, mark)


def test_more_ones_than_the_rate_leaves_room_for_are_refused(harness_key: Key, nonce: bytes) -> None:
    state = {"d.weight": _pool("gaussian")["d.weight"]}
    with pytest.raises(BadInput, match="ones are too many for survival"):
        _mark(ConstantWeight(payload_bits=256, density=0.35), state, harness_key, nonce)


def _repeats(state: State) -> int:
    """Return how many weights repeat another one's magnitude within their own layer."""
    return sum(t.numel() - len(np.unique(t.abs().numpy())) for name, t in state.items() if name != "norm.weight")


@pytest.mark.parametrize(("covert", "low", "high"), [(True, -0.001, 0.001), (False, 0.01, 1.0)])
def test_covert_marks_leave_no_repeated_magnitudes(
    covert: bool, low: float, high: float, state: State, harness_key: Key, nonce: bytes
) -> None:
    before = _repeats(state)
    _mark(ConstantWeight(payload_bits=1024, covert=covert), state, harness_key, nonce)
    assert low <= (_repeats(state) - before) / 60_000 <= high


@pytest.mark.parametrize("covert", [False, True])
def test_signs_are_kept_and_zeros_take_a_keyed_one(
    covert: bool, state: State, harness_key: Key, nonce: bytes
) -> None:
    state["head.weight"][:, :40] = 0
    before = _copy(state)
    scheme = ConstantWeight(payload_bits=K, covert=covert, carrier="classifier")
    mark = _mark(scheme, state, harness_key, nonce)
    assert _whole(scheme, state, harness_key, mark)
    assert not (state["head.weight"] * before["head.weight"] < 0).any()
    woken = state["head.weight"][(before["head.weight"] == 0) & (state["head.weight"] != 0)]
    assert {-1.0, 1.0} == set(woken.sign().tolist())


def _drift(state: State, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in state.values():
        tensor += tensor.abs().mean() * 0.2 * torch.randn(tensor.shape, generator=generator)


def test_projection_at_the_end_changes_nothing_before_finish(state: State, harness_key: Key, nonce: bytes) -> None:
    before = _copy(state)
    scheme = ConstantWeight(payload_bits=K, projection="end")
    embedding = _begin(scheme, state, harness_key, nonce)
    embedding.project()
    assert all(torch.equal(state[name], before[name]) for name in state)
    assert _whole(scheme, state, harness_key, embedding.finish())


@pytest.mark.parametrize("projection", ["step", "end"])
def test_training_keeps_the_message_and_the_law(projection: str, harness_key: Key, nonce: bytes) -> None:
    state = _pool("gaussian")
    scheme = ConstantWeight(payload_bits=K, projection=projection, density=0.05, interval=7)
    embedding = _begin(scheme, state, harness_key, nonce)
    for step in range(30):
        _drift(state, step)
        embedding.project()
    mark = embedding.finish()
    assert all(_survivors(scheme, state, harness_key, mark, 0.9))


def test_every_projection_leaves_the_message_readable(harness_key: Key, nonce: bytes) -> None:
    state = _pool("gaussian")
    scheme = ConstantWeight(payload_bits=K, interval=4)
    mark = _mark(scheme, _copy(state), harness_key, nonce)
    embedding = _begin(scheme, state, harness_key, nonce)
    for step in range(9):
        _drift(state, step)
        embedding.project()
        assert _whole(scheme, state, harness_key, mark)


@pytest.mark.parametrize("repetition", [1, 3])
def test_training_keeps_repeated_signs(repetition: int, state: State, harness_key: Key, nonce: bytes) -> None:
    scheme = SignRepetition(payload_bits=500, repetition=repetition)
    embedding = _begin(scheme, state, harness_key, nonce)
    for step in range(5):
        _drift(state, step)
        embedding.project()
    found = scheme.extract(as_weights(state), harness_key, embedding.finish())
    assert np.array_equal(found.bits, _message(500))


@pytest.mark.parametrize("rate", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("attack", ["magnitude", "random"])
@pytest.mark.parametrize("repetition", [1, 3])
def test_bit_error_of_repeated_signs(repetition: int, attack: str, rate: float, harness_key: Key) -> None:
    bits = 4000
    weight = torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    scheme = SignRepetition(payload_bits=bits, repetition=repetition)
    mark = _mark(scheme, {"w.weight": weight}, harness_key, b"repeated signs !")
    scores = (
        weight.abs() if attack == "magnitude" else torch.rand(300, 400, generator=torch.Generator().manual_seed(1))
    )
    weight[scores <= scores.flatten().kthvalue(round(rate * 120_000)).values] = 0
    found = scheme.extract(as_weights({"w.weight": weight}), harness_key, mark)
    errors = int(np.sum(found.bits != _message(bits)))
    low, high = stats.binom.interval(0.999, bits, rate**repetition / 2)
    assert low <= errors <= high
