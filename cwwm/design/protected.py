"""Protected constant-weight codes for stated targets: the cheapest that survives all of them, or the nearest.

The search covers blocks (L_b, alpha_b), the number n of blocks, the quantiles that become T0 and T1, and a list
of carriers in order of preference. Laws are those of `cwwm.codes.survival`, on the pool's own quantiles.
"""

import contextlib
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from cwwm.codes.reed_solomon import LONGEST
from cwwm.codes.survival import misread_under_noise, recovered_after_erasures, recovered_after_errors
from cwwm.design.pool import Pool
from cwwm.support.errors import BadInput, unknown_name
from cwwm.weights.carrier import Carrier, named_dtypes, no_carriers
from cwwm.weights.view import Weights

CARRIERS = ("classifier", "large", "all")  # in order of preference for a mark without training
BLOCKS = tuple((2**e, a) for e in range(4, 11) for a in (1, 2, 3, 4) if a == 1 or 2**e <= 128)
LOWS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98)
ABOVE = (
    0.0,
    0.25,
    0.5,
    0.75,
    0.9,
    0.95,
)  # of the way from the magnitude target to 1: survival rates that are tried
FAILURE = 1e-3  # that a target may have, by law
MOST_OF_POOL = 0.15  # of the pool that hosts may be: beyond it a marked model itself suffers
# Sum over layers of relative squared change. EfficientNet-Lite0, marked without training, kept 98.6 to 99.8 % of
# 1,000 answers at 0.0005 (six keys), 97.8 to 99.3 % at 0.0007, 97 % at 0.002, 75 % at 0.02 and 54 % at 0.07.
DEPTH_ENERGY = 0.01
CHECK_BITS = 32
_CODEWORDS = 16


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What a mark must survive, each with a failure probability of at most 1e-3 by law.

    Attributes:
        magnitude: rate of magnitude pruning. random: rate of random pruning.
        noise: standard deviation of Gaussian noise on every weight, relative to that of the pool; training on at
            the rate of training moves weights by about half of it.
        payload_bits: k. energy: squared change over squared norm of the pool that may be spent.
        depth_energy: the same relative to each layer's own norm, summed over layers: what answers feel.
    """

    magnitude: float = 0.98
    random: float = 0.5
    noise: float = 0.2
    payload_bits: int = 256
    energy: float = 0.004
    depth_energy: float = DEPTH_ENERGY

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        for name, low, high in (("magnitude", 0.5, 1.0), ("random", 0.0, 1.0)):
            if not low <= getattr(self, name) < high:
                raise BadInput(f"the target {name} is at least {low:g} and below {high:g}")
        if self.noise < 0 or self.payload_bits < 1 or not self.energy > 0:
            raise BadInput("noise is at least 0, the payload at least 1 bit, the energy above 0")

    @classmethod
    def parse(cls, text: str, **more: Any) -> "Targets":  # noqa: ANN401
        """Read ``magnitude=0.98,random=0.6,noise=0.2``; a bare number is the magnitude rate, others default."""
        values: dict[str, Any] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, equals, number = part.partition("=")
            name, number = (name.strip(), number) if equals else ("magnitude", name)
            if name not in ("magnitude", "random", "noise"):
                raise unknown_name("target", name, ("magnitude", "random", "noise"), "--survive")
            try:
                values[name] = float(number)
            except ValueError:
                raise BadInput(f"--survive: '{number}' in '{part}' is no number") from None
        return cls(**values, **more)


@dataclass(frozen=True, kw_only=True)
class Design:
    """One protected code in one carrier, what it costs and what it survives by law.

    Attributes:
        blocks, block_length, block_weight: n, L_b and alpha_b. codewords: outer codewords.
        survive, low: quantiles that become T1 and T0. t1, t0: their values in this model.
        share: L / N. energy, depth_energy: predicted; see `Targets`.
        magnitude, random, noise: probability that the message is recovered at each target.
    """

    carrier: str
    blocks: int
    block_length: int
    block_weight: int
    codewords: int
    survive: float
    low: float
    t1: float
    t0: float
    share: float
    energy: float
    depth_energy: float
    magnitude: float
    random: float
    noise: float

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the scheme `protected-cwc`."""
        names = ("carrier", "blocks", "block_length", "block_weight", "survive", "low")
        return {**{name: getattr(self, name) for name in names}, "lift": 1.0}

    def to_json(self) -> dict[str, Any]:
        """Return the design as a JSON object."""
        return asdict(self)


