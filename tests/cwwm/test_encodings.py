"""Laws of the plain, statistical and coded encodings on Gaussian pools, of their controls, and of training."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, Extraction, Scheme, embed
from cwwm.schemes.common.coded import CodedScheme
from cwwm.schemes.common.spreading import Spreading
from cwwm.schemes.dm_qim import DitherModulation
from cwwm.schemes.fixed_weights import FixedWeights
from cwwm.schemes.sign import Sign
from cwwm.schemes.sign_erasure import SignErasure
from cwwm.schemes.sign_repetition import SignRepetition
from cwwm.schemes.spread_spectrum import SpreadSpectrum
from cwwm.schemes.unmarked import Unmarked
from cwwm.schemes.wrong_key import WrongKey, wrong_key
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.view import as_weights

NONCE = bytes(range(16))
State = dict[str, Tensor]


@cache
def _gaussian(size: int) -> Tensor:
    return torch.randn(size // 500, 500, generator=torch.Generator().manual_seed(0)) * 0.05


def _host(size: int = 100_000) -> State:
    return {"w.weight": _gaussian(size).clone()}


def _key(number: int) -> Key:
    return Key.for_harness(encodings=number)


def _message(bits: int, number: int = 0) -> Bits:
    return np.random.default_rng(number).integers(0, 2, bits).astype(np.uint8)


def _mark(scheme: Scheme, state: State | nn.Module, number: int = 0) -> Mark:
    message = _message(scheme.payload_bits, number)
    return embed(scheme, as_weights(state), message, _key(number), EmbedContext(nonce=NONCE))[1]


def _prune(state: State, attack: str, rate: float, seed: int = 0) -> None:
    weight = state["w.weight"]
    scores = (
        weight.abs()
        if attack == "magnitude"
        else torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed))
    )
    weight[scores <= scores.flatten().kthvalue(math.floor(rate * weight.numel())).values] = 0


def _after(scheme: Scheme, attack: str, rate: float, number: int, size: int = 100_000) -> tuple[Extraction, Claim]:
    """Return what is read under key `number` after pruning, and the claim."""
    state = _host(size)
    mark = _mark(scheme, state, number)
    _prune(state, attack, rate, number)
    claim = Claim(_key(number), mark, _message(scheme.payload_bits, number))
    return scheme.extract(as_weights(state), claim.key, mark), claim


def _whole(found: Extraction, claim: Claim) -> bool:
    return found.ok and np.array_equal(found.bits, claim.message)


def _within(count: int, trials: int, chance: float) -> bool:
    low, high = stats.binom.interval(0.999, trials, chance)
    return bool(low <= count <= high)


# ---- bit error of uncoded encodings

_TAU = {rate: stats.norm.ppf((1 + rate) / 2) for rate in (0.5, 0.9, 0.97)}
_BIT_ERROR: list[tuple[Scheme, str, float, float]] = [
    (Sign(payload_bits=900), "magnitude", 0.3, 0.15),
    (Sign(payload_bits=900), "magnitude", 0.9, 0.45),
    (Sign(payload_bits=900), "random", 0.6, 0.3),
    (Sign(payload_bits=900, strength=2.0), "magnitude", 0.9, 0.0),
    (Sign(payload_bits=900, strength=2.0), "magnitude", 0.97, 0.485),
    (Sign(payload_bits=900, strength=2.0), "random", 0.6, 0.3),
    (SignRepetition(payload_bits=300, repetition=3), "magnitude", 0.9, 0.9**3 / 2),
    (SignRepetition(payload_bits=300, repetition=3), "random", 0.9, 0.9**3 / 2),
    (SignRepetition(payload_bits=300, repetition=3, strength=1.8), "magnitude", 0.9, 0.0),
    (FixedWeights(payload_bits=300, repetition=2), "random", 0.7, 0.7**2 / 2),
    (FixedWeights(payload_bits=300), "random", 0.9, 0.9**6 / 2),
    (FixedWeights(payload_bits=300), "magnitude", 0.9, (1 - math.exp(-math.sqrt(2) * _TAU[0.9])) ** 6 / 2),
    (
        FixedWeights(payload_bits=300, repetition=2, spread=2.0),
        "magnitude",
        0.97,
        (1 - math.exp(-math.sqrt(2) * _TAU[0.97] / 2)) ** 2 / 2,
    ),
    (DitherModulation(payload_bits=900), "magnitude", 0.5, 0.25),
    (DitherModulation(payload_bits=900), "random", 0.5, 0.25),
    (DitherModulation(payload_bits=300, repetition=3), "random", 0.8, 0.8**3 / 2),
]


@pytest.mark.parametrize(("scheme", "attack", "rate", "law"), _BIT_ERROR)
def test_bit_error_follows_the_law(scheme: Scheme, attack: str, rate: float, law: float) -> None:
    read = [_after(scheme, attack, rate, number) for number in range(6)]
    errors = sum(int(np.sum(found.bits != claim.message)) for found, claim in read)
    assert _within(errors, 6 * scheme.payload_bits, law)
    assert scheme.survival(attack, rate) == pytest.approx((1 - law) ** scheme.payload_bits, rel=0.05, abs=1e-9)


def test_a_quantiser_with_a_large_step_loses_less_than_the_rate_to_magnitude_pruning() -> None:
    scheme = DitherModulation(payload_bits=900, step=3.0)
    law = scheme.lost("magnitude", 0.5)
    assert law is not None
    assert law == pytest.approx(_smoothed(3.0, _TAU[0.5]), abs=1e-6)
    read = [_after(scheme, "magnitude", 0.5, number) for number in range(4)]
    assert _within(sum(found.erased for found, _ in read), 3600, law)


def _smoothed(step: float, tau: float) -> float:
    """Return P(|w + e| <= tau) for w ~ N(0, 1) and e uniform on [-step / 2, step / 2], by the trapezoid rule."""
    e = np.linspace(-step / 2, step / 2, 20_001)
    return float(np.trapezoid(stats.norm.cdf(tau - e) - stats.norm.cdf(-tau - e), e) / step)


# ---- dither modulation


@pytest.mark.parametrize(("noise", "law"), [(0.05, 2 * stats.norm.sf(0.125 / 0.05)), (0.1, 0.2113)])
def test_quantised_bits_flip_beyond_a_quarter_step(noise: float, law: float) -> None:
    """At 0.1 sigma, noise also wraps round to the next point: sum over cells, 0.2113."""
    edges = (np.arange(-9, 10) + 0.5) * 0.25
    wrong = np.diff(stats.norm.cdf(edges / noise))[1::2].sum()
    assert wrong == pytest.approx(law, abs=2e-4)
    scheme, errors = DitherModulation(payload_bits=900), 0
    for number in range(4):
        state = _host()
        mark = _mark(scheme, state, number)
        generator = torch.Generator().manual_seed(number)
        state["w.weight"] += 0.05 * noise * torch.randn(state["w.weight"].shape, generator=generator)
        found = scheme.extract(as_weights(state), _key(number), mark)
        errors += int(np.sum(found.bits != _message(900, number)))
    assert _within(errors, 3600, wrong)


def test_quantised_bits_do_not_survive_another_scale() -> None:
    state = _host()
    scheme = DitherModulation(payload_bits=900)
    mark = _mark(scheme, state)
    state["w.weight"] *= 1.5
    found = scheme.extract(as_weights(state), _key(0), mark)
    assert np.mean(found.bits != _message(900)) > 0.3


@pytest.mark.parametrize(("dtype", "step"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_a_step_too_fine_for_the_dtype_is_refused_before_anything_changes(dtype: torch.dtype, step: float) -> None:
    state = {"w.weight": _gaussian(100_000).to(dtype)}
    before = state["w.weight"].clone()
    with pytest.raises(BadInput, match=r"float16 is too coarse for a step of .* in w\.weight; use a larger"):
        _mark(DitherModulation(payload_bits=900, step=step), state)
    assert torch.equal(state["w.weight"], before)


# ---- coded signs


@pytest.mark.parametrize("attack", ["magnitude", "random"])
@pytest.mark.parametrize(("rate", "least", "most"), [(0.86, 12, 12), (0.93, 0, 0)])
def test_coded_signs_decode_up_to_the_erasure_limit(attack: str, rate: float, least: int, most: int) -> None:
    scheme = SignErasure(payload_bits=64, length=1000)  # 96 survivors needed: the limit is 0.904
    whole = sum(_whole(*_after(scheme, attack, rate, number)) for number in range(12))
    assert least <= whole <= most
    assert scheme.survival(attack, rate) == pytest.approx(least / 12, abs=1e-3)


@pytest.mark.parametrize("attack", ["magnitude", "random"])
def test_coded_signs_follow_the_law_at_the_limit(attack: str) -> None:
    scheme = SignErasure(payload_bits=64, length=1000)
    law = scheme.survival(attack, 0.9)
    assert law is not None
    assert 0.4 < law < 0.9
    assert _within(sum(_whole(*_after(scheme, attack, 0.9, number, 50_000)) for number in range(60)), 60, law)


def test_stronger_coded_signs_outlive_magnitude_pruning_until_their_strength() -> None:
    scheme = SignErasure(payload_bits=64, length=400, strength=2.0)
    assert scheme.survival("magnitude", 0.95) == 1.0
    assert _whole(*_after(scheme, "magnitude", 0.95, 0))
    assert scheme.survival("magnitude", 0.96) == pytest.approx(0.0, abs=1e-9)
    assert not _whole(*_after(scheme, "magnitude", 0.97, 0))


def test_default_length_of_coded_signs() -> None:
    scheme = SignErasure()
    assert scheme.hosts == 3513
    law = scheme.survival("random", 0.9)
    assert law is not None
    assert 0.999 <= law < 1


# ---- spread spectrum


@pytest.mark.parametrize(
    ("attack", "rate", "law"),
    [("random", 0.9, stats.norm.sf(4 * math.sqrt(0.1))), ("magnitude", 0.97, None), ("magnitude", 0.99, None)],
)
def test_coded_bit_error_follows_the_gaussian_law(attack: str, rate: float, law: float | None) -> None:
    scheme, wrong = SpreadSpectrum(payload_bits=64), 0
    for number in range(10):
        found, claim = _after(scheme, attack, rate, number, 300_000)
        wrong += int(np.sum(found.symbols != scheme.codeword(claim.message, claim.streams)))
    expected = scheme.coded_bit_error(attack, rate)
    assert expected is not None
    if law is not None:
        assert expected == pytest.approx(law)
    assert _within(wrong, 10 * 192, expected)


def test_energy_left_by_magnitude_pruning_moves_the_correlator_as_the_law_says() -> None:
    scheme = SpreadSpectrum(payload_bits=64)
    tau = _TAU[0.9]
    w = np.linspace(tau, 12, 100_001)
    energy = 2 * np.trapezoid(w * w * stats.norm.pdf(w), w)
    assert scheme.coded_bit_error("magnitude", 0.9) == pytest.approx(stats.norm.sf(4 * math.sqrt(energy)), rel=1e-4)


def test_spread_messages_come_back_about_as_often_as_the_law_says() -> None:
    scheme = SpreadSpectrum(payload_bits=64)
    law = scheme.survival("random", 0.9)
    assert law is not None
    assert 0.5 < law < 0.9
    whole = sum(_whole(*_after(scheme, "random", 0.9, number, 50_000)) for number in range(50))
    assert abs(whole / 50 - law) < 0.2


def test_spreading_gives_every_coded_bit_an_equal_share_and_reads_alike_from_anywhere() -> None:
    spreading = Spreading.keyed(_key(0).choices(NONCE), 10_007, 96)
    run, place = np.divmod(np.arange(10_007), 96)
    owner = (place + spreading.offsets[run]) % 96
    shares = np.bincount(owner, minlength=96)
    assert shares.max() - shares.min() <= 1
    signs = spreading.signs(0, 10_007).astype(float)
    rng = np.random.default_rng(0)
    values, symbols = rng.standard_normal(10_007), np.arange(96) % 3 == 0
    assert abs(signs.sum()) < 4 * math.sqrt(10_007)
    for first, count in [(0, 8), (3, 5), (13, 1000), (10_000, 7)]:
        part = slice(first, first + count)
        summed = np.bincount(owner[part], signs[part] * values[part], 96)
        assert np.array_equal(spreading.despread(first, values[part]), summed)
        added = signs[part] * (2.0 * symbols - 1.0)[owner[part]]
        assert np.array_equal(spreading.pattern(first, count, symbols), added)
        assert np.array_equal(spreading.signs(first, count), signs[first : first + count])
    word = np.arange(96) % 3 == 0
    read = spreading.despread(0, spreading.pattern(0, 10_007, word))
    assert np.array_equal(read, shares * (2.0 * word - 1.0))


def test_a_pattern_is_added_once_whatever_happens_before(tiny_net: nn.Module) -> None:
    scheme = SpreadSpectrum(payload_bits=32)
    embedding = scheme.begin(as_weights(tiny_net), _message(32), _key(0), EmbedContext(nonce=NONCE))
    before = {name: p.detach().clone() for name, p in tiny_net.named_parameters()}
    for _ in range(5):
        embedding.project()
    assert all(torch.equal(p, before[name]) for name, p in tiny_net.named_parameters())
    mark = embedding.finish()
    change = torch.cat([(p.detach() - before[n]).flatten() for n, p in tiny_net.named_parameters()]).abs()
    assert float(change.max()) == pytest.approx(mark.report["gain"], rel=1e-3)


def test_too_small_a_gain_is_refused_before_anything_changes() -> None:
    state = _host(50_000)
    with pytest.raises(BadInput, match="does not read back at a gain of"):
        _mark(SpreadSpectrum(payload_bits=64, gain=0.01), state)
    assert torch.equal(state["w.weight"], _gaussian(50_000))


# ---- evidence of coded marks, and the controls


@pytest.mark.parametrize(
    ("scheme", "rate"),
    [(SignErasure(payload_bits=64, length=1000), 0.93), (SpreadSpectrum(payload_bits=64), 0.97)],
)
def test_a_lost_coded_message_is_still_proof(scheme: CodedScheme, rate: float) -> None:
    found, claim = _after(scheme, "random", rate, 0)
    assert not found.ok
    evidence = scheme.evidence(found, claim)
    assert set(evidence.log10_p) == {"coded bits"}
    assert evidence.combined < -4
    assert scheme.evidence(found, replace(claim, message=1 - claim.message)).combined > -3


@pytest.mark.parametrize("scheme", [SignErasure(payload_bits=64, length=300), SpreadSpectrum(payload_bits=64)])
@pytest.mark.parametrize("message", [np.zeros(64, np.uint8), _message(64)])
def test_unmarked_weights_prove_no_coded_message(scheme: CodedScheme, message: Bits) -> None:
    """The message of zeros is what a failed extraction shows: it must not count as matched."""
    state, values = _host(20_000), []
    mark = _mark(scheme, _host(20_000))
    for number in range(60):
        found = scheme.extract(as_weights(state), _key(1000 + number), mark)
        values.append(scheme.evidence(found, Claim(_key(1000 + number), mark, message)).combined)
    _assert_uniform(np.array(values))


def _assert_uniform(log10_p: np.ndarray[Any, Any]) -> None:
    """Check that p-values of nothing are no smaller than uniform ones, and not all large."""
    assert log10_p.min() > -4
    for level in (0.01, 0.1, 0.5):
        assert np.sum(10**log10_p <= level) <= stats.binom.ppf(0.999, len(log10_p), level)
    assert np.mean(10**log10_p <= 0.5) > 0.25


_CONTROLS: list[Scheme] = [
    Unmarked(payload_bits=64),
    WrongKey(payload_bits=64),
    WrongKey(payload_bits=64, scheme="cwc", settings={"density": 0.25}),
]


@pytest.mark.parametrize("scheme", _CONTROLS)
def test_controls_prove_nothing(scheme: Scheme) -> None:
    values = []
    for number in range(200):
        state = _host(20_000)
        mark = _mark(scheme, state, number)
        claim = Claim(_key(number), mark, _message(64, number))
        found = scheme.extract(as_weights(state), claim.key, mark)
        assert not _whole(found, claim)
        values.append(scheme.evidence(found, claim).combined)
    _assert_uniform(np.array(values))


def test_no_watermark_changes_nothing() -> None:
    state = _host(20_000)
    mark = _mark(Unmarked(payload_bits=64), state)
    assert torch.equal(state["w.weight"], _gaussian(20_000))
    assert (mark.report["touched"], mark.report["squared_change"], mark.report["pool"]) == (0, 0.0, 20_000)


def test_the_wrong_key_control_embeds_what_the_right_key_reads() -> None:
    state, control = _host(20_000), WrongKey(payload_bits=64, scheme="cwc")
    mark = _mark(control, state)
    assert wrong_key(_key(0)) != _key(0)
    assert wrong_key(_key(0)).origin == "harness"
    rebuilt = WrongKey(**mark.parameters)
    assert mark.scheme == "wrong-key"
    assert mark.parameters["settings"]["length"] == rebuilt.inner.code.length  # type: ignore[attr-defined]
    found = rebuilt.inner.extract(as_weights(state), _key(0), rebuilt.inner_mark(mark))
    assert np.array_equal(found.bits, _message(64))
    assert (
        control.overlap(control.extract(as_weights(state), _key(0), mark), Claim(_key(0), mark, found.bits)) < 0.5
    )


# ---- while training


class _Noise:
    """Sixty random 3x8x8 images of two classes."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(60, 3, 8, 8, generator=generator), torch.arange(60) % 2

    def __len__(self) -> int:
        return 60

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shift: int, flip: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(torch.split(self.x, batch_size), torch.split(self.y, batch_size), strict=True)


