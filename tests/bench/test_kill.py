"""Commands killed at random moments: nothing half-written, no key lost, and the next one ends the same."""

import random
from pathlib import Path

import pytest

from tests.kills.__main__ import VICTIMS, kills
from tests.kills.bench_victims import Parent, Run, Worker
from tests.kills.stage import Stage, set_stage
from tests.kills.victim import Victim

pytestmark = pytest.mark.programs

QUICK = [kind for kind in VICTIMS if not issubclass(kind, Parent | Worker)]  # whose processes start at once
SECONDS: dict[type[Victim], float] = {Run: 2.0}  # of what takes long to measure


@pytest.fixture(scope="module")
def stage(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return set_stage(tmp_path_factory.mktemp("stage"), finished)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow) if kind is Run else kind for kind in QUICK],
    ids=lambda kind: kind.__name__.lower(),
)
def test_one_kill_changes_nothing(kind: type[Victim], stage: Stage, tmp_path: Path) -> None:
    victim = kind(stage, tmp_path / "victim", SECONDS.get(kind))
    victim.kill(random.Random(20261125))
    victim.finish()
    assert victim.tally.damage == []
    assert victim.tally.whole + victim.tally.absent > 0


@pytest.mark.slow
def test_sixty_kills_change_nothing(stage: Stage, tmp_path: Path) -> None:
    killed = list(kills(stage, tmp_path, 60, 20261126))
    assert [line for victim in killed for line in victim.tally.damage] == []
    assert sum(victim.tally.kills for victim in killed) == 60
