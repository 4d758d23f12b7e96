"""The table of results/README.md, written from the list of published results and from what their files say."""

from collections.abc import Sequence
from pathlib import Path

from bench.published.entries import Entry, Published
from bench.published.facts import cut_text, facts_of
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic

BEGIN = "<!-- table: written by cwwm-bench results --readme from published.yaml -->"
END = "<!-- end of table -->"
_HEAD = ("result", "suite or study", "date", "source", "hardware", "cells", "made", "command")
_SHOWN = 4  # values of one option that a command shows


def readme_path(published: Published) -> Path:
    """Return the page."""
    return published.folder / "README.md"


def readme_text(published: Published) -> str:
    """Return the page with its table as it follows from the list and the files; prose around it stays.

    Raises:
        BadInput: for a page without the marks of its table, or a result that is missing.
    """
    path = readme_path(published)
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BadInput(f"{path} has no lines '{BEGIN}' and '{END}' for its table to stand between")
    return f"{before}{BEGIN}\n\n{table(published)}\n\n{END}{after}"


def write_readme(published: Published) -> bool:
    """Write the page, and say whether it was another before."""
    path, text = readme_path(published), readme_text(published)
    if path.read_text(encoding="utf-8") == text:
        return False
    write_atomic(path, text.encode())
    return True


def table(published: Published) -> str:
    """Return a line for each entry, in the list's order."""
    rows = [_HEAD, ("---",) * len(_HEAD), *(_row(entry, published.folder) for entry in published.entries)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def command(entry: Entry, folder: Path) -> str:
    """Return the command behind a result, in which an option with many values is shown once."""
    if entry.suite:
        run = " ".join(["cwwm-bench run", *_short(entry.run_options())])
        return f"{run} && {entry.then}" if entry.then else run
    if entry.study:
        arguments = [entry.arguments] if entry.arguments else []
        output = (Path(folder.name) / entry.result).as_posix()
        return " ".join([f"python -m bench.studies.{entry.study}", *arguments, "-o", output])
    return str(entry.made)


def _short(options: Sequence[str]) -> list[str]:
    """Return options in quotes where they need some; of one that is given too often only its name."""
    found: list[str] = []
    for place, part in enumerate(options):
        option = options[place - 1] if place else ""
        if option.startswith("--") and options.count(option) > _SHOWN:
            part = "..."
        elif options.count(part) > _SHOWN and part in found:
            continue
        if part != "..." or found[-1] != "...":
            found.append(f'"{part}"' if " " in part else part)
    return found


def _row(entry: Entry, folder: Path) -> tuple[str, ...]:
    facts = facts_of(entry, folder)
    said = "; ".join(filter(None, (entry.about, cut_text(entry))))
    return (
        f"{_link(entry, folder)}{': ' if said else ''}{said}",
        entry.suite or entry.study or "-",
        facts.date,
        facts.source,
        facts.hardware,
        facts.cells,
        facts.made,
        f"`{command(entry, folder)}`" if entry.made is None else entry.made,
    )


def _link(entry: Entry, folder: Path) -> str:
    place, picture = folder / entry.result, Path(entry.result).with_suffix(".png")
    if place.is_dir():
        page = "README.md" if (place / "README.md").exists() else "leaderboard.md"
        return f"[{entry.result}]({entry.result}/{page})"
    return f"[{entry.result}]({entry.result})" + (f" ([picture]({picture}))" if (folder / picture).exists() else "")
