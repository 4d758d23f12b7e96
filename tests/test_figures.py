"""README and documentation say what records show: every measured figure is derived again, and the tool says so."""

import re

import pytest

from bench.records.store import RecordStore
from tests.figures import claims_page
from tests.figures.__main__ import main, shown
from tests.figures.definitions import PARAMETERS, SECTIONS
from tests.figures.derived import figures, underived
from tests.figures.registry import Claim, Found, Rows, UntrueError, holds, word
from tests.figures.sources import RESULTS
from tests.figures.text import CLAIMED, PAGES, ROOT, Statement, statements

TUTORIAL = "docs/first-proof.md"


@pytest.mark.results
def test_every_figure_of_the_pages_is_derived_and_agrees() -> None:
    every = figures()
    assert len(every) > 250
    assert [shown(found) for found in every if not found.agrees] == []


@pytest.mark.results
def test_ten_figures_at_random_are_told_with_their_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "7", "--count", "10"]) == 0
    said = capsys.readouterr().out
    assert said.count(": agrees") == 10
    assert "10 of 10 agree with what is committed" in said
    assert main(["--seed", "7", "--count", "10"]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.results
def test_the_page_of_claims_is_what_the_registry_says() -> None:
    assert (ROOT / CLAIMED).read_text() == claims_page.page(), "python -m tests.figures.claims_page"


def test_every_number_is_claimed_or_said_to_be_no_measurement() -> None:
    assert [shown(found) for found in underived()] == []


def test_every_exception_is_of_words_that_a_page_has() -> None:
    for page, words in PARAMETERS:
        assert any(words in statement.text for statement in statements(page)), words
    for page, heading in SECTIONS:
        assert any(statement.heading == heading for statement in statements(page)), heading


def test_statements_are_sentences_and_rows_without_code_and_targets() -> None:
    texts = [statement.text for statement in statements("docs/findings.md")]
    assert "S(1) with tier 3 is" in next(text for text in texts if "results/protected" in text)
    assert not any("](" in text or "```" in text for text in texts)
    bare = Statement("p", "h", "At `0.9` and 1,024 bits, of 2026-11-23, 3 were 4.5e-3, -0.2 or 71.2x.")
    assert [bare.text[slice(*span)] for span in bare.numbers] == ["1,024", "2026", "3", "4.5e-3", "-0.2", "71.2"]


@pytest.mark.parametrize(("derived", "agrees"), [(["Five"], True), (["Six"], False), ([], False)])
def test_a_claim_finds_its_figure_and_judges_it(derived: list[str], agrees: bool) -> None:
    assert any("Five commands mark the model" in one.text for one in statements(TUTORIAL))
    (found,) = Claim(TUTORIAL, "{} commands mark", lambda: derived).found()
    assert (found.figure, found.agrees) == ("Five", agrees)


def test_a_comparison_that_is_untrue_spoils_the_figures_of_its_sentence() -> None:
    def derive() -> list[str]:
        holds(False, "nobody needs more")
        return ["Five"]

    (found,) = Claim(TUTORIAL, "{} commands mark", derive).found()
    assert not found.agrees
    assert "nobody needs more" in shown(found)
    with pytest.raises(UntrueError, match="nobody"):
        derive()


@pytest.mark.parametrize("true", [True, False])
def test_a_claim_without_a_figure_is_judged_too(true: bool) -> None:
    def derive() -> list[str]:
        holds(true, "it is so")
        return []

    (found,) = Claim(TUTORIAL, "commands mark", derive).found()
    assert (found.figure, found.agrees) == ("commands mark", true)


@pytest.mark.parametrize("text", ["needs {} seeds", "the"])
def test_words_that_a_page_lacks_or_repeats_are_refused(text: str) -> None:
    with pytest.raises(LookupError, match="has these words"):
        Claim(TUTORIAL, text, list).found()


def test_a_table_is_held_cell_by_cell() -> None:
    where, header = "docs/nightly.md", "verdict | says"
    shown_rows = [row.text for row, _ in Rows(where, header, list).spans()]
    right = [" | ".join(cell.strip() for cell in text.strip("|").split("|")) for text in shown_rows]
    assert all(found.agrees for found in Rows(where, header, lambda: right).found())
    wrong = [f"{right[0].split(' | ')[0]} | something else", *right[1:]]
    assert [found.agrees for found in Rows(where, header, lambda: wrong).found()].count(False) == 1
    with pytest.raises(LookupError, match="rows where"):
        Rows(where, header, lambda: right[1:]).found()


def test_what_nothing_derives_does_not_agree() -> None:
    lonely = Found(Statement("p", "h", "It is 3."), (6, 7), None)
    assert not lonely.agrees
    assert "nothing derives it" in shown(lonely)
    assert word(12) == "twelve"
    assert all((ROOT / page).exists() for page in PAGES)


TELLS_FIGURES = ("README.md", "docs/findings.md", "docs/laboratory.md", "docs/owner.md", "docs/threat-model.md")


@pytest.mark.parametrize("page", TELLS_FIGURES)
def test_a_section_that_tells_figures_of_older_source_says_so(page: str) -> None:
    """By the notes in their run files, which tests hold against the source that records name."""
    archived = {path.parent.name for path in RESULTS.glob("*/run.json") if RecordStore(path.parent).archived}
    text = (ROOT / page).read_text()
    for section in re.split(r"\n#+ ", text):
        linked = set(re.findall(r"\]\((?:\.\./)?results/([\w-]+)/leaderboard\.md\)", section))
        assert not linked & archived or "archived" in section + text.split("\n## ")[0], section[:80]
    assert set(re.findall(r"results/([\w-]+)/leaderboard\.md\),? \(?archived", text)) <= archived
