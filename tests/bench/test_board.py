"""The board: tiers, removal losses, survival with its uncertainty, and ranks, on invented records."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.attacks.registry import ATTACKS
from bench.leaderboard import texts
from bench.leaderboard.boards import Board, boards_of
from bench.leaderboard.bootstrap import DRAWS, redraw, share_above
from bench.leaderboard.older_costs import FREE_ATTACKS, complete_cost, is_free
from bench.leaderboard.points import gather
from bench.leaderboard.ranking import Standing, median_loss, rank
from bench.leaderboard.ranking_tables import by_attack_table, median_text, notes, ranking_table, tried_table
from bench.leaderboard.runs import Run, not_provable, runs_of
from bench.leaderboard.survival import GRID, Matrix, curves, removal_loss
from bench.metrics.tiers import tier
from bench.records.schema import Cost, Json, TrainedResult
from tests.bench.invented import Outcome, attacked, record, typed

HOSTS = list(product(("m", "n"), (0, 1, 2)))
STANDS, WEAKENED = Outcome(1, True, 5.0, 5.0), Outcome(1, False, 0.4, 0.4)


def runs(*records: Json) -> list[Run]:
    return runs_of(gather(typed(records)))


def everywhere(
    scheme: str,
    *outcomes: Outcome,
    hosts: Sequence[tuple[str, int]] = HOSTS,
    **more: Any,  # noqa: ANN401
) -> list[Json]:
    """Return the records of a scheme with the same outcomes in all hosts."""
    return [attacked(scheme, "magnitude", *outcomes, model=m, seed=s, **more) for m, s in hosts]


def only_board(*records: Json) -> Board:
    (board,) = boards_of(runs(*records))
    return board


def standings(*records: Json) -> dict[str, Standing]:
    return {standing.scheme: standing for standing in rank(only_board(*records))}


@pytest.mark.parametrize(
    ("free", "data", "compute", "expected"),
    [(True, 0.0, 0.0, 0), (False, 0.0, 0.0, 1), (False, 0.1, 0.1, 2), (False, 0.0, 0.1, 2), (False, 0.1, 0.11, 3),
     (False, 0.2, 0.0, 3), (False, 1.0, 1.0, 3)],
)  # fmt: skip
def test_tiers_bound_data_and_compute(free: bool, data: float, compute: float, expected: int) -> None:
    cost = Cost(steps=0, samples=0, data_fraction=data, compute_fraction=compute, free=free)
    assert tier(cost) == expected


def test_costs_of_older_records_follow_from_samples_and_from_the_names_of_attacks() -> None:
    made = record("a", 64, "finetune (epochs=2)", 1.0)
    made["recipe"]["host"]["model"]["recipe"] = {"train": {"epochs": 20}}
    made["rows"][0]["cost"] = {"steps": 44, "samples": 2694, "data_fraction": 1.0}
    (old,) = typed([made])
    assert isinstance(old, TrainedResult)
    assert complete_cost(old, old.rows[0]).compute_fraction == 0.1
    assert complete_cost(old, old.rows[1]).compute_fraction == 0.0
    chain: Json = {"name": "then", "first": {"name": "permute"}, "second": {"name": "rescale"}}
    assert is_free(chain)
    assert not is_free({**chain, "second": {"name": "magnitude"}})
    assert all(ATTACKS[name].free for name in FREE_ATTACKS)


def test_a_removal_is_chosen_on_validation_and_told_on_test_with_its_sign() -> None:
    (run,) = runs(
        attacked(
            "a", "magnitude",
            Outcome(1, False, lost=-0.3, validation=0.5),
            Outcome(1, False, lost=0.2, validation=0.1),
            Outcome(1, True, lost=-2.0, validation=-2.0),
            Outcome(3, False, lost=-1.0, validation=-1.0),
            Outcome(1, False, lost=-2.0, validation=-2.0, task="textures"),
        )
    )  # fmt: skip
    assert removal_loss(run, (1, 2)) == pytest.approx(0.2)
    assert removal_loss(run, (1, 2, 3)) == pytest.approx(-1.0)
    assert np.isnan(removal_loss(run, (2,)))  # nothing was tried there
    without = attacked("a", "magnitude", Outcome(1, False, 0.7), Outcome(1, False, 0.6))
    points = gather(typed([without]))
    assert removal_loss(runs_of(points)[0], (1,)) == pytest.approx(0.6)
    assert "chosen on the test images" in notes(points)
    assert notes(gather(typed([attacked("a", "magnitude", STANDS)]))) == ""


def test_what_was_never_embedded_is_in_no_figure_of_robustness() -> None:
    there = everywhere("a", STANDS, hosts=HOSTS[:5])
    board = only_board(*there, attacked("a", "magnitude", WEAKENED, embedded=False, model="n", seed=2))
    (standing,) = rank(board)
    assert standing.survival is not None
    assert standing.survival.value == 1.0
    headers, (row,) = ranking_table(board, [standing])
    assert row[headers.index("not embedded")] == "1/6"
    assert curves(board, 3)[0].runs == 5


@given(st.lists(st.sampled_from([-3.0, -0.5, 0.0, 1.0, 2.5, 30.0, np.inf, np.nan]), min_size=1, max_size=9))
def test_survival_falls_with_what_may_be_lost_and_is_a_share_of_the_known(losses: list[float]) -> None:
    known = [loss for loss in losses if not np.isnan(loss)]
    shares = [share_above(np.array([losses]), x)[0] for x in GRID]
    if not known:
        assert np.isnan(shares).all()
        return
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] >= known.count(np.inf) / len(known)
    for x, share in zip(GRID, shares, strict=True):
        assert share == pytest.approx(sum(loss > x for loss in known) / len(known))


def test_draws_take_whole_hosts_and_then_as_many_seeds_and_repeat() -> None:
    places = [("m", 0), ("m", 1), ("m", 2), ("n", 0), ("n", 7)]
    counts = redraw(places)
    assert counts.shape == (DRAWS, 5)
    assert (counts == redraw(places)).all()
    of_m, of_n = counts[:, :3].sum(axis=1), counts[:, 3:].sum(axis=1)
    assert set(zip(of_m.tolist(), of_n.tolist(), strict=True)) == {(6, 0), (3, 2), (0, 4)}
    assert counts.mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)


def test_an_interval_is_wider_where_hosts_differ_than_where_seeds_do() -> None:
    by_host = [*everywhere("a", STANDS, hosts=HOSTS[:3]), *everywhere("a", WEAKENED, hosts=HOSTS[3:])]
    mixed = [attacked("a", "magnitude", (STANDS, WEAKENED)[s % 2], model=m, seed=s) for m in "mn" for s in range(4)]
    widths = []
    for records in (by_host, mixed):
        found = standings(*records)["a"].survival
        assert found is not None
        assert found.value == 0.5
        widths.append(found.high - found.low)
    assert widths[0] == 1.0 > widths[1]


def test_ranks_are_shared_until_survival_is_told_apart() -> None:
    unsure = [
        attacked("unsure", "magnitude", WEAKENED if (m, s) == ("m", 0) else STANDS, model=m, seed=s)
        for m, s in HOSTS
    ]
    found = standings(
        *everywhere("strong", STANDS), *unsure, *everywhere("weak", WEAKENED), *everywhere("worse", WEAKENED)
    )
    assert [(name, s.place) for name, s in found.items()] == [
        ("strong", "1="), ("unsure", "1="), ("weak", "3="), ("worse", "3="),
    ]  # fmt: skip
    assert found["strong"].rank == (1, 2)
    assert found["unsure"].rank == (1, 2)
    assert found["weak"].rank == found["worse"].rank == (3, 4)


def test_equals_are_ordered_by_what_tier_3_does_and_then_by_answers_kept() -> None:
    full, kept = Outcome(3, False, 0.0, 0.0), Outcome(3, True, 0.0, 0.0)
    records = [*everywhere("a", STANDS, full), *everywhere("b", STANDS, kept), *everywhere("c", STANDS, kept)]
    for made in records:
        equal = {"a": 999, "b": 900, "c": 950}[made["key"]["scheme"]]
        made["marked"]["answers"] = {"equal": equal, "total": 1000}
    found = standings(*records)
    assert list(found) == ["c", "b", "a"]
    assert [s.rank for s in found.values()] == [(1, 1), (2, 2), (3, 3)]
    assert {s.place for s in found.values()} == {"1="}  # S(1) up to tier 2 is the same


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (everywhere("a", STANDS, hosts=[("m", 0), ("m", 1)]), "one host"),
        (everywhere("a", STANDS, hosts=[("m", 0), ("n", 0)]), "one seed"),
        (everywhere("a", STANDS, embedded=False), "no run embedded"),
        (everywhere("a", Outcome(3, True, 0.0)), "nothing tried at tiers 1 to 2"),
    ],
)
def test_what_cannot_be_ranked_is_shown_and_says_why(records: list[Json], why: str) -> None:
    board = only_board(*records, *everywhere("b", WEAKENED))
    ranked, unranked = rank(board)
    assert (ranked.scheme, ranked.place, unranked.scheme) == ("b", "1", "a")
    assert f"not ranked: {why}" in map(str, ranking_table(board, [unranked])[1][0])


def test_proof_is_kept_where_the_message_is_not() -> None:
    lost_yet_proven = Outcome(1, False, 0.0, 0.0, log10_p=-12.5)
    (standing,) = rank(only_board(*everywhere("a", lost_yet_proven, Outcome(1, False, 4.0, 4.0, log10_p=-11.9))))
    assert standing.survival is not None
    assert standing.proof is not None
    assert (standing.survival.value, standing.proof.value) == (0.0, 1.0)
    assert removal_loss(standing.runs[0], (1,), not_provable) == pytest.approx(4.0)


def test_entries_with_a_reader_stand_on_a_board_of_their_own() -> None:
    blind, free = everywhere("a", STANDS), Outcome(0, False, 0.0, 0.0)
    assert only_board(*blind).name == "encodings"
    aligned = everywhere("a aligned", free, reader="aligned")
    other = everywhere("b", free, STANDS)
    for made in other:
        made["recipe"]["scheme"] = {"name": "other", "parameters": {}}
    encodings, systems = boards_of(runs(*blind, *aligned, *other))
    assert {run.scheme for run in encodings.runs} == {"a", "b"}
    assert {run.scheme for run in systems.runs} == {"a aligned", "b"}  # no better reading of b is there
    assert {s.scheme: s.survival and s.survival.value for s in rank(encodings)} == {"a": 1.0, "b": 1.0}
    assert {s.scheme: s.survival and s.survival.value for s in rank(systems)} == {"a aligned": 0.0, "b": 0.0}
    headers, rows = ranking_table(encodings, rank(encodings))
    assert {str(row[1]): row[headers.index("falls to free moves")] for row in rows} == {"a": "-", "b": "6/6"}
    assert "falls to free moves" not in ranking_table(systems, rank(systems))[0]


def test_an_attack_that_hides_a_move_counts_where_moves_do() -> None:
    hidden = [attacked("a", "permute + finetune", Outcome(3, False, 0.0), model=m, seed=s) for m, s in HOSTS]
    helped = [attacked("b", "permute + finetune", Outcome(3, True, 0.0), reader="aligned")]
    helped[0]["recipe"]["scheme"] = {"name": "other", "parameters": {}}
    systems, encodings = boards_of(runs(*everywhere("a", STANDS), *hidden, *helped))
    assert (systems.name, encodings.name) == ("systems", "encodings"), "first the one with more schemes"
    of_a = (run for run in systems.runs if run.scheme == "a")
    assert {removal_loss(run, (1, 2, 3)) for run in encodings.runs} == {np.inf}
    assert {removal_loss(run, (1, 2, 3)) for run in of_a} == {0.0}


def test_medians_count_what_nothing_removes_as_more_than_all() -> None:
    made = runs(*everywhere("a", WEAKENED, hosts=HOSTS[:2]), *everywhere("a", STANDS, hosts=HOSTS[2:4]))
    assert [median_text(own, (1,)) for own in (made[:3], made, made[1:], made[2:])] == [
        "0.4",
        "> 0.4",
        "none",
        "none",
    ]
    assert median_loss(made, (2,)) is None


def test_a_new_task_is_in_no_survival_and_stands_in_the_table_by_attack() -> None:
    board = only_board(*everywhere("a", STANDS, Outcome(3, False, 0.0, 0.0, task="textures")))
    assert np.isposinf(Matrix.of(board.runs).losses(board.all_tiers)).all()
    headers, rows = by_attack_table(board, rank(board))
    assert (headers[2:], rows[0][2:]) == (["1: magnitude", "3: magnitude"], ["6/6", "0/6"])


def test_every_scheme_is_in_every_table_and_attacks_not_met_are_named() -> None:
    records = [made for number in range(30) for made in everywhere(f"s{number}", STANDS)]
    records += [attacked("s3", "permute", Outcome(0, True, 0.0, 0.0), model=m, seed=s) for m, s in HOSTS]
    page = texts("mine", typed(records))["leaderboard.md"]
    for title in ("Ranking", "Median removal loss", "Survival by attack", "True positives by attack", "Models"):
        table = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
        assert all(f"| s{number} " in table for number in range(30)), title
    assert "price" not in page
    lacking = {row[0]: row[3] for row in tried_table(runs(*records))[1]}
    assert str(lacking[0]).startswith("s0 (permute); s1 (permute);")
    assert lacking[1] == "none"
    assert "s3 (permute)" not in str(lacking[0])
