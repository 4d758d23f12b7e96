"""The study of reading against the original says of each host what removes the message, the cheapest first."""

from pathlib import Path

import pytest
import torch

from bench.attacks import make_attack
from bench.studies.informed import USABLE, Reading, page, removals
from bench.studies.informed_attacks import ATTACKS, Attempt
from bench.studies.informed_picture import draw


def reading(attack: str, tier: int, compute: float, lost: float = 0.0, *, recovered: bool = False) -> Reading:
    return Reading("host", attack, 1.0, lost, 5.0, 50.0, {"fit": 40.0}, 30.0, recovered, tier, 0.1, compute)


def test_removals_are_told_by_tier_then_by_training_and_only_of_usable_models() -> None:
    found = removals([
        reading("dear", 3, 1.0), reading("short", 2, 0.1), reading("shorter", 2, 0.01),
        reading("ruinous", 1, 0.0, USABLE + 0.1), reading("held", 1, 0.0, recovered=True),
    ])  # fmt: skip
    places = [found.index(attack) for attack in ("shorter", "short ", "dear")]
    assert places == sorted(places)
    assert "of 4 suspects" in found
    assert "ruinous" not in found
    assert "held" not in found


def test_a_host_whose_message_nothing_removes_says_what_comes_nearest() -> None:
    assert "nothing; nearest comes held" in removals([reading("held", 1, 0.0, recovered=True)])


def test_the_page_counts_what_is_recovered_and_names_its_picture(tmp_path: Path) -> None:
    found = [reading("held", 1, 0.0, recovered=True), reading("short", 2, 0.1)]
    draw([vars(one) for one in found], tmp_path / "laws.png")
    told = page(found, 1e-3, "laws.png", torch.device("cpu"))
    assert "1 of 2 messages are recovered" in told
    assert "](laws.png)" in told
    assert (tmp_path / "laws.png").stat().st_size > 10_000


@pytest.mark.parametrize("attempt", ATTACKS, ids=lambda attempt: attempt.label or attempt.attack["name"])
def test_every_attack_of_the_menu_takes_its_strengths(attempt: Attempt) -> None:
    attack = make_attack(attempt.attack, "informed")
    for strength in attempt.strengths:
        attack.check_strength(strength)
