"""What findings and threat model say of attackers who know the scheme, and of deployed networks and students."""

import re
from collections import Counter
from collections.abc import Iterable

from bench.leaderboard.attacker_tiers import WEIGHTS
from bench.leaderboard.board_figures import HEADLINE_LOSS
from bench.leaderboard.points import RunRow
from bench.leaderboard.ranking_tables import Column, by_attack_text, columns_of, keeps, met
from tests.figures.registry import claim, holds, rows
from tests.figures.sources import percent, recovered, rows_of, standings, table, tables, trained, words

FINDINGS, MODEL = "docs/findings.md", "docs/threat-model.md"
PILOT, SYSTEMS = "systems-pilot", "systems"
ALIGNED, PLAIN = "protected-cwc aligned", "protected-cwc"
MODELS = ("resnet18-digits", "vgg6_bn")  # of suite alignment
MUST = ("permute", "rescale", "permute + rescale", "permute + rescale + magnitude 0.9", "structured-removed",
        "permute + finetune", "permute + rescale + magnitude 0.9 + finetune")  # fmt: skip
MOVING = ("permute", "permute + rescale", "structured-removed", "permute + finetune")
AVERAGE, REDRAWN = "collude average", ("targeted largest", "targeted outliers", "targeted repeats")
SHOWN = ("spread-cwc tuned informed", "spread-spectrum tuned aligned", "dm-qim tuned aligned",
         "sign-erasure tuned aligned", "riga tuned aligned", ALIGNED, "deepsigns")  # fmt: skip
MOVES = ("permute", "rescale", "rotate", "insert zero", "insert split", "insert clique")
KNOWING = (*MOVES, "half-way to the public base", AVERAGE, "collude difference", *REDRAWN, "overwrite x4",
           "overwrite by spread-spectrum", "idle", "noise-shaped", "targeted largest + finetune 10 %",
           "distill")  # fmt: skip
AVERAGED = (ALIGNED, "st-dm tuned aligned", "neuralmark tuned aligned", "uchida tuned aligned", "deepsigns")
STANDING = ("spread-cwc tuned informed", "spread-polar tuned informed", "spread-spectrum tuned aligned",
            "fixed-weights tuned aligned", "dm-qim tuned aligned", "sign tuned aligned",
            "sign-erasure tuned aligned", "sign-repetition tuned aligned")  # fmt: skip


def taken(scheme: str, attack: str) -> tuple[int, int]:
    """Return how many messages an attack on weights takes for one point at most, of how many."""
    (found,) = (one for one in standings(PILOT, 256, SYSTEMS) if one.scheme == scheme)
    own = met(found.runs, Column(WEIGHTS, attack))
    return sum(not keeps(each) for each in own), len(own)


def cheapest() -> Counter[tuple[str, str]]:
    """Return how many messages of each scheme each attack takes cheapest, for one point at most up to tier 2."""
    return Counter(
        (one.scheme, row.attack)
        for one in standings(PILOT, 256, SYSTEMS)
        for run in one.embedded
        if (row := run.removal((0, 1, 2))) and (row.lost or 0.0) <= HEADLINE_LOSS
    )


def students() -> list[RunRow]:
    """Return the rows of students of embedded runs."""
    every = (row for one in standings(PILOT, 256, SYSTEMS) for run in one.embedded for row in run.rows)
    return [row for row in every if row.attack == "distill"]


@claim(FINDINGS, "each of {} lines that are read so fell to `permute` in every run, for {} points.")
def free_moves() -> list[str]:
    blind = [r for r in trained("readings") if r.recipe.reader is None and r.key.attack == "permute"]
    holds(not any(row.recovered for record in blind for row in record.rows), "every line fell in every run")
    (lost,) = {f"{record.points_lost(row):.1f}" for record in blind for row in record.rows}
    holds(float(lost) == 0, "nothing is lost")
    return [str(len({record.key.scheme for record in blind})), lost]


@claim(MODEL, "Permuting channels takes the message of each of {} lines that are read blind, for nothing")
def lines_that_fall() -> list[str]:
    return free_moves()[:1]


