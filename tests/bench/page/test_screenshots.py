"""Pictures of the page as a reader sees it; the folder they go to is ignored, `make screenshots` keeps three."""

import os
from pathlib import Path

import pytest

from bench.leaderboard.page import write_page
from bench.records.store import RecordStore
from tests.bench.page.conftest import RESULTS, Open

PICTURES = RESULTS / "runs" / "page"
LARGEST = 300_000  # bytes of a picture that is to be committed
RESULTS_VARIABLE = "CWWM_SCREENSHOTS_OF"  # which committed results to picture; those of suite smoke are small

SHOTS = {
    "leaderboard-desktop": ("", {"width": 1280, "height": 900, "color_scheme": "light"}),
    "leaderboard-phone": (
        "",
        {"width": 390, "height": 844, "color_scheme": "light", "is_mobile": True, "device_scale_factor": 2},
    ),
    "leaderboard-dark": ("view=pareto", {"width": 1280, "height": 900, "color_scheme": "dark"}),
}


@pytest.fixture(scope="module")
def pictured(smoke_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page that is pictured."""
    name = os.environ.get(RESULTS_VARIABLE)
    if name is None:
        return smoke_page
    return write_page(RecordStore(RESULTS / name), tmp_path_factory.mktemp(name) / "leaderboard.html")


@pytest.mark.parametrize("name", SHOTS)
def test_a_picture_is_taken_of(name: str, pictured: Path, look: Open) -> None:
    fragment, options = SHOTS[name]
    page = look(pictured, fragment, **options).page
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert 10_000 < path.stat().st_size < LARGEST
    assert page.evaluate("document.documentElement.scrollWidth") == options["width"]
