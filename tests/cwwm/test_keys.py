"""Laws of keys and keyed streams: fixed vectors, uniform samples, independence, files that keep the secret."""

import hashlib
import hmac
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cwwm.owner import load_owner_key
from cwwm.ownership.keys import HARNESS_STRETCH, OWNER_STRETCH, Key, Stream, Streams, Stretch, _distinct, new_nonce
from cwwm.support.errors import BadInput

SECRET = bytes(range(32))
NONCE = bytes(range(16))
SALT = bytes(range(32))


@pytest.fixture
def key() -> Key:
    return Key(SECRET)


@pytest.fixture
def streams() -> Streams:
    """Return the streams of a benchmark's key, which take no time; an owner's differ in the stretch only."""
    return _streams(Key(SECRET, origin="harness"))


def _streams(key: Key, salt: bytes = SALT) -> Streams:
    return key.streams(salt, key.stretch)


# Marks out in the world are read with these numbers: a change of any of them loses every mark.
def test_digest_and_commitment_vectors(key: Key) -> None:
    assert key.digest == "332482f90cd7c3877d9430d3d081dde0"
    assert (
        key.authenticate(b"claim", "commitment")
        == "adb38a03689621ebde87585a7232680471823738fa4c8ad23d0d363435588ce9"
    )
    assert Key.for_harness(seed=3).digest == "fe9fb822160accc17d7d22044ef85284"


def test_stream_vectors(streams: Streams) -> None:
    words = [hex(word) for word in streams.stream("positions").words(4).tolist()]
    assert words == ["0x33bec192ec4baa85", "0x1d814fa10e44bd0", "0xcc7772776148f5a5", "0x8891b7b172acfa92"]
    pad = "".join(map(str, streams.stream("pad").bits(32).tolist()))
    assert pad == "11000100111010111111100000000110"
    signs = streams.stream("signs").signs(16).tolist()
    assert signs == [1, 1, 1, -1, -1, 1, -1, 1, 1, 1, -1, 1, 1, 1, 1, 1]
    assert streams.stream("covert").uniform(2).tolist() == [0.44657624655498207, 0.15234426074361584]


@pytest.mark.parametrize(
    ("population", "expected"),
    [
        (1000, [189, 224, 125, 778, 245, 75, 931, 81]),
        (10, [1, 6, 0, 3, 4, 9, 7, 5]),
        (10**12, [378283117189, 253265206224, 563024713125, 633542277778]),
    ],
)
def test_position_vectors(streams: Streams, population: int, expected: list[int]) -> None:
    assert streams.stream("positions").sample(population, len(expected)).tolist() == expected


@pytest.mark.parametrize(("population", "count"), [(1000, 300), (1000, 900), (50, 50), (10**12, 5000), (7, 0)])
def test_sample_is_distinct_and_inside(streams: Streams, population: int, count: int) -> None:
    sample = streams.stream("positions").sample(population, count)
    assert sample.dtype == np.int64
    assert len(np.unique(sample)) == count
    assert count == 0 or 0 <= sample.min() <= sample.max() < population


