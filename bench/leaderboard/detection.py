"""How surely marks are told: false positives of wrong keys, true positives after attacks, and detectability."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from statistics import fmean

from bench.leaderboard.points import PROOF, USEFUL, Point, RunRow, by_scheme
from bench.leaderboard.table_text import Table
from bench.metrics.accuracy import rate_interval
from bench.metrics.detectability import auc_of
from bench.metrics.false_positives import NOMINAL as COUNTED
from bench.records.schema import Detectability, MarkedResult, Null
from cwwm.ownership.evidence import PROOF_RATE

ABOUT_DETECTION = (
    "Wrong keys, each with a random claim, on marked models and their unmarked controls; true positives over "
    "all attacks on embedded marks that leave the model useful; 95 % intervals. A false-positive rate whose "
    "interval excludes the nominal one is flagged. Bold: it is higher, so the p-values are too small, or it is "
    "chance, which flags one exact rate in forty at most. Italic: it is lower, as that of discrete counts may "
    f"be. A critical value is measured from 10,000 wrong keys on, below it is by law; that of {PROOF_RATE:g} is "
    "by law."
)
ABOUT_TRUE_POSITIVES = (
    "Points of the ROC curve after each attack: percent of claims with p at most 1e-3, 1e-6 and "
    f"{PROOF_RATE:g}, by law, over rows of embedded runs whose attack leaves the model useful (at most 3 points "
    "lost, or put to a new task)."
)
ABOUT_DETECTABILITY = (
    "What shows without a key: magnitudes that repeat beyond chance, a two-sample test of the marked carrier "
    "against its unmarked control, and a classifier on weight statistics that judges layers of hosts it never "
    "saw (area under its curve, 95 % interval; 0.5 is chance)."
)

NOMINAL = -3.0  # log10 of the false-positive rate that can be measured
_ENOUGH = 10  # false positives to be expected before a rate counts as measured
ROC_RATES = (-3.0, -6.0, PROOF)  # log10 of the false-positive rates at which true positives are told
_VISIBLE = -3.0  # log10 of the p-value at which the two-sample test tells a marked model from its control


def detection_table(points: Sequence[Point]) -> Table:
    """Return false positives and true positives of each scheme and payload.

    Wrong keys are those tried on marked models and on their unmarked controls, over all models and seeds. Their
    p-values give the false-positive rate at nominal 1e-3 and 1e-6, and, from 10,000 wrong keys on, the critical
    log10 p: a claim is positive if it lies below; with fewer keys, if it is at most -3 ("by law"). True positives
    are counted over all rows of embedded runs whose attack leaves the model useful (see `useful_rows`).
    Intervals are Clopper and Pearson's, 95 %; see `flagged` for those that exclude the nominal rate.
    """
    headers = [
        "scheme", "bits", "wrong keys", "false positives at 1e-3", "at 1e-6", "critical log10 p at 1e-3",
        "true positives at 1e-3", f"at {PROOF_RATE:g} (by law)", "useful rows",
    ]  # fmt: skip
    return headers, [_detection(*group, own) for group, own in sorted(by_scheme(points).items())]


def true_positive_table(points: Sequence[Point]) -> Table:
    """Return the true positives of each scheme after each attack, percent at each of `ROC_RATES`."""
    attacks = sorted({point.attack for point in points})
    rows: list[list[object]] = [
        [*entry, *(_true_positives([p for p in own if p.attack == attack]) for attack in attacks)]
        for entry, own in sorted(by_scheme(points).items())
    ]
    return ["scheme", "bits", *attacks], rows


def _true_positives(points: Sequence[Point]) -> str:
    rows = useful_rows(points)
    if not rows:
        return "-"
    return " ".join(f"{100 * fmean(row.row.log10_p <= rate for row in rows):.0f}" for rate in ROC_RATES)


def useful_rows(points: Iterable[Point]) -> list[RunRow]:
    """Return the rows of embedded runs whose attack left the model useful, or put it to a new task."""
    rows = [row for point in points for row in point.runs if row.record.marked.recovered]
    return [row for row in rows if row.lost is None or row.lost <= USEFUL]


def detectability_table(points: Sequence[Point]) -> Table:
    """Return what shows of each scheme's marks without a key, over all models and seeds.

    Exact repeats and the Kolmogorov-Smirnov distance of marked carriers from their controls are means; the area
    under the curve of the classifier that judges layers of models it never saw takes at least two models.
    """
    headers = ["scheme", "bits", "models", "exact repeats", "KS distance", "KS p < 1e-3", "AUC of a classifier"]
    return headers, [_detectability(*group, own) for group, own in sorted(by_scheme(points).items())]


def critical_log10_p(samples: Sequence[Null], log10_rate: float = NOMINAL) -> float | None:
    """Return the log10 p below which a claim is positive, as measured on wrong keys; None if they are too few.

    Of n wrong keys the k-th lowest p-value, k the largest whole number up to rate times (n + 1): the next wrong key
    falls strictly below it with at most that rate, whatever the distribution, ties included.

    Args:
        samples: of each suspect one; of their p-values only the
            lowest are known, so the result is never above what is known of all.
        log10_rate: of the false positives.
    """
    rate, trials = 10**log10_rate, sum(sample.trials for sample in samples)
    if trials < _ENOUGH / rate:
        return None
    lowest = sorted(chain.from_iterable(sample.lowest for sample in samples))
    cut = [sample.lowest[-1] for sample in samples if len(sample.lowest) < sample.trials]
    rank = int(rate * (trials + 1))
    return float(min([*lowest[rank - 1 : rank], *cut]))


def _marked(points: Sequence[Point]) -> dict[tuple[str, int], MarkedResult]:
    """Return each marked model, by model and seed."""
    return {(point.model, run.seed): run.record.marked for point in points for run in point.runs}


def _detection(scheme: str, payload: int, points: Sequence[Point]) -> list[object]:
    nulls = [marked.null for marked in _marked(points).values() if marked.null]  # older records have none
    samples = [null for both in nulls for null in (both.unmarked, both.marked) if null.trials]
    trials = sum(sample.trials for sample in samples)
    rows = [run.row for run in useful_rows(points)]
    critical = critical_log10_p(samples)
    if critical is None:
        found, threshold = sum(row.log10_p <= NOMINAL for row in rows), f"{NOMINAL:.2f} by law"
    else:
        found, threshold = sum(row.log10_p < critical for row in rows), f"{critical:.2f} measured"
    proven = sum(row.log10_p <= PROOF for row in rows)
    return [
        scheme, payload, f"{trials:,}" if trials else "-",
        *(flagged(sum(s.below[f"{level}"] for s in samples), trials, 10.0**level) for level in COUNTED),
        threshold, _rate(found, len(rows)), _rate(proven, len(rows)), len(rows) or "-",
    ]  # fmt: skip


def _detectability(scheme: str, payload: int, points: Sequence[Point]) -> list[object]:
    shown = {place: marked.detectability for place, marked in _marked(points).items() if marked.detectability}
    facts = list(shown.values())
    if not facts:
        return [scheme, payload, *["-"] * 5]
    visible = sum(f.log10_p < _VISIBLE for f in facts)
    return [
        scheme, payload, len(facts), f"{fmean(f.repeats for f in facts):.0f}",
        f"{fmean(f.ks_statistic for f in facts):.2g}", f"{visible}/{len(facts)}", _auc(shown),
    ]  # fmt: skip


def _auc(shown: Mapping[tuple[str, int], Detectability]) -> str:
    if len(shown) < 2:
        return "-"
    area, low, high = auc_of([facts.model_dump() for facts in shown.values()], list(shown))
    return f"{area:.2f} [{low:.2f}, {high:.2f}]"


def flagged(hits: int, total: int, nominal: float) -> str:
    """Return a rate with its interval: in bold if that lies above the nominal rate, in italics if below."""
    low, high = rate_interval(hits, total) if total else (0.0, 1.0)
    flag = "**" if low > nominal else "*" if high < nominal else ""
    return f"{flag}{_rate(hits, total)}{flag}"


def _rate(hits: int, total: int) -> str:
    if not total:
        return "-"
    low, high = rate_interval(hits, total)
    return f"{hits / total:.3g} [{low:.2g}, {high:.2g}]"
