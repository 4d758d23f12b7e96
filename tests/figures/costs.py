"""How long suites took, from the first to the last of their records, and how large they are."""

from tests.figures.registry import claim, holds, rows
from tests.figures.sources import lines, minutes, records
from tests.figures.text import ROOT

README, LABORATORY, PAGE = "README.md", "docs/laboratory.md", "docs/reproduction.md"
SUITES = ("smoke", "zoo", "protected", "alignment")


def duration(folder: str) -> str:
    """Return the minutes between the first and the last record."""
    return f"{minutes(folder):.0f}"


def hardware(folder: str) -> str:
    """Return the hardware that all records are of."""
    (found,) = {record.environment.hardware for record in records(folder)}
    return found


@claim(README, "runs the suite `smoke` (about {} minutes on two CPU cores,")
def smoke() -> list[str]:
    return [duration("smoke")]


@claim(
    LABORATORY,
    "In `zoo`, {} architectures of {} families are built, marked, read, reloaded and pruned, untrained, in {} "
    "minutes; all of them work.",
)
def zoo() -> list[str]:
    cells = lines("zoo")
    holds(all(cell["works"] == "1" for cell in cells), "all of them work")
    counts = (len({cell[what] for cell in cells}) for what in ("model", "family"))
    return [*map(str, counts), duration("zoo")]


@claim(LABORATORY, "trains, marks, prunes, reads and proves in under {} lines.")
def one_page() -> list[str]:
    length = len((ROOT / "examples" / "one_page.py").read_text().splitlines())
    return [str(-(-(length + 1) // 10) * 10)]


@rows(PAGE, "suite | records | minutes | hardware")
def spans() -> list[str]:
    return [f"{suite} | {len(records(suite))} | {duration(suite)} | {hardware(suite)}" for suite in SUITES]