@pytest.mark.parametrize("count", [200, 700])
def test_sample_is_uniform_in_place_and_order(count: int) -> None:
    draws = [_streams(Key.for_harness(i=i)).stream("positions").sample(1000, count) for i in range(200)]
    everywhere = np.bincount(np.concatenate(draws) // 50, minlength=20)
    first = np.bincount(np.concatenate([draw[:10] for draw in draws]) // 50, minlength=20)
    assert stats.chisquare(everywhere).pvalue > 1e-3
    assert stats.chisquare(first).pvalue > 1e-3


def test_a_shorter_sample_is_a_prefix_of_a_longer_one(streams: Streams) -> None:
    longer = streams.stream("positions").sample(10_000, 2000)
    assert np.array_equal(streams.stream("positions").sample(10_000, 700), longer[:700])


@pytest.mark.parametrize(("population", "count"), [(10, 11), (10, -1)])
def test_impossible_samples_are_refused(streams: Streams, population: int, count: int) -> None:
    with pytest.raises(BadInput, match="cannot choose"):
        streams.stream("positions").sample(population, count)


def test_words_do_not_depend_on_how_they_are_asked_for(streams: Streams) -> None:
    whole = streams.stream("pad").words(20_000)
    stream = streams.stream("pad")
    pieces = np.concatenate([stream.words(n) for n in (1, 0, 8191, 1, 9000, 2807)])
    assert np.array_equal(whole, pieces)


@given(st.lists(st.integers(0, 9000), max_size=40))
def test_words_are_those_of_whole_blocks_in_any_portions(counts: list[int]) -> None:
    subkey = bytes(range(32))
    blocks = [
        hashlib.shake_256(subkey + bytes([b]) + bytes(7)).digest(8 * 8192) for b in range(sum(counts) // 8192 + 1)
    ]
    stream = Stream(subkey)
    drawn = np.concatenate([np.empty(0, np.uint64), *(stream.words(count) for count in counts)])
    assert np.array_equal(drawn, np.frombuffer(b"".join(blocks), "<u8")[: sum(counts)])


def test_below_is_unbiased_where_rejection_is_frequent(streams: Streams) -> None:
    bound = 3 * 2**61  # a quarter of all words must be thrown away
    numbers = streams.stream("positions").below(bound, 6000)
    assert stats.chisquare(np.bincount(numbers // (bound // 12), minlength=12)).pvalue > 1e-3


def test_purposes_salts_and_keys_give_independent_streams(streams: Streams) -> None:
    others = [
        streams.stream("pad"),
        streams.stream("positions"),
        _streams(Key(SECRET, origin="harness"), bytes(32)).stream("pad"),
        _streams(Key(bytes(32), origin="harness")).stream("pad"),
    ]
    bits = np.stack([stream.bits(20_000) for stream in others]).astype(float)
    correlation = np.corrcoef(bits)[np.triu_indices(len(others), 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(20_000)
    assert np.abs(bits.mean(axis=1) - 0.5).max() < 4.5 / 2 / np.sqrt(20_000)


def test_pad_does_not_depend_on_what_was_drawn_for_positions(streams: Streams) -> None:
    before = streams.stream("pad").bits(64)
    streams.stream("positions").sample(1000, 400)
    assert np.array_equal(before, streams.stream("pad").bits(64))


def test_nonces_are_fresh_and_salts_of_one_length(key: Key) -> None:
    assert new_nonce() != new_nonce()
    with pytest.raises(BadInput, match="32 bytes, not 5"):
        key.streams(b"short", OWNER_STRETCH)


def test_a_stream_key_is_scrypt_of_secret_and_salt(key: Key) -> None:
    stretched = hashlib.scrypt(SECRET, salt=SALT, n=2**16, r=8, p=1, maxmem=2**27, dklen=32)
    subkey = hmac.digest(stretched, b"cwwm-stream v2\0pad", "sha256")
    assert np.array_equal(_streams(key).stream("pad").words(9), Stream(subkey).words(9))
    assert _streams(key).check(b"part") == hmac.digest(stretched, b"cwwm-check v2\0part", "sha256")


def test_a_stream_key_is_stretched_once_for_a_claim(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    scrypt = hashlib.scrypt
    monkeypatch.setattr(hashlib, "scrypt", lambda *a, **k: calls.append(a) or scrypt(*a, **k))
    assert _streams(key) is _streams(key)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "cheap", [HARNESS_STRETCH, Stretch(2**15, 8, 1), Stretch(2**16, 7, 1), Stretch(2, 1, 16), Stretch(2, 2**18, 1)]
)
def test_an_owners_key_takes_no_cheaper_stretch(key: Key, cheap: Stretch) -> None:
    with pytest.raises(BadInput, match="cheaper than"):
        key.streams(SALT, cheap)


@pytest.mark.parametrize(
    "costs", [(0, 8, 1), (3, 8, 1), (2**16, 0, 1), (2**16, 8, 0), (2**30, 8, 1), (2**16, 8, 17)]
)
def test_impossible_and_endless_stretches_are_refused(costs: tuple[int, int, int]) -> None:
    with pytest.raises(BadInput, match=r"a stretch takes|costs more than"):
        Stretch(*costs)


def test_choices_made_before_the_salt_have_streams_of_their_own(key: Key) -> None:
    first, again = (key.choices(NONCE).stream("pad").words(50) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.intersect1d(first, key.choices(bytes(16)).stream("pad").words(50)).size


def test_generated_keys_differ() -> None:
    assert Key.generate() != Key.generate()


@pytest.mark.parametrize(("secret", "origin"), [(b"short", "owner"), (SECRET, "attacker")])
def test_impossible_keys_are_refused(secret: bytes, origin: str) -> None:
    with pytest.raises(BadInput, match="a key"):
        Key(secret, origin=origin)


def test_file_round_trip_and_mode(key: Key, tmp_path: Path) -> None:
    path = tmp_path / "owner.key"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Key.load(path) == key
    assert Key.load(path).origin == "owner"
    assert [file.name for file in tmp_path.iterdir()] == ["owner.key"]


def test_a_key_file_is_never_overwritten(key: Key, tmp_path: Path) -> None:
    path = tmp_path / "owner.key"
    key.save(path)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="never overwritten"):
        Key.generate().save(path)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(key: Key, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "owner.key"
    key.save(path)
    path.chmod(mode)
    with pytest.raises(BadInput, match="chmod 600"):
        Key.load(path)


def _damaged(text: str, kind: str) -> str:
    return {
        "empty": "",
        "other file": "hello\n",
        "other version": text.replace("v1", "v2"),
        "no secret": "\n".join(text.splitlines()[:2]),
        "not hex": text[:-3] + "zz\n",
        "short": text[:-9] + "\n",
        "changed digit": text[:-2] + ("0" if text[-2] != "0" else "1") + "\n",
    }[kind]


@pytest.mark.parametrize(
    "kind", ["empty", "other file", "other version", "no secret", "not hex", "short", "changed digit"]
)
def test_a_damaged_key_file_is_refused(key: Key, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "owner.key"
    key.save(path)
    path.write_text(_damaged(path.read_text(), kind))
    with pytest.raises(BadInput, match=r"not a cwwm key file|damaged") as caught:
        Key.load(path)
    assert SECRET.hex() not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    for name in ("binary", "absent"):
        with pytest.raises(BadInput, match=name):
            Key.load(tmp_path / name)


def test_no_text_of_a_key_shows_its_secret(key: Key) -> None:
    for text in (repr(key), str(key), f"{key}", repr([key]), str({"key": key})):
        assert SECRET.hex() not in text
        assert repr(SECRET) not in text
        assert key.digest[:12] in text


def test_a_key_is_neither_pickled_nor_made_json(key: Key) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        json.dumps({"key": key})


def test_equality_and_hash_follow_the_secret(key: Key) -> None:
    assert key == Key(SECRET)
    assert hash(key) == hash(Key(SECRET))
    assert key != Key(bytes(32))
    assert key != SECRET


def test_a_harness_key_is_reproducible_and_refused_as_owners(tmp_path: Path) -> None:
    key = Key.for_harness(seed=1, cell="a")
    assert key == Key.for_harness(cell="a", seed=1)
    assert key != Key.for_harness(cell="a", seed=2)
    key.save(tmp_path / "harness.key")
    assert Key.load(tmp_path / "harness.key").origin == "harness"
    with pytest.raises(BadInput, match="benchmark's key"):
        load_owner_key(tmp_path / "harness.key")


def test_an_owners_key_is_accepted(tmp_path: Path) -> None:
    key = Key.generate()
    key.save(tmp_path / "owner.key")
    assert load_owner_key(tmp_path / "owner.key") == key


@pytest.mark.parametrize("scale", [1, 2**50])  # one sort of packed words, and what does not fit into them
def test_distinct_values_keep_their_first_places(scale: int) -> None:
    values = np.random.default_rng(0).integers(0, 5_000, 20_000) * scale
    expected = list(dict.fromkeys(values.tolist()))
    assert _distinct(values).tolist() == expected
    assert _distinct(values[:1]).tolist() == expected[:1]
    assert _distinct(values[:0]).tolist() == []
