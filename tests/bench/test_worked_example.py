"""The worked example of docs/leaderboard.md: its numbers are what the code makes of its records."""

from pathlib import Path

import pytest

from bench.leaderboard.boards import boards_of
from bench.leaderboard.points import gather
from bench.leaderboard.ranking import rank
from bench.leaderboard.ranking_tables import ranking_table
from bench.leaderboard.runs import runs_of
from bench.leaderboard.survival import removal_loss
from bench.records.schema import Json
from tests.bench.invented import Outcome, attacked, typed

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md").read_text()
HOSTS = [("m", 0), ("m", 1), ("n", 0), ("n", 1)]


def tables() -> tuple[list[list[str]], list[list[str]]]:
    """Return the lines of both tables of the section, without their headers."""
    section = PAGE.split("\n## From three records to a rank\n")[1].split("\n## ")[0]
    first, second = (part for part in section.split("\n\n") if part.startswith("|"))
    rows = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in t.splitlines()] for t in (first, second)
    )
    one, other = rows
    return one[2:], other[2:]


def three_records() -> list[Json]:
    """Return the records of the first table."""
    outcomes: dict[str, list[Outcome]] = {}
    for attack, _, tier, recovered, validation, test in tables()[0]:
        outcomes.setdefault(attack, []).append(
            Outcome(int(tier), recovered == "yes", lost=float(test), validation=float(validation))
        )
    names = dict(zip(outcomes, ("magnitude", "random", "finetune (epochs=2)"), strict=True))  # any that are known
    return [attacked("A", names[attack], *own) for attack, own in outcomes.items()]


def test_three_records_give_the_losses_that_the_page_says() -> None:
    (run,) = runs_of(gather(typed(three_records())))
    losses = [f"**{removal_loss(run, range(1, last + 1)):.1f}**" for last in (2, 3)]
    assert losses == ["**1.6**", "**0.2**"]
    assert all(loss in PAGE for loss in losses)
    assert min(row.lost for row in run.priced((1, 2)) if row.removed and row.lost is not None) == pytest.approx(0.9)


def test_the_losses_of_all_runs_give_the_ranking_that_the_page_says() -> None:
    _, told = tables()
    records = three_records()
    for scheme, *cells in told:
        for (model, seed), loss in zip(HOSTS, cells[:4], strict=True):
            if (scheme, model, seed) != ("A", "m", 0):
                lost = 5.0 if loss == "none" else float(loss)
                outcome = Outcome(1, loss == "none", lost, lost)
                records.append(attacked(scheme, "magnitude", outcome, model=model, seed=seed))
    (board,) = boards_of(runs_of(gather(typed(records))))
    headers, rows = ranking_table(board, rank(board))
    at = [headers.index(name) for name in ("scheme", "S(1)", "#", "rank, 95 %")]
    found = [[str(row[i]) for i in at] for row in rows]
    assert [[scheme, s.split(" ")[0], place, span] for scheme, s, place, span in found] == [
        [line[0], *line[5:]] for line in told
    ]
