"""False positives: what wrong keys read from an unmarked and from a marked model, and how surely."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key, Stream, Streams, Stretch
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, Scheme
from cwwm.schemes.base import FORWARD
from cwwm.support.seeds import derive_seed
from cwwm.weights.view import Weights

Floats = npt.NDArray[np.float64]

TRIALS = 600
FORWARD_TRIALS = 200
LEAST_TRIALS = 100
_KEYED_WORDS = 20_000_000  # to draw for one suspect: about five seconds of reading long codes

NOMINAL = (-3, -6)  # log10 of the false-positive rates that are counted
_LOWEST, _LOWEST_SHARE = 16, 0.01
_DIGITS = 4


def null_log10_p(
    scheme: Scheme, mark: Mark, suspects: Mapping[str, Weights], *, seed: int, trials: int
) -> dict[str, Floats]:
    """Return the combined log10 p-values of random claims under wrong keys, for each suspect by its name.

    Each wrong key has a message of its own, and both give the salt: a claim that nobody fitted to the suspect.
    Each suspect has keys of its own: an unmarked twin shares most weights with the marked model, and would repeat
    its answer to the same key.

    Args:
        scheme: that made the mark.
        mark: whose public part (parameters, carrier, state) the wrong keys are tried with.
        suspects: marked or not; all read alike where the p-values are right.
        seed: of the keys.
        trials: how many keys for each suspect.

    Returns:
        float64 (n,), each at most 0; n < `trials` where a claim has no evidence, since the mark has no place in the
        suspect: that is no trial.
    """
    return {
        name: _of_one_suspect(scheme, mark, suspect, derive_seed(seed=seed, suspect=name), trials)
        for name, suspect in suspects.items()
    }


def _of_one_suspect(scheme: Scheme, mark: Mark, suspect: Weights, seed: int, trials: int) -> Floats:
    claims = (random_claim(mark, seed, trial) for trial in range(trials))
    found = (evidence for _, evidence in weighed(scheme, suspect, claims))
    return np.array([evidence.combined for evidence in found if evidence.log10_p], np.float64)


def weighed(scheme: Scheme, suspect: Weights, claims: Iterable[Claim]) -> Iterator[tuple[Claim, Evidence]]:
    """Yield each claim with its evidence on the suspect, from reading alone: no message is decoded."""
    for claim in claims:
        yield claim, scheme.evidence(scheme.read(suspect, claim.key, claim.mark), claim)


def null_facts(log10_p: Mapping[str, Floats]) -> dict[str, dict[str, Any]]:
    """Return what a record keeps of `null_log10_p`, as small JSON values.

    Returns:
        For each suspect ``trials``; ``lowest``, the lowest 16 or 1 % of the log10 p-values (whichever is more),
        ascending, rounded down to 4 decimals; ``below``, how many are at most -3 and at most -6.
    """
    return {name: _summary(values) for name, values in log10_p.items()}


def affordable_trials(scheme: Scheme, mark: Mark, suspect: Weights) -> int:
    """Return how many wrong keys to try on each suspect: the same number on every machine.

    600; 200 for schemes that read by a forward pass; fewer, but not under 100, for long codes, so that all
    trials together draw at most 20 million words from keyed streams.
    """
    key = _CountingKey(bytes(32), origin="harness")
    scheme.read(suspect, key, mark.salted(key, np.zeros(mark.payload_bits, np.uint8)))
    most = FORWARD_TRIALS if FORWARD in scheme.extraction_needs else TRIALS
    return min(most, max(LEAST_TRIALS, _KEYED_WORDS // max(key.words, 1)))


def random_claim(mark: Mark, seed: int, trial: int) -> Claim:
    """Return a claim on a mark of this public form; key and message are drawn from seed and trial."""
    key = Key.for_harness(wrong_key=derive_seed(seed=seed, trial=trial))
    message = key.choices(mark.nonce).stream("claimed message").bits(mark.payload_bits)
    return Claim(key, mark.salted(key, message), message)


def _summary(log10_p: Floats) -> dict[str, Any]:
    lowest = np.sort(log10_p)[: max(_LOWEST, math.ceil(_LOWEST_SHARE * len(log10_p)))]
    scale = 10**_DIGITS
    return {
        "trials": len(log10_p),
        # down, so that a claim as sure as a recorded one, which is rounded nowhere, is not below it
        "lowest": [math.floor(value * scale) / scale for value in lowest.tolist()],
        "below": {str(nominal): int(np.sum(log10_p <= nominal)) for nominal in NOMINAL},
    }


class _CountingKey(Key):
    """Counts the words drawn from its streams: the cost of a reading on any machine."""

    __slots__ = ("words",)

    def __init__(self, secret: bytes, *, origin: str = "owner") -> None:
        super().__init__(secret, origin=origin)
        self.words = 0

    def streams(self, salt: bytes, stretch: Stretch) -> Streams:
        return _CountingStreams(super().streams(salt, stretch), self._add)

    def _add(self, words: int) -> None:
        self.words += words


class _CountingStreams(Streams):
    """Tells how many words are drawn from a mark's streams."""

    def __init__(self, streams: Streams, add: Callable[[int], None]) -> None:
        super().__init__(b"")
        self._streams, self._add = streams, add

    def stream(self, purpose: str) -> Stream:
        return _CountingStream(self._streams.stream(purpose), self._add)

    def check(self, data: bytes) -> bytes:
        return self._streams.check(data)


class _CountingStream(Stream):
    """Tells how many words are drawn from another stream."""

    def __init__(self, stream: Stream, add: Callable[[int], None]) -> None:
        super().__init__(b"")
        self._stream, self._add = stream, add

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        self._add(count)
        return self._stream.words(count)
