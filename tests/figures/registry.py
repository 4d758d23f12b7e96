"""What the pages claim: a sentence with a gap for each measured figure, and the function that derives these."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.figures.text import NUMBER, Statement, statements

Derive = Callable[[], Sequence[str]]

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")  # fmt: skip
_GAP = rf"({NUMBER}|\b(?i:{'|'.join(WORDS)})\b)"


class UntrueError(AssertionError):
    """What a sentence says in words is not what records show."""


def holds(condition: bool, what: str) -> None:
    """Raise UntrueError with what a sentence says in words, unless it is so."""
    if not condition:
        raise UntrueError(what)


def word(number: int) -> str:
    """Return a small number in words."""
    return WORDS[number]


@dataclass(frozen=True)
class Found:
    """A figure where it stands.

    Attributes:
        statement: that it stands in. span: where in it.
        derived: what records give; None if no claim speaks of it. fault: what else is untrue of its sentence.
    """

    statement: Statement
    span: tuple[int, int]
    derived: str | None
    fault: str = ""

    @property
    def figure(self) -> str:
        """Return the figure as it stands there."""
        return self.statement.text[slice(*self.span)]

    @property
    def agrees(self) -> bool:
        """Say whether records give this figure, and nothing else in its sentence is untrue."""
        return self.derived == self.figure and not self.fault


@dataclass(frozen=True)
class Claim:
    """Words of a page with measured figures.

    Attributes:
        page: where. text: the words, ``{}`` for each figure; numbers outside of gaps are parameters of the claim.
        derive: returns the figures, as they should be written; raises UntrueError for what words say besides.
    """

    page: str
    text: str
    derive: Derive

    def places(self) -> list[tuple[Statement, re.Match[str]]]:
        """Return where the page has these words."""
        pattern = re.compile(_GAP.join(map(re.escape, self.text.split("{}"))))
        found = ((statement, pattern.search(statement.text)) for statement in statements(self.page))
        return [(statement, match) for statement, match in found if match]

    def found(self) -> list[Found]:
        """Return its figures, or its words where it has none.

        Raises:
            LookupError: if the page does not have these words just once.
        """
        places = self.places()
        if len(places) != 1:
            raise LookupError(f"{self.page} has these words {len(places)} times: {self.text}")
        (statement, match), fault, derived = places[0], "", list[str]()
        try:
            derived = list(self.derive())
        except UntrueError as untrue:
            fault = str(untrue)
        if "{}" not in self.text:  # it says something in words alone: they are what is derived
            return [Found(statement, match.span(), match[0], fault)]
        spans = [match.span(number + 1) for number in range(self.text.count("{}"))]
        derived += [""] * (len(spans) - len(derived))
        return [Found(statement, span, one, fault) for span, one in zip(spans, derived, strict=True)]

    def spans(self) -> list[tuple[Statement, tuple[int, int]]]:
        """Return what of the page it speaks of."""
        return [(statement, match.span()) for statement, match in self.places()]


@dataclass(frozen=True)
class Rows:
    """A table of a page that is written from records as it stands.

    Attributes:
        page: where. header: cells of its first line, joined by " | ".
        derive: returns the rows, cells joined by " | ".
        parameters: how many cells of each row name what it is of, and are no measurement.
    """

    page: str
    header: str
    derive: Derive
    parameters: int = 1

    def found(self) -> list[Found]:
        """Return its cells as figures.

        Raises:
            LookupError: if the page has no such table.
        """
        rows, derived = self._rows(), list(self.derive())
        if len(rows) != len(derived):
            raise LookupError(f"{self.page}: {len(rows)} rows where records give {len(derived)}: {self.header}")
        pairs = zip(rows, derived, strict=True)
        return [one for row, own in pairs for one in _cells(row, own.split(" | "), self.parameters)]

    def spans(self) -> list[tuple[Statement, tuple[int, int]]]:
        """Return what of the page it speaks of."""
        return [(row, (0, len(row.text))) for row in self._rows()]

    def _rows(self) -> list[Statement]:
        page = iter(statements(self.page))
        if not any(statement.text.strip("| ") == self.header for statement in page):
            raise LookupError(f"{self.page} has no table with the header {self.header}")
        rows = []
        for statement in page:
            if not statement.text.startswith("|"):
                break
            rows.append(statement)
        return rows


def _cells(row: Statement, derived: Sequence[str], parameters: int) -> Iterator[Found]:
    cells = [match for match in re.finditer(r"[^|]+", row.text) if match[0].strip() or match.end() < len(row.text)]
    if len(cells) != len(derived):
        raise LookupError(f"{len(cells)} cells where records give {len(derived)}: {row.text}")
    for number, (cell, value) in enumerate(zip(cells, derived, strict=True)):
        start = cell.start() + len(cell[0]) - len(cell[0].lstrip())
        fault = "" if number >= parameters or cell[0].strip() == value else f"the row is of {value}"
        if number >= parameters or fault:
            yield Found(row, (start, start + len(cell[0].strip())), value, fault)


CLAIMS: list[Claim | Rows] = []


def claim(page: str, text: str) -> Callable[[Derive], Derive]:
    """Register the function that derives the figures of these words."""

    def register(derive: Derive) -> Derive:
        CLAIMS.append(Claim(page, text, derive))
        return derive

    return register


def rows(page: str, header: str, parameters: int = 1) -> Callable[[Derive], Derive]:
    """Register the function that derives a table."""

    def register(derive: Derive) -> Derive:
        CLAIMS.append(Rows(page, header, derive, parameters))
        return derive

    return register
