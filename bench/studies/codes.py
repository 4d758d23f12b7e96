"""Outer codes side by side: what each recovers at which signal to noise ratio, its time, and what is possible.

Run it with ``python -m bench.studies.codes -o results/codes.md`` (about five minutes on one core); the comparison
with a library's LDPC code takes ``pip install 'cwwm[codes]'`` and is left out by ``--no-library``.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from scipy.special import ndtri
from tabulate import tabulate

from bench.studies.output import Output, measured_on, publish
from bench.support.environment import choose_device, prepare
from cwwm.codes import Bits, ProtectedCode
from cwwm.codes.finite_length import snr_needed, snr_needed_unlimited
from cwwm.codes.linear import LinearCode
from cwwm.codes.multilevel import MultilevelPolar, default_form
from cwwm.codes.polar import PolarCode
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check
from cwwm.schemes.common.outer import KeyedWalsh
from cwwm.support.console import DONE, run_program
from cwwm.support.seeds import derive_seed

Floats = npt.NDArray[np.float64]

WORDS = 100  # at each signal to noise ratio
STEP = 1.05  # from one to the next
SURE = 0.985  # share of words recovered at which a curve ends
ALONE = 9  # words that are timed one by one
_FEW = 10  # words that say where a curve begins
_MOST_STEPS = 80
_AT_ONCE = 50
_STREAMS = Key.for_harness(study="codes").choices(b"study of codes..")
HEADERS = (
    "message bits", "code", "positions", "SNR2 at 50 %", "SNR2 at 90 %", "limit at 90 %", "dB from it",
    "own law at 90 %", "ms a word", "ms in batches",
)  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """A code with its decoder.

    Attributes:
        name: of the code.
        payload_bits: k.
        positions: n.
        information: message and check bits.
        read: (messages, uint8 (words, k); SNR2; generator of noise) -> what a channel says of each word.
        decode: (what the channel says of several words) -> messages, uint8 (words, k); zeros where none is found.
        law: success at an SNR2, if a law is known.
        orthogonal: each symbol is one of orthogonal directions, and the positions are those directions.
    """

    name: str
    payload_bits: int
    positions: int
    information: int
    read: Callable[[Bits, float, np.random.Generator], Any]
    decode: Callable[[Any], Bits]
    law: Callable[[float], float] | None = None
    orthogonal: bool = False

    @property
    def limit(self) -> float:
        """Return the least SNR2 at which any code, of such positions, recovers nine words of ten."""
        if self.orthogonal:
            return snr_needed_unlimited(self.information)
        return snr_needed(self.positions, self.information)


@dataclass(frozen=True)
class Curve:
    """What a rival recovered.

    Attributes:
        rival: the code.
        points: (SNR2, share of words recovered), ascending.
        alone, batched: median milliseconds to decode a word, by itself and among others.
    """

    rival: Rival
    points: Sequence[tuple[float, float]]
    alone: float
    batched: float = field(compare=False)

    def needed(self, share: float) -> float:
        """Return the SNR2 at which that share is recovered, between two points straight in its logarithm."""
        for (low, less), (high, more) in pairwise(self.points):
            if less < share <= more:
                return float(low * (high / low) ** ((share - less) / (more - less)))
        return float("nan")

    @cached_property
    def law(self) -> float | None:
        """Return the SNR2 at which the rival's own law says 90 %."""
        if self.rival.law is None:
            return None
        snrs = np.geomspace(self.rival.limit / 2, 4 * self.rival.limit, 2000)
        return float(snrs[np.argmax([self.rival.law(float(snr)) >= 0.9 for snr in snrs])])


def binary(words: npt.NDArray[Any], snr: float, draw: np.random.Generator) -> Floats:
    """Return reads N(rho, 1) of ones and N(-rho, 1) of zeros, float64 (words, n), with n rho^2 = snr."""
    signs = 2.0 * words - 1.0
    return np.asarray(signs * np.sqrt(snr / words.shape[1]) + draw.standard_normal(words.shape))


def polar(payload_bits: int, length: int, paths: int = 32) -> Rival:
    """Return the polar code under a list decoder."""
    code = PolarCode(payload_bits=payload_bits, length=length, paths=paths)
    check = keyed_check(_STREAMS, code.check_bits)

    def read(messages: Bits, snr: float, draw: np.random.Generator) -> Floats:
        return binary(np.array([code.encode(one, check) for one in messages]), snr, draw)

    def decode(values: Floats) -> Bits:
        return np.array([found.bits for found in code.decode_many(values, [check] * len(values))])

    law = code.success if paths == 32 else None
    return Rival(f"polar, list {paths}", payload_bits, length, code.information, read, decode, law)


