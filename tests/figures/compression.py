"""What docs/findings.md says of suite compression, and of compression on unmarked models."""

from bench.leaderboard.ranking import Standing
from tests.figures.registry import claim, holds, word
from tests.figures.sources import points, rows_of, standings, table, trained

PAGE, SUITE, PROTECTED = "docs/findings.md", "compression", "protected-cwc"
REMOVAL = {"admm-structured, removed", "structured-removed + finetune"}
ADMM = {"admm-prune (updates=3, retrain=5)", "admm-compress, clusters"}
QUANTISATION = {"quantise affine", "quantise channel", "quantise-torch"}
LATTICES = {"dm-qim", "st-dm"}


def taken(scheme: str) -> set[str]:
    """Return the attacks after which the one message of a scheme does not come back."""
    return {point.attack for point in points(SUITE) if point.scheme == scheme and not point.exact[0]}


def kept(scheme: str) -> str:
    """Return how many messages of a scheme come back, of one an attack."""
    rows = rows_of(SUITE, scheme)
    holds(len(rows) == len({point.attack for point in points(SUITE)}), f"{scheme} meets every attack once")
    return str(sum(row.recovered for row in rows))


def marked() -> set[str]:
    """Return the schemes that hold a message."""
    return {record.key.scheme for record in trained(SUITE)} - {"none"}


@claim(
    PAGE,
    "results/compression has {} encodings under {} of them on {} small network, with {} seed, as strong as {} "
    "point lost by the unmarked model allows",
)
def cells() -> list[str]:
    keys = [record.key for record in trained(SUITE)]
    levels = {points_lost for record in trained(SUITE) for points_lost, _ in record.recipe.levels or ()}
    counts = [marked(), *({getattr(key, what) for key in keys} for what in ("attack", "model", "seed"))]
    (level,) = levels
    return [*(word(len(some)) for some in counts), word(int(level))]


def _full(found: Standing) -> float | None:
    return None if found.full is None else found.full.value


@claim(PAGE, "No encoding outlives all: with tier 3 S(1) is {} for each, so they are told apart by single attacks.")
def none_outlives_all() -> list[str]:
    shares = {_full(found) for found in standings(SUITE, 256)} - {None}
    holds(len(shares) == 1, "all have the same")
    return [f"{shares.pop():.2f}"]


@claim(PAGE, "`protected-cwc` keeps {} of {} messages, for zeros and moved values are erasures to it")
def protected() -> list[str]:
    holds(taken(PROTECTED) == REMOVAL, "only the removal of channels takes it")
    return [kept(PROTECTED), str(len(rows_of(SUITE, PROTECTED)))]


@claim(PAGE, "ADMM pruning, alone and with clusters, takes the message of every other encoding.")
def every_other() -> list[str]:
    holds(all(taken(scheme) >= ADMM for scheme in marked() - {PROTECTED}), "it takes all others")
    return []


@claim(
    PAGE,
    "Of {} messages spread spectrum keeps {}, `uchida` {}, `riga` and `sign-erasure` {}, which live in many "
    "weights at once; `cwc` and `sign-repetition` keep {}, `fixed-weights` and `deepsigns` {}, the lattices "
    "`dm-qim` and `st-dm` {}, single signs {}.",
)
def others() -> list[str]:
    groups = [("spread-spectrum",), ("uchida",), ("riga", "sign-erasure"), ("cwc", "sign-repetition"),
              ("fixed-weights", "deepsigns"), tuple(sorted(LATTICES)), ("sign",)]  # fmt: skip
    holds({scheme for group in groups for scheme in group} == marked() - {PROTECTED}, "all others are named")
    holds(all(len(set(map(kept, group))) == 1 for group in groups), "those named together keep as many")
    return [str(len(rows_of(SUITE, PROTECTED))), *(kept(group[0]) for group in groups)]


@claim(PAGE, "Quantisation alone takes single signs, and with a grid for each channel lattices, and nothing else.")
def quantised() -> list[str]:
    holds(taken("sign") >= QUANTISATION, "it takes single signs")
    holds(all(taken(one) & QUANTISATION == {"quantise channel"} for one in LATTICES), "lattices by channel")
    rest = marked() - LATTICES - {"sign"}
    holds(not any(taken(one) & QUANTISATION for one in rest), "and nothing else")
    return []


@claim(
    PAGE,
    "ADMM wins before retraining ({} against {} % at {}x in a short schedule), while an attacker who "
    "retrains for {} epochs ends {} points below it by one-shot magnitude pruning.",
)
def before_retraining() -> list[str]:
    lines = {row[0]: row for row in table("compression.md", "attack")}
    short, one_shot = lines["admm-prune short"], lines["one-shot magnitude"]
    holds(short[1] == one_shot[1], "both are at the same ratio")
    below = float(short[4]) - float(one_shot[4])
    (retrain,) = {
        record.recipe.attack["retrain"]
        for record in trained("compression-anchors")
        if record.key.attack == "one-shot magnitude"
    }
    hard = [f"{float(line[2]):.0f}" for line in (short, one_shot)]
    return [*hard, f"{float(short[1]):.0f}", str(retrain), f"{below:.1f}"]
