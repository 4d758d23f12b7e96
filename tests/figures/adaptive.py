"""What findings and threat model say of suites alignment and adaptive: attackers who know the scheme."""

import re
from collections.abc import Iterable

from bench.leaderboard.points import PROOF
from bench.records.schema import Row
from tests.figures.registry import claim, holds, rows, word
from tests.figures.sources import boards, percent, recovered, rows_of, standings, table, tables, trained, words

FINDINGS, MODEL = "docs/findings.md", "docs/threat-model.md"
ALIGNED, PLAIN = "protected-cwc aligned", "protected-cwc"
MODELS = ("resnet18-digits", "vgg6_bn")  # of suite alignment
MUST = ("permute", "rescale", "permute + rescale", "permute + rescale + magnitude 0.9", "structured-removed",
        "permute + finetune", "permute + rescale + magnitude 0.9 + finetune", "insert")  # fmt: skip
MOVING = ("permute", "permute + rescale", "structured-removed", "permute + finetune")
SHOWN = (PLAIN, ALIGNED, "spread-spectrum aligned", "sign-erasure aligned", "uchida aligned", "structural")
IN_ANSWERS = ("carriers", "ingrain")
WITHOUT_PLACES = (*IN_ANSWERS, "deepsigns", "structural", "none")  # marks at no keyed places of the weights


def name(scheme: str) -> str:
    """Return the label of a scheme without what says that it is a reconstruction."""
    return scheme.removesuffix(" (reconstruction)")


def share(scheme: str) -> float:
    """Return the share of a scheme's messages that came back in suite adaptive, over all attacks and strengths."""
    return recovered(rows_of("adaptive", scheme))


@claim(FINDINGS, "every such scheme fell to `permute`, for {} points.")
def free_moves() -> list[str]:
    blind = [record for record in trained("adaptive") if record.recipe.reader is None]
    fell = [r for r in blind if r.key.attack == "permute" and name(r.key.scheme) not in WITHOUT_PLACES]
    holds(len(fell) >= 10 and not any(row.recovered for r in fell for row in r.rows), "every such scheme fell")
    lost = {f"{record.points_lost(row):.1f}" for record in fell for row in record.rows}
    holds(len(lost) == 1, "all at the same cost")
    return [lost.pop()]


@claim(
    FINDINGS,
    "shows the message of `protected-cwc` recovered in {} of {} runs on resnet18 and on a VGG after "
    "permuting, scaling, both and magnitude pruning at 0.9 and fine-tuning, inserted channels, and the "
    "physical removal of {} % of the channels; without it, in none of those that move channels.",
)
def aligned() -> list[str]:
    counts = set()
    for model in MODELS:
        for attack in MUST:
            found = rows_of("alignment", ALIGNED, attack, model)
            runs = len({r.key.seed for r in trained("alignment") if r.key.model == model})
            holds(all(row.recovered for row in found), f"every message outlives {attack} on {model}")
            counts.add((runs, runs))
    for attack in MOVING:
        holds(recovered(rows_of("alignment", PLAIN, attack)) == 0, f"none outlives {attack} without alignment")
    most = max(row.strength for row in rows_of("alignment", ALIGNED, "structured-removed"))
    ((back, of),) = counts
    return [str(back), str(of), percent(most)]


@claim(FINDINGS, "in {} run each, so that nothing is ranked.")
def one_run() -> list[str]:
    holds(
        all(found.rank is None for name in ("encodings", "systems") for found in standings("adaptive", 256, name)),
        "no ranks",
    )
    return [word(len({(record.key.model, record.key.seed) for record in trained("adaptive")}))]


@claim(FINDINGS, "On neither board does any run keep its message at one point lost:")
def none_is_kept() -> list[str]:
    holds(len(boards("adaptive")) == 2, "there are two boards")
    kept = [
        f.full.value
        for name in ("encodings", "systems")
        for f in standings("adaptive", 256, name)
        if f.full is not None
    ]
    holds(kept != [] and max(kept) == 0, "no run keeps its message")
    return []


@claim(
    FINDINGS,
    "Aligned spread spectrum is first ({} %): it gives way to distillation and to the average of copies only.",
)
def best_aligned() -> list[str]:
    best = "spread-spectrum aligned"
    holds(share(best) == max(share(r.key.scheme) for r in trained("adaptive")), "it is first")
    lost = {
        r.key.attack for r in trained("adaptive") if r.key.scheme == best and not all(x.recovered for x in r.rows)
    }
    holds(lost == {"distill", "distill into lenet5", "collude average"}, "it gives way to these only")
    return [percent(share(best))]


