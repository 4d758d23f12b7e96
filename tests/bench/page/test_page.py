"""The page in a browser: what it shows is what the tables say, and every number leads to its record."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from bench.leaderboard.boards import boards_of
from bench.leaderboard.page import write_page
from bench.leaderboard.points import gather
from bench.leaderboard.ranking import rank
from bench.leaderboard.ranking_tables import by_attack_table, median_table, ranking_table
from bench.leaderboard.runs import runs_of
from bench.leaderboard.tables import speed_table
from bench.records.store import RecordStore
from cwwm.ownership.evidence import PROOF_RATE
from cwwm.support.seeds import identity
from tests.bench.invented import Outcome, attacked, many, record, record_store_of, refused
from tests.bench.page.conftest import RESULTS, Open

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.programs

VIEWS = ("survival", "curves", "pareto", "capacity", "speed", "measurements", "more")


def cells(table: "Locator") -> list[list[str]]:
    """Return the texts of a table's rows."""
    rows: list[list[str]] = table.evaluate(
        "box => [...box.querySelectorAll('.tabulator-row')].map(row => "
        "[...row.querySelectorAll('.tabulator-cell')].map(cell => cell.innerText.trim()))"
    )
    return rows


def column(page: "Page", table: str, title: str) -> list[str]:
    """Return the texts under a title."""
    titles = page.locator(f"{table} .column-title").all_inner_texts()
    return [row[titles.index(title)] for row in cells(page.locator(table))]


def close_dialog(page: "Page") -> None:
    """Close the dialog, and wait until it has taken its step back, which would undo the next one."""
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.wait_for_url(lambda address: "record=" not in address)


def test_the_head_states_what_was_run_when_and_on_what(smoke: RecordStore, smoke_page: Path, look: Open) -> None:
    page, made = look(smoke_page).page, next(iter(smoke.records()))
    head = page.locator("header").text_content() or ""
    environment = made.environment
    stated = [environment.date[:10], environment.torch, environment.hardware, made.recipe.host.timm]
    assert all(text in head for text in [f"suite {smoke.suite}", "2 seeds", "commit", *stated])


def test_models_without_a_mark_are_no_encoding(tmp_path: Path, look: Open) -> None:
    made = [record(scheme, 256, "magnitude", 0.9) for scheme in ("a", "none")]
    page = look(write_page(record_store_of(tmp_path, "mine", made), tmp_path / "leaderboard.html")).page
    assert (page.locator(".size").text_content() or "").startswith("1 encoding · ")


def test_tables_are_those_of_the_markdown(smoke: RecordStore, smoke_page: Path, look: Open) -> None:
    points = gather(smoke.records())
    page = look(smoke_page).page
    (board,) = boards_of(runs_of(points))
    ranking = [[str(cell) for cell in row] for row in ranking_table(board, rank(board))[1]]
    assert cells(page.locator("#ranking")) == ranking
    attacks, shares = by_attack_table(board, rank(board))
    for number, attack in enumerate(attacks[2:], 2):
        assert [text or "-" for text in column(page, "#map", attack)] == [row[number] for row in shares]
    page = look(smoke_page, "view=more").page
    medians = [[str(row[1]), str(row[0]), *map(str, row[2:])] for row in median_table(board, rank(board))[1]]
    shown = cells(page.locator("#section-medians-encodings-256"))
    assert [[row[1], row[0], *row[2:]] for row in shown] == medians
    speed = [[str(cell) for cell in row] for row in speed_table(points)[1]]
    page = look(smoke_page, "view=speed").page
    assert sorted(sorted(row) for row in cells(page.locator("#section-speed"))) == sorted(
        sorted(row) for row in speed
    )


def test_the_page_holds_every_record_as_it_is(smoke: RecordStore, smoke_page: Path, look: Open) -> None:
    page = look(smoke_page).page
    embedded = page.evaluate("async () => (await (await import('page/archive.js')).records()).all")
    assert embedded == [record.to_json() for record in smoke.records()]


def test_a_number_opens_the_records_it_comes_from(smoke: RecordStore, smoke_page: Path, look: Open) -> None:
    page = look(smoke_page).page
    page.locator("#ranking .tabulator-row").nth(1).get_by_role("button").first.click()
    dialog = page.get_by_role("dialog")
    dialog.locator("pre.json").wait_for()
    identities = set()
    for line in range(dialog.locator("tr").count()):
        dialog.locator("tr").nth(line).get_by_role("button").click()
        dialog.locator("tr").nth(line).and_(page.locator(".chosen")).wait_for()
        identities.add(identity := dialog.locator(".identity").inner_text())
        made = smoke.stored(identity)
        assert page.evaluate("JSON.parse(document.querySelector('pre.json').textContent)") == made
        page.wait_for_url(re.compile(f"#.*record={identity}"))
    assert len(identities) == 4  # models x seeds
    close_dialog(page)


