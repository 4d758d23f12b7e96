"""What the README says of suites encodings and protected."""

from bench.leaderboard.attacker_tiers import FULL, SMALL
from bench.leaderboard.detection import detectability_table
from bench.leaderboard.ranking import Standing
from tests.figures.registry import claim, holds, word
from tests.figures.sources import points, standing, standings

PAGE, SUITE = "README.md", "encodings"
SPREAD, PROTECTED, LATTICES = ("spread-spectrum", "spread-spectrum tuned"), "protected-cwc", "dm-qim tuned"


def value(found: Standing, *, full: bool = False) -> float:
    """Return S(1) of a line, to tier 2 or with tier 3."""
    estimate = found.full if full else found.survival
    assert estimate is not None
    return estimate.value


def ranked(payload: int = 256) -> list[Standing]:
    """Return the lines that have a rank, best first."""
    return [found for found in standings(SUITE, payload) if found.rank is not None]


def first(payload: int) -> int:
    """Return how many lines share the first place."""
    return sum(found.place == "1=" for found in standings(SUITE, payload))


@claim(
    PAGE,
    "it is removed for nothing from a small ViT and ConvNeXt: S(1) with tier 3 is {} in results/protected "
    "(archived).",
)
def removed_by_long_fine_tunes() -> list[str]:
    found = standing("protected", PROTECTED)
    cheap = [row for run in found.runs if (row := run.removal((FULL,))) and (row.lost or 0.0) <= 1]
    holds({row.record.key.model for row in cheap} == {"test_vit", "test_convnext2"}, "these two hosts lose it")
    holds({row.row.strength for row in cheap} == {2.5, 5.0}, "rates are 2.5 to 5 times that of training")
    holds(sum(row.lost or 0.0 for row in cheap) / len(cheap) <= 0, "on average nothing is lost")
    return [f"{value(found, full=True):.2f}"]


@claim(PAGE, "short fine-tuning, {} runs each; nothing of tier 2 was tried.")
def runs_of_each() -> list[str]:
    runs = {len(found.runs) for found in standings(SUITE, 256)}
    tiers = {row.tier for found in standings(SUITE, 256) for run in found.runs for row in run.rows}
    holds(len(runs) == 1, "every scheme has as many runs")
    holds(SMALL not in tiers, "nothing of tier 2 was tried")
    return [word(runs.pop())]


@claim(PAGE, "At 256 bits `protected-cwc`, spread spectrum and tuned `dm-qim` keep every message at one point lost")
def keep_every_message() -> list[str]:
    best = {found.scheme for found in ranked() if value(found) == 1}
    holds(best == {PROTECTED, LATTICES, *SPREAD}, "just these keep every message")
    return []


@claim(
    PAGE,
    "{} runs tell them apart from no scheme down to tuned erasure-coded signs (S(1) {}), so that {} share "
    "the first place; they do from the other {} that are ranked, plain constant weight among them ({}, by "
    "random or structured pruning, noise, or writing over).",
)
def told_apart() -> list[str]:
    sharing, plain = ranked()[first(256) - 1], standing(SUITE, "cwc")
    holds(sharing.scheme == "sign-erasure tuned", "tuned erasure-coded signs are the last that share")
    removing = {row.attack for run in plain.embedded if (row := run.removal(range(1, 3)))}
    named = {"random", "structured", "noise", "overwrite"}
    holds({attack.split(" ")[0] for attack in removing} == named, f"these remove it: {removing}")
    counts = first(256), len(ranked()) - first(256)
    texts = [word(len(plain.runs)).capitalize(), f"{value(sharing):.2f}", word(counts[0]), word(counts[1])]
    return [*texts, f"{value(plain):.2f}"]


@claim(
    PAGE,
    "the protected code and tuned spread spectrum stay at {}, spread spectrum at its paper's setting has "
    "{} and tuned `dm-qim` {} (a scaled layer with repair); of all others at most a third is left.",
)
def with_tier_3() -> list[str]:
    shares = {found.scheme: value(found, full=True) for found in ranked()}
    holds(shares[PROTECTED] == shares[SPREAD[1]], "both have the same")
    others = [share for scheme, share in shares.items() if scheme not in {PROTECTED, LATTICES, *SPREAD}]
    holds(max(others) <= 1 / 3, "at most a third is left of the others")
    removal = standing(SUITE, LATTICES).removal
    holds(removal is not None and removal.attack == "scale + bn", "a scaled layer removes the lattices")
    return [f"{shares[scheme]:.2f}" for scheme in (PROTECTED, SPREAD[0], LATTICES)]


@claim(
    PAGE,
    "Spread spectrum costs {} to {} points of marked accuracy and is unseen by a classifier, which tells "
    "protected marks apart (AUC {}).",
)
def costs_and_shows() -> list[str]:
    costs = sorted(-change.value for scheme in SPREAD if (change := standing(SUITE, scheme).change))
    seen = {(row[0], row[1]): row[-1] for row in detectability_table(points(SUITE))[1]}
    for scheme in SPREAD:
        low, high = str(seen[scheme, 256]).partition("[")[2].strip("]").split(", ")
        holds(float(low) <= 0.5 <= float(high), f"{scheme} is unseen")
    return [*(f"{cost:.1f}" for cost in costs), str(seen[PROTECTED, 256]).split()[0]]


@claim(PAGE, "`uchida` and `deepsigns` were not embedded in up to {} of {} runs")
def not_embedded() -> list[str]:
    own = [found for found in standings(SUITE, 256) if found.scheme.split(" ")[0] in {"uchida", "deepsigns"}]
    missed = [len(found.runs) - len(found.embedded) for found in own]
    holds(all(missed), "each failed somewhere")
    return [word(max(missed)), word(len(own[0].runs))]


@claim(PAGE, "At 64 and 1,024 bits, where only attacks of tier 1 are run, {} and {} schemes share the first place")
def few_attacks() -> list[str]:
    tiers = {row.tier for bits in (64, 1024) for s in standings(SUITE, bits) for r in s.runs for row in r.rows}
    holds(tiers == {1}, "only tier 1 is run there")
    return [str(first(64)), str(first(1024))]
