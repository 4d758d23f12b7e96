"""Golden cells: the rows of a cell a scheme family and an attack family are those committed (`make golden`).

Bit by bit where versions are equal and portable numerics are known to hold; elsewhere by what cannot depend on last
bits. Every definition that ran has to be in the fingerprint of what it is part of.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from bench.attacks import ATTACKS as KNOWN
from bench.attacks import make_attack
from bench.metrics.tiers import tier
from bench.records.schema import Cost
from bench.support.numerics import processor_facts
from cwwm.schemes import SCHEMES
from tests.golden.__main__ import EXPECTED, measured
from tests.golden.cells import ATTACKS, NEEDS, golden_cells
from tests.portable.__main__ import EXPECTED as PORTABLE
from tests.shared_folder import made_once

EXPECTED_CELLS: dict[str, dict[str, Any]] = json.loads(EXPECTED.read_text())["cells"]

#: of a trained network: what was asked for, and what follows from that alone
ALWAYS = ("strength", "task", "applicable", "reason", "law")
#: of an untrained one: its weights are drawn alike everywhere, so that only sums differ, by last bits
UNTRAINED = ("exact", "erased", "finite")
CLOSE = ("overlap", "log10_p")  # to 1e-6 of their values
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the cells gave, run once for all processes of these tests."""

    def make(folder: Path) -> None:
        (folder / "found.json").write_text(json.dumps(measured()))

    text = (made_once(tmp_path_factory, "golden", make) / "found.json").read_text()
    cells: dict[str, Any] = json.loads(text)
    return cells


@pytest.mark.results
@pytest.mark.first
def test_golden_rows_are_the_committed_ones(found: dict[str, Any]) -> None:
    missing = EXPECTED_CELLS.keys() - found["cells"].keys()
    assert missing <= NEEDS.keys(), "a golden cell was not run"
    expected = {name: cell for name, cell in EXPECTED_CELLS.items() if name not in missing}
    for name, cell in found["cells"].items():
        assert faults(cell, expected[name], untrained=name.endswith(", untrained")) == [], name
    if found["conditions"] != json.loads(EXPECTED.read_text())["conditions"]:
        return
    others = sorted(name for name, cell in found["cells"].items() if cell != expected[name])
    if processor_facts()["processor"] in json.loads(PORTABLE.read_text())["held_on"]:
        assert others == [], "make golden, if these rows were meant to change"
    elif others:
        warnings.warn(f"portable numerics do not hold here: other last bits in {', '.join(others)}", stacklevel=1)


@pytest.mark.results
def test_no_row_is_of_a_lower_tier_than_its_attack_declares(found: dict[str, Any]) -> None:
    """Else tiers that stop would leave out what a lower tier counts; one that only looks at data may need none."""
    for name, (attack, _) in ATTACKS.items():
        declared = make_attack(attack, name).declared_tier
        for row in found["cells"].get(name, {"rows": []})["rows"]:
            own = tier(Cost(**row["cost"]))
            assert own >= declared or (own, declared) == (1, 2), name


def faults(found: dict[str, Any], expected: dict[str, Any], *, untrained: bool) -> list[str]:
    """Return which values of rows differ by more than last bits can explain."""
    pairs = list(zip(found["rows"], expected["rows"], strict=True))
    names = (*ALWAYS, *(UNTRAINED if untrained else ()))
    wrong = [name for new, old in pairs for name in names if new.get(name) != old.get(name)]
    if untrained:
        wrong += [name for new, old in pairs for name in CLOSE if not close(new[name], old[name])]
    return wrong


def close(new: float, old: float) -> bool:
    return bool(new == pytest.approx(old, rel=TOLERANCE))


@pytest.mark.parametrize(("name", "value"), [("law", 0.123), ("exact", None), ("log10_p", -1e9)])
def test_a_changed_value_is_seen(name: str, value: object) -> None:
    cell = EXPECTED_CELLS["cwc, untrained"]
    assert faults(cell, cell, untrained=True) == []
    changed = {**cell, "rows": [{**row, name: value} for row in cell["rows"]]}
    assert set(faults(changed, cell, untrained=True)) == {name}


@pytest.mark.results
def test_every_definition_that_ran_is_covered_by_the_identity(found: dict[str, Any]) -> None:
    assert found["uncovered"] == [], "\n".join(found["uncovered"])


def test_every_scheme_and_attack_family_has_a_golden_cell() -> None:
    cells = [cell for _, cell in golden_cells({})]
    assert {cell.mark.scheme.name for cell in cells} == set(SCHEMES)
    run = {type(part).__module__ for cell in cells for part in (cell.attack.attack, *cell.attack.attack.parts)}
    without = {attack.__module__ for attack in KNOWN.values()} - run
    assert without == {
        "bench.attacks.compression.analog",  # aihwkit is not among what the tests install
        "bench.attacks.compression.joint",  # the solver of admm-prune, with clusters
        "bench.attacks.symmetry.rescaling",
    }