def test_a_record_has_an_address(smoke: RecordStore, smoke_page: Path, look: Open) -> None:
    made = next(iter(smoke.records()))
    page = look(smoke_page, f"record={made.identity}&row=0").page
    page.locator("pre.row").wait_for()
    assert page.evaluate("JSON.parse(document.querySelector('pre.row').textContent)") == made.to_json()["rows"][0]
    page = look(smoke_page, "record=none").page
    assert "no record none" in page.get_by_role("dialog").inner_text()


def test_columns_sort_by_number(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, "view=measurements").page
    page.locator("#measurements .column-title", has_text="log10 p").click()
    falling = [float(text) for text in column(page, "#measurements", "log10 p")]
    assert falling == sorted(falling, reverse=True)
    page.locator("#measurements .column-title", has_text="log10 p").click()
    rising = [float(text) for text in column(page, "#measurements", "log10 p")]
    assert rising == sorted(rising)
    assert rising[0] < falling[0]


def test_tables_are_filtered_by_what_is_chosen_and_typed(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, "view=measurements").page
    page.get_by_label("Model").select_option("test_vit")
    assert set(column(page, "#measurements", "model")) == {"test_vit"}
    page.get_by_label("Attack", exact=True).select_option("magnitude")
    page.locator("#measurements input").first.type("cwc")
    page.locator("#measurements .tabulator-row", has_text="sign-repetition").first.wait_for(state="hidden")
    assert set(column(page, "#measurements", "attack")) == {"magnitude"}
    assert set(column(page, "#measurements", "scheme")) == {"cwc", "protected-cwc"}
    page.locator("summary", has_text="Encodings").click()
    page.get_by_role("checkbox", name="protected-cwc").uncheck()
    assert "protected-cwc" not in column(page, "#measurements", "scheme")
    assert page.get_by_role("checkbox", name="sign-repetition").is_visible()  # the list stays open


def test_a_pointed_at_curve_says_what_it_shows_and_opens_its_records(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, urlencode({"view": "curves", "schemes": "cwc", "attack": "magnitude"})).page
    panel = page.locator("figure").first
    assert panel.locator("[stroke-dasharray]").count() >= 1  # the law
    assert panel.locator("[aria-label=area] path").count() >= 1  # the band
    dot = panel.locator("[aria-label=dot] path").last
    dot.hover()
    tip = panel.locator("[aria-label=tip]")
    tip.get_by_text("cwc, 256 bits").wait_for()
    assert "magnitude" in (tip.text_content() or "")
    dot.click()
    assert "cwc against magnitude" in page.get_by_role("dialog").inner_text()


def test_views_have_addresses_and_the_back_button_works(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, "model=test_vit&view=curves").page
    assert page.locator("#views [aria-current=page]").inner_text() == "Curves"
    assert page.get_by_label("Model").input_value() == "test_vit"
    page.get_by_role("button", name="The attacker's trade").click()
    assert page.locator("h2", has_text="The attacker's trade").is_visible()
    page.get_by_label("Model").select_option("test_resnet-40")
    page.go_back()
    page.locator("select:has(option[value=test_vit]:checked)").wait_for()
    page.go_back()
    page.locator("#views [aria-current=page]", has_text="Curves").wait_for()
    page.wait_for_url(re.compile("#.*view=curves"))


def test_a_curve_of_survival_opens_the_removals_behind_it(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, "schemes=cwc").page
    panels = page.locator("#view figure")
    assert panels.locator("figcaption").all_inner_texts() == [
        "Attackers up to tier 1", "Attackers up to tier 2 (nothing tried at 2)", "Attackers up to tier 3"
    ]  # fmt: skip
    plot = panels.last.locator("svg").last
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"])
    panels.last.locator("[aria-label=tip]").get_by_text("cwc").wait_for()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"])
    dialog = page.get_by_role("dialog")
    dialog.locator("pre.json").wait_for()
    assert "cwc: cheapest removal up to tier 3" in dialog.inner_text()
    assert dialog.locator("tr").count() == 4  # one a run


def test_an_attack_at_one_strength_has_no_panel(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, "view=curves").page
    captions = page.locator("#view figcaption").all_inner_texts()
    assert "magnitude" in captions
    alone = "new-head (head, epochs=1)"
    assert alone not in captions
    assert alone in page.locator("#view").inner_text()


