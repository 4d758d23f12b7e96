"""Laws of the structural code: round trip, guard band, damaged layers, capacity equal to the encoder's refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cwwm.codes import Bits
from cwwm.codes.structural import StructuralCode
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check
from cwwm.support.errors import BadInput

NONCE = bytes(16)
VGG16 = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512]
RESNET18 = [64, 64, 128, 128, 256, 256, 512, 512]
RESNET50 = [w for w, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)) for _ in range(2 * blocks)]

widths_of_layers = st.lists(st.integers(8, 2048), min_size=1, max_size=24)
spans = st.sampled_from([(0.15, 0.3, 0.45), (0.05, 0.3, 0.6), (0.0, 0.1, 0.5), (0.2, 0.2, 0.9), (0.1, 0.4, 0.4)])


def _code(**parameters: Any) -> StructuralCode:  # noqa: ANN401 (any parameter)
    return StructuralCode(**{"payload_bits": 1, **parameters})


def _message(bits: int, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, bits).astype(np.uint8)


@st.composite
def codes(draw: st.DrawFn, parity: int | None = None) -> tuple[StructuralCode, list[int], Bits, Key]:
    """Draw a code that fits drawn widths, a message and a key."""
    widths = draw(widths_of_layers)
    least, rate, most = draw(spans)
    parity = draw(st.integers(0, 3)) if parity is None else parity
    given_ = {
        "segment": draw(st.integers(2 if parity else 0, 8)),
        "step": draw(st.integers(1, 9)),
        "check_bits": draw(st.sampled_from([0, 8, 16])),
        "parity": parity,
        "least": least,
        "rate": rate,
        "most": most,
    }
    capacity = _code(**given_).capacity(widths)
    assume(capacity >= 1)
    payload = draw(st.integers(1, capacity))
    seed = draw(st.integers(0, 2**32))
    return _code(**given_, payload_bits=payload), widths, _message(payload, seed), Key.for_harness(seed=seed)


@settings(max_examples=40, deadline=None)
@given(codes())
def test_what_was_encoded_is_decoded_and_stays_in_the_span(
    case: tuple[StructuralCode, list[int], Bits, Key],
) -> None:
    code, widths, message, key = case
    check = keyed_check(key.choices(NONCE), code.check_bits)
    removed = code.encode(message, widths, check)
    found = code.decode(widths, removed, check)
    assert found.ok
    assert np.array_equal(found.bits, message)
    assert (found.erased, found.corrected) == (0, 0)
    for width, count in zip(widths, removed, strict=True):
        assert count == 0 or code.least * width - 1e-9 <= count <= code.most * width + 1e-9
        assert count < width


@settings(max_examples=40, deadline=None)
@given(codes(), st.integers(0, 2**32))
def test_the_guard_band_holds_on_either_side(case: tuple[StructuralCode, list[int], Bits, Key], seed: int) -> None:
    code, widths, message, key = case
    check = keyed_check(key.choices(NONCE), code.check_bits)
    removed = code.encode(message, widths, check)
    band = (code.step - 1) // 2
    shifts = np.random.default_rng(seed).integers(-band, band + 1, len(widths))
    moved = [count + int(shift) for count, shift in zip(removed, shifts, strict=True)]
    found = code.decode(widths, moved, check)
    assert found.ok
    assert np.array_equal(found.bits, message)


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 2048), st.integers(1, 9), st.integers(-20, 2048), spans)
def test_the_margin_is_the_nearest_other_value(
    width: int, step: int, removed: int, span: tuple[float, float, float]
) -> None:
    code = _code(step=step, least=span[0], rate=span[1], most=span[2])
    assume(code.room(width) > 1)
    margin, own = code.margin(removed), code.value(width, removed)
    assert all(code.value(width, removed + s) == own for s in range(1 - margin, margin))
    assert {code.value(width, removed + margin), code.value(width, removed - margin)} != {own}


@settings(max_examples=40, deadline=None)
@given(widths_of_layers, st.integers(0, 3), st.integers(0, 8), st.integers(1, 9), st.integers(0, 20), spans)
def test_capacity_is_what_the_encoder_accepts(
    widths: list[int], parity: int, segment: int, step: int, check_bits: int, span: tuple[float, float, float]
) -> None:
    least, rate, most = span
    parameters = {"parity": parity, "segment": max(segment, 2) if parity else segment, "step": step}
    parameters |= {"check_bits": check_bits, "least": least, "rate": rate, "most": most}
    capacity = _code(**parameters).capacity(widths)
    check = keyed_check(Key.for_harness(seed=0).choices(NONCE), check_bits)
    if capacity:
        code = _code(**parameters, payload_bits=capacity)
        assert len(code.encode(_message(capacity), widths, check)) == len(widths)
    with pytest.raises(BadInput, match=f"carry at most {capacity} bits"):
        _code(**parameters, payload_bits=capacity + 1).encode(_message(capacity + 1), widths, check)


@pytest.mark.parametrize(
    ("widths", "plain", "guarded"),
    [(VGG16, 71, 47), (RESNET18, 44, 28), (RESNET50, 178, 114)],
)
def test_capacity_of_known_hosts(widths: list[int], plain: int, guarded: int) -> None:
    assert _code().capacity(widths) == plain
    assert _code(step=4).capacity(widths) == guarded


def test_a_count_is_the_nearest_to_the_base_rate_in_its_cell() -> None:
    code = _code(segment=2, step=3)  # cells of 3 in a period of 12, of 64 channels 9.6 to 28.8, wanted 19.2
    assert [code.removed(64, v) for v in range(4)] == [25, 16, 19, 22]
    assert [code.value(64, r) for r in range(12, 24)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 4), st.integers(0, 4))
def test_parity_corrects_layers(seed: int, wrong: int, missing: int) -> None:
    """A word is corrected if twice the wrong layers and the missing ones are at most the parity."""
    draw = np.random.default_rng(seed)
    code = _code(payload_bits=12, check_bits=8, segment=4, parity=4)
    check = keyed_check(Key.for_harness(seed=seed).choices(NONCE), 8)
    message = _message(12, seed)
    removed: list[int | None] = [*code.encode(message, VGG16, check)]
    used = [i for i, count in enumerate(removed) if count]
    assert len(used) == 9
    for place in draw.permutation(used)[:wrong]:
        removed[place] = (removed[place] or 0) + int(draw.integers(1, 16))
    for place in draw.permutation(used)[:missing]:
        removed[place] = None
    damage = sum(removed[i] is None for i in used)
    wrong = sum(a is not None and a != b for a, b in zip(removed, code.encode(message, VGG16, check), strict=True))
    found = code.decode(VGG16, removed, check)
    assert found.erased == damage
    if 2 * wrong + damage <= 4:
        assert found.ok
        assert found.corrected == wrong
        assert np.array_equal(found.bits, message)
    # beyond that a check of 8 bits lets a wrong word pass once in 256 times: see the next test


def test_check_bits_tell_a_lost_message() -> None:
    """Of 400 damaged words about 2^-8 pass an 8-bit check; without check bits none is noticed."""
    passed = {}
    for check_bits in (0, 8):
        code = _code(payload_bits=16, check_bits=check_bits)
        check = keyed_check(Key.for_harness(seed=1).choices(NONCE), check_bits)
        removed = code.encode(_message(16), RESNET18, check)
        draw = np.random.default_rng(2)
        words = [[r + int(s) for r, s in zip(removed, draw.integers(1, 60, 8), strict=True)] for _ in range(400)]
        passed[check_bits] = sum(code.decode(RESNET18, word, check).ok for word in words)
    assert passed[8] <= 8
    assert passed[0] >= 40


def test_missing_layers_are_erased_and_the_rest_is_read() -> None:
    code = _code(payload_bits=44)
    check = keyed_check(Key.for_harness(seed=1).choices(NONCE), 0)
    message = _message(44)
    removed: list[int | None] = [*code.encode(message, RESNET18, check)]
    removed[2] = None  # bits 8 to 12
    found = code.decode(RESNET18, removed, check)
    assert not found.ok
    assert found.erased == 1
    assert not found.bits[8:13].any()
    assert np.array_equal(np.delete(found.bits, range(8, 13)), np.delete(message, range(8, 13)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"payload_bits": 0}, "payload_bits >= 1"),
        ({"check_bits": 300}, "check_bits from 0 to 256"),
        ({"step": 0}, "step >= 1"),
        ({"least": 0.4}, "least <= rate"),
        ({"most": 1.0}, "most < 1"),
        ({"least": 0.3, "most": 0.3}, "least below most"),
        ({"parity": 2}, "give a segment of 2 to 16 bits"),
    ],
)
def test_impossible_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _code(**parameters)


def test_another_message_or_another_host_is_refused() -> None:
    code = _code(payload_bits=44)
    check = keyed_check(Key.for_harness(seed=1).choices(NONCE), 0)
    with pytest.raises(BadInput, match="44 bits of 0 and 1"):
        code.encode(_message(43), RESNET18, check)
    with pytest.raises(BadInput, match="not those of the mark"):
        code.decode(RESNET18[1:], [0] * 7, check)
