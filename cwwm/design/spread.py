"""What gain a spread mark gets in a finished checkpoint, and what it then stands, by `cwwm.residual.law`.

Its price is the change of the answers, g^2 sum_l gamma_l^2 C_l of the logits' own spread
(`cwwm.weights.sensitivity`). With some inputs C is measured and the gain takes what is allowed; without, C is not
known, and a gain is taken that is small enough for networks whose answers feel their layers as those measured do.
Where targets are stated, the gain is the least that meets each of them, whatever it costs, and the plan says what.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cwwm.design.spread_targets import MOST_GAIN, Target, TargetStand, least_gains
from cwwm.design.standing import SURE, Stand
from cwwm.ownership.evidence import PROOF_RATE
from cwwm.ownership.mark import Mark
from cwwm.residual.law import Change, LayerStrength, Pattern, averaged, blind, drift, noise, pruned, quantised
from cwwm.schemes import Scheme
from cwwm.schemes.common.spread import GAINS, SpreadScheme
from cwwm.schemes.spread_cwc import SpreadConstantWeight
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.moments import require_finite_carrier
from cwwm.weights.sensitivity import layer_gains
from cwwm.weights.view import Weights

CARRIER = SpreadConstantWeight.carrier
#: squared change of the logits over their spread that keeps about 98 % of the answers: see results/pretrained.md
FELT = 4e-4
CHANGED = 0.02  # the share of the answers that change at it
#: the gain where nobody measured what the answers feel
ALONE = 0.0045

CHANGES: Mapping[str, Change] = {
    "pruning, 98 %": pruned(0.98),
    "noise of 0.2": noise(0.2),
    "8 bits": quantised(8),
    "4 bits": quantised(4),
    "3 bits": quantised(3),
    "average of 4 copies": averaged(4),
    "drift of 5 %": drift(0.05),
    "drift of 20 %": drift(0.2),
    "drift of 50 %": drift(0.5),
    "nothing, but read without the original": blind,
}

#: what a marked copy says to who has key and mark, and not the original
MESSAGE, PROOF, NOTHING = "message", "proof", "nothing"
_SAME = 1.001  # gains this near are one: they are printed in four digits


@dataclass(frozen=True)
class SpreadPlan:
    """A gain and what follows from it.

    Attributes:
        gain: g. allowed: the gain that is taken where no target is stated.
        pool: weights that carry.
        felt: squared change of the logits over their spread; None if not known.
        kept: share of the answers that stay, by law; None if not known.
        targets: what is left after each stated target. stands: against `CHANGES`.
    """

    gain: float
    allowed: float
    pool: int
    felt: float | None
    kept: float | None
    targets: tuple[TargetStand, ...]
    stands: tuple[Stand, ...]

    @property
    def is_dear(self) -> bool:
        """Say whether the gain costs more answers than where no target is stated."""
        return self.gain > self.allowed * _SAME

    @property
    def dear_targets(self) -> list[TargetStand]:
        """Return the targets that by themselves ask for more than is allowed, the strictest first."""
        asked = [
            (t.least_gain, t) for t in self.targets if t.least_gain is not None and t.least_gain > self.allowed
        ]
        return [target for _, target in sorted(asked, key=lambda each: -each[0])]

    @property
    def missed(self) -> list[TargetStand]:
        """Return the targets that the gain does not meet."""
        return [target for target in self.targets if target.recovered < SURE]


def plan_spread(
    weights: Weights,
    payload_bits: int,
    *,
    rule: str = CARRIER,
    gain: float | None = None,
    sensitivity: Mapping[str, float] | None = None,
    targets: Sequence[Target] = (),
) -> SpreadPlan:
    """Return the plan of `spread-cwc` in a checkpoint.

    Args:
        weights: the checkpoint.
        payload_bits: k.
        rule: that chooses the host layers.
        gain: g; None chooses it.
        sensitivity: C by layer, if it was measured.
        targets: that the chosen gain meets, each by itself; the least gain that does is taken.

    Raises:
        BadInput: if the pool is too small for the message or holds no finite weights, if no gain meets a target,
            or as `Carrier.choose`.
    """
    return _plan(weights, SpreadConstantWeight(payload_bits=payload_bits, carrier=rule), gain, sensitivity, targets)


def gain_for_targets(
    weights: Weights,
    scheme: SpreadConstantWeight,
    targets: Sequence[Target],
    *,
    gain: float | None = None,
    sensitivity: Mapping[str, float] | None = None,
) -> float:
    """Return the gain that meets targets for a mark of `scheme`, whose own gain counts for nothing.

    Args:
        weights, sensitivity: as `plan_spread`.
        scheme: with payload, carrier and form.
        targets: at least one.
        gain: that the owner chose, whatever it costs; None chooses it.

    Raises:
        BadInput: as `plan_spread`; if the gain costs more answers than where no target is stated, or one that the
            owner chose does not meet a target.
    """
    found = _plan(weights, scheme, gain, sensitivity, targets)
    if gain is None and found.is_dear:
        raise BadInput(
            f"--survive {_asking(found)}: more than is taken by default, {_price(found)}; --set "
            f"gain={found.gain:g} takes it all the same"
        )
    if gain is not None and found.missed:
        raise BadInput(
            f"a gain of {gain:g} does not meet {', '.join(target.change for target in found.missed)}; leave --set "
            "gain out to have it planned, or the target"
        )
    return found.gain


def _asking(plan: SpreadPlan) -> str:
    return ", ".join(f"{target.change} asks for a gain of {target.least_gain:g}" for target in plan.dear_targets)


def _price(plan: SpreadPlan) -> str:
    if plan.kept is None:
        return f"{ALONE:g}, and what the answers feel was not measured (--images and --network allow more)"
    return f"about {plan.kept:.1%} of the answers would stay, by law, and by default {1 - CHANGED:.0%} do"


def _plan(
    weights: Weights,
    scheme: SpreadConstantWeight,
    gain: float | None,
    sensitivity: Mapping[str, float] | None,
    targets: Sequence[Target],
) -> SpreadPlan:
    carrier = Carrier.choose(weights, scheme.carrier)
    require_finite_carrier(weights, carrier)
    gains = layer_gains(carrier.layers, sensitivity)
    felt = None if sensitivity is None else _felt(gains, sensitivity)
    code, unit = scheme.fitted_to(carrier.size).keyed_code.code, Pattern.of(weights, carrier.layers, gains)
    least: list[float | None] = [None] * len(targets)
    if gain is None:
        where = f"{scheme.payload_bits} bits in {carrier.size:,} weights (carrier {scheme.carrier})"
        least = [*least_gains(unit, code, targets, where)]
        gain = max(filter(None, least), default=_gain(felt))
    pattern = unit.times(gain)
    felt_now = None if felt is None else gain**2 * felt
    return SpreadPlan(
        gain=gain,
        allowed=_gain(felt),
        pool=carrier.size,
        felt=felt_now,
        kept=None if felt_now is None else answers_kept(felt_now),
        targets=tuple(
            TargetStand(**vars(Stand.at(str(target), pattern.after(target.change), code)), least_gain=asked)
            for target, asked in zip(targets, least, strict=True)
        ),
        stands=tuple(Stand.at(name, pattern.after(change), code) for name, change in CHANGES.items()),
    )


def answers_kept(felt: float) -> float:
    """Return the share of the answers that stay, by law, for a felt change far below 1.

    An answer changes if the lead m of the largest logit is less than what the second gains on it, d. Of small
    changes d is about normal about 0, of a variance in proportion to the felt change, and leads that small have
    about the density p of leads at 0: the integral of p P(d > m) over m is p E max(d, 0), in proportion to the
    square root of the felt change. The factor is what was measured at `FELT`.
    """
    return max(0.0, 1 - CHANGED * math.sqrt(felt / FELT))


def planned_gain(weights: Weights, rule: str, sensitivity: Mapping[str, float] | None) -> float:
    """Return the gain of a plan, and nothing of what it stands: no weight is read.

    Raises:
        BadInput: as `Carrier.choose`.
    """
    if sensitivity is None:
        return ALONE
    return _gain(_felt(layer_gains(Carrier.choose(weights, rule).layers, sensitivity), sensitivity))


def _gain(unit: float | None) -> float:
    """Return the gain taken by default for a felt change a unit of g^2, None where nobody measured it."""
    return ALONE if unit is None else min(MOST_GAIN, math.sqrt(FELT / max(unit, 1e-12)))


def _felt(gains: Mapping[str, float], sensitivity: Mapping[str, float]) -> float:
    """Return the felt change a unit of g^2."""
    return sum(gamma**2 * sensitivity.get(name, 0.0) for name, gamma in gains.items())


def said_blind(scheme: Scheme, mark: Mark) -> str:
    """Return what a marked copy says without the original: `MESSAGE`, `PROOF` or `NOTHING`.

    Marks whose amplitude follows the channels are embedded however small they are, and get the law's answer; all
    others were read back blind when they were embedded.
    """
    if not isinstance(scheme, SpreadScheme) or not scheme.weighs_layers or mark.carrier is None:
        return MESSAGE
    gain, gains = scheme.gain_for(mark.carrier.size), mark.state[GAINS]
    layers = [LayerStrength(layer.size, gain * gains[layer.name], 1.0, 1.0) for layer in mark.carrier.layers]
    stand = Stand.at("", Pattern(layers).after(blind), scheme.fitted_to(mark.carrier.size).code)
    if stand.recovered >= SURE:
        return MESSAGE
    return PROOF if stand.log10_p <= math.log10(PROOF_RATE) else NOTHING
