"""Suites of untrained models: networks of every special kind are marked, reloaded and pruned, or say why not."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.attacks import make_attack
from bench.cli.app import app
from bench.execution.model_factory import ModelFactory
from bench.execution.run_cell import run_cell
from bench.execution.untrained_models import perturb
from bench.leaderboard.compatibility import shortfalls
from bench.models.registry import ZOO_VARIABLE, ModelSpec, find_models, load_zoo
from bench.records.record import changed, new_record
from bench.records.store import RecordStore
from bench.records.untrained_schema import UntrainedRecord, UntrainedResult
from bench.suite import AttackEntry, SchemeEntry, load_suite
from bench.suite.cell import Cell, HostSpec, MarkSpec
from bench.suite.expand import cells
from bench.suite.sources import host_roots
from bench.suite.untrained import architectures
from bench.support.artifact_store import ArtefactStore
from bench.support.fingerprint import Fingerprints
from bench.support.modules import Modules
from bench.verification.rebuild import cell_of
from cwwm.support.console import run_app
from cwwm.support.errors import BadInput

FACTORY = ModelFactory(ArtefactStore(Path("nothing is stored"), limit_bytes=0), torch.device("cpu"))
RUNTIME = {"device": "cpu", "threads": 1, "torch": "invented", "timm": "invented"}
Bench = Callable[..., int]

# families that keep their weights in a special way, and how that shows in a network
SPECIAL: dict[str, tuple[str, ...]] = {
    "shared": ("coat_tiny", "coat_lite_tiny"),
    "grouped": ("resnext50_32x4d", "regnety_002", "resnest14d", "skresnext50_32x4d", "dpn68", "test_nfnet"),
    "depthwise": (
        "convnext_atto", "mobilenetv2_100", "ghostnet_100", "hardcorenas_a", "rexnet_100", "edgenext_xx_small",
        "mobileone_s1", "repvit_m1", "mambaout_femto", "lcnet_050", "legacy_xception", "pvt_v2_b0", "fastvit_t8",
    ),
    "fused qkv": (
        "test_vit", "deit_tiny_distilled_patch16_224", "cait_xxs24_224", "xcit_nano_12_p16_224", "davit_tiny",
        "mobilevit_xxs", "visformer_tiny", "volo_d1_224", "crossvit_9_240", "pit_ti_224", "twins_svt_small",
    ),
    "relative positions": (
        "beit_base_patch16_224", "swin_s3_tiny_224", "maxvit_tiny_tf_224", "coatnet_0_224", "levit_128s",
        "tiny_vit_5m_224", "efficientformerv2_s0", "samvit_base_patch16", "vit_relpos_small_patch16_224",
    ),
}  # fmt: skip
NOT_SPECIAL = (
    "gmlp_ti16_224", "mixer_s32_224", "hrnet_w18_small", "densenet121", "vgg11", "inception_v3", "repvgg_a0",
    "tresnet_m", "poolformer_s12", "nf_resnet26", "res2net50_26w_4s", "resnetv2_50x1_bit", "sequencer2d_s",
)  # fmt: skip

#: the smallest of each kind, tried whenever tests are run
QUICK = ("test_vit", "test_vit_relpos", "test_maxvit", "test_coatnet", "test_nfnet", "test_mambaout", "lcnet_050")


def cell(
    model: str | ModelSpec, weights: str = "initial", scheme: str = "protected-cwc", **parameters: object
) -> Cell:
    """Return a cell of magnitude pruning at 0.5 and 0.9, of a scheme that fits the smallest networks."""
    (spec,) = architectures(find_models([model]) if isinstance(model, str) else [model])
    given = {"survive": 0.995, **parameters} if scheme == "protected-cwc" else parameters
    attack = AttackEntry("magnitude", make_attack({"name": "magnitude"}, "test"), (0.5, 0.9))
    host = HostSpec(spec, 0, RUNTIME, weights)
    return Cell(MarkSpec(host, SchemeEntry(scheme, scheme, given), 64), attack)


def run(cell: Cell) -> UntrainedRecord:
    record = run_cell(cell, FACTORY)
    assert isinstance(record, UntrainedRecord)
    return record


def result(cell: Cell) -> UntrainedResult:
    record = run(cell)
    assert isinstance(record, UntrainedResult), record.reason
    return record


def shows(kind: str, network: nn.Module) -> bool:
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    names = list(network.state_dict())
    match kind:
        case "shared":
            return len(names) > len({id(value) for value in network.state_dict(keep_vars=True).values()})
        case "grouped":
            return any(1 < layer.groups < layer.in_channels for layer in convolutions)
        case "depthwise":
            return any(1 < layer.groups == layer.in_channels for layer in convolutions)
        case "fused qkv":
            return any("qkv" in name for name in names)
    return any(part in name for name in names for part in ("rel_pos", "relative_position", "attention_bias"))


def on_meta(name: str) -> nn.Module:
    """Return a network without storage."""
    import timm

    (spec,) = find_models([name])
    with torch.device("meta"):
        network: nn.Module = timm.create_model(spec.timm, num_classes=10, **spec.create)
    return network


@pytest.mark.parametrize("kind", SPECIAL)
def test_families_that_keep_weights_in_a_special_way_are_in_the_zoo(kind: str) -> None:
    assert set(SPECIAL[kind]) <= set(load_zoo())
    for name in SPECIAL[kind][:2]:
        assert shows(kind, on_meta(name)), name


def test_the_zoo_covers_a_hundred_architectures_of_timm_in_many_families() -> None:
    import timm

    suite = load_suite("zoo")
    of_timm = [
        m for m in suite.models if timm.is_model(m.timm) and "timm" in timm.model_entrypoint(m.timm).__module__
    ]
    assert len(of_timm) >= 150
    assert len({model.family for model in of_timm}) >= 60
    assert {model.name for model in of_timm} >= {
        *NOT_SPECIAL,
        *(name for names in SPECIAL.values() for name in names),
    }
    assert suite.untrained == ("initial", "perturbed")


@pytest.mark.parametrize("weights", ["initial", "perturbed"])
@pytest.mark.parametrize("name", QUICK)
def test_a_small_network_of_each_special_kind_works(name: str, weights: str) -> None:
    record = result(cell(name, weights))
    assert shortfalls(record) == []
    assert (record.model.pool_tensors or 0) > 10
    assert record.marked.log10_p < -50
    assert (record.model.carrier_weights or 0) <= record.model.weights
    assert [row.achieved.sparsity for row in record.rows] == pytest.approx([0.5, 0.9], abs=1e-4)


def test_shared_weights_are_marked_once_and_come_back_from_both_files() -> None:
    (spec,) = find_models(["coat_lite_tiny"])
    small = replace(spec, create={"img_size": 32, "embed_dims": (64, 64, 64, 64), "serial_depths": (1, 2, 1, 1)})
    record = result(cell(small, "perturbed"))
    assert record.model.tied > 0
    assert shortfalls(record) == []


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["initial", "perturbed"])
@pytest.mark.parametrize("name", sorted({*NOT_SPECIAL, *(n for names in SPECIAL.values() for n in names)}))
def test_a_network_of_each_named_family_works(name: str, weights: str) -> None:
    assert shortfalls(run(cell(name, weights))) == []


#: strengths of magnitude pruning that an encoding does not claim to outlive
MAY_DIE_AT = {
    "cwc": [],
    "sign-repetition": [0.9],
    "sign-erasure": [0.9],
    "dm-qim": [0.5, 0.9],
    "spread-spectrum": [0.9],
}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", MAY_DIE_AT)
def test_other_encodings_of_finished_models_work_too(scheme: str) -> None:
    pruned_away = {f"message lost after magnitude {strength}" for strength in MAY_DIE_AT[scheme]}
    assert set(shortfalls(run(cell("edgenext_xx_small", scheme=scheme)))) <= pruned_away


def test_a_cell_repeats_bit_by_bit() -> None:
    first, again = (result(cell("test_vit", "perturbed")) for _ in range(2))
    assert first.marked == again.marked
    assert first.marked.digest != result(cell("test_vit")).marked.digest


@torch.no_grad()
def test_noise_reaches_every_parameter_and_repeats() -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4))

    one, same, plain = network(), network(), network()
    perturb(one, 1)
    perturb(same, 1)
    for noisy, again, before in zip(one.parameters(), same.parameters(), plain.parameters(), strict=True):
        assert torch.equal(noisy, again)
        assert not torch.isclose(noisy, before, rtol=0, atol=1e-7).any()
        change = float(
            (noisy - before).square().mean().sqrt() / before.square().mean().sqrt().clamp(min=0.02 / 0.3)
        )
        assert 0.1 < change < 0.6


@pytest.mark.parametrize(
    ("changed", "status", "reason"),
    [
        ({"create": {"no_such_option": 1}}, "failed", "build: TypeError"),
        ({"size": 30}, "failed", "answer: "),
        ({"timm": "no_such_network"}, "refused", "build: unknown model"),
    ],
)
def test_what_goes_wrong_is_recorded_with_the_step(changed: dict[str, Any], status: str, reason: str) -> None:
    (spec,) = find_models(["mixer_s32_224"] if "size" in changed else ["test_resnet"])
    broken = replace(spec, **{"create": {"img_size": 64}, **changed} if "size" in changed else changed)
    record = run(cell(broken))
    assert record.status == status
    assert str(record.reason).startswith(reason)
    assert "\n" not in str(record.reason)
    assert shortfalls(record) == [f"{status}: {record.reason}"]


def test_a_pool_that_is_too_small_is_refused_while_embedding() -> None:
    record = run(cell("test_resnet", blocks=250, block_length=4096))
    assert record.status == "refused"
    assert str(record.reason).startswith("embed: carrier 'all' has")


@pytest.fixture(scope="module")
def record() -> UntrainedResult:
    """Return a record in which nothing falls short."""
    return result(cell("test_resnet"))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("marked", "exact"), False, "message lost after marking"),
        (("marked", "finite"), False, "answers not finite after marking"),
        (("reloads", "state dict", "same_answers"), False, "other answers after the state dict"),
        (("reloads", "safetensors", "exact"), False, "message lost after the safetensors"),
        (("reloads", "safetensors", "unloaded", "exact"), False, "message lost after the safetensors, unloaded"),
        (("rows", 1, "exact"), False, "message lost after magnitude 0.9"),
    ],
)
def test_every_stage_can_fall_short(
    record: UntrainedResult, path: tuple[Any, ...], value: bool, expected: str
) -> None:
    assert shortfalls(record) == []
    other = json.loads(json.dumps(record.to_json()))
    place = other
    for part in path[:-1]:
        place = place[part]
    assert place[path[-1]] is not value
    place[path[-1]] = value
    fallen = new_record(other)
    assert isinstance(fallen, UntrainedRecord)
    assert shortfalls(fallen) == [expected]


def test_an_architecture_is_tried_once_whatever_its_data_and_recipe() -> None:
    both = find_models(["lenet5-mnist", "lenet5"])
    (spec,) = architectures(both)
    assert (spec.name, spec.data) == ("lenet5", "none")
    first, second = (cell(entry) for entry in both)
    assert first.identity == second.identity
    assert first.identity != cell(both[0], "perturbed").identity
    assert first.identity != cell(replace(both[0], size=64)).identity


def test_an_untrained_network_is_read_as_its_entry_says() -> None:
    """Permuted channels: nothing is read as they stand, and the message through an alignment."""
    given = cell("test_resnet", "perturbed")
    attack = AttackEntry("permute", make_attack({"name": "permute"}, "test"), (1.0,))
    found = {}
    for reader in ("blind", "aligned"):
        mark = replace(given.mark, scheme=replace(given.mark.scheme, reader=reader))
        found[reader] = result(Cell(mark, attack)).rows[0].recovered
    assert found == {"blind": False, "aligned": True}


def test_a_record_gives_its_cell_again(record: UntrainedResult) -> None:
    made = cell("test_resnet")
    assert cell_of(record, made.host.model) == made
    assert cell_of(record, made.host.model).identity == record.identity


ZOO = """
recipes:
  never: {mark: {epochs: 1}}