@claim(
    FINDINGS,
    "Aligned `riga` holds {} %, `uchida` {} %, erasure-coded signs {} %, `protected-cwc` {} %, which has "
    "one cheap enemy: the attacker who redraws the largest {} % of the weights, where its ones must be, "
    "and fine-tunes for {} epochs on all data, removes message and proof at no loss of accuracy.",
)
def others_aligned() -> list[str]:
    order = ("riga aligned", "uchida aligned", "sign-erasure aligned", ALIGNED)
    (record,) = (
        r for r in trained("adaptive") if (r.key.scheme, r.key.attack) == (ALIGNED, "targeted largest + finetune")
    )
    row = min(record.rows, key=lambda row: row.strength)
    holds(not row.recovered and row.log10_p > PROOF, "message and proof are gone")
    holds((record.points_lost(row) or 0.0) <= 0, "no accuracy is lost")
    holds(row.cost.data_fraction == 1, "it takes all data")
    second = record.recipe.attack["second"]
    assert isinstance(second, dict)
    epochs = second["epochs"]
    assert isinstance(epochs, int)
    return [*(percent(share(scheme)) for scheme in order), percent(row.strength), word(epochs)]


@claim(
    FINDINGS,
    "Without alignment the best is spread spectrum at {} % (`structural`, with a payload of {} bits, {} "
    "%), `protected-cwc` is at {} %, single signs at {} %.",
)
def without_alignment() -> list[str]:
    blind = {r.key.scheme for r in trained("adaptive") if r.recipe.reader is None}
    structural = next(scheme for scheme in blind if name(scheme) == "structural")
    holds(max(blind, key=share) == "spread-spectrum", "spread spectrum is the best")
    (bits,) = {record.key.payload for record in trained("adaptive") if record.key.scheme == structural}
    shares = [percent(share(scheme)) for scheme in ("spread-spectrum", structural, PLAIN, "sign")]
    return [shares[0], str(bits), *shares[1:]]


@claim(
    MODEL,
    "results/alignment has {} seeds of {} larger networks), {} bits (`structural`: {}, too few for a proof)",
)
def runs_of_both_suites() -> list[str]:
    holds(len({(r.key.model, r.key.seed) for r in trained("adaptive")}) == 1, "one model, one seed")
    seeds, models = ({getattr(r.key, what) for r in trained("alignment")} for what in ("seed", "model"))
    bits = {name(r.key.scheme): r.key.payload for r in trained("adaptive")}
    holds({bits[scheme] for scheme in SHOWN} == {256, bits["structural"]}, "the others have 256 bits")
    return [word(len(seeds)), word(len(models)), str(bits[PLAIN]), str(bits["structural"])]


@claim(MODEL, "writing over `sign-erasure` costs {} points, redrawing repeats up to {}; all else at most {}.")
def costs() -> list[str]:
    hardest = {(name(r.key.scheme), r.key.attack): _lost(r.key.scheme, r.key.attack) for r in trained("adaptive")}
    shown = {place: lost for place, lost in hardest.items() if place[0] in SHOWN}
    ruined = {("structural", "overwrite")} | {
        place
        for place in shown
        if place[1] in ("targeted largest", "targeted outliers", "overwrite x4")
        and place != ("uchida aligned", "overwrite x4")
    }
    holds(min(shown[place] for place in ruined) > 10, "these ruin the model")
    over = shown["sign-erasure aligned", "overwrite"]
    repeats = max(lost for place, lost in shown.items() if place[1] == "targeted repeats")
    named = ruined | {("sign-erasure aligned", "overwrite")}
    rest = [lost for place, lost in shown.items() if place not in named and place[1] != "targeted repeats"]
    return [f"{over:.0f}", f"{repeats:.0f}", f"{max(rest):.1f}"]


def _lost(scheme: str, attack: str) -> float:
    (record,) = (r for r in trained("adaptive") if (r.key.scheme, r.key.attack) == (scheme, attack))
    return record.points_lost(max(record.rows, key=lambda row: row.strength)) or 0.0


