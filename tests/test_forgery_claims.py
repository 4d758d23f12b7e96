"""The threat model says of forged claims what the committed study found, no more."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.results

ROOT = Path(__file__).resolve().parent.parent
PAGE = " ".join((ROOT / "results" / "forgery.md").read_text().split())
MODEL = " ".join((ROOT / "docs" / "threat-model.md").read_text().split())


def rows(header: str) -> list[list[str]]:
    """Return the cells of the rows of the table whose header begins so."""
    lines = (ROOT / "results" / "forgery.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if re.match(rf"\| *{re.escape(header)} +\|", line))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_no_fitted_claim_is_proven_and_the_count_is_that_of_the_study() -> None:
    said = re.search(r"Of (\d+) verdicts on (\d+) claims (\d+) are \*proven\*; (\d+) would be", PAGE)
    assert said is not None
    verdicts, claims, proven, believed = said.groups()
    assert proven == "0"
    assert f"of {verdicts} verdicts on {claims} fitted claims {proven} are *proven*" in MODEL
    assert f"the numbers alone would have convinced in {believed}" in MODEL
    table = rows("scheme: chosen to fit")
    assert len(table) == int(claims)
    assert sum(int(row[-1].partition("/")[2]) for row in table) == int(verdicts)
    assert all(row[-1].startswith("0/") for row in table)
    assert sum(int(row[-3].partition("/")[0]) for row in table if row[1] == "kept") == int(believed)


def test_a_salt_that_follows_leaves_chance() -> None:
    follows = [
        row for row in rows("scheme: chosen to fit") if row[1] == "follows" and not row[0].startswith("riga")
    ]
    lowest = [float(cell) for row in follows for cell in row[2:6] if cell != "-"]
    assert min(lowest) > -4  # of some hundred p-values


def test_the_search_of_keys_is_that_of_the_study() -> None:
    searched = [row for row in rows("form") if row[0] == "cwc, 64 bits"]
    keys, (found, allowed) = searched[0][2], searched[0][6].split(" / ")
    assert all(row[6].startswith("0 / ") for row in searched)
    assert found == "0"
    assert f"of {keys} keys, on a marked and on an unmarked model, none came to 1e-6 ({allowed} would have" in MODEL


def test_grinding_to_a_proof_takes_thousands_of_core_years() -> None:
    costs = {row[0]: row[2] for row in rows("p")}
    assert "1e-6 takes days of one core, 1e-12 thousands of core-years" in MODEL
    assert costs["1e-06"].endswith(" days")
    assert costs["1e-12"].endswith(" years")
    assert float(costs["1e-12"].split()[0].replace(",", "")) > 1000
    seconds = re.search(r"one stretch: ([\d.]+) s", PAGE)
    assert seconds is not None
    assert f"{float(seconds[1]):.1f} s of one core and 64 MiB" in MODEL
