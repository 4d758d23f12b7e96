"""The examples are plugins that work: both are marked, attacked and measured on a real network, by two workers."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.attacks import ATTACKS
from bench.records.schema import TrainedResult
from bench.records.store import RecordStore
from bench.support.fingerprint import Fingerprints
from bench.support.modules import Modules
from bench.testing import check_attack
from cwwm.cli.app import app as owner_app
from cwwm.schemes import SCHEMES
from cwwm.support.console import run_app
from cwwm.testing import check_scheme
from cwwm.weights.checkpoint import save_tensors
from examples.low_rank import LowRank
from examples.patchwork import Patchwork
from tests.processes import with_models_of

pytestmark = pytest.mark.programs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLUGINS = ("--plugin", "examples.patchwork", "--plugin", "examples.low_rank")

SUITE = """
models: [tiny]
payloads: [64]
schemes: [{name: patchwork}]
attacks:
  - {name: magnitude, strengths: [0.5]}
  - {name: then, first: low-rank, second: bn, strengths: [0.25, 0.98]}
"""

Bench = Callable[..., int]


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """Forget the plugins after each test: other tests count what is registered."""
    before = dict(SCHEMES), dict(ATTACKS)
    yield
    for registry, known in zip((SCHEMES, ATTACKS), before, strict=True):
        registry.clear()
        registry.update(known)


def owner(*arguments: object) -> int:
    return run_app(owner_app, "cwwm", [str(argument) for argument in arguments])


def test_both_examples_run_in_workers_and_do_what_they_say(bench: Bench, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SUITE)
    out = with_models_of(finished, tmp_path / "out")  # its hosts
    arguments = (tmp_path / "tiny.yaml", *PLUGINS, "--out", out, "--device", "cpu")
    assert bench("run", *arguments, "--jobs", 2) == 0
    found = RecordStore(out).records()
    records = {record.key.attack: record for record in found if isinstance(record, TrainedResult)}
    assert len(records) == len(found)
    mild, hard = records["low-rank + bn"].rows
    (pruned,) = records["magnitude"].rows
    assert (pruned.recovered, mild.recovered, hard.recovered) == (True, True, False)
    assert hard.achieved.model_extra["stored"] < 0.1 < mild.achieved.model_extra["stored"]
    assert hard.achieved.change > 0.5 > mild.achieved.change > 0
    assert records["magnitude"].marked.report.touched > 0.2 * 2 * 64 * 64


def test_the_owner_marks_and_proves_with_a_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_tensors({"body.weight": torch.randn(512, 256)}, tmp_path / "model.safetensors")
    owner("keygen", "-o", tmp_path / "key")
    marked, plugin = tmp_path / "marked.safetensors", ("--plugin", "examples.patchwork")
    assert owner("embed", tmp_path / "model.safetensors", "--key", tmp_path / "key", "--scheme", "patchwork",
                 "--payload-bits", 64, "--message", "mine", "-o", marked, *plugin) == 0  # fmt: skip
    claim = ("--mark", tmp_path / "marked.mark.json", "--commitment", tmp_path / "marked.commitment.json")
    assert owner("extract", marked, "--key", tmp_path / "key", *plugin) == 0
    assert "text: mine" in capsys.readouterr().out
    assert owner("verify", marked, "--key", tmp_path / "key", *claim, "--message", "mine", *plugin) == 0
    assert "read by the plugin examples.patchwork" in capsys.readouterr().out
    del SCHEMES["patchwork"]
    assert owner("extract", marked, "--key", tmp_path / "key") == 2  # the mark alone imports nothing
    assert "unknown scheme 'patchwork'" in capsys.readouterr().err


def test_lists_and_plans_know_plugins(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("list", "schemes", *PLUGINS, "--filter", "patch*", "--json") == 0
    (scheme,) = json.loads(capsys.readouterr().out)
    assert scheme["is"] == "A bit is which of two keyed groups of weights is the larger in magnitude."
    assert bench("plan", EXAMPLES / "examples.yaml", *PLUGINS, "--json") == 0
    cells = json.loads(capsys.readouterr().out)
    assert {cell["scheme"] for cell in cells} == {"patchwork", "sign-repetition", "protected-cwc"}
    assert {cell["attack"] for cell in cells} >= {"low-rank", "low-rank + finetune (epochs=1)"}


def test_the_digest_of_a_plugin_covers_its_source_and_what_it_builds_on() -> None:
    found = Fingerprints(Modules()).reached(["examples.patchwork:Patchwork"])
    assert {"examples.patchwork", "cwwm.schemes.common.keyed:KeyedEmbedding", "cwwm.schemes.base:Scheme"} <= found
    assert "examples.low_rank" not in found


@pytest.mark.parametrize(("name", "lines"), [("low_rank", 60), ("one_page", 80), ("patchwork", 61)])
def test_an_example_is_short(name: str, lines: int) -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"low_rank", "one_page", "patchwork"}
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= lines


def test_both_plugins_keep_their_contracts() -> None:
    check_scheme(Patchwork)
    check_scheme(Patchwork(payload_bits=32, group=128, gap=0.2))
    check_attack(LowRank, [0.0, 0.5, 0.9])


def test_one_page_marks_prunes_reads_and_proves() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "one_page.py"], capture_output=True, text=True, check=True, cwd=EXAMPLES.parent
    )
    said = dict(re.findall(r"^(.+?): +(.*)$", done.stdout, re.M))
    before, after = (float(said[f"accuracy {when}"].rstrip(" %")) for when in ("unmarked", "marked"))
    assert after > 90
    assert before - after < 2
    assert said["read from the pruned model"] == "this network is mine"
    assert said["verdict"].startswith("proven: p = ")
    assert said["on the unmarked model"].startswith("not proven")