def linear(payload_bits: int) -> Rival:
    """Return the random linear code of rate 1/2 under order-1 statistics."""
    code = LinearCode(payload_bits=payload_bits, length=2 * (payload_bits + 32))
    check, generator = keyed_check(_STREAMS, code.check_bits), code.generator(_STREAMS.stream("generator"))

    def read(messages: Bits, snr: float, draw: np.random.Generator) -> Floats:
        return binary(np.array([code.encode(one, generator, check) for one in messages]), snr, draw)

    def decode(values: Floats) -> Bits:
        return np.array([code.decode(one, generator, check).bits for one in values])

    return Rival("random linear, order 1", payload_bits, code.length, code.information, read, decode)


def reed_solomon(payload_bits: int, symbols: int) -> Rival:
    """Return Reed-Solomon symbols of 8 bits, each one of 256 orthogonal directions, the doubtful ones erased."""
    code = ProtectedCode(payload_bits=payload_bits, blocks=symbols, block_length=256, block_weight=1)
    check = keyed_check(_STREAMS, code.check_bits)

    def read(messages: Bits, snr: float, draw: np.random.Generator) -> Floats:
        words = np.array([code.encode(one, check) for one in messages])
        return np.asarray(words * np.sqrt(snr / symbols) + draw.standard_normal(words.shape))

    def decode(values: Floats) -> Bits:
        found = code.decode(code.read(np.maximum(values, 0.0)), [check] * len(values))
        return np.array([one.bits for one in found])

    bits = payload_bits + code.check_bits
    name = f"Reed-Solomon, {symbols} symbols"
    return Rival(name, payload_bits, code.length, bits, read, decode, orthogonal=True)


def multilevel(payload_bits: int, paths: int = 32, weights: int = 10**7) -> Rival:
    """Return signed symbols of the rows that so many weights allow, a multilevel polar code across them."""
    symbols, rows = default_form(payload_bits, weights)
    code = MultilevelPolar(
        payload_bits=payload_bits, symbols=symbols, rows=rows, check_bits=KeyedWalsh.check_bits, paths=paths
    )
    check = keyed_check(_STREAMS, code.check_bits)

    def read(messages: Bits, snr: float, draw: np.random.Generator) -> npt.NDArray[np.float32]:
        values = draw.standard_normal((len(messages), symbols, rows), dtype=np.float32)
        for value, message in zip(values, messages, strict=True):
            places, signs = code.encode(message, check)
            value[np.arange(symbols), places] += signs * np.float32(np.sqrt(snr / symbols))
        return values

    def decode(values: npt.NDArray[np.float32]) -> Bits:
        return np.array([found.bits for found in code.decode_many(values, [check] * len(values))])

    name = f"multilevel polar, {symbols} symbols of {rows}, list {paths}"
    law = code.success if paths == 32 else None
    return Rival(name, payload_bits, symbols * rows, code.information, read, decode, law, orthogonal=True)


def library_ldpc(payload_bits: int, iterations: int = 50) -> Rival:
    """Return the LDPC code of 5G by belief propagation, at its lowest rate 1/5, from the package sionna."""
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

    information = payload_bits + 24
    encoder = LDPC5GEncoder(k=information, n=5 * information, device="cpu")
    decoder = LDPC5GDecoder(encoder, num_iter=iterations, hard_out=True, device="cpu")
    check = keyed_check(_STREAMS, 24)

    def read(messages: Bits, snr: float, draw: np.random.Generator) -> torch.Tensor:
        checked = np.array([np.concatenate([one, check(one, 0)]) for one in messages])
        words = encoder(torch.from_numpy(checked).float()).numpy()
        return torch.from_numpy(2 * np.sqrt(snr / words.shape[1]) * binary(words, snr, draw)).float()

    def decode(ratios: torch.Tensor) -> Bits:
        found: Bits = decoder(ratios).numpy().astype(np.uint8)[:, :payload_bits]
        return found

    name = f"LDPC of 5G, {iterations} iterations"
    return Rival(name, payload_bits, 5 * information, information, read, decode)


def rivals(*, library: bool) -> Iterator[Rival]:
    """Yield all codes, payload by payload."""
    for payload, lengths, symbols in ((64, (512, 1024), 24), (256, (2048, 4096), 64), (1024, (4096, 8192), 216)):
        for length in lengths:
            yield polar(payload, length)
        if payload == 256:
            yield polar(payload, lengths[0], paths=8)
        yield multilevel(payload)
        yield linear(payload)
        yield reed_solomon(payload, symbols)
        if library:
            yield library_ldpc(payload)


def measure(rival: Rival, words: int = WORDS) -> Curve:
    """Return a rival's curve: up in steps of 5 % until nearly all words are recovered, and what a word takes."""
    snr, points, seconds = _first(rival) / STEP**2, [], []
    for _ in range(_MOST_STEPS):
        share, each = _recovered(rival, snr, words)
        points.append((snr, share))
        seconds.append(each)
        if share >= SURE:
            break
        snr *= STEP
    single = [_recovered(rival, snr, 1, seed=number)[1] for number in range(ALONE)]
    return Curve(rival, points, 1e3 * median(single), 1e3 * median(seconds))


