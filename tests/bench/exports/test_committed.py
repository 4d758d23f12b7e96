"""Exports of committed records: sound, true to the leaderboard, and read as docs/nightly.md shows."""

import csv
import json
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path

import jsonschema
import pytest
import yaml
from junitparser import JUnitXml
from junitparser.cli import main as junitparser_main

from bench.cli.app import app
from bench.exports.base import Source
from bench.exports.lines import ACCURACY, EXACT
from bench.exports.registry import EXPORTS
from bench.records.store import RecordStore
from cwwm.support.console import run_app
from tests.bench.exports.schemas import SCHEMAS

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = [ROOT / "results" / name for name in ("smoke", "baseline/nightly-cpu", "zoo")]
SECTION = (
    (ROOT / "docs" / "nightly.md").read_text().partition("## In the formats of others")[2].partition("\n## ")[0]
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.S)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the exports of suite smoke, written by the command of the page."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "results").symlink_to(ROOT / "results")
        patch.chdir(folder)
        program, *arguments = shlex.split(blocks("sh")[0])
        assert (program, run_app(app, "cwwm-bench", arguments)) == ("cwwm-bench", 0)
    return folder


@pytest.mark.results
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_records_give_sound_exports(folder: Path) -> None:
    record_store = RecordStore(folder)
    source = Source.of(record_store, record_store)
    made = {name: data for export in EXPORTS.values() for name, data in export().files(source).items()}
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator(schema).validate(json.loads(made[name]))
    lines = len(source.lines)
    assert len(json.loads(made["bmf.json"])) == lines, "no two lines have one name"
    assert len(json.loads(made["oss-v3.json"])) == sum(len(line.values) for line in source.lines)
    report = JUnitXml.fromstring(made["junit.xml"])
    assert (report.failures, report.errors, report.skipped) == (0, 0, 0), "nothing is worse than itself"


@pytest.mark.results
def test_measures_are_those_of_the_leaderboard(exported: Path) -> None:
    benchmarks = json.loads((exported / "exports" / "bmf.json").read_text())
    with (ROOT / "results" / "smoke" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    for row in rows:
        own = benchmarks["{model} / {scheme} / {payload} bits / {attack} {strength}".format(**row)]
        assert [f"{value:.4f}" for value in own[EXACT.slug].values()] == [
            row["exact"], row["exact_low"], row["exact_high"],
        ]  # fmt: skip
        assert f"{own[ACCURACY.slug]['value']:.3f}" == row["accuracy_attacked"]


@pytest.mark.results
def test_the_python_of_the_page_reads_them(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported)
    assert len(blocks("python")) == 2
    for text in blocks("python"):
        exec(compile(text, "nightly.md", "exec"), {})
        said = capsys.readouterr().out
        assert all(scheme in said for scheme in ("cwc", "protected-cwc", "sign-repetition"))


@pytest.mark.results
def test_the_commands_of_the_page_read_them(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bencher, verify = (shlex.split(text) for text in blocks("sh"))
    assert (exported / bencher[bencher.index("--file") + 1]).is_file()  # its program is of no package index
    monkeypatch.chdir(exported)
    assert verify[0] == "junitparser"
    assert junitparser_main(verify[1:]) == 0


@pytest.mark.results
def test_the_step_of_the_page_is_one_of_a_workflow(exported: Path, tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (step,) = yaml.safe_load(text)
    entries = json.loads((exported / step["with"]["output-file-path"]).read_text())
    assert entries
    assert step["with"]["tool"] == "customBiggerIsBetter"
    tool = Path(sysconfig.get_path("scripts"), "actionlint")
    if not tool.exists():
        pytest.skip("actionlint comes with the extra dev")
    workflow = tmp_path / "workflow.yml"
    job = {"runs-on": "ubuntu-24.04", "steps": [step]}
    workflow.write_text(yaml.safe_dump({"on": "push", "jobs": {"a": job}}))
    done = subprocess.run([tool, workflow], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
