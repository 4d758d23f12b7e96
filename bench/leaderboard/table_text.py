"""Tables as text: headers and rows of any values, in Markdown by tabulate."""

from collections.abc import Sequence

from tabulate import tabulate

from bench.support.plain_text import in_markdown

Table = tuple[list[str], list[list[object]]]


def table_text(table: Table) -> str:
    """Return a table in Markdown, empty if it has no rows; what cells say is shown as it is."""
    headers, rows = ([in_markdown(str(h)) for h in table[0]], [[in_markdown(str(c)) for c in r] for r in table[1]])
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) if rows else ""


def number_text(value: float | None, spec: str) -> str:
    """Return a number in a format, "-" where there is none."""
    return "-" if value is None else format(value, spec)


def joined(tables: Sequence[Table]) -> Table:
    """Return tables of the same headers as one."""
    return (tables[0][0], [row for _, rows in tables for row in rows]) if tables else ([], [])
