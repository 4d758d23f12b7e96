"""What docs/findings.md says of the pilot of the board of encodings, and of suite protected."""

from collections import Counter

from bench.calibration.search import LOST
from bench.leaderboard.attacker_tiers import FULL
from bench.leaderboard.ranking import Standing
from bench.suite import load_suite
from tests.figures.registry import claim, holds, word
from tests.figures.sources import standing, standings

PAGE, PILOT = "docs/findings.md", "encodings-pilot"
HOSTS = {"test_resnet-40", "test_convnext2"}
SPREAD, PROTECTED = ("spread-spectrum", "spread-spectrum tuned"), "protected-cwc"


def value(found: Standing, *, full: bool = False) -> float:
    """Return S(1) of a line, to tier 2 or with tier 3."""
    estimate = found.full if full else found.survival
    assert estimate is not None
    return estimate.value


def ranked(suite: str = PILOT, board: str = "encodings") -> list[Standing]:
    """Return the lines of a board at 256 bits that have a rank, best first."""
    return [found for found in standings(suite, 256, board) if found.rank is not None]


def first(suite: str = PILOT, board: str = "encodings") -> int:
    """Return how many lines of a board share the first place at 256 bits."""
    return sum(found.place == "1=" for found in standings(suite, 256, board))


@claim(
    PAGE,
    "it is removed for nothing from a small ViT and ConvNeXt: S(1) with tier 3 is {} in results/protected.",
)
def removed_by_long_fine_tunes() -> list[str]:
    found = standing("protected", PROTECTED)
    cheap = [row for run in found.runs if (row := run.removal((FULL,))) and (row.lost or 0.0) <= 1]
    holds({row.record.key.model for row in cheap} == {"test_vit", "test_convnext2"}, "these two hosts lose it")
    holds({row.row.strength for row in cheap} == {2.5, 5.0}, "rates are 2.5 to 5 times that of training")
    holds(sum(row.lost or 0.0 for row in cheap) / len(cheap) <= 0, "on average nothing is lost")
    return [f"{value(found, full=True):.2f}"]


@claim(
    PAGE,
    "tuned `spread-cwc`, `spread-polar`, `riga`, `uchida` and `st-dm` change fewer than they may, since no more is "
    "in their range or within half a point of accuracy.",
)
def not_equal() -> list[str]:
    reached = load_suite("encodings").calibrated.reached
    short = {label for (label, _, host), facts in reached.items() if host in HOSTS and facts["by"] == "accuracy"}
    names = ("spread-cwc", "spread-polar", "riga", "uchida", "st-dm")
    holds(short == {f"{name} tuned" for name in names}, f"just these fall short: {short}")
    holds(LOST == 1 / 2, "marks may cost half a point")
    return []


@claim(PAGE, "on a residual network and a ConvNeXt, {} runs on each, at equal answers kept;")
def runs_on_each() -> list[str]:
    lines = standings(PILOT, 256)
    by_host = [Counter(run.record.key.model for run in found.runs) for found in lines]
    counts = {count for counted in by_host for count in counted.values()}
    hosts = {host for counted in by_host for host in counted}
    holds(hosts == HOSTS, "a residual network and a ConvNeXt")
    holds(len(counts) == 1, "every scheme has as many runs on each")
    return [word(counts.pop())]


@claim(
    PAGE, "at one point lost up to tier 2 `protected-cwc` and `cwc` keep {} of their messages, which clustering, "
)
def codes_on_magnitudes() -> list[str]:
    lines = [standing(PILOT, scheme) for scheme in (PROTECTED, "cwc")]
    shares = {f"{value(found):.2f}" for found in lines}
    removing = {
        row.attack.split(" ")[0] for found in lines for run in found.embedded if (row := run.removal((1, 2)))
    }
    holds(len(shares) == 1, "both keep the same share")
    holds({"cluster", "noise", "gptq", "targeted"} <= removing, f"these remove it: {removing}")
    return [shares.pop()]


@claim(
    PAGE,
    "{} lines keep every message, `spread-cwc`, `spread-polar`, and spread spectrum, `tattooed` and `riga` in both "
    "settings among them.",
)
def keep_every_message() -> list[str]:
    best = {found.scheme for found in ranked() if value(found) == 1}
    both = {*SPREAD, "tattooed", "tattooed tuned", "riga", "riga tuned"}
    holds(both | {"spread-cwc tuned", "spread-polar tuned"} <= best, "these eight are among them")
    return [word(len(best)).capitalize()]


@claim(PAGE, "{} runs are few: {} lines share the first place.")
def few_runs() -> list[str]:
    runs = {len(found.runs) for found in ranked()}
    holds(len(runs) == 1, "every line has as many runs")
    return [word(runs.pop()).capitalize(), word(first())]


@claim(PAGE, "With tier 3, long fine-tunes and distillation, no line that has a rank keeps more than {}.")
def with_tier_3() -> list[str]:
    return [f"{max(value(found, full=True) for found in ranked() if found.full is not None):.2f}"]


@claim(PAGE, "`uchida` was not embedded in {} of {} runs.")
def not_embedded() -> list[str]:
    own = [found for found in standings(PILOT, 256) if found.scheme.split(" ")[0] == "uchida"]
    missed = {(len(found.runs) - len(found.embedded), len(found.runs)) for found in own}
    holds(len(missed) == 1, "both settings alike")
    return [word(number) for number in missed.pop()]
