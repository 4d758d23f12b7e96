"""The page on proofs at two rates follows from the committed records, by the present rules of evidence."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.records.schema import Found, Reading
from bench.records.store import RecordStore
from bench.studies.proof_rates import FOLDERS, Proof, app, log10_p_now, lost_rows, summary_rows
from cwwm.support.console import run_app
from tests.bench.invented import read

RESULTS = Path(__file__).resolve().parents[2] / "results"
PROOF = Proof("a suite", "cwc", 64, "magnitude", 0.5, -7.0, -6.7)


@pytest.mark.results
def test_the_committed_page_follows_from_the_committed_records(tmp_path: Path) -> None:
    assert run_app(app, "study", ["-o", str(tmp_path / "x.md"), "--results", str(RESULTS)]) == 0
    text = (RESULTS / "proof-rates.md").read_text()
    assert (tmp_path / "x.md").read_text() == text, "python -m bench.studies.proof_rates -o results/proof-rates.md"
    folders = {path.parent for pattern in FOLDERS for path in RESULTS.glob(pattern)}
    assert all(f"| {RecordStore(folder).suite} " in text for folder in folders)


def test_a_proof_is_lost_between_the_rates() -> None:
    sure, weak = replace(PROOF, recorded=-13.0, log10_p=-12.7), replace(PROOF, recorded=-5.0, log10_p=-5.0)
    by_rule = replace(PROOF, recorded=-12.1, log10_p=-11.8)
    assert [p.lost for p in (PROOF, sure, weak, by_rule)] == [True, False, False, True]
    assert summary_rows([PROOF, sure, weak, by_rule], lambda p: (p.suite,)) == [["a suite", 4, 3, 1, 2]]
    assert lost_rows([PROOF, sure, weak]) == [["a suite", "cwc", 64, "magnitude", "0.5", "2/3 -> 1/3", "-6.7"]]
    assert lost_rows([sure, weak]) == []


def reading(statistics: dict[str, float]) -> Reading:
    return Reading.model_validate(read(True, statistics=statistics, counts={}))


def test_a_statistic_that_says_nothing_counts_as_one() -> None:
    assert log10_p_now(reading({"overlap": -20.0})) == pytest.approx(-20 + 0.30103)
    assert log10_p_now(reading({"overlap": -20.0, "vacancy": -3.0})) == pytest.approx(-19.69897)
    assert log10_p_now(reading({"matched bits": -20.0})) == -20.0
    assert log10_p_now(reading({})) == 0.0
    without = {"applicable": True, "reason": "", "exact": True, "overlap": 1.0, "erased": 0, "log10_p": -7.5}
    assert log10_p_now(Found.model_validate(without)) == -7.5


def test_without_records_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "study", ["-o", str(tmp_path / "x.md"), "--results", str(tmp_path)]) == 2
    assert "holds no packed records" in capsys.readouterr().err
