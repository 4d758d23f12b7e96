"""The published forms of `tattooed` and `neuralmark` in numbers, and the LDPC code that one of them needs."""

import hashlib
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.codes.ldpc import LdpcCode
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, embed
from cwwm.schemes.neuralmark import FILTER, NeuralMark
from cwwm.schemes.tattooed import PREAMBLE, Tattooed
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights

KEY, NONCE = Key.for_harness(seed=0), bytes(16)
CODES = [LdpcCode(length=length, row_weight=row) for length, row in ((24, 12), (384, 12), (192, 6), (384, 4))]


def _bits(words: int, code: LdpcCode, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, (words, code.information)).astype(np.uint8)


def _sent(code: LdpcCode, bits: Bits, noise: float) -> npt.NDArray[np.float64]:
    """Return the log-odds of words sent as -1 and 1 with Gaussian noise of this deviation."""
    clean = 2.0 * code.encode(bits) - 1.0
    return np.asarray(2 / noise**2 * (clean + noise * np.random.default_rng(1).standard_normal(clean.shape)))


@pytest.mark.parametrize("code", CODES, ids=str)
def test_every_word_is_read_back_and_every_flip_breaks_three_checks(code: LdpcCode) -> None:
    bits = _bits(5, code)
    odds = np.where(code.encode(bits), 1.0, -1.0)
    found, good = code.decode(odds)
    assert np.array_equal(found, bits)
    assert good.all()
    assert np.array_equal(code.systematic(odds > 0), bits)
    assert code.information * code.row_weight == code.length * (code.row_weight - code.column_weight)


@pytest.mark.parametrize(
    ("code", "noise", "least"), [(CODES[1], 0.5, 0.97), (CODES[3], 1.0, 0.95), (CODES[1], 0.9, 0.0)]
)
def test_ldpc_decodes_above_its_threshold_and_knows_when_it_does_not(
    code: LdpcCode, noise: float, least: float
) -> None:
    bits = _bits(60, code)
    found, good = code.decode(_sent(code, bits, noise))
    right = (found == bits).all(1)
    assert right.mean() >= least
    assert (good & ~right).mean() <= 0.05  # a few words of the dense code end in another one
    if not least:
        assert right.mean() < 0.1


def test_bits_that_the_reader_knows_help() -> None:
    code, bits = CODES[1], _bits(1, CODES[1])
    odds = _sent(code, bits, 0.95)
    assert not code.decode(odds)[1].all()
    found, good = code.decode(odds, 200, bits[0, -200:])
    assert good.all()
    assert np.array_equal(found, bits)


@given(st.integers(-3, 40), st.integers(-3, 40), st.integers(-3, 9))
def test_impossible_ldpc_codes_are_refused(length: int, row: int, column: int) -> None:
    possible = 2 <= column < row <= length and length % row == 0
    with nullcontext() if possible else pytest.raises(BadInput, match="weight"):
        LdpcCode(length=length, row_weight=row, column_weight=column)


def _host(weights: int = 60_000) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "body.weight": 0.03 * torch.randn(weights // 100, 100, generator=generator),
        "fc.weight": torch.randn(10, 20, generator=generator),
    }


def _marked(scheme: Tattooed, host: dict[str, Tensor]) -> Mark:
    message = np.random.default_rng(0).integers(0, 2, scheme.payload_bits).astype(np.uint8)
    return embed(scheme, as_weights(host), message, KEY, EmbedContext(nonce=NONCE))[1]


def test_tattooed_by_default_is_the_published_form() -> None:
    scheme, host, before = Tattooed(), _host(), _host()
    assert (scheme.code.length, scheme.code.information, scheme.symbols) == (384, 288, 584)
    assert (Tattooed(payload_bits=4001).code.length, scheme.row_weight, scheme.gain) == (12_192, 12, 9e-4)
    report = _marked(scheme, host).report
    change = host["body.weight"] - before["body.weight"]
    assert torch.equal(host["fc.weight"], before["fc.weight"])  # the last tensor is left out
    # as many signs at each place: gain sqrt(L), 0.0217 for 256 bits
    assert float(change[change != 0].std()) == pytest.approx(9e-4 * np.sqrt(584), rel=0.03)
    assert int(torch.count_nonzero(change)) == report["touched"] == pytest.approx(0.75 * 60_000, rel=0.05)


