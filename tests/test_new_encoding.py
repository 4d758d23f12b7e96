"""docs/new-encoding.md is true: its files and commands, taken in order with the wheel, print what it shows."""

from pathlib import Path

import pytest

from tests.built_wheel import ROOT, installed_wheel
from tests.pages import Reader

PAGE = (ROOT / "docs" / "new-encoding.md").read_text()


@pytest.mark.slow
def test_the_page_goes_from_a_file_to_a_row(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Numerics are portable, so that its numbers are those of every processor."""
    reader = Reader(installed_wheel(tmp_path_factory), tmp_path, quiet=False)
    assert reader.follow(PAGE, with_numbers=True) == 7
    assert (tmp_path / "mine" / "leaderboard.html").exists()
