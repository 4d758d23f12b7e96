"""What docs/findings.md says of suite smoke, which `make bench` runs."""

from bench.leaderboard.ranking_tables import ranking_table
from bench.leaderboard.table_text import table_text
from tests.figures.registry import claim, holds, rows
from tests.figures.sources import boards, standing, standings, trained

PAGE = "docs/findings.md"
_HEADER = (
    "# | scheme | bits | rank, 95 % | S(1) | S(3) | S(1), tier 3 | proof S(1) | not embedded | cheapest removal | "
    "falls to free moves | answers kept | accuracy change | energy | depth energy | hosts x seeds"
)


@rows(PAGE, _HEADER, parameters=0)
def ranking() -> list[str]:
    (board,) = boards("smoke")
    lines = table_text(ranking_table(board.at(256), standings("smoke", 256))).splitlines()[2:]
    return [" | ".join(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def _cheapest(scheme: str, attack: str) -> float:
    """Return the least accuracy at which an attack removed a message of a scheme, points."""
    own = [record for record in trained("smoke") if (record.key.scheme, record.key.attack) == (scheme, attack)]
    lost = [r.points_lost(row) for r in own for row in r.rows if not row.recovered]
    return min(points for points in lost if points is not None)


@claim(
    PAGE,
    "Both plain encodings are cheap to remove: global structured pruning loses the message of `cwc`, half "
    "magnitude pruning with a batch-norm repair that of signs, for a fraction of a point.",
)
def cheap_to_remove() -> list[str]:
    holds(_cheapest("cwc", "structured (global, norm=2)") < 1, "structured pruning removes cwc for so little")
    holds(_cheapest("sign-repetition", "magnitude + bn") < 1, "pruning with a repair removes signs for so little")
    return []


@claim(PAGE, "The protected code outlives every attack of this suite, whose fine-tunes are short.")
def outlives() -> list[str]:
    holds(standing("smoke", "protected-cwc").removal is None, "nothing removes the protected code")
    return []