def letter(row: Row) -> str:
    """Return W for a message that was recovered, p for a proof without it, - for neither."""
    return "W" if row.recovered else "p" if row.log10_p <= PROOF else "-"


@rows(MODEL, "attack | " + " | ".join(SHOWN))
def attackers() -> list[str]:
    """Return a line an attack at its hardest strength."""
    cells: dict[tuple[str, float], dict[str, str]] = {}
    for record in trained("adaptive"):  # one copy of a network with other widths cannot be averaged with the next
        hardest = max(record.rows, key=lambda row: row.strength)
        cells.setdefault((record.key.attack, hardest.strength), {})[name(record.key.scheme)] = letter(hardest)
    return [
        f"{attack} {strength:g} | " + " | ".join(found.get(scheme, "") for scheme in SHOWN)
        for (attack, strength), found in sorted(cells.items())
    ]


def _deployed(ways: Iterable[list[list[str]]], column: int) -> list[str]:
    """Return the messages that came back, of how many, which must be the same each way for both schemes."""
    sums = {
        tuple(map(sum, zip(*(map(int, row[column].split()[0].split("/")) for row in own), strict=True)))
        for way in ways
        for own in ([row for row in way if row[1] == scheme] for scheme in (PLAIN, "spread-spectrum"))
    }
    holds(len(sums) == 1, f"each way and scheme has the same: {sums}")
    return [str(number) for number in sums.pop()]


def _shipped() -> list[list[list[str]]]:
    """Return the tables of deployed networks: folded, and by the first and the present exporter."""
    return tables("deployed.md", "network", "aligned")[:3]


@claim(MODEL, "`protected-cwc` and spread spectrum came back in {} of {} runs each, folded or exported either way")
def deployed() -> list[str]:
    return _deployed(([[*row[:2], row[-1]] for row in way] for way in _shipped()), 2)


@claim(
    MODEL,
    "Read without the scales of channels, which takes no reference, both came back in {} of {} where "
    "tensors keep their names: positive factors are no change to that reading.",
)
def per_channel() -> list[str]:
    folded, _, present = _shipped()  # the first exporter renames tensors
    return _deployed((folded, present), 3)


@claim(
    MODEL,
    "students at T = {} give {} % of `ingrain`'s labels and {} % of direct ones where {} % are a proof, "
    "so neither is one.",
)
def students() -> list[str]:
    lines = {row[0]: row for row in table("distillation.md", "host") if row[1] == "mean"}
    found = [float(lines[host][4].split("/")[1]) for host in ("ingrain, lambda 0.5", "direct")]
    proof = next(
        int(n) / int(of) for n, of in re.findall(r"takes (\d+) of (\d+) carriers", words("distillation.md"))
    )
    holds(max(found) < 100 * proof, "neither is a proof")
    return ["10", *(f"{one:.0f}" for one in found), percent(proof)]


@claim(
    MODEL,
    "Average four copies with different marks and no message is left; a proof is, of spread spectrum, `uchida`, "
    "lattices (`dm-qim`, `st-dm`) and repeated signs only.",
)
def averaged_copies() -> list[str]:
    left = [
        (record.key.scheme.split(" ")[0], max(record.rows, key=lambda row: row.strength))
        for record in trained("adaptive")
        if record.key.attack == "collude average"
    ]
    holds({row.strength for _, row in left} == {4}, "four copies are averaged")
    holds(not any(row.recovered for _, row in left), "no message is left")
    proven = {scheme for scheme, row in left if row.log10_p <= PROOF}
    named = {"spread-spectrum", "uchida", "dm-qim", "st-dm", "sign-repetition"}
    holds(proven == named, f"a proof is left of these only: {proven}")
    return []


@claim(MODEL, "every mark in weights is gone, aligned or not, and all these rows are zero.")
def distilled() -> list[str]:
    schemes = {record.key.scheme for record in trained("adaptive") if name(record.key.scheme) not in IN_ANSWERS}
    holds(len(schemes) >= 20, "many marks in weights were tried")
    for attack in ("distill", "distill into lenet5"):
        found = [record for record in trained("adaptive") if record.key.attack == attack]
        rows_left = [row for r in found if r.key.scheme in schemes for row in r.rows]
        holds(not any(row.recovered for row in rows_left), f"no message outlives {attack}")
    return []
