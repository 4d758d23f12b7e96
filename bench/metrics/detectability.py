"""How visible a mark is without its key: repeated values, a two-sample test, a classifier on weight statistics.

The counts and the test compare the marked carrier with that of the unmarked control, which no attacker has: they
bound what an attacker can see. The classifier learns on other hosts what a marked layer looks like, as an
attacker could.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import kolmogorov
from torch import Tensor, nn

from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import as_weights

Facts = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
Model = nn.Module | Mapping[str, Tensor]

_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_DIGITS = 6
_LARGEST_SAMPLE = 1 << 22  # more would tell distances below 1e-3 apart, at minutes on a CPU
_KINDS = (("marked_layers", 1), ("control_layers", 0))

FEATURES = (
    "log10 of the standard deviation",
    "mean over standard deviation",
    "skewness",
    "excess kurtosis",
    *(f"quantile {q} of |w| over the root mean square" for q in _QUANTILES),
    "largest |w| over the root mean square",
    "share of repeated |w|",
    "log2 of how often the commonest |w| occurs",
    "share of zeros",
)


@dataclass(frozen=True)
class Detectability:
    """How visible a scheme's marks are, over several marked models.

    Attributes:
        repeats: weights of the marked carriers whose magnitude repeats beyond chance, summed over the models.
        ks_statistic: largest Kolmogorov-Smirnov distance of a marked carrier from its control, in [0, 1].
        log10_p: the smallest p-value of that test times the number of models, log10.
        auc: area under the ROC curve of the classifier; 1/2 is chance, 1 is plain to see.
        auc_interval: its 95 % interval.
    """

    repeats: int
    ks_statistic: float
    log10_p: float
    auc: float
    auc_interval: tuple[float, float]


def exact_repeats(tensor: Tensor, chance: int = 1) -> int:
    """Return how many entries, of any shape and dtype, have a magnitude that occurs more than `chance` times.

    Zeros do not count. Pairs occur in every large model, since floats are few where weights are many: thousands
    in half a million float32 weights. So compare with `commonest` of an unmarked control.
    """
    counts = _multiplicities(tensor)
    return int(counts[counts > chance].sum())


def commonest(tensor: Tensor) -> int:
    """Return how often the commonest magnitude but zero occurs; 0 if all are zero."""
    return max(_multiplicities(tensor).tolist(), default=0)


def _multiplicities(tensor: Tensor) -> Tensor:
    """Return how often each magnitude but zero occurs, int64 (distinct,)."""
    magnitudes = tensor.detach().abs().reshape(-1)
    _, counts = torch.unique(magnitudes[magnitudes > 0], return_counts=True)
    return torch.as_tensor(counts)


def two_sample_test(sample: Tensor, other: Tensor) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of two samples (n,), (m,), and its asymptotic log10 p-value.

    Of more than 4 million values every k-th is taken. The p-value supposes independent samples. A marked
    model and its control start from one host and are closer than that: the test errs towards "covert".
    """
    first, second = (s[:: -(-len(s) // _LARGEST_SAMPLE)].sort().values for s in (sample, other))
    values = torch.cat([first, second])
    steps = [torch.searchsorted(s, values, right=True).double() / len(s) for s in (first, second)]
    distance = float((steps[0] - steps[1]).abs().max())
    size = math.sqrt(len(first) / (len(first) + len(second)) * len(second))
    return distance, _log10_kolmogorov(size * distance)


def _log10_kolmogorov(x: float) -> float:
    """Return log10 P(K > x) of Kolmogorov's distribution; by its leading term where floats would underflow."""
    if x < 4:  # the next term is smaller by exp(-6 x^2)
        return math.log10(float(kolmogorov(x)))
    return math.log10(2) - 2 * x * x / math.log(10)


def layer_features(tensor: Tensor) -> list[float]:
    """Return the statistics of one layer that `FEATURES` names, 12 finite floats; zeros if it is constant.

    All but the first are free of scale. Non-finite weights count as zero.
    """
    values = torch.nan_to_num(tensor.detach().reshape(-1).double(), nan=0.0, posinf=0.0, neginf=0.0)
    spread = float(values.std(correction=0))
    if spread == 0:
        return [0.0] * len(FEATURES)
    standard = (values - values.mean()) / spread
    magnitudes = np.sort((values.abs() / values.square().mean().sqrt()).cpu().numpy())
    features = [
        math.log10(spread),
        float(values.mean()) / spread,
        float(standard.pow(3).mean()),
        float(standard.pow(4).mean()) - 3,
        *(float(np.quantile(magnitudes, q)) for q in _QUANTILES),
        float(magnitudes[-1]),
        exact_repeats(tensor) / len(values),
        math.log2(commonest(tensor)),
        float((values == 0).double().mean()),
    ]
    return [round(feature, _DIGITS) for feature in features]


def detectability_facts(marked: Model, control: Model, carrier: Carrier) -> dict[str, Any]:
    """Return what one marked model contributes, as JSON values for its record.

    Args:
        marked: the marked model, or its state; any device.
        control: its unmarked twin, trained with the same batches and steps.
        carrier: the mark's; its layers are those that are looked at.

    Returns:
        ``repeats`` (`exact_repeats` in the pool of magnitudes commoner than the control's commonest),
        ``ks_statistic`` and ``log10_p`` (of |w| over each layer's root mean square, pooled), ``marked_layers`` and
        ``control_layers`` (`layer_features` of each layer).

    Raises:
        BadInput: if a model lacks a layer of the carrier, or has it in another shape.
    """
    pools = {"marked": _layers(marked, carrier, "marked"), "control": _layers(control, carrier, "control")}
    flat = {kind: torch.cat([layer.float().reshape(-1) for layer in layers]) for kind, layers in pools.items()}
    standard = {kind: torch.cat([_standardised(layer) for layer in layers]) for kind, layers in pools.items()}
    distance, log10_p = two_sample_test(standard["marked"], standard["control"])
    return {
        "repeats": exact_repeats(flat["marked"], commonest(flat["control"])),
        "ks_statistic": distance,
        "log10_p": log10_p,
        "marked_layers": [layer_features(layer) for layer in pools["marked"]],
        "control_layers": [layer_features(layer) for layer in pools["control"]],
    }


def _layers(model: Model, carrier: Carrier, kind: str) -> list[Tensor]:
    weights = as_weights(model)
    missing = carrier.missing(weights)
    if missing:
        reason = next(iter(missing.values()))
        raise BadInput(f"the {kind} model lacks a carrier layer: {reason}; compare models of one shape")
    return [weights.tensor(layer.name) for layer in carrier.layers]


def _standardised(layer: Tensor) -> Tensor:
    """Return the magnitudes of a layer over their root mean square, float32 (n,)."""
    magnitudes = torch.nan_to_num(layer.float().abs().reshape(-1), nan=0.0, posinf=0.0, neginf=0.0)
    scale = magnitudes.square().mean().sqrt()
    return magnitudes / scale if scale > 0 else magnitudes


def auc_of(facts: Sequence[Facts], hosts: Sequence[Hashable]) -> tuple[float, float, float]:
    """Return how well a classifier tells marked layers from unmarked ones, and the 95 % interval: (auc, low, high).

    A logistic regression on the standardised statistics of each layer scores a host that it never saw: it is
    cross-validated by leaving one host out. Marked layers of each host are compared with unmarked ones of
    the others only, since no attacker holds the unmarked twin of a suspected model, whose own peculiarities
    would cancel. The interval is the wider of two: Student's with Obuchowski's variance for clustered data
    (Biometrics 1997), hosts being the clusters, and Wilson's with the number of marked layers for a sample
    size, which does not vanish where every layer is told.

    Args:
        facts: of `detectability_facts`, each marked model once.
        hosts: for each what its host is called, such as its seed; facts of one host are left out together.

    Raises:
        BadInput: for fewer than two hosts.
    """
    groups = {host: [f for f, h in zip(facts, hosts, strict=True) if h == host] for host in hosts}
    if len(groups) < 2:
        raise BadInput(f"the area under the curve needs models of at least two hosts, not {len(groups)}")
    scores = [
        _scores([f for other, seen in groups.items() if other != host for f in seen], judged)
        for host, judged in groups.items()
    ]
    areas = np.array([[_area(marked, control) for _, control in scores] for marked, _ in scores])
    np.fill_diagonal(areas, np.nan)
    return float(np.nanmean(areas)), *_interval(areas, sum(len(f["marked_layers"]) for f in facts))


def _scores(seen: Sequence[Facts], judged: Sequence[Facts]) -> tuple[Floats, Floats]:
    """Return how marked the marked and the unmarked layers of `judged` look, after learning from `seen`."""
    from sklearn.linear_model import LogisticRegression  # tables alone ask for it, and it takes a second to load
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(*_samples(seen))
    features, labels = _samples(judged)
    scores = classifier.decision_function(features)
    return scores[labels == 1], scores[labels == 0]


def _area(marked: Floats, control: Floats) -> float:
    """Return P(a marked layer scores higher than an unmarked one), ties by half."""
    difference = marked[:, None] - control[None, :]
    return float(np.mean((np.sign(difference) + 1) / 2))


def _samples(facts: Sequence[Facts]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return features (n, 12) and labels (n,), 1 for marked."""
    rows = [(row, label) for f in facts for kind, label in _KINDS for row in f[kind]]
    return np.array([row for row, _ in rows]), np.array([label for _, label in rows])


def _interval(areas: Floats, layers: int) -> tuple[float, float]:
    """Return the wider of both intervals, within [0, 1], of areas (hosts, hosts) with NaN on the diagonal."""
    from scipy.stats import t as student  # takes most of a second to load

    mean, hosts = float(np.nanmean(areas)), len(areas)
    spread = float(np.std(np.nanmean(areas, axis=1) + np.nanmean(areas, axis=0), ddof=1))
    reach = float(student.ppf(0.975, hosts - 1)) * spread / math.sqrt(hosts)
    z2 = 1.959964**2 / layers
    middle = (mean + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * mean * (1 - mean) + z2 * z2 / 4) / (1 + z2)
    return max(0.0, min(mean - reach, middle - half)), min(1.0, max(mean + reach, middle + half))


def summarise(facts: Sequence[Facts], hosts: Sequence[Hashable]) -> Detectability:
    """Return the detectability of a scheme from the facts of its marked models, as `auc_of`."""
    auc, low, high = auc_of(facts, hosts)
    return Detectability(
        repeats=sum(f["repeats"] for f in facts),
        ks_statistic=max(f["ks_statistic"] for f in facts),
        log10_p=min(0.0, min(f["log10_p"] for f in facts) + math.log10(len(facts))),
        auc=auc,
        auc_interval=(low, high),
    )


def detectability(pairs: Sequence[tuple[Model, Model, Carrier]]) -> Detectability:
    """Return the detectability of (marked model, unmarked control, carrier), each pair of another host.

    Raises:
        BadInput: for fewer than two pairs, or as `detectability_facts`.
    """
    return summarise([detectability_facts(*pair) for pair in pairs], range(len(pairs)))