def test_tattooed_reads_the_amplitude_that_gain_and_pool_predict() -> None:
    scheme, host = Tattooed(ratio=4.0), _host()
    mark = _marked(scheme, host)
    found = scheme.extract(as_weights(host), KEY, mark)
    known = found.symbols[:PREAMBLE] * scheme.frame(np.zeros(256, np.uint8), mark.streams(KEY))[:PREAMBLE]
    gain, carrying, noise = mark.report["gain"], 45_000, 0.03
    amplitude = gain * np.sqrt(carrying) / np.sqrt(noise**2 + gain**2 * scheme.symbols)
    assert known.mean() == pytest.approx(amplitude, rel=0.05)
    assert found.ok


@pytest.mark.parametrize(
    ("scheme", "weights", "says"),
    [
        (Tattooed(), 700, "carrier 'body' has 700 weights, the code needs 779; choose a larger carrier"),
        (Tattooed(gain=1e-6), 60_000, "does not read back at a gain of 1e-06; use a larger gain"),
    ],
)
def test_tattooed_refuses_hosts_too_small_and_leaves_them_alone(scheme: Tattooed, weights: int, says: str) -> None:
    host, before = _host(weights), _host(weights)
    with pytest.raises(BadInput, match=says):
        _marked(scheme, host)
    assert torch.equal(host["body.weight"], before["body.weight"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"share": 0.0}, "a share of the weights above 0 and up to 1"),
        ({"gain": 0.0}, "finite gain or ratio above 0"),
        ({"ratio": float("inf")}, "finite gain or ratio above 0"),
        ({"word": 100}, "no multiple of the row weight 12"),
    ],
)
def test_impossible_parameters_of_tattooed_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Tattooed(**given)


def _begun(scheme: NeuralMark, message: Bits, size: int = 70_000) -> Any:  # noqa: ANN401 (its embedding)
    torch.manual_seed(0)
    host = nn.Sequential(nn.Linear(size // 100, 100), nn.Linear(100, 10))
    return scheme.begin(as_weights(host), message, KEY, EmbedContext(nonce=NONCE))


def test_neuralmark_by_default_is_the_published_form() -> None:
    scheme = NeuralMark()
    embedding = _begun(scheme, np.zeros(256, np.uint8))
    streams = embedding.streams
    drawn = streams.stream("projection").words(512 * 256).astype("<u8").tobytes()
    digest = np.frombuffer(hashlib.shake_256(drawn).digest(32), np.uint8)
    hashed = np.unpackbits(digest, bitorder="little")
    assert np.array_equal(embedding.target.numpy(), hashed)  # the mark of a message of zeros is the hash itself
    assert scheme.projection(streams).shape == (512, 256)
    assert (scheme.least, scheme.strength) == (65_536, 1.0)
    kept = 70_000  # a share of the weights, by half at each round, in whole periods and rows
    for _ in range(4):
        kept = kept // FILTER * int(hashed.sum())
    assert embedding.facts["used"] == kept // 512 * 512


def test_the_filter_of_neuralmark_keeps_what_the_hash_says() -> None:
    hashed = np.tile(np.array([1, 0, 0, 1], np.uint8), 64)
    kept = NeuralMark(payload_bits=2, columns=2, rounds=1).kept(1030, hashed)
    assert np.array_equal(kept, np.flatnonzero(np.isin(np.arange(1024) % 4, (0, 3))))
    assert len(NeuralMark(payload_bits=2, columns=2, rounds=2).kept(1030, hashed)) == 256


def test_a_message_of_choice_is_carried_outside_of_the_hash() -> None:
    message = np.random.default_rng(0).integers(0, 2, 256).astype(np.uint8)
    embedding = _begun(NeuralMark(), message)
    assert np.array_equal(embedding.target.numpy(), NeuralMark().hashed(embedding.streams) ^ message)


@pytest.mark.parametrize(
    ("scheme", "size", "says"),
    [
        (
            NeuralMark(),
            65_500,
            r"layer 0.weight has 65,500 weights, neuralmark needs 65,536 .*; choose a larger layer",
        ),
        (NeuralMark(layer="0.bias"), 70_000, "layer 0.bias is float32 of shape"),
        (NeuralMark(layer="0.wight"), 70_000, "did you mean 0.weight"),
    ],
)
def test_neuralmark_refuses_hosts_that_are_too_small_or_none(scheme: NeuralMark, size: int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        _begun(scheme, np.zeros(256, np.uint8), size)


def test_neuralmark_needs_as_many_columns_as_bits() -> None:
    with pytest.raises(BadInput, match="at least as many columns as payload bits, 513"):
        NeuralMark(payload_bits=513)
