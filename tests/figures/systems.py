"""What README and docs/findings.md say of the pilot of the board of systems: from its records."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.leaderboard.ranking import Standing
from bench.suite import load_suite
from tests.figures.encodings import first, ranked, value
from tests.figures.registry import claim, holds, word
from tests.figures.sources import standings, trained

README, PAGE, PILOT, SYSTEMS = "README.md", "docs/findings.md", "systems-pilot", "systems"
LEADERS = ("spread-polar tuned informed", "spread-cwc tuned informed")
ALIGNED = ("spread-spectrum tuned aligned", "fixed-weights tuned aligned")


def lines() -> dict[str, Standing]:
    """Return the ranked lines of the board by scheme."""
    return {found.scheme: found for found in ranked(PILOT, SYSTEMS)}


def met_by_leaders() -> list[Mapping[str, Any]]:
    """Return what the calibration met with the two leaders, on each network: accuracy, no share of answers."""
    reached = load_suite(SYSTEMS).calibrated.reached
    found = [facts for (label, _, _), facts in reached.items() if f"{label} informed" in LEADERS]
    holds({facts["by"] for facts in found} == {"accuracy"}, "no setting changes as many answers as it may")
    return found


def answers(scheme: str) -> float:
    """Return the share of answers that a line keeps, in %."""
    kept = lines()[scheme].answers
    assert kept is not None
    return 100 * kept.value


@claim(PAGE, "with the best reading that its owner has, {} runs on each of {} networks, at equal answers kept,")
@claim(
    "docs/threat-model.md", "each mark with the best reading that its owner has, {} runs on each of {} networks."
)
def runs_on_each() -> list[str]:
    by_host = [Counter(run.record.key.model for run in found.runs) for found in standings(PILOT, 256, SYSTEMS)]
    (runs,) = {count for counted in by_host for count in counted.values()}
    return [word(runs), word(len(by_host[0]))]


@claim(
    PAGE, "At one point lost up to tier 2 {} lines keep every message: `spread-cwc` and its sibling `spread-polar`,"
)
def keep_every_message() -> list[str]:
    best = {scheme for scheme, found in lines().items() if value(found) == 1}
    holds(best == {*LEADERS, *ALIGNED}, "just these keep every message")
    return [word(len(best))]


@claim(PAGE, "The first two keep {} % of the answers or more, spread spectrum {} %.")
def kept_answers() -> list[str]:
    return [f"{min(map(answers, LEADERS)):.1f}", f"{answers(ALIGNED[0]):.1f}"]


@claim(PAGE, "`protected-cwc` keeps {} of its messages; copies averaged by customers remove it.")
def protected() -> list[str]:
    found = lines()["protected-cwc aligned"]
    removing = [row.attack for run in found.embedded if (row := run.removal((0, 1, 2)))]
    holds("collude average" in removing, f"averages remove it: {removing}")
    return [f"{value(found):.2f}"]


@claim(README, "That takes a gain of {}, where")
@claim("docs/threat-model.md", "`spread-cwc` is the tuned one, of gain {},")
@claim(PAGE, "`spread-cwc` and `spread-polar` stop at a gain of {}, the end of the range that was searched,")
def gain_of_leaders() -> list[str]:
    gains = {record.recipe.scheme.parameters["gain"] for record in trained(PILOT) if record.key.scheme in LEADERS}
    ends = {scheme.tune.high for scheme in load_suite(SYSTEMS).schemes if scheme.tune and scheme.label in LEADERS}
    holds(len(gains) == 1 and gains == ends, f"both are at the end of one range: {gains}, {ends}")
    (gain,) = gains
    return [f"{gain:g}"]


@claim(PAGE, "and change {} to {} % of the answers, of {} to {} % that they may.")
def answers_of_leaders() -> list[str]:
    found = met_by_leaders()
    changed, allowed = ([100 * facts[name] for facts in found] for name in ("answers_changed", "target"))
    return [f"{value:.1f}" for value in (min(changed), max(changed), min(allowed), max(allowed))]


@claim(README, "Runs are few, so that {} lines share the first place.")
@claim(PAGE, "Few runs: {} lines share the first place.")
def share_the_first_place() -> list[str]:
    return [word(first(PILOT, SYSTEMS))]


@claim(
    README,
    "none takes a message of the tuned `spread-cwc` for one point on this board; it keeps {} % of the model's "
    "answers.",
)
def leader() -> list[str]:
    holds(value(lines()[LEADERS[1]]) == 1, "it keeps every message up to tier 2")
    return [f"{answers(LEADERS[1]):.1f}"]


@claim(
    README,
    "Against attackers with all data no encoding on this board keeps more than {} of its messages at one point "
    "lost, and distillation, whatever it costs, removes `spread-cwc` and `spread-polar` in every run that still "
    "stood.",
)
@claim(
    PAGE,
    "and distillation were run, no line keeps more than {}, and distillation, whatever it costs, removes "
    "`spread-cwc` and `spread-polar` in every run that still stood.",
)
def with_tier_3() -> list[str]:
    for scheme in LEADERS:
        rows = [row for run in lines()[scheme].embedded for row in run.rows if row.attack == "distill"]
        holds(bool(rows) and not any(row.row.recovered for row in rows), f"distillation removes {scheme}")
    return [f"{max(value(found, full=True) for found in lines().values() if found.full is not None):.2f}"]
