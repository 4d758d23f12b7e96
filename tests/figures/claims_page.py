"""Writes docs/claims.md, every claim with its record and its test: ``python -m tests.figures.claims_page``."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.figures.derived import TOPICS
from tests.figures.registry import CLAIMS, Claim, Rows
from tests.figures.sources import asked_by, table
from tests.figures.text import CLAIMED, PAGES, ROOT, Statement, statements

_HEAD = """# What we claim and how we know

For those who do not believe us. README and documentation tell a measured figure only where a function in
[tests/figures](../tests/figures/registry.py) derives it from a committed record. Below is every sentence that has
one, as it stands there: {claims} sentences and tables with {figures} figures. What a sentence says in words, such
as *no run*, is held by the same function. `make check-results` runs them all and holds every table against its
records; `make test` fails for a number that nothing derives. This page is written from that registry by
`python -m tests.figures.claims_page`, and a test compares the two.

| to doubt | do |
|---|---|
| a figure | `python -m tests.figures --seed 7 --count 10` draws ten, and shows each beside what it derives |
| a table | `cwwm-bench check results/NAME --sample 5` derives it again, and runs five of its cells again |
| a record | run it yourself: [results](../results/README.md) has the command of each |

The *source* of a record is the commit that it was made with, unknown where it is from before that was noted.
*Archived* records are of older source: their tables follow from them by the present code, but their cells cannot be
run again. {archived} of these sentences and tables rest on such records. A claim without a record follows from an
exact law, or from the source as it is. [What is not measured](findings.md#what-is-not-measured) is said, too.
"""
_TABLE = "| claim | record | date (source) | derived by |\n|---|---|---|---|\n"
_TAIL = """## Claims of a test alone

These hold what records show without a sentence in the documentation:

"""
_ALONE = ("test_claims.py", "test_compression_claims.py", "test_forgery_claims.py")


@dataclass(frozen=True)
class Entry:
    """A sentence or a table that claims something.

    Attributes:
        words: of it. claims: that speak of it. records: folders and pages of results that these are derived from.
    """

    words: str
    claims: tuple[Claim | Rows, ...]
    records: tuple[str, ...]

    @classmethod
    def of(cls, statement: Statement, claims: Sequence[Claim | Rows]) -> "Entry":
        """Return the entry of the claims of a statement; figures are derived, to see from what."""
        headers = [one.header.replace(" | ", ", ") for one in claims if isinstance(one, Rows)]
        sentence = statement.text.removeprefix("- ").replace("|", "\\|")
        words = f"the table with columns {headers[0]}" if headers else sentence
        records = sorted({record for one in claims for record in asked_by(one.derive)})
        return cls(words, tuple(claims), tuple(records))

    @property
    def figures(self) -> int:
        """Return how many figures it has."""
        return sum(
            len(one.spans()) * (one.header.count(" | ") + 1 - one.parameters)
            if isinstance(one, Rows)
            else one.text.count("{}")
            for one in self.claims
        )

    @property
    def archived(self) -> bool:
        """Say whether one of its records is of older source."""
        return any(_listed()[record][1] == "archived" for record in self.records)

    def __str__(self) -> str:
        links = ", ".join(map(_link, self.records)) or "-"
        made = ", ".join(dict.fromkeys(map(_made, self.records))) or "-"
        return f"| {self.words} | {links} | {made} | {', '.join(map(_test, self.claims))} |"


def page() -> str:
    """Return the page as the registry gives it."""
    assert TOPICS, "their claims are registered"
    by_page = {name: _entries(name) for name in PAGES}
    every = [entry for entries in by_page.values() for entry in entries]
    archived, figures = sum(one.archived for one in every), sum(one.figures for one in every)
    head = _HEAD.format(claims=len(every), figures=figures, archived=archived)
    parts = [_part(name, entries) for name, entries in by_page.items() if entries]
    return "\n".join([head, *parts, _TAIL + "".join(map(_alone, _ALONE))])


def _entries(page: str) -> list[Entry]:
    """Return those of a page in its order."""
    speaking: dict[Statement, list[Claim | Rows]] = {statement: [] for statement in statements(page)}
    for one in CLAIMS:
        if one.page == page:
            speaking[one.spans()[0][0]].append(one)
    return [Entry.of(statement, claims) for statement, claims in speaking.items() if claims]


def _part(name: str, entries: list[Entry]) -> str:
    return f"## {name}\n\n{_TABLE}" + "".join(f"{entry}\n" for entry in entries)


def _alone(name: str) -> str:
    says = ast.get_docstring(ast.parse((ROOT / "tests" / name).read_text())) or ""
    return f"- [{name}](../tests/{name}): {says.splitlines()[0]}\n"


@cache
def _listed() -> dict[str, tuple[str, str]]:
    """Return the date and the source of each folder and page, as results/README.md has them."""
    rows = table("README.md", "result")
    return {name: (date, source) for links, _, date, source, *_ in rows for name in _named(links)}


def _named(links: str) -> Iterator[str]:
    for target in re.findall(r"\]\((\S+?)\)", links):
        yield target.removesuffix("/leaderboard.md")


def _test(one: Claim | Rows) -> str:
    name = one.derive.__module__.rpartition(".")[2]
    return f"[{name}](../tests/figures/{name}.py) `{one.derive.__name__}`"


def _link(record: str) -> str:
    target = record if Path(record).suffix else f"{record}/leaderboard.md"
    return f"[{record}](../results/{target})"


def _made(record: str) -> str:
    date, source = _listed()[record]
    return f"{date} ({source})"


if __name__ == "__main__":
    (ROOT / CLAIMED).write_text(page())
