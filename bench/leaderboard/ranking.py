"""Ranking by the price of removal: the accuracy an attacker gives up at the cheapest attack that works."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.leaderboard.points import Point, Run, by_scheme, mean_known

USEFUL = (0.0, 1.0, 3.0, 5.0)
RANKED_AT = 3.0


@dataclass(frozen=True, order=True)
class Price:
    """Accuracy points; `more` says that no attack did it, and the dearest one tried cost this much."""

    points: float
    more: bool

    def __str__(self) -> str:
        return f"{'> ' if self.more else ''}{self.points:.1f}"


Succeeded = Callable[[Run], bool]


def decisive(points: Sequence[Point], succeeded: Succeeded) -> list[tuple[Run, Price]]:
    """Return for each model and seed the run that fixes its price, and that price.

    That is the cheapest attack which succeeded; where none did, the dearest. A mark whose attacks all changed the
    task has none.
    """
    groups: dict[tuple[str, int], list[tuple[float, Run]]] = {}
    for point in points:
        for run in point.runs:
            if run.lost is not None:
                groups.setdefault((point.model, run.seed), []).append((run.lost, run))
    return [_decisive(runs, succeeded) for runs in groups.values()]


def _decisive(runs: Iterable[tuple[float, Run]], succeeded: Succeeded) -> tuple[Run, Price]:
    ordered = sorted(runs, key=lambda priced: priced[0])
    lost, run = next((priced for priced in ordered if succeeded(priced[1])), ordered[-1])
    return run, Price(lost, not succeeded(run))


def mean_price(points: Sequence[Point], succeeded: Succeeded) -> Price | None:
    """Return the mean price over models and seeds; "more than" if it is so for any of them."""
    prices = [price for _, price in decisive(points, succeeded)]
    return Price(fmean(p.points for p in prices), any(p.more for p in prices)) if prices else None


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard: a scheme at a payload, over all models and seeds.

    Attributes:
        removal: price after which the message does not come back; proof: after which it cannot be proven.
        held: share of messages recovered over all points still useful at 3 points lost, None without any; it parts
            those that fall alike to the cheapest attack.
        worst: the point with the lowest exact-match rate among those still useful at 3 points lost.
        worst_rates: that rate at 0, 1, 3 and 5 points.
        weakest: the useful point with the weakest evidence (median over seeds).
        clean, marked: mean accuracy of controls and of marked models, percent.
        energy, noise_floor: means.
    """

    scheme: str
    payload: int
    models: int
    seeds: int
    removal: Price
    proof: Price
    held: float | None
    worst: Point | None
    worst_rates: tuple[float | None, ...]
    weakest: Point | None
    clean: float
    marked: float
    energy: float | None
    noise_floor: float | None

    @property
    def log10_p(self) -> float | None:
        """Return the weakest evidence among useful points."""
        return None if self.weakest is None else self.weakest.evidence


def rank(points: Sequence[Point]) -> list[Standing]:
    """Return the standings: dearest removal first, then most held, then worst exact rate, least energy, name."""
    standings = [_standing(scheme, payload, own) for (scheme, payload), own in by_scheme(points).items()]

    def order(s: Standing) -> tuple[float, bool, float, float, float, str, int]:
        worst = s.worst_rates[USEFUL.index(RANKED_AT)]
        energy = s.energy if s.energy is not None else 0.0
        removal = (-s.removal.points, not s.removal.more, -(s.held or 0.0))
        return (*removal, -(worst or 0.0), energy, s.scheme, s.payload)

    return sorted(standings, key=order)


def worst_point(points: Sequence[Point], lost: float) -> Point | None:
    """Return the point with the lowest exact-match rate among those useful at `lost` points."""
    useful = [point for point in points if point.useful(lost)]
    return min(useful, key=lambda p: (p.exact[0] / p.exact[1], p.attack, p.strength), default=None)


def _standing(scheme: str, payload: int, points: list[Point]) -> Standing:
    runs = [run for point in points for run in point.runs]
    marks = list({(p.model, r.seed): r.record for p in points for r in p.runs}.values())
    useful = [point for point in points if point.useful(RANKED_AT)]
    nothing = Price(0.0, True)
    return Standing(
        scheme=scheme,
        payload=payload,
        models=len({point.model for point in points}),
        seeds=len({run.seed for run in runs}),
        removal=mean_price(points, lambda run: run.removed) or nothing,
        proof=mean_price(points, lambda run: run.unprovable) or nothing,
        held=_share_recovered(useful),
        worst=worst_point(points, RANKED_AT),
        worst_rates=tuple(_rate(worst_point(points, lost)) for lost in USEFUL),
        weakest=max(useful, key=lambda point: point.evidence, default=None),
        clean=fmean(record.host.accuracy.percent for record in marks),
        marked=fmean(record.marked.accuracy.percent for record in marks),
        energy=mean_known(record.marked.energy for record in marks),
        noise_floor=mean_known(record.marked.noise_floor for record in marks),
    )


def _share_recovered(points: Sequence[Point]) -> float | None:
    hits, total = (sum(point.exact[i] for point in points) for i in (0, 1))
    return hits / total if total else None


def _rate(point: Point | None) -> float | None:
    return None if point is None else point.exact[0] / point.exact[1]
