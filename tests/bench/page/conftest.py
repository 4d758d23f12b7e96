"""A headless Chromium that opens pages from the file system; whatever it logs or asks for is told."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.leaderboard.page import write_page
from bench.records.store import RecordStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RESULTS = Path(__file__).resolve().parents[3] / "results"
INSISTS = "CWWM_BROWSER_TESTS"  # "required" where a missing browser is a failure, not a reason to skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@dataclass
class Opened:
    """A page in the browser, with all that it logged and asked for."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Open = Callable[..., Opened]


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """Yield Chromium; its driver's event loop lives no longer than the tests of this folder."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        _absent("no Chromium is installed; on Debian: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _absent("playwright is not installed; it is in the extra 'test'")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=OPTIONS)
        yield chromium
        chromium.close()


def _absent(reason: str) -> None:
    if os.environ.get(INSISTS) == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def look(browser: "Browser") -> Iterator[Open]:
    """Return how to open a page: look(path, "view=curves", width=390, ...) waits until it is drawn.

    At the end no page may have logged an error, or asked for anything but its own file.
    """
    opened: list[Opened] = []

    def open_page(
        path: Path, fragment: str = "", *, script: str = "", ready: bool = True, **options: object
    ) -> Opened:
        options["viewport"] = {"width": options.pop("width", 1280), "height": options.pop("height", 900)}
        context = browser.new_context(**options)
        found = Opened(context.new_page())
        if script:
            found.page.add_init_script(script)
        found.page.on("console", lambda m: found.errors.append(m.text) if m.type in ("error", "warning") else None)
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        opened.append(found)
        found.page.goto(f"{path.as_uri()}#{fragment}")
        if ready:
            found.page.wait_for_selector("html[data-ready]", state="attached")
        return found

    yield open_page
    for found in opened:
        assert found.errors == []
        assert [url for url in found.requests if not url.startswith(("file:", "data:"))] == []
        assert sum(url.startswith("file:") for url in found.requests) == 1
        found.page.context.close()


@pytest.fixture(scope="package")
def smoke() -> RecordStore:
    """Return the committed records of suite smoke."""
    return RecordStore(RESULTS / "smoke")


@pytest.fixture(scope="package")
def smoke_page(smoke: RecordStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its page."""
    return write_page(smoke, tmp_path_factory.mktemp("page") / "leaderboard.html")
