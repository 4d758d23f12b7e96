"""The owner's secret key and the keyed streams that positions, signs and pads come from.

A mark's streams come from a stream key, scrypt(secret, salt): whoever wants other positions, by trying another key,
message or parameter, pays one such stretch a try. Every stream is SHAKE-256 over a subkey, and the subkey is
HMAC-SHA256 of the purpose under the stream key: independent of device, torch and NumPy versions, and independent
between purposes and between salts.
"""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from cwwm.support.bounds import whole
from cwwm.support.errors import BadInput
from cwwm.support.files import open_regular, write_atomic
from cwwm.support.seeds import canonical_json

NONCE_BYTES = 16
SALT_BYTES = 32
_MOST_BYTES = 4096  # of a key file, which has about 130
_BLOCK_WORDS = 8192
_BLOCKS_KEPT = 1024  # of 64 KiB: the bits of 500 million weights
_FIRST_WORDS = 64  # squeezed at least: a short stream does not pay for a whole block
_HEADERS = {"owner": "cwwm-key v1", "harness": "cwwm-harness-key v1"}
T = TypeVar("T")


_STRETCHES_KEPT = 8  # stream keys that a key remembers: one claim asks for its own several times


def new_nonce() -> bytes:
    """Return 128 fresh bits from the system's generator: no two marks share positions or pad."""
    return secrets.token_bytes(NONCE_BYTES)


