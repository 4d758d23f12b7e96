"""The laws of the protected constant-weight code: round trip, what it survives, no silent wrong message."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from cwwm.codes import Bits, Check, ConstantWeightCode, ProtectedCode, ReedSolomon
from cwwm.codes.protected import Symbols
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed

Magnitudes = npt.NDArray[np.float64]

NONCE = bytes(16)
LONG = ProtectedCode(payload_bits=1024, blocks=602)  # codewords of two lengths
PLAIN = ProtectedCode(payload_bits=256, blocks=160)
GROUPED = ProtectedCode(payload_bits=100, blocks=60, block_length=20, block_weight=4)


def check_of(code: ProtectedCode, **parts: object) -> Check:
    return keyed_check(Key.for_harness(**parts).choices(NONCE), code.check_bits)


def bits_of(code: ProtectedCode, seed: int) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, code.payload_bits, dtype=np.uint8)


def host(code: ProtectedCode, bits: Bits, check: Check, seed: int = 0) -> Magnitudes:
    """Zeros within [0, 1), ones within [2, 3)."""
    return np.random.default_rng(seed).random(code.length) + 2 * code.encode(bits, check)


def by_block(code: ProtectedCode, magnitudes: Magnitudes) -> Magnitudes:
    return magnitudes.reshape(code.blocks, code.block_length)


def swap_in(code: ProtectedCode, magnitudes: Magnitudes, blocks: npt.NDArray[np.int64], gap: float) -> None:
    """Give these blocks another word, whose ones stand `gap` above the zeros: a believable error."""
    rows = by_block(code, magnitudes)
    rows[blocks] = np.roll(np.where(rows[blocks] >= 2, 1 + gap, 1.0), 1, axis=1)


@st.composite
def codes(draw: st.DrawFn) -> ProtectedCode:
    length, weight = draw(st.sampled_from([(4, 1), (5, 2), (16, 1), (20, 10), (256, 1), (64, 6), (40, 38), (9, 8)]))
    payload, check = draw(st.integers(1, 200)), draw(st.integers(1, 40))
    sizes = {"block_length": length, "block_weight": weight, "payload_bits": payload, "check_bits": check}
    for blocks in range(draw(st.integers(1, 200)), 3000, 50):
        try:
            return ProtectedCode(blocks=blocks, **sizes)
        except BadInput:
            continue
    return ProtectedCode(payload_bits=payload, blocks=90)


@settings(max_examples=60, deadline=None)
@given(code=codes(), seed=st.integers(0, 2**32), exponent=st.integers(-60, 60))
@example(code=LONG, seed=0, exponent=0)
@example(code=PLAIN, seed=0, exponent=9)
def test_round_trip_at_any_scale(code: ProtectedCode, seed: int, exponent: int) -> None:
    bits, check = bits_of(code, seed), check_of(code, seed=seed)
    word = code.encode(bits, check)
    assert word.shape == (code.length,)
    assert word.dtype == np.bool_
    assert (by_block(code, word.astype(float)).sum(axis=1) == code.block_weight).all()
    symbols = code.read(host(code, bits, check, seed) * 2.0**exponent)
    assert np.array_equal(symbols.values, code.symbols(bits, check))
    found = code.decode_one(symbols, check)
    assert np.array_equal(found.bits, bits)
    assert (found.ok, found.erased, found.corrected) == (True, 0, 0)
    assert found.candidates == code.codewords
    refused = code.decode_one(symbols, lambda part, number: 1 - check(part, number))
    # However many blocks are erased, the same message comes out: it is compared once.
    assert (refused.ok, refused.candidates) == (False, code.codewords)


def test_an_odd_scale_changes_no_message() -> None:
    bits, check = bits_of(PLAIN, 1), check_of(PLAIN)
    magnitudes = host(PLAIN, bits, check)
    swap_in(PLAIN, magnitudes, np.arange(80), gap=0.5)
    for scale in (1e-30, 0.37, 1e30):
        found = PLAIN.decode_one(PLAIN.read((magnitudes * scale).astype(np.float32)), check)
        assert found.ok
        assert np.array_equal(found.bits, bits)


@pytest.mark.parametrize(
    "code",
    [PLAIN, GROUPED, ProtectedCode(payload_bits=40, blocks=50, block_length=9, block_weight=8, check_bits=8)],
)
def test_blocks_are_words_of_the_enumerative_code(code: ProtectedCode) -> None:
    inner = ConstantWeightCode(length=code.block_length, weight=code.block_weight)
    assert code.symbol_bits == min(16, inner.payload_bits)
    bits, check = bits_of(code, 2), check_of(code)
    blocks = code.encode(bits, check).reshape(code.blocks, code.block_length)
    assert [inner.rank(block) for block in blocks] == code.symbols(bits, check).tolist()


def test_reads_gaps_and_erases_what_stands_for_no_symbol() -> None:
    code = ProtectedCode(payload_bits=8, blocks=6, block_length=6, block_weight=3, check_bits=4)
    inner = ConstantWeightCode(length=6, weight=3)  # 20 words, 16 of them symbols
    rows = np.stack([inner.unrank(rank) for rank in (0, 15, 16, 19, 7, 7)]) * 1.5 + 0.25
    rows[4] = 0.5
    rows[5, np.argmax(inner.unrank(7))] = 0.625
    symbols = code.read(np.stack([rows.reshape(-1)] * 2))
    assert symbols.values.shape == (2, 6)
    assert symbols.values[1, [0, 1, 2, 3, 5]].tolist() == [0, 15, 0, 0, 7]
    assert symbols.gaps[1].tolist() == [1.5, 1.5, 0, 0, 0, 0.375]


def test_a_tie_is_a_gap_of_zero_in_pulse_position_too() -> None:
    code = ProtectedCode(payload_bits=8, blocks=8, block_length=16, check_bits=4)
    rows = np.tile(np.arange(16.0), (8, 1))
    rows[3, 2] = 15
    rows[4] = 0
    assert code.read(rows.reshape(-1)).gaps.tolist() == [1, 1, 1, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("code", [PLAIN, LONG, GROUPED])
def test_any_redundancy_of_lost_blocks_does_no_harm(code: ProtectedCode) -> None:
    bits, check = bits_of(code, 3), check_of(code)
    lost = np.concatenate(
        [
            number + code.codewords * np.random.default_rng(number).permutation(length)[code.data_symbols :]
            for number, length in enumerate(code.codeword_lengths)
        ]
    )
    magnitudes = host(code, bits, check)
    by_block(code, magnitudes)[lost] = 0
    found = code.decode_one(code.read(magnitudes), check)
    assert np.array_equal(found.bits, bits)
    assert (found.ok, found.erased, found.corrected) == (True, code.redundancy, 0)

    kept = np.setdiff1d(np.arange(code.blocks), lost)
    by_block(code, magnitudes)[kept[0]] = 0
    found = code.decode_one(code.read(magnitudes), check)
    assert not found.ok
    assert not found.bits.any()
    assert found.erased == code.redundancy + 1


@pytest.mark.parametrize("code", [PLAIN, LONG])
def test_errors_of_small_gap_cost_no_more_than_erasures(code: ProtectedCode) -> None:
    """Half the redundancy in sure errors is corrected, all of it if the gaps tell the errors."""
    bits, check = bits_of(code, 4), check_of(code)
    order = np.random.default_rng(0).permutation(code.blocks // code.codewords) * code.codewords
    half = (code.codeword_lengths[0] - code.data_symbols) // 2
    for wrong, gap, ok in [(half, 9.0, True), (half + 1, 9.0, False), (2 * half, 0.5, True)]:
        magnitudes = host(code, bits, check)
        swap_in(code, magnitudes, order[:wrong], gap)
        found = code.decode_one(code.read(magnitudes), check)
        assert found.ok is ok
        assert np.array_equal(found.bits, bits) is ok
        assert found.corrected <= wrong <= found.corrected + found.erased or not ok


def test_one_doubtful_error_more_than_half_beside_a_lost_block() -> None:
    """Two erasures and 61 errors spend the redundancy of 124; three erasures would leave room for 60 errors."""
    bits, check = bits_of(PLAIN, 5), check_of(PLAIN)
    magnitudes = host(PLAIN, bits, check)
    by_block(PLAIN, magnitudes)[0] = 0
    swap_in(PLAIN, magnitudes, np.array([1]), gap=0.5)
    swap_in(PLAIN, magnitudes, np.arange(2, 63), gap=9.0)
    found = PLAIN.decode_one(PLAIN.read(magnitudes), check)
    assert np.array_equal(found.bits, bits)
    assert (found.ok, found.erased, found.corrected) == (True, 2, 61)


def test_what_the_encoder_never_writes_is_refused_unchecked() -> None:
    code = ProtectedCode(payload_bits=9, blocks=12, block_length=16, check_bits=9)
    outer = ReedSolomon(length=12, data=code.data_symbols, symbol_bits=4)
    written = code.symbols(np.zeros(9, np.uint8), lambda part, number: part)
    for fill, ok in [(0, True), (8, False)]:
        written[code.data_symbols - 1] = fill
        values = outer.encode(written[: code.data_symbols])
        found = code.decode_one(Symbols(values, np.arange(1.0, 13.0)), lambda part, number: part)
        assert (found.ok, found.candidates) == (ok, int(ok))


def test_a_batch_reads_as_its_rows_do_each_with_its_check() -> None:
    code, checks = GROUPED, [check_of(GROUPED, row=row) for row in range(9)]
    rows = np.stack([host(code, bits_of(code, row), check, row) for row, check in enumerate(checks)])
    for number, row in enumerate(rows):
        swap_in(code, row, np.arange(6 * number), gap=0.5 + number)
    rows[2] = np.random.default_rng(0).random(code.length)
    symbols = code.read(rows.reshape(3, 3, -1))
    assert symbols.values.shape == (3, 3, code.blocks)
    together = code.decode(code.read(rows), checks)
    assert {found.ok for found in together} == {True, False}
    for row, found, check in zip(rows, together, checks, strict=True):
        alone = code.decode_one(code.read(row), check)
        assert np.array_equal(alone.bits, found.bits)
        assert (alone.ok, alone.erased, alone.corrected, alone.candidates) == (
            found.ok, found.erased, found.corrected, found.candidates,
        )  # fmt: skip
    assert not any(found.ok for found in code.decode(code.read(rows), checks[1:] + checks[:1]))


@pytest.mark.parametrize(("check_bits", "blocks", "trials"), [(8, 10, 6000), (12, 15, 24_000)])
def test_no_silent_wrong_message(check_bits: int, blocks: int, trials: int) -> None:
    """On unmarked hosts a message passes as often as its check bits allow: 2^-c for each candidate compared."""
    code = ProtectedCode(payload_bits=8, blocks=blocks, block_length=16, check_bits=check_bits)
    draw = np.random.default_rng(derive_seed(test="no silent wrong message", check_bits=check_bits))
    symbols = code.read(draw.random((trials, code.length), np.float32))
    found = code.decode(symbols, [check_of(code, trial=trial) for trial in range(trials)])
    candidates = sum(one.candidates for one in found)
    accepted = sum(one.ok for one in found)
    low, high = stats.poisson.interval(0.999, candidates * 2.0**-check_bits)
    assert code.codewords == 1
    assert candidates >= trials
    assert low > 0
    assert low <= accepted <= high


@settings(max_examples=60, deadline=None)
@given(payload=st.integers(9, 600), check=st.integers(1, 64), length=st.sampled_from([4, 8, 16, 256]))
def test_says_how_many_blocks_a_payload_needs(payload: int, check: int, length: int) -> None:
    def make(blocks: int) -> ProtectedCode:
        return ProtectedCode(payload_bits=payload, blocks=blocks, block_length=length, check_bits=check)

    with pytest.raises(BadInput, match="too few blocks for its payload; ") as refused:
        make(1)
    text = str(refused.value)
    if "no number of blocks" in text:
        symbol_bits = length.bit_length() - 1
        assert check >= symbol_bits * (length - 1)
        return
    needed = int(text.split("it needs ")[1].split(",")[0])
    assert make(needed).blocks == needed
    with pytest.raises(BadInput, match="too few blocks"):
        make(needed - 1)


def test_refuses_bad_input() -> None:
    with pytest.raises(BadInput, match="carries less than 2 bits"):
        ProtectedCode(payload_bits=8, blocks=100, block_length=3)
    with pytest.raises(BadInput, match="check_bits is 0; it must be at least 1"):
        ProtectedCode(payload_bits=8, blocks=100, check_bits=0)
    check = check_of(PLAIN)
    with pytest.raises(BadInput, match="256 bits of 0 and 1"):
        PLAIN.symbols(np.zeros(255, np.uint8), check)
    with pytest.raises(BadInput, match=r"needs \(32,\)"):
        PLAIN.symbols(np.zeros(256, np.uint8), keyed_check(Key.for_harness().choices(NONCE), 16))
    with pytest.raises(BadInput, match="finite"):
        PLAIN.read(np.full(PLAIN.length, np.nan))
    with pytest.raises(BadInput, match="shape"):
        PLAIN.read(np.zeros(PLAIN.length - 1))
    symbols = PLAIN.read(np.zeros((2, PLAIN.length)))
    with pytest.raises(BadInput, match="and 1 checks"):
        PLAIN.decode(symbols, [check])
    assert PLAIN.decode(PLAIN.read(np.zeros((0, PLAIN.length))), []) == []
