"""What the committed study of forged claims found, beside the figures that the threat model tells."""

import pytest

from tests.figures.evidence import FITTED, STUDY
from tests.figures.sources import table

pytestmark = pytest.mark.results


def test_a_salt_that_follows_leaves_chance() -> None:
    follows = [row for row in table(STUDY, FITTED) if row[1] == "follows" and not row[0].startswith("riga")]
    lowest = [float(cell) for row in follows for cell in row[2:6] if cell != "-"]
    assert min(lowest) > -4  # of some hundred p-values


def test_no_fitted_claim_is_proven() -> None:
    assert all(row[-1].startswith("0/") for row in table(STUDY, FITTED))
