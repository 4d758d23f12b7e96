"""The study of the owner's commands runs each in a small interpreter of its own, and tells medians and extremes."""

from pathlib import Path

import pytest

from bench.studies.owner_speed import Line, Usage, page, run
from cwwm.support.errors import BadInput


def test_a_row_is_of_medians_and_the_page_says_how_many_runs() -> None:
    line = Line(
        "net", 4_650_000, "embed", tuple(Usage(wall, 2 * wall, 100 * wall, "yes") for wall in (3.0, 1.0, 2.0))
    )
    assert line.row() == ("net", "4.7 M", "embed", "2.0", "1.0 to 3.0", "4.0", "300", "yes")
    assert "medians of 3 runs" in page([line])


@pytest.mark.programs
def test_a_command_runs_and_what_it_took_is_its_own(tmp_path: Path) -> None:
    ballast = bytearray(1 << 29)  # a child would count it
    usage = run(("keygen", "-o", str(tmp_path / "owner.key")))
    assert usage.answer == "yes"
    assert 0 < usage.processor < usage.wall + 1
    assert 10 < usage.memory < len(ballast) >> 20


@pytest.mark.programs
def test_a_command_that_fails_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cwwm inspect ended with 2: .*absent"):
        run(("inspect", str(tmp_path / "absent.safetensors")))