models:
  small: {timm: test_resnet, family: residual, data: digits, size: 32, recipe: never}
  again: {timm: test_resnet, data: textures, size: 64, recipe: never}
  broken: {timm: test_vit, family: "v|t", data: digits, size: 32, recipe: never, create: {no_such_option: 1}}
"""

SUITE = """
description: an untrained suite for tests
untrained: [initial, perturbed]
models: ["*"]
payloads: [64]
schemes: [{name: protected-cwc, survive: 0.995}]
attacks: [{name: magnitude, strengths: [0.5, 0.9]}]
"""


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bench]:
    """Return a folder with models.yaml and untrained.yaml, and the command line with that zoo."""
    folder = tmp_path_factory.mktemp("untrained")
    (folder / "models.yaml").write_text(ZOO)
    (folder / "untrained.yaml").write_text(SUITE)

    def call(*arguments: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ZOO_VARIABLE, str(folder / "models.yaml"))
            return run_app(app, "cwwm-bench", [str(argument) for argument in arguments])

    return folder, call


@pytest.fixture(scope="module")
def out(laboratory: tuple[Path, Bench]) -> Path:
    """Return the output folder of a run in which one architecture works and one does not; tests only read it."""
    folder, bench = laboratory
    assert bench("run", folder / "untrained.yaml", "--out", folder / "out", "--device", "cpu") == 3
    return folder / "out"


def test_a_failing_architecture_stops_nothing_and_is_told(
    laboratory: tuple[Path, Bench], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = {(r.key.model, r.recipe.host.weights): r.status for r in RecordStore(out).records()}
    assert statuses == {
        (name, weights): status
        for name, status in (("test_resnet", "ok"), ("test_vit", "failed"))
        for weights in ("initial", "perturbed")
    }
    assert laboratory[1]("status", out) == 0
    assert "build: TypeError" in capsys.readouterr().out
    page = (out / "leaderboard.md").read_text()
    assert "**1 of 2 architectures work**" in page
    (line,) = re.findall(r"^\| test_vit .*\| initial .*$", page, re.M)
    assert "failed: build: TypeError" in line
    assert "accuracy" in page
    assert len((out / "leaderboard.csv").read_text().splitlines()) == 1 + 4


def test_check_and_pack_take_records_without_accuracy(
    laboratory: tuple[Path, Bench], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, bench = laboratory
    assert bench("pack", out, "--to", tmp_path / "packed") == 0
    assert bench("check", tmp_path / "packed", "--sample", 0, "--device", "cpu") == 0
    assert "all is well" in capsys.readouterr().out
    shutil.copytree(out, tmp_path / "forged")
    record_store = RecordStore(tmp_path / "forged")
    good = next(record for record in record_store.records() if record.status == "ok")
    marked = good.to_json()["marked"]
    record_store.write(changed(good, marked={**marked, "log10_p": marked["log10_p"] - 1}))
    assert bench("leaderboard", tmp_path / "forged") == 0
    capsys.readouterr()
    assert bench("check", tmp_path / "forged", "--sample", 4, "--device", "cpu") == 1
    said = capsys.readouterr().out
    assert said.count("running again") == 4
    assert said.count("WRONG") == 1, "the other three came out as recorded"


def test_a_second_run_tries_only_what_failed(laboratory: tuple[Path, Bench], out: Path, tmp_path: Path) -> None:
    folder, bench = laboratory
    shutil.copytree(out, tmp_path / "out")
    before = {r.identity: r for r in RecordStore(out).records()}
    assert bench("run", folder / "untrained.yaml", "--out", tmp_path / "out", "--device", "cpu") == 3
    for again in RecordStore(tmp_path / "out").records():
        same = again == before[again.identity]
        assert same == (again.status == "ok")
        assert len(again.attempts) == (0 if same else 1)


@pytest.mark.slow
def test_two_processes_give_the_records_of_one(laboratory: tuple[Path, Bench], out: Path, tmp_path: Path) -> None:
    folder, bench = laboratory
    arguments = ("--out", tmp_path, "--device", "cpu", "--jobs", 2)
    assert bench("run", folder / "untrained.yaml", *arguments) == 3
    one, two = ({r.identity: r.marked for r in RecordStore(path).records()} for path in (out, tmp_path))
    assert one == two


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[initial, perturbed]", "[initail]", "initial"),
        ("[initial, perturbed]", "[]", "at least one"),
        ("survive: 0.995", "tune: {parameter: lift, low: 1, high: 2}", "tune"),
        ("strengths: [0.5, 0.9]", "strengths: [0.5, 0.9], lost: [1]", "lost"),
        ("payloads: [64]", "payloads: [64]\nreference: protected-cwc", "reference"),
    ],
)
def test_an_untrained_suite_refuses_what_takes_training(old: str, new: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE.replace(old, new, 1).replace('["*"]', "[test_resnet]"))
    with pytest.raises(BadInput, match=named):
        load_suite(str(tmp_path / "suite.yaml"))


def test_records_depend_on_networks_and_not_on_tables_or_accuracy() -> None:
    found = Fingerprints(Modules()).reached(host_roots("none", untrained=True))
    assert {
        "bench.models.registry:build_model",
        "bench.models.networks",
        "cwwm.weights.checkpoint:save_tensors",
    } <= found
    others = (
        "bench.leaderboard",
        "bench.suite.expand",
        "bench.records.store",
        "bench.execution.model_factory:ModelFactory",
        "bench.metrics.accuracy",
    )
    assert not [name for name in found if name.startswith(others)]


def test_schemes_that_train_are_refused_by_the_plan() -> None:
    suite = replace(load_suite("zoo"), schemes=(SchemeEntry("uchida", "uchida", {}),))
    with pytest.raises(BadInput, match="uchida"):
        cells(suite, {})