def test_boards_are_switched_and_have_addresses(tmp_path: Path, look: Open) -> None:
    stands, free = Outcome(1, True, 1.0, 1.0), Outcome(0, False, 0.0, 0.0)
    made = [attacked("a", "magnitude", stands, model=m, seed=s) for m in "mn" for s in (0, 1)]
    made += [
        attacked("a aligned", "permute", free, reader="aligned", model=m, seed=s) for m in "mn" for s in (0, 1)
    ]
    page = look(write_page(record_store_of(tmp_path, "mine", made), tmp_path / "page.html")).page
    assert column(page, "#ranking", "scheme") == ["a"]
    page.get_by_role("button", name="systems").click()
    page.wait_for_url("**board=systems**")
    assert column(page, "#ranking", "scheme") == ["a aligned"]
    assert column(page, "#map", "0: permute") == ["0/4"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of many schemes and three payloads, with a hostile name wherever a record has one."""
    folder = tmp_path_factory.mktemp("crowd")
    made = [*many(schemes=9), *(hostile(record(EVIL, bits, "magnitude", 0.9)) for bits in (64, 256))]
    made.append(hostile(refused(EVIL, 1024, "magnitude", seed=0)))
    return write_page(record_store_of(folder, EVIL, made), folder / "leaderboard.html")


EVIL = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>\"&amp;<b>bold</b>"


def hostile(made: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the hostile name in all places that the page shows."""
    key = {**made["key"], "attack": EVIL, "model": EVIL, "data": EVIL}
    rows = [{**row, "task": EVIL} for row in made["rows"]]
    environment = {**made["environment"], "hardware": EVIL, "date": "2026-01-01T00:00:00"}
    return {
        **made, "key": key, "rows": rows, "environment": environment, "identity": identity(**key),
        "reason": EVIL,
    }  # fmt: skip


REDRAWN = """
window.redrawn = 0;
const seen = new MutationObserver((changes) => {
  for (const { removedNodes } of changes)
    for (const node of removedNodes) if (node.querySelector?.(".number")) window.redrawn += 1;
});
seen.observe(document, { childList: true, subtree: true });
"""


def test_what_is_drawn_stays_so_that_no_click_is_lost(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, script=REDRAWN).page
    page.evaluate("() => new Promise((done) => setTimeout(done, 500))")
    assert page.evaluate("window.redrawn") == 0
    page.set_viewport_size({"width": 600, "height": 600})
    page.locator("main .number").first.click()
    page.get_by_role("dialog").wait_for()


def test_a_long_table_is_drawn_as_far_as_a_taller_window_shows(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, "view=measurements", height=600).page
    rows = page.locator("#measurements .tabulator-row")
    before = rows.count()
    page.set_viewport_size({"width": 1280, "height": 4000})
    drawn = "few => document.querySelectorAll('#measurements .tabulator-row').length > few"
    page.wait_for_function(drawn, arg=before)


def turn(page: "Page", **state: str) -> None:
    """Go to another view of an open page by its address."""
    page.evaluate("fragment => { location.hash = fragment }", urlencode(state))
    page.locator(f"#view[data-view={state['view']}]").wait_for()


def test_names_from_records_are_text_in_every_view(crowd: Path, look: Open) -> None:
    page = look(crowd).page
    assert page.title() == f"Leaderboard of suite {EVIL}"
    for view in VIEWS:
        turn(page, view=view, model=EVIL, schemes=EVIL)
        assert EVIL in page.locator("main").inner_text()
        for target in page.locator(".column-title, [aria-label=dot] path").all()[-1:]:
            target.hover()
        for number in page.locator("main .number").all()[:1]:
            number.click()
            assert EVIL in page.get_by_role("dialog").inner_text()
            close_dialog(page)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img, b, main script, dialog script").count() == 0


@pytest.fixture(scope="module")
def archived_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of an archived folder: marks whose p-values were too small at 1,024 bits, too large at 64."""
    folder = tmp_path_factory.mktemp("archived")
    marks = [read_by_wrong_keys(record("a", 1024, "magnitude", 0.9), surer_than_3=39, surer_than_6=1)]
    marks.append(read_by_wrong_keys(record("a", 64, "magnitude", 0.9), surer_than_3=1, surer_than_6=0))
    record_store = record_store_of(folder, "mine", marks)
    record_store.note_archived("2026-01-31", "marks are bound now.")
    return write_page(record_store, folder / "leaderboard.html")


def read_by_wrong_keys(made: dict[str, Any], *, surer_than_3: int, surer_than_6: int) -> dict[str, Any]:
    """Return a record with 10,800 wrong keys, of which so many had log10 p-values of at most -3 and -6."""
    below = {"unmarked": (0, 0), "marked": (surer_than_3, surer_than_6)}
    null = {
        name: {"trials": 5400, "lowest": [-3.0] * 54, "below": {"-3": three, "-6": six}}
        for name, (three, six) in below.items()
    }
    return {**made, "artefact": made["identity"], "marked": {**made["marked"], "null": null, "covertness": None}}


def test_a_rate_that_excludes_the_nominal_one_stands_out(archived_page: Path, look: Open) -> None:
    page = look(archived_page, "view=more&bits=1024").page
    above = page.locator("#section-detection .number.above")
    assert above.all_inner_texts() == ["0.00361 [0.0026, 0.0049]", "9.26e-05 [2.3e-06, 0.00052]"]
    above.first.click()
    assert "at 1e-3: 0.00361 [0.0026, 0.0049]" in page.get_by_role("dialog").inner_text()
    page = look(archived_page, "view=more&bits=64").page
    assert page.locator("#section-detection .number.below").count() == 1
    assert page.locator("#section-detection .number.above").count() == 0


def test_the_head_says_that_records_are_archived(archived_page: Path, smoke_page: Path, look: Open) -> None:
    note = look(archived_page).page.locator("header .archived")
    assert note.inner_text() == "Archived on 2026-01-31: marks are bound now."
    assert look(smoke_page).page.locator("header .archived").count() == (
        RecordStore(RESULTS / "smoke").archived is not None
    )


def test_the_line_of_proof_is_where_the_tables_have_it(archived_page: Path, look: Open) -> None:
    page = look(archived_page, "view=pareto").page
    assert f"proof at {PROOF_RATE:g}" in (page.locator("#view figure").first.text_content() or "")


def test_the_refused_cells_say_why(crowd: Path, look: Open) -> None:
    page = look(crowd, "view=more").page
    page.locator("h3", has_text="Not run").locator("xpath=following-sibling::p[1]").get_by_role("button").click()
    assert "refused" in page.get_by_role("dialog").inner_text()


def test_capacity_shows_payloads_and_their_runs(crowd: Path, look: Open) -> None:
    page = look(crowd, "view=capacity").page
    first = page.locator("[data-attack=magnitude] .tabulator-row").first
    assert "1024" in first.inner_text()
    first.get_by_role("button", name="1024").first.click()
    assert "1024 bits" in page.get_by_role("dialog").inner_text()


@pytest.fixture(scope="module")
def zoo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the committed zoo, whose models are untrained."""
    return write_page(RecordStore(RESULTS / "zoo"), tmp_path_factory.mktemp("zoo") / "leaderboard.html")


def test_untrained_models_have_tables_and_no_curves(zoo_page: Path, look: Open) -> None:
    page = look(zoo_page, "view=curves").page
    assert page.locator("#views button").all_inner_texts() == ["Tables", "Speed"]
    assert "architectures work" in page.locator("main").inner_text()
    assert page.locator("#filters *").count() == 0
    table = page.locator("#section-architectures")
    table.locator(".tabulator-header-filter input").first.type("vit_tiny")
    table.locator(".tabulator-row", has_not_text="vit_tiny").first.wait_for(state="hidden")
    found = cells(table)
    assert found
    assert all("vit_tiny" in "".join(row) for row in found)
    table.locator(".tabulator-row").first.get_by_role("button").first.click()
    dialog = page.get_by_role("dialog")
    dialog.locator("pre.json").wait_for()
    assert dialog.locator("tr").count() == 2  # weights as they begin, and perturbed
    assert "vit_tiny" in dialog.inner_text()
    turn(page, view="speed")
    assert len(cells(page.locator("#section-speed"))) > 10


def test_a_phone_scrolls_no_view_sideways(crowd: Path, look: Open) -> None:
    page = look(crowd, width=390, height=844, is_mobile=True, has_touch=True).page
    for view in VIEWS:
        turn(page, view=view)
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_colours_follow_the_system_and_the_switch(smoke_page: Path, look: Open) -> None:
    page = look(smoke_page, color_scheme="dark").page
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Theme").click()
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(ground) == dark != light


@pytest.mark.parametrize("missing", ["DecompressionStream", "HTMLScriptElement.supports"])
def test_an_old_browser_is_told_what_it_lacks(smoke_page: Path, look: Open, missing: str) -> None:
    page = look(smoke_page, script=f"delete window.{missing}", ready=False).page
    assert "too old" in page.locator("#notice").inner_text()