def design(weights: Weights, carriers: Sequence[str], targets: Targets) -> list[Design]:
    """Return the designs that meet the targets in the first carrier that has any, the cheapest first.

    Raises:
        BadInput: if no carrier has any; the text names the nearest targets that could be met in each.
    """
    survive = tuple(round(targets.magnitude + f * (1 - targets.magnitude), 4) for f in ABOVE)
    refusals = []
    chosen = [Carrier.choose(weights, carriers[0])] if len(carriers) == 1 else _present(weights, carriers)
    for carrier in chosen:
        pool = Pool.measure(weights, carrier, survive=survive, low=LOWS)
        found = sorted(_designs(pool, targets), key=lambda d: (d.energy, d.share))
        if found:
            return found
        refusals.append(f"carrier '{carrier.rule}' ({pool.size:,} weights): {_nearest(pool, targets)}")
    if wide := no_carriers(weights):
        refusals.append(f"none with {named_dtypes(wide)}: cast the checkpoint to a dtype that carries first")
    raise BadInput(
        f"no protected code meets {_text(targets)}; possible would be, in {'; in '.join(refusals)}; "
        "a model that is fine-tuned while it is marked bears larger budgets"
    )


def _present(weights: Weights, rules: Sequence[str]) -> list[Carrier]:
    """Return the carriers that rules give, without those of which the model has none."""
    found = []
    for rule in rules:
        with contextlib.suppress(BadInput):  # a model without a classifier, say
            found.append(Carrier.choose(weights, rule))
    return found or [Carrier.choose(weights, rules[-1])]


def _text(targets: Targets) -> str:
    return (
        f"magnitude={targets.magnitude:g}, random={targets.random:g}, noise={targets.noise:g} with "
        f"{targets.payload_bits} bits and energy {targets.energy:g} of the pool, "
        f"{targets.depth_energy:g} summed over layers"
    )


def _designs(pool: Pool, targets: Targets) -> Iterator[Design]:
    for length, weight in BLOCKS:
        for survive in pool.t1:
            for low in (rate for rate in pool.t0 if rate < survive):
                made = _cheapest(pool, targets, length, weight, survive, low)
                if made and _within(targets, made.energy, made.depth_energy):
                    yield made


def _within(targets: Targets, energy: float, depth_energy: float) -> bool:
    return energy <= targets.energy and depth_energy <= targets.depth_energy


def _cheapest(pool: Pool, targets: Targets, length: int, weight: int, survive: float, low: float) -> Design | None:
    """Return the design with the fewest blocks of this kind that meets the survival targets, if it fits.

    Most kinds are over the budgets even without noise, which takes no integral to say.
    """
    lost = 1 - (1 - targets.random) ** weight
    most = int(min(MOST_OF_POOL * pool.size / length, (1 - survive) * pool.size / (2 * weight)))
    least = fewest_blocks(length, weight, targets.payload_bits, most, lost, 0.0)
    if least is None or not _within(targets, *_energies(pool, least[0], length, weight, survive, low)):
        return None
    zeros = np.minimum(pool.quantiles, pool.t0[low]).astype(np.float64)
    delta = targets.noise * math.sqrt(pool.power)
    wrong = _misread(zeros.tobytes(), pool.t1[survive], delta, length, weight)
    outer = fewest_blocks(length, weight, targets.payload_bits, most, lost, wrong)
    if outer is None:
        return None
    blocks, codewords, random, noise = outer
    energy, depth_energy = _energies(pool, blocks, length, weight, survive, low)
    return Design(
        carrier=pool.carrier.rule,
        blocks=blocks,
        block_length=length,
        block_weight=weight,
        codewords=codewords,
        survive=survive,
        low=low,
        t1=pool.t1[survive],
        t0=pool.t0[low],
        share=blocks * length / pool.size,
        energy=energy,
        depth_energy=depth_energy,
        magnitude=1.0,  # certain up to the survival rate, which is at least the target
        random=random,
        noise=noise,
    )