@dataclass(frozen=True)
class Stretch:
    """What one stream key costs: the parameters of scrypt (Percival 2009, RFC 7914).

    Attributes:
        n: iterations, a power of two above 1.
        r: size of a block, in 128 bytes.
        p: repetitions.
    """

    n: int
    r: int
    p: int

    def __post_init__(self) -> None:
        """Refuse what scrypt does not take, and costs that would stop a machine: 256 MiB, or 1 GiB of work."""
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or self.p < 1:
            raise BadInput(f"a stretch takes n a power of two above 1, r and p of at least 1, not {self}")
        if self.memory > _MOST_MEMORY or self.memory * self.p > _MOST_WORK or self.p > _MOST_REPETITIONS:
            raise BadInput(f"{self} costs more than 256 MiB, or 1 GiB of work; no mark needs that")
        if self.n.bit_length() > 16 * self.r:  # RFC 7914: n is below 2^(128 r / 8)
            raise BadInput(f"a stretch takes n below 2^(16 r), not {self}")

    @property
    def memory(self) -> int:
        """Bytes that one stretch fills and reads."""
        return 128 * self.n * self.r

    def cheaper_than(self, other: "Stretch") -> bool:
        """Say whether this one is less than another in any of its three costs."""
        return self.n < other.n or self.r < other.r or self.p < other.p

    def apply(self, secret: bytes, salt: bytes) -> bytes:
        """Return scrypt(secret, salt), 32 bytes."""
        room = self.memory + 128 * self.r * (self.p + 2) + (1 << 20)  # OpenSSL counts its own buffers, too
        return hashlib.scrypt(secret, salt=salt, n=self.n, r=self.r, p=self.p, maxmem=room, dklen=32)

    def to_json(self) -> dict[str, int]:
        """Return n, r and p."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, int]) -> "Stretch":
        """Read what `to_json` wrote; KeyError, TypeError or BadInput if it is something else or too large."""
        n, r, p = (whole(value[name], f"{name} of a stretch", 1, 1 << 62) for name in ("n", "r", "p"))
        return cls(n, r, p)


_MOST_MEMORY = 1 << 28
_MOST_WORK = 1 << 30
_MOST_REPETITIONS = 16
#: of owners' marks: 64 MiB, some tenths of a second of one core; the least that a proof may rest on
OWNER_STRETCH = Stretch(1 << 16, 8, 1)
#: of a benchmark's marks, which prove nothing: thousands of keys are tried in a second
HARNESS_STRETCH = Stretch(2, 1, 1)
_STRETCHES = {"owner": OWNER_STRETCH, "harness": HARNESS_STRETCH}


class Key:
    """A 256-bit secret. Its digest may be shown, the secret never; `repr` shows the digest.

    Attributes:
        origin: ``"owner"`` for keys from the system's generator, ``"harness"`` for keys that a
            benchmark derived from a seed; the command line refuses the latter.
    """

    __slots__ = ("_secret", "_streams", "origin")

    def __init__(self, secret: bytes, *, origin: str = "owner") -> None:
        """Wrap 32 secret bytes; BadInput for any other length or an unknown origin."""
        if len(secret) != 32:
            raise BadInput(f"a key has 32 bytes, not {len(secret)}")
        if origin not in _HEADERS:
            raise BadInput(f"a key's origin is 'owner' or 'harness', not '{origin}'")
        self._secret = bytes(secret)
        self._streams: dict[tuple[bytes, Stretch], Streams] = {}
        self.origin = origin

    @classmethod
    def generate(cls) -> "Key":
        """Return a new owner's key from the system's generator."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def for_harness(cls, **parts: object) -> "Key":
        """Return the harness key of these named parts; it is marked as such and proves nothing."""
        return cls(hashlib.sha256(b"cwwm-harness-key" + canonical_json(parts)).digest(), origin="harness")

    @property
    def digest(self) -> str:
        """32 hex digits that identify the key without revealing it."""
        return hashlib.sha256(b"cwwm-key-digest v1" + self._secret).hexdigest()[:32]

    @property
    def stretch(self) -> Stretch:
        """Return what the stream key of a new mark under this key costs."""
        return _STRETCHES[self.origin]

    def streams(self, salt: bytes, stretch: Stretch) -> "Streams":
        """Return the streams of the mark with this salt; the latest are remembered.

        Raises:
            BadInput: for a salt of another length, or an owner's key with less than `OWNER_STRETCH`: positions
                could then be searched for.
        """
        if len(salt) != SALT_BYTES:
            raise BadInput(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
        if self.origin == "owner" and stretch.cheaper_than(OWNER_STRETCH):
            raise BadInput(
                f"the mark's {stretch} is cheaper than {OWNER_STRETCH}: its positions could be searched for"
            )
        if (salt, stretch) not in self._streams:
            while len(self._streams) >= _STRETCHES_KEPT:
                del self._streams[next(iter(self._streams))]
            self._streams[salt, stretch] = Streams(stretch.apply(self._secret, salt))
        return self._streams[salt, stretch]

    def choices(self, nonce: bytes) -> "Streams":
        """Return streams for what must be chosen before the salt is known, which then binds it: trigger samples."""
        return Streams(hmac.new(self._secret, b"cwwm-choices v1\0" + nonce, hashlib.sha256).digest())

    def authenticate(self, data: bytes, purpose: str) -> str:
        """Return HMAC-SHA256 of `data` for one purpose under the key, 64 hex digits: hides and binds it."""
        return hmac.new(self._secret, f"cwwm-{purpose} v1\0".encode() + data, hashlib.sha256).hexdigest()

    def save(self, path: Path) -> None:
        """Write the key file with mode 0600; BadInput if it exists, for a lost key cannot be made again.

        Of several at once to one name, one succeeds.
        """
        text = f"{_HEADERS[self.origin]}\ndigest: {self.digest}\nsecret: {self._secret.hex()}\n"
        write_atomic(path, text.encode(), mode=0o600, exclusive=True)

    @classmethod
    def load(cls, path: Path) -> "Key":
        """Read a key file; BadInput if it is missing, malformed or readable by others."""
        with open_regular(path, "key file", most=_MOST_BYTES) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_MOST_BYTES)
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError as error:
            raise BadInput(f"cannot read key file {path}: {error}") from error
        if os.name == "posix" and mode & 0o077:
            raise BadInput(f"key file {path} has mode {mode:04o}: others can read it; run chmod 600 {path}")
        return cls._parse(text, path)

    @classmethod
    def _parse(cls, text: str, path: Path) -> "Key":
        lines = text.splitlines()
        origins = {header: origin for origin, header in _HEADERS.items()}
        try:
            fields = dict(line.split(": ", 1) for line in lines[1:])
            key = cls(bytes.fromhex(fields["secret"]), origin=origins[lines[0]])
        except (IndexError, KeyError, ValueError) as error:
            raise BadInput(
                f"{path} is not a cwwm key file (version 1); make one with: cwwm keygen -o {path}"
            ) from error
        if fields.get("digest") != key.digest:
            raise BadInput(f"key file {path} is damaged: its digest does not match its secret")
        return key

    def __eq__(self, other: object) -> bool:
        """Compare secrets in constant time."""
        return isinstance(other, Key) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        """Hash the digest, never the secret."""
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Key {self.digest[:12]} ({self.origin})>"

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse pickling: keys live in key files and nowhere else."""
        raise TypeError("keys are not pickled; save them with Key.save")


class Streams:
    """The keyed streams of one mark, all from its stream key, 32 secret bytes."""

    def __init__(self, stream_key: bytes) -> None:
        """Take the stream key."""
        self._stream_key = stream_key
        self._last: tuple[Hashable, Any] | None = None

    def remembered(self, what: Hashable, make: Callable[[], T]) -> T:
        """Return what was made last from these streams, if that was `what`; else make it, and remember it."""
        if self._last is None or self._last[0] != what:
            self._last = what, make()
        return cast(T, self._last[1])

    def stream(self, purpose: str) -> "Stream":
        """Return the stream for one purpose (``"positions"``, ``"pad"``, ...), from its start."""
        return Stream(self._authenticated("stream", purpose.encode()))

    def check(self, data: bytes) -> bytes:
        """Return 32 bytes that authenticate `data`: nobody without the stream key can aim at them."""
        return self._authenticated("check", data)

    def _authenticated(self, kind: str, data: bytes) -> bytes:
        return hmac.new(self._stream_key, f"cwwm-{kind} v2\0".encode() + data, hashlib.sha256).digest()


class Stream:
    """A keyed stream of 64-bit words: block b is SHAKE-256(subkey || b), read little-endian."""

    def __init__(self, subkey: bytes) -> None:
        """Start the stream of a 32-byte subkey."""
        self._subkey = subkey
        self._block = 0
        self._taken = 0  # words of the block
        self._rest: npt.NDArray[np.uint64] = np.empty(0, np.uint64)

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """Return the next `count` words, uint64 (count,)."""
        parts = [self._rest]
        missing = count - len(self._rest)
        while missing > 0:
            part = self._more(missing)
            parts.append(part)
            missing -= len(part)
        joined = np.concatenate(parts)
        self._rest = joined[count:]
        return joined[:count]

    def _more(self, wanted: int) -> npt.NDArray[np.uint64]:
        """Return the next words of the block: those wanted, if it has so many left, and some more."""
        start = self._taken
        stop = min(_BLOCK_WORDS, start + max(wanted, start // 2, _FIRST_WORDS))  # SHAKE starts again each time
        block = _squeezed(self._subkey, self._block, stop)
        full = stop == _BLOCK_WORDS
        self._block, self._taken = (self._block + 1, 0) if full else (self._block, stop)
        return np.frombuffer(block, "<u8", offset=8 * start).astype(np.uint64)

    def packed(self) -> "Packed":
        """Return fair bits without end, the same that `words` would give from the stream's start."""
        return Packed(self._subkey)

    def bits(self, count: int) -> npt.NDArray[np.uint8]:
        """Return `count` fair bits, uint8 (count,)."""
        packed = self.words(-(-count // 64)).astype("<u8").view(np.uint8)
        return np.unpackbits(packed, bitorder="little")[:count]

    def signs(self, count: int) -> npt.NDArray[np.int8]:
        """Return `count` fair signs, int8 (count,) of -1 and 1."""
        return (2 * self.bits(count).astype(np.int8) - 1).astype(np.int8)

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """Return float64 (count,) uniform on [0, 1) with 53 random bits each."""
        return (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, bound: int, count: int) -> npt.NDArray[np.int64]:
        """Return int64 (count,) uniform on [0, bound), unbiased by rejection."""
        limit = np.uint64((1 << 64) // bound * bound - 1)
        found: list[npt.NDArray[np.uint64]] = []
        have = 0
        while have < count:
            words = self.words(count - have)
            words = words[words <= limit]
            found.append(words)
            have += len(words)
        return (np.concatenate([np.empty(0, np.uint64), *found]) % np.uint64(bound)).astype(np.int64)

    def sample(self, population: int, count: int) -> npt.NDArray[np.int64]:
        """Return `count` distinct numbers of [0, population) in random order, int64 (count,).

        Time and memory O(count). The order is part of the sample: a tie between two of them, broken by
        their index, is broken at random under a random key.

        Raises:
            BadInput: if `count` is negative or exceeds `population`.
        """
        if not 0 <= count <= population:
            raise BadInput(f"cannot choose {count} distinct positions among {population}")
        if 2 * count > population:
            return np.argsort(self.words(population), kind="stable")[:count].astype(np.int64)
        drawn = np.empty(0, np.int64)
        while len(drawn) < count:
            drawn = _distinct(np.concatenate([drawn, self.below(population, count - len(drawn))]))
        return drawn


class Packed:
    """The octets of a stream, each made when it is asked for: what lies in memory does not grow with the stream."""

    def __init__(self, subkey: bytes) -> None:
        """Take the stream's subkey."""
        self._block = lru_cache(maxsize=_BLOCKS_KEPT)(lambda number: _squeezed(subkey, number, _BLOCK_WORDS))

    def octets(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Return octets `start` to `stop`, eight bits each, uint8 (stop - start,)."""
        size = 8 * _BLOCK_WORDS
        first = start // size
        blocks = b"".join(self._block(number) for number in range(first, -(-stop // size)))
        return np.frombuffer(blocks, np.uint8)[start - first * size : stop - first * size]


def _squeezed(subkey: bytes, block: int, words: int) -> bytes:
    """Return the first words of a block, 8 bytes each."""
    return hashlib.shake_256(subkey + block.to_bytes(8, "little")).digest(8 * words)


def _distinct(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the values without repetitions, each at its first place; values of at least 0."""
    bits = len(values).bit_length()
    if int(values.max(initial=0)).bit_length() + bits > 63:
        return values[np.sort(np.unique(values, return_index=True)[1])]
    # One sort of (value, place) packed in a word is several times faster than np.unique's argsort.
    packed = np.sort(values << bits | np.arange(len(values)))
    new = np.append(True, packed[1:] >> bits != packed[:-1] >> bits)[: len(values)]
    first: npt.NDArray[np.int64] = values[np.sort(packed[new] & ((1 << bits) - 1))]
    return first