def _held_sign(values: Tensor, before: Tensor, mark: Mark) -> bool:
    return torch.equal(values.sign(), before.sign())


def _held_strength(values: Tensor, before: Tensor, mark: Mark) -> bool:
    return _held_sign(values, before, mark) and float(values.abs().min()) >= 0.9 * float(before.abs().min())


def _held_value(values: Tensor, before: Tensor, mark: Mark) -> bool:
    return torch.equal(values, before)


def _held_cell(values: Tensor, before: Tensor, mark: Mark) -> bool:
    """Check that each weight is near a point of its lattice, and that some moved off it."""
    off = (values - before).double() / mark.state["step"]
    off = (off - off.round()).abs()
    return bool((off <= 0.1251).all()) and bool((off > 1e-3).any())


@pytest.mark.parametrize(
    ("scheme", "held"),
    [
        (Sign(payload_bits=64), _held_sign),
        (Sign(payload_bits=64, strength=2.0), _held_strength),
        (SignErasure(payload_bits=64, length=200), _held_sign),
        (DitherModulation(payload_bits=64, step=0.1), _held_cell),
        (FixedWeights(payload_bits=64), _held_value),
        (SpreadSpectrum(payload_bits=32), None),
        (Unmarked(payload_bits=64), None),
        (WrongKey(payload_bits=64, scheme="sign-repetition"), None),
    ],
)
def test_training_keeps_the_message(
    scheme: Scheme, held: Callable[[Tensor, Tensor, Mark], bool] | None, tiny_net: nn.Module
) -> None:
    message, key = _message(scheme.payload_bits), _key(0)
    embedding = scheme.begin(as_weights(tiny_net), message, key, EmbedContext(nonce=NONCE))
    start = nn.utils.parameters_to_vector(tiny_net.parameters()).clone()
    hosts = getattr(embedding, "hosts", None)
    before = hosts.gather(embedding.weights) if hosts is not None else None
    train(tiny_net, _Noise(), Recipe(epochs=2, batch_size=20, lr=0.01), seed=0, embedding=embedding)
    assert not torch.equal(nn.utils.parameters_to_vector(tiny_net.parameters()), start)
    trained = hosts.gather(embedding.weights) if hosts is not None else None
    mark = embedding.finish()
    if held is not None and before is not None and trained is not None:
        assert held(trained, before, mark)
    inner = scheme.inner if isinstance(scheme, WrongKey) else scheme
    found = inner.extract(as_weights(tiny_net), key, replace(mark, scheme=inner.name))
    assert np.array_equal(found.bits, message) != isinstance(scheme, Unmarked)
    assert mark.scheme == scheme.name


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (Sign, {"floor": 1.0}, "0 < floor < 1"),
        (Sign, {"strength": -1.0}, "finite strength of at least 0"),
        (SignRepetition, {"repetition": 0}, "repetition >= 1"),
        (SignErasure, {"survive": 1.0}, "0 < survive < 1"),
        (SignErasure, {"length": 200}, "length of at least 288"),
        (DitherModulation, {"step": 0.0}, "finite step above 0"),
        (DitherModulation, {"repetition": 0}, "repetition >= 1"),
        (FixedWeights, {"repetition": 0}, "repetition >= 1"),
        (FixedWeights, {"spread": math.inf}, "finite spread above 0"),
        (SpreadSpectrum, {"ratio": 0.0}, "ratio or gain above 0"),
        (SpreadSpectrum, {"gain": -0.1}, "ratio or gain above 0"),
        (WrongKey, {"scheme": "cwx"}, "did you mean cwc"),
        (WrongKey, {"scheme": "cwc", "settings": {"lenght": 3}}, "did you mean length"),
    ],
)
def test_impossible_parameters_are_refused(kind: type[Scheme], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        kind(**parameters)


def test_no_law_is_claimed_where_none_is_known() -> None:
    assert SpreadSpectrum(gain=0.1).survival("random", 0.5) is None
    assert SpreadSpectrum().survival("random", 1.0) == pytest.approx(0.0, abs=1e-9)
    laws = [Sign(), SignErasure(), DitherModulation(), FixedWeights(), SpreadSpectrum(), Unmarked(), WrongKey()]
    assert [scheme.survival("noise", 0.1) for scheme in laws] == [None] * 7
    assert [scheme.survival("magnitude", 0.0) for scheme in laws[:5]] == [1.0] * 5
    assert [scheme.survival("random", 0.4) for scheme in laws[5:]] == [0.0, 2.0**-256]


def test_the_word_of_all_zeros_is_padded_too() -> None:
    scheme = SignErasure(payload_bits=1, length=400)
    words = [scheme.codeword(np.zeros(1, np.uint8), _key(number).choices(NONCE)) for number in range(50)]
    assert scheme.keyed_code is not None
    unpadded = [word ^ scheme.keyed_code._pad(_key(number).choices(NONCE)) for number, word in enumerate(words)]
    assert all(150 < word.sum() < 250 for word in words)
    pads = np.stack([word ^ plain for word, plain in zip(words, unpadded, strict=True)])
    assert abs(pads.mean() - 0.5) < 4.5 / 2 / np.sqrt(pads.size)