def _first(rival: Rival) -> float:
    """Return about the least SNR2 at which anything is recovered, from half the limit on."""
    found = (0.5 * rival.limit * STEP**step for step in range(_MOST_STEPS))
    return next(snr for snr in found if _recovered(rival, snr, _FEW)[0] > 0)


def _recovered(rival: Rival, snr: float, words: int, seed: int = 0) -> tuple[float, float]:
    """Return the share of words recovered, and the seconds of the processor that decoding one took."""
    draw = np.random.default_rng(derive_seed(code=rival.name, n=rival.positions, snr=f"{snr:.6g}", seed=seed))
    whole, seconds = 0, 0.0
    for start in range(0, words, _AT_ONCE):
        count = min(_AT_ONCE, words - start)
        messages = draw.integers(0, 2, (count, rival.payload_bits)).astype(np.uint8)
        said = rival.read(messages, snr, draw)
        before = time.process_time()
        found = rival.decode(said)
        seconds += time.process_time() - before
        whole += int((found == messages).all(axis=1).sum())
    return whole / words, seconds / words


def page(curves: Sequence[Curve], device: torch.device, words: int = WORDS) -> str:
    """Return the tables as Markdown."""
    table = tabulate([_row(one) for one in curves], HEADERS, tablefmt="github", disable_numparse=True)
    error = 1.96 * np.sqrt(0.9 * 0.1 / words)
    return f"""\
# Outer codes: recovered against signal to noise ratio

A word of n positions is read as N(rho, 1) or N(-rho, 1) a position; SNR2 = n rho^2, for a spread mark its
squared correlation over the sum of squares of what it is correlated with. Random messages with their keyed
check, {words} words at each SNR2 in steps of {STEP - 1:.0%}: shares are known to {error:.2f} at 0.9. The limit is
the normal approximation for the best binary code of as many positions and bits (Polyanskiy, Poor and Verdu
2010); dB are from there to 90 %. Symbols of Reed-Solomon and of the multilevel code are one of orthogonal
directions each, the latter's with a sign; their positions are those directions, and their limit is that of any
code, of any length and amplitudes: the same authors' converse of 2011. A check is sent with the message: of
{KeyedWalsh.check_bits} bits by the multilevel code, as in `spread-cwc`, of 24 or 32 by the others. The multilevel
code accepts a word by its correlation T, from T^2 = 2 ln 2 (bits + 32) on, and so a false message with probability
2^-32 at most, where the polar code's check leaves 2^-19. That alone refuses one true word of ten at
{_accepted(64):.0f}, {_accepted(256):.0f} and {_accepted(1024):.0f} for 64, 256 and 1,024 bits.
The own law is what `survival` uses.
Milliseconds are of the processor, for decoding: a word by itself, and in batches of {_AT_ONCE}.
{measured_on(device)}, one thread.

{table}

## The curves

SNR2 and the share recovered:

{chr(10).join(map(_points, curves))}
"""


def _accepted(payload_bits: int) -> float:
    """Return the SNR2 at which the correlation of nine true words of ten is enough."""
    symbols, rows = default_form(payload_bits, 10**7)
    least = MultilevelPolar(payload_bits=payload_bits, symbols=symbols, rows=rows).least_correlation
    return float((least + ndtri(0.9)) ** 2)


def _points(curve: Curve) -> str:
    rival = curve.rival
    points = ", ".join(f"{snr:.0f} {share:.2f}" for snr, share in curve.points)
    return f"- {rival.payload_bits} bits, {rival.name}, {rival.positions} positions: {points}"


def _row(curve: Curve) -> tuple[object, ...]:
    rival, needed = curve.rival, curve.needed(0.9)
    return (
        rival.payload_bits,
        rival.name,
        rival.positions,
        f"{curve.needed(0.5):.0f}",
        f"{needed:.0f}",
        f"{rival.limit:.0f}",
        f"{10 * np.log10(needed / rival.limit):.2f}",
        "-" if curve.law is None else f"{curve.law:.0f}",
        f"{curve.alone:.1f}",
        f"{curve.batched:.1f}",
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    library: Annotated[bool, typer.Option(help="Compare with the LDPC code of the package sionna.")] = True,
    payload: Annotated[list[int] | None, typer.Option(help="Only these message bits.")] = None,
    words: Annotated[int, typer.Option(min=20, help="Words at each signal to noise ratio.")] = WORDS,
) -> int:
    """Simulate, print and write the tables."""
    where = choose_device("cpu")
    prepare(where, threads=1)
    curves = []
    for rival in rivals(library=library):
        if payload and rival.payload_bits not in payload:
            continue
        curves.append(measure(rival, words))
        print(rival.payload_bits, rival.name, f"{curves[-1].needed(0.9):.0f}", file=sys.stderr, flush=True)
    publish(page(curves, where, words), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.codes")
