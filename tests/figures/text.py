"""Splits a page into statements, sentences of prose and rows of tables, and finds the numbers in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLAIMED = "docs/claims.md"  # sentences of the other pages; tests/figures/claims_page.py writes it
GENERATED = ("docs/record-schema.md", CLAIMED)  # the former has bounds of fields only; the schema writes it
PAGES = tuple(
    page
    for page in ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")))
    if page not in GENERATED
)

NUMBER = r"(?<![\w.-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
_CODE = re.compile(r"```.*?```|<!--.*?-->", re.S)
_INLINE = re.compile(r"`[^`]*`")
_TARGET = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")  # of a link, whose words stay
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:- |\d+\. |\||#|:   ))")
_SENTENCE = re.compile(r"(?<=[.!?)])\s+(?=[A-Z`*\"(])|(?<=\w\. )(?=\d+ [a-z])")


@dataclass(frozen=True)
class Statement:
    """A sentence, or a row of a table.

    Attributes:
        page: path from the root. heading: of the section that it stands in.
        text: its words with single blanks, code in backticks, links as their words.
    """

    page: str
    heading: str
    text: str

    @property
    def numbers(self) -> list[tuple[int, int]]:
        """Return where its numbers stand, (first, last + 1), those in code left out."""
        bare = _INLINE.sub(lambda found: " " * len(found[0]), self.text)
        return [found.span() for found in re.finditer(NUMBER, bare)]


@cache
def statements(page: str) -> tuple[Statement, ...]:
    """Return the statements of a page in order."""
    return tuple(_statements(page, _TARGET.sub(r"\1", _CODE.sub("", (ROOT / page).read_text()))))


def _statements(page: str, text: str) -> Iterator[Statement]:
    heading = ""
    for block in _BLOCK.split(text):
        words = " ".join(block.split())
        if words.startswith("#"):
            heading = words.lstrip("# ")
        for part in [words] if words.startswith("|") else _SENTENCE.split(words):
            if part.strip() and not re.fullmatch(r"[-|: ]+", part):
                yield Statement(page, heading, part.strip())