@claim(
    FINDINGS,
    "shows the message of `protected-cwc` recovered in {} of {} runs on resnet18 and on a VGG after "
    "permuting, scaling, both and magnitude pruning at 0.9 and fine-tuning, and the physical removal of {} % of "
    "the channels, and in {} of {} tries with inserted channels, which took it once where half as many again were "
    "inserted; without it, in none of those that move channels.",
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
    inserted = rows_of("alignment", ALIGNED, "insert")
    (lost,) = (row for row in inserted if not row.recovered)
    holds(lost.strength == 0.5, "it was lost where half as many channels again were inserted")
    return [str(back), str(of), percent(most), str(sum(row.recovered for row in inserted)), str(len(inserted))]


@claim(
    FINDINGS,
    "{} of its {} runs lose the message up to tier 2 for one point at most: in {} the average of copies that "
    "customers have is the cheapest way, in {} a redraw of weights that stand out or repeat, in {} a free move.",
)
def cheapest_ways() -> list[str]:
    ways = Counter[str]()
    for (_, attack), count in cheapest().items():
        ways[attack] += count
    holds(ways.most_common(1)[0][0] == AVERAGE, "no attack is the cheapest more often")
    runs = sum(len(one.embedded) for one in standings(PILOT, 256, SYSTEMS))
    redrawn, moved = (sum(ways[attack] for attack in attacks) for attacks in (REDRAWN, MOVES))
    return [str(number) for number in (ways.total(), runs, ways[AVERAGE], redrawn, moved)]


@claim(
    FINDINGS,
    "Free moves take messages of `deepsigns`, which is read from the suspect alone, of plain `cwc`, and one of "
    "`dm-qim`.",
)
def taken_by_moves() -> list[str]:
    moved = Counter[str]()
    for (scheme, attack), count in cheapest().items():
        if attack in MOVES:
            moved[scheme.split(" ")[0]] += count
    holds(moved.keys() == {"deepsigns", "cwc", "dm-qim"}, f"only of these: {moved}")
    holds(moved["dm-qim"] == 1, "one of dm-qim")
    return []


@claim(
    FINDINGS,
    "Averages take every message of `protected-cwc` that was trained in, `st-dm`, `neuralmark`, `uchida` and "
    "`deepsigns`, and {} of {} of `riga`.",
)
@claim(
    MODEL,
    "The average of two or four copies with different marks takes every message of `protected-cwc` that was "
    "trained in, `st-dm`, `neuralmark`, `uchida` and `deepsigns`, and {} of {} of `riga`, for one point at most.",
)
def averages() -> list[str]:
    holds(
        {row.strength for row in rows_of(PILOT, "riga tuned aligned", AVERAGE)} == {2, 4}, "of two or four copies"
    )
    holds(all(lost == of for lost, of in (taken(scheme, AVERAGE) for scheme in AVERAGED)), "every message is taken")
    return [str(number) for number in taken("riga tuned aligned", AVERAGE)]


@claim(MODEL, "Spread spectrum, `spread-cwc`, fixed weights, `dm-qim` and signs lose none to it.")
def outlive_averages() -> list[str]:
    holds(all(taken(scheme, AVERAGE)[0] == 0 for scheme in STANDING), "these lose none")
    return []


@claim(
    FINDINGS,
    "A redraw of magnitudes that repeat takes {} of {} of `sign-erasure` and {} of `protected-cwc` in "
    "finished models.",
)
def repeats() -> list[str]:
    (signs, of), (finished, runs) = (taken(s, REDRAWN[2]) for s in (SHOWN[3], "protected-cwc finished informed"))
    holds(runs == of, "as many runs")
    return [str(signs), str(of), str(finished)]


@claim(MODEL, "that takes the message of `protected-cwc` in {} of {} runs for one point at most, without any data.")
def aimed() -> list[str]:
    found = taken(ALIGNED, REDRAWN[0])
    holds(all(taken(scheme, attack)[0] == 0 for scheme in SHOWN[:2] for attack in REDRAWN), "these lose none")
    return [str(number) for number in found]


@claim(FINDINGS, "of {} students of marked models none holds a message or a proof.")
@claim(MODEL, "of {} students of marked models none holds a message or a proof, and where the table")
def distilled() -> list[str]:
    found = students()
    holds(all(row.removed and row.unprovable for row in found), "no student holds message or proof")
    return [str(len(found))]


@claim(
    MODEL,
    "Aligned to the owner's copy every message comes back from each free move, but one of `dm-qim` and some of "
    "plain `cwc`;",
)
def aligned_again() -> list[str]:
    every = [one for one in standings(PILOT, 256, SYSTEMS) if one.scheme.endswith(" aligned")]
    moved = {one.scheme: sum(row.removed for row in one.free_rows) for one in every}
    holds({scheme for scheme, lost in moved.items() if lost} == {SHOWN[2], "cwc aligned"}, f"only these: {moved}")
    holds(moved[SHOWN[2]] == 1, "one of dm-qim")
    return []


@rows(MODEL, "attack | " + " | ".join(scheme.split(" ")[0] for scheme in SHOWN))
def attackers() -> list[str]:
    """Return a line an attack and tier: runs that keep the message at one point lost, of those that met it."""
    lines = {one.scheme: one.runs for one in standings(PILOT, 256, SYSTEMS)}
    columns = [one for one in columns_of(run for scheme in SHOWN for run in lines[scheme]) if one.attack in KNOWING]
    return [" | ".join([one.title, *(by_attack_text(lines[scheme], one) for scheme in SHOWN)]) for one in columns]


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
def students_of_answers() -> list[str]:
    lines = {row[0]: row for row in table("distillation.md", "host") if row[1] == "mean"}
    found = [float(lines[host][4].split("/")[1]) for host in ("ingrain, lambda 0.5", "direct")]
    proof = next(
        int(n) / int(of) for n, of in re.findall(r"takes (\d+) of (\d+) carriers", words("distillation.md"))
    )
    holds(max(found) < 100 * proof, "neither is a proof")
    return ["10", *(f"{one:.0f}" for one in found), percent(proof)]
