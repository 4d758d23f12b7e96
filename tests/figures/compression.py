"""What docs/findings.md says of suite compression, and of compression on unmarked models."""

from bench.leaderboard.ranking import Standing
from tests.figures.registry import claim, holds, word
from tests.figures.sources import percent, points, recovered, rows_of, standings, table, trained

PAGE, SUITE, PROTECTED = "docs/findings.md", "compression", "protected-cwc"
#: prunings that leave channels where they are, with what may follow
UNSTRUCTURED = (
    "admm-prune (updates=3, retrain=5)",
    "admm-compress, clusters",
    "gradual magnitude",
    "magnitude + finetune",
)
QUANTISATION = ("quantise affine", "quantise channel", "quantise-torch")


def share(scheme: str) -> str:
    """Return the percent of messages recovered over all attacks, models and seeds."""
    return percent(recovered(rows_of(SUITE, scheme)))


def lost_by(attack: str, model: str, strength: float) -> bool:
    """Say whether the protected code loses every message to an attack at a strength."""
    rows = [row for row in rows_of(SUITE, PROTECTED, attack, model) if row.strength == strength]
    return bool(rows) and recovered(rows) == 0


@claim(
    PAGE,
    "results/compression (archived) has every encoding under {} of them, at 0, 1 and 3 points lost by the unmarked",
)
def attacks() -> list[str]:
    levels = {lost for record in trained(SUITE) for lost, _ in record.recipe.levels or ()}
    holds(levels <= {0, 1, 3}, "levels are 0, 1 and 3 points")
    return [word(len({point.attack for point in points(SUITE)}))]


def _full(found: Standing) -> float | None:
    return None if found.full is None else found.full.value


@claim(PAGE, "No encoding outlives all: with tier 3 S(1) is {} for each, so they are told apart by single attacks.")
def none_outlives_all() -> list[str]:
    shares = {_full(found) for found in standings(SUITE, 256)} - {None}
    holds(len(shares) == 1, "all have the same")
    return [f"{shares.pop():.2f}"]


@claim(
    PAGE,
    "`protected-cwc` keeps {} % of the messages over all of them, for zeros and moved values are erasures "
    "to it: it is recovered after every unstructured pruning, by magnitude, gradual or ADMM, with "
    "clusters on top, and after quantisation at any cost up to 3 points.",
)
def protected() -> list[str]:
    for attack in (*UNSTRUCTURED, *QUANTISATION):
        holds(recovered(rows_of(SUITE, PROTECTED, attack)) == 1, f"every message outlives {attack}")
    return [share(PROTECTED)]


@claim(
    PAGE,
    "It dies of what takes whole channels (physical removal leaves tensors of other shapes, and "
    "structured ADMM at 8x more filters of LeNet-5 than the outer code can spare) and of few shared "
    "values: 3-bit k-means and memristors that vary on LeNet-5, and 4-bit levels at a mild 2x on "
    "test_resnet, tie its large magnitudes with others.",
)
def dies_of() -> list[str]:
    for attack in ("admm-structured, removed", "structured-removed + finetune"):
        holds(recovered(rows_of(SUITE, PROTECTED, attack)) == 0, f"no message outlives {attack}")
    holds(lost_by("admm-structured (updates=3, retrain=5)", "lenet5", 8.0), "structured ADMM removes it")
    holds(lost_by("cluster", "lenet5", 3.0), "3-bit clusters remove it")
    holds(lost_by("memristor, 5 bits, variation 0.1", "lenet5", 8.0), "memristors remove it")
    holds(lost_by("admm-compress, levels", "test_resnet", 2.0), "levels remove it")
    return []


PRUNING = tuple(attack for attack in UNSTRUCTURED if "clusters" not in attack)


def kept(scheme: str, attack: str) -> float:
    """Return the share of a scheme's messages that outlive an attack."""
    return recovered(rows_of(SUITE, scheme, attack))


@claim(
    PAGE,
    "`riga` ({} %) and spread spectrum ({} %) live in sums over many weights: values may be coarse, and "
    "clusters or quantisation alone take no message, but ADMM pruning takes most.",
)
def sums() -> list[str]:
    schemes = ("riga", "spread-spectrum")
    for scheme in schemes:
        holds(all(kept(scheme, attack) == 1 for attack in ("cluster", *QUANTISATION)), f"{scheme} may be coarse")
        holds(kept(scheme, UNSTRUCTURED[0]) < 0.5, f"ADMM pruning takes most of {scheme}")
    return [share(scheme) for scheme in schemes]


@claim(PAGE, "Erasure-coded signs ({} %) stand quantisation, and lose most messages to retraining under a mask")
def signs() -> list[str]:
    holds(all(kept("sign-erasure", attack) == 1 for attack in QUANTISATION), "signs stand quantisation")
    holds(all(kept("sign-erasure", attack) < 0.5 for attack in PRUNING), "retraining under a mask takes most")
    return [share("sign-erasure")]


@claim(
    PAGE,
    "Plain constant weight ({} %) loses single ones; lattices ({} %) lose every message to any pruning; "
    "single signs and class means hold next to nothing.",
)
def single() -> list[str]:
    holds(
        not any(kept(scheme, a) for scheme in ("dm-qim", "st-dm") for a in PRUNING), "lattices lose every message"
    )
    holds(float(share("sign")) < 5 and share("deepsigns") == "0", "signs and class means hold next to nothing")
    return [share("cwc"), share("dm-qim")]


@claim(
    PAGE,
    "ADMM wins before retraining ({} against {} % at {}x in a short schedule), while an attacker who "
    "retrains for {} epochs gets as far by one-shot magnitude pruning",
)
def before_retraining() -> list[str]:
    lines = {row[0]: row for row in table("compression.md", "attack")}
    short, one_shot = lines["admm-prune short"], lines["one-shot magnitude"]
    holds(short[1] == one_shot[1], "both are at the same ratio")
    holds(abs(float(short[4]) - float(one_shot[4])) <= 0.5, "both end within half a point")
    (retrain,) = {
        record.recipe.attack["retrain"]
        for record in trained("compression-anchors")
        if record.key.attack == "one-shot magnitude"
    }
    return [f"{float(short[2]):.0f}", f"{float(one_shot[2]):.0f}", f"{float(short[1]):.0f}", str(retrain)]