def _energies(pool: Pool, blocks: int, length: int, weight: int, survive: float, low: float) -> tuple[float, float]:
    """Return the energy that so many blocks cost, and their depth energy."""
    ones, zeros = blocks * weight, blocks * (length - weight)
    return (
        pool.energy(ones, zeros, survive=survive, low=low),
        pool.depth_energy(ones, zeros, survive=survive, low=low),
    )


@lru_cache(maxsize=4096)
def _misread(zeros: bytes, one: float, delta: float, length: int, weight: int) -> float:
    return misread_under_noise(np.frombuffer(zeros), one, delta, length, weight)


@lru_cache(maxsize=4096)
def fewest_blocks(
    length: int, weight: int, payload_bits: int, most: int, lost: float, wrong: float
) -> tuple[int, int, float, float] | None:
    """Return (n, codewords, P(recovered) if blocks are lost, if misread) of the fewest blocks; None above `most`.

    To one block: where n - n_data is odd, one block corrects no further error.

    Args:
        length, weight: of a block; it carries m = floor(log2 C(L_b, alpha_b)) bits, at most 16.
        payload_bits: k. most: blocks that fit.
        lost: P(a block loses a one), an erasure. wrong: P(a block is misread), an error.
    """
    bits = min(16, math.comb(length, weight).bit_length() - 1)
    for codewords in range(1, _CODEWORDS + 1):
        data = -(-(-(-payload_bits // codewords) + CHECK_BITS) // bits)
        longest = 2**bits - 1
        least = max(data, (codewords - 1) * longest // codewords + 1)  # fewer blocks would need fewer codewords
        counts = range(least, min(longest, LONGEST, most // codewords) + 1)

        def whole(count: int, data: int = data, codewords: int = codewords) -> tuple[float, float]:
            laws = (recovered_after_erasures(count, data, lost), recovered_after_errors(count, data, wrong))
            return laws[0] ** codewords, laws[1] ** codewords

        first = bisect_left(counts, True, key=lambda count: min(whole(count)) >= 1 - FAILURE)
        if first < len(counts):
            return counts[first] * codewords, codewords, *whole(counts[first])
    return None


def _nearest(pool: Pool, targets: Targets) -> str:
    """Return which targets could be met if one of them were lowered, the others kept."""

    def possible(**changed: float) -> bool:
        return any(True for _ in _designs(pool, replace(targets, **changed)))  # type: ignore[arg-type]

    options: Mapping[str, Callable[[], str | None]] = {
        "random": lambda: _largest(lambda x: possible(random=x), targets.random),
        "noise": lambda: _largest(lambda x: possible(noise=x), targets.noise),
        "payload-bits": lambda: _largest(lambda x: possible(payload_bits=max(1, int(x))), targets.payload_bits),
        "budget-energy": lambda: _smallest(lambda x: possible(energy=x), targets.energy),
        "budget-depth": lambda: _smallest(lambda x: possible(depth_energy=x), targets.depth_energy),
    }
    found = [f"{name} {value}" for name, find in options.items() if (value := find()) is not None]
    return " or ".join(found) if found else "nothing by changing one target; take a larger carrier or fewer bits"


def _largest(possible: Callable[[float], bool], wanted: float) -> str | None:
    """Return, to 5 % of `wanted`, the largest value below it that is possible, or None."""
    value = _first([wanted * f for f in np.linspace(0.95, 0.05, 19)], possible)
    return None if value is None else f"{int(value)}" if wanted >= 1 else f"{value:.2g}"


def _smallest(possible: Callable[[float], bool], wanted: float) -> str | None:
    """Return, to about 20 %, the smallest value above `wanted` that is possible, up to two million times."""
    value = _first([wanted * 1.2**i for i in range(1, 80)], possible)
    return None if value is None else f"{value:.2g}"


def _first(values: Sequence[float], possible: Callable[[float], bool]) -> float | None:
    """Return the first possible value of a list that grows easier, or None."""
    index = bisect_left(values, True, key=possible)
    return values[index] if index < len(values) else None
