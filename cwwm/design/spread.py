"""What gain a spread mark gets in a finished checkpoint, and what it then stands, by `cwwm.residual.law`.

Its price is the change of the answers, g^2 sum_l gamma_l^2 C_l of the logits' own spread
(`cwwm.weights.sensitivity`). With some inputs C is measured and the gain takes what is allowed; without, C is not
known, and a gain is taken that is small enough for networks whose answers feel their layers as those measured do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cwwm.codes.linear import LinearCode
from cwwm.codes.multilevel import MultilevelPolar
from cwwm.codes.polar import PolarCode
from cwwm.ownership.evidence import PROOF_RATE, SUREST, log10_bound_of_signs
from cwwm.ownership.mark import Mark
from cwwm.residual.law import Change, LayerStrength, Pattern, averaged, blind, drift, noise, pruned, quantised
from cwwm.schemes import Scheme
from cwwm.schemes.common.spread import GAINS, SpreadScheme
from cwwm.schemes.spread_cwc import SpreadConstantWeight
from cwwm.weights.carrier import Carrier
from cwwm.weights.sensitivity import layer_gains
from cwwm.weights.view import Weights

CARRIER = SpreadConstantWeight.carrier
#: squared change of the logits over their spread that keeps about 98 % of the answers: see results/pretrained.md
FELT = 4e-4
#: the gain where nobody measured what the answers feel
ALONE = 0.0045
MOST_GAIN = 0.1

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
_SURE = 0.99  # probability from which a message counts as readable


@dataclass(frozen=True)
class Stand:
    """What is left of a mark after a change.

    Attributes:
        change: in words. snr2: by law. recovered: probability that the message is. log10_p: of the proof, and no
            surer than any verdict.
    """

    change: str
    snr2: float
    recovered: float
    log10_p: float


@dataclass(frozen=True)
class SpreadPlan:
    """A gain and what follows from it.

    Attributes:
        gain: g. pool: weights that carry. felt: squared change of the logits over their spread; None if not known.
        stands: against `CHANGES`.
    """

    gain: float
    pool: int
    felt: float | None
    stands: tuple[Stand, ...]


def plan_spread(
    weights: Weights,
    payload_bits: int,
    *,
    rule: str = CARRIER,
    gain: float | None = None,
    sensitivity: Mapping[str, float] | None = None,
) -> SpreadPlan:
    """Return the plan of `spread-cwc` in a checkpoint.

    Args:
        weights: the checkpoint.
        payload_bits: k.
        rule: that chooses the host layers.
        gain: g; None chooses it.
        sensitivity: C by layer, if it was measured.

    Raises:
        BadInput: if the pool is too small for the message, or as `Carrier.choose`.
    """
    carrier = Carrier.choose(weights, rule)
    gains = layer_gains(carrier.layers, sensitivity)
    unit = None if sensitivity is None else _felt(gains, sensitivity)
    if gain is None:
        gain = _gain(unit)
    code = SpreadConstantWeight(payload_bits=payload_bits, carrier=rule).fitted_to(carrier.size).keyed_code.code
    pattern = Pattern.of(weights, carrier.layers, {name: gain * gamma for name, gamma in gains.items()})
    stands = tuple(_stand(name, pattern.after(change), code) for name, change in CHANGES.items())
    return SpreadPlan(gain, carrier.size, None if unit is None else gain**2 * unit, stands)


def planned_gain(weights: Weights, rule: str, sensitivity: Mapping[str, float] | None) -> float:
    """Return the gain of a plan, and nothing of what it stands: no weight is read.

    Raises:
        BadInput: as `Carrier.choose`.
    """
    if sensitivity is None:
        return ALONE
    return _gain(_felt(layer_gains(Carrier.choose(weights, rule).layers, sensitivity), sensitivity))


def _gain(unit: float | None) -> float:
    """Return the gain for a felt change a unit of g^2, None where nobody measured it."""
    return ALONE if unit is None else min(MOST_GAIN, math.sqrt(FELT / max(unit, 1e-12)))


def _felt(gains: Mapping[str, float], sensitivity: Mapping[str, float]) -> float:
    """Return the felt change a unit of g^2."""
    return sum(gamma**2 * sensitivity.get(name, 0.0) for name, gamma in gains.items())


def _stand(change: str, snr2: float, code: LinearCode | PolarCode | MultilevelPolar) -> Stand:
    recovered = 0.0 if isinstance(code, LinearCode) else code.success(snr2)  # of linear codes SNR2 tells no law
    return Stand(change, snr2, recovered, max(SUREST, log10_bound_of_signs(math.sqrt(max(snr2, 0.0)))))


def said_blind(scheme: Scheme, mark: Mark) -> str:
    """Return what a marked copy says without the original: `MESSAGE`, `PROOF` or `NOTHING`.

    Marks whose amplitude follows the channels are embedded however small they are, and get the law's answer; all
    others were read back blind when they were embedded.
    """
    if not isinstance(scheme, SpreadScheme) or not scheme.weighs_layers or mark.carrier is None:
        return MESSAGE
    gain, gains = scheme.gain_for(mark.carrier.size), mark.state[GAINS]
    layers = [LayerStrength(layer.size, gain * gains[layer.name], 1.0, 1.0) for layer in mark.carrier.layers]
    stand = _stand("", Pattern(layers).after(blind), scheme.fitted_to(mark.carrier.size).code)
    if stand.recovered >= _SURE:
        return MESSAGE
    return PROOF if stand.log10_p <= math.log10(PROOF_RATE) else NOTHING
