"""Folders of shards: one checkpoint whoever wrote it, marked shard by shard, whole or not there, read in part."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cwwm.ownership.keys import Key
from cwwm.support.console import BAD_INPUT, DONE
from cwwm.weights.carrier import host_digest
from cwwm.weights.checkpoint import open_weights, rewriting
from tests.cwwm.owner_commands import TEXT, as_json, files, refused, run, said

INDEX = "model.safetensors.index.json"
SHARDS = tuple(f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))
EMBED = ("embed", "model", "--key", "owner.key", "--message", TEXT, "-o", "marked-1.5B")
CLAIM = ("--key", "owner.key", "--mark", "marked-1.5B.mark.json", "--commitment", "marked-1.5B.commitment.json",
         "--message", TEXT)  # fmt: skip
INNOCENT = ("--innocent", "stranger")
LAYER = (256, 512)


def _state(seed: int = 0) -> dict[str, Tensor]:
    """Return four layers of 131,072 weights and a norm, in bfloat16, as a transformer names them."""
    generator = torch.Generator().manual_seed(seed)
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(3)] + ["lm_head.weight"]
    layers = {name: (torch.randn(LAYER, generator=generator) * 0.05).bfloat16() for name in names}
    return {**layers, "model.norm.weight": torch.ones(512, dtype=torch.bfloat16)}


def _homes(names: list[str]) -> dict[str, str]:
    return {name: SHARDS[place * 3 // len(names)] for place, name in enumerate(sorted(names))}


def write_shards(folder: Path, state: dict[str, Tensor], *, index: bool = True) -> Path:
    """Write the state as three shards of safetensors, with an index."""
    folder.mkdir()
    homes = _homes(list(state))
    for shard in SHARDS:
        save_file({name: state[name] for name, home in homes.items() if home == shard}, folder / shard)
    if index:
        (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 7}, "weight_map": homes}))
    return folder


def _torch_shards(folder: Path, state: dict[str, Tensor]) -> Path:
    folder.mkdir()
    homes = {name: f"pytorch_{home.removesuffix('.safetensors')}.bin" for name, home in _homes(list(state)).items()}
    for shard in set(homes.values()):
        torch.save({name: state[name] for name, home in homes.items() if home == shard}, folder / shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": homes}))
    return folder


def _cached(folder: Path, state: dict[str, Tensor]) -> Path:
    """Write shards as Hugging Face's cache holds them: links to files named by their hash."""
    (folder / "blobs").mkdir(parents=True)
    snapshot = folder / "snapshots" / "0123"
    snapshot.parent.mkdir()
    for path in list(write_shards(snapshot, state).iterdir()):
        path.rename(folder / "blobs" / f"hash of {path.name}")
        path.symlink_to(Path("..", "..", "blobs", f"hash of {path.name}"))
    return snapshot


def _one(folder: Path, state: dict[str, Tensor], name: str) -> Path:
    folder.mkdir()
    save_file(state, folder / name)
    return folder


FORMS: dict[str, Callable[[Path, dict[str, Tensor]], Path]] = {
    "folder with an index": lambda folder, state: write_shards(folder, state),
    "an index": lambda folder, state: write_shards(folder, state) / INDEX,
    "numbered shards": lambda folder, state: write_shards(folder, state, index=False),
    "one file in a folder": lambda folder, state: _one(folder, state, "model.safetensors"),
    "one file of another name": lambda folder, state: _one(folder, state, "weights.safetensors"),
    "torch shards": _torch_shards,
    "Hugging Face's cache": _cached,
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_checkpoint_in_one_file(form: str, tmp_path: Path) -> None:
    state = _state()
    weights = open_weights(FORMS[form](tmp_path / "model", state))
    assert set(weights.names()) == set(state)
    assert all(name in weights and torch.equal(weights.tensor(name), value) for name, value in state.items())
    assert "other" not in weights
    save_file(state, tmp_path / "one.safetensors")
    assert host_digest(weights) == host_digest(open_weights(tmp_path / "one.safetensors"))


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_copied_with_only_what_is_written_changed(form: str, tmp_path: Path) -> None:
    state = _state()
    source = FORMS[form](tmp_path / "model", state)
    before = files(tmp_path)
    with rewriting(source, tmp_path / "out") as weights:
        weights.write("lm_head.weight", torch.tensor([3, 70]), torch.tensor([1.0, -2.0]))
    assert {name: data for name, data in files(tmp_path).items() if not name.startswith("out/")} == before
    state["lm_head.weight"].view(-1)[[3, 70]] = torch.tensor([1.0, -2.0]).bfloat16()
    written = open_weights(tmp_path / "out")
    assert all(torch.equal(written.tensor(name), value) for name, value in state.items())
    folder = source if source.is_dir() else source.parent
    for path in (tmp_path / "out").iterdir():
        if form != "torch shards":
            same = path.read_bytes() == (folder / path.name).read_bytes()
            assert same == (path.name == INDEX or "lm_head.weight" not in load_file(path))
            assert not path.samefile(folder / path.name)
    assert "pytorch" not in "".join(path.name for path in (tmp_path / "out").iterdir())


def _fail(source: Path, target: Path) -> None:
    with rewriting(source, target) as weights:
        weights.write("lm_head.weight", torch.tensor([0]), torch.tensor([1.0]))
        raise RuntimeError("on purpose")


def test_an_exception_inside_leaves_nothing_behind(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "model", _state())
    before = files(tmp_path)
    with pytest.raises(RuntimeError, match="on purpose"):
        _fail(source, tmp_path / "out")
    assert files(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a key, a model in three shards with what lies beside it, and a stranger's."""
    monkeypatch.chdir(tmp_path)
    Key(bytes(range(32))).save(tmp_path / "owner.key")
    model = write_shards(tmp_path / "model", _state())
    for name in ("config.json", "tokenizer.model", "LICENSE"):
        (model / name).write_text("{}")
    write_shards(tmp_path / "stranger", _state(seed=1))
    return tmp_path


SCHEMES = {
    "spread-cwc": (),
    "protected-cwc": (
        "--scheme",
        "protected-cwc",
        "--carrier",
        "classifier",
        "--budget-depth",
        "1",
        "--payload-bits",
        "128",
    ),
}
BESIDE: dict[str, list[tuple[str, ...]]] = {
    "spread-cwc": [("--original", "model")],
    "protected-cwc": [(), ("--reference", "marked-1.5B", "--original", f"model/{INDEX}")],
}
TOUCHED = {"spread-cwc": set(SHARDS[:2]), "protected-cwc": {_homes(list(_state()))["lm_head.weight"]}}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_folder_is_marked_read_and_proven(scheme: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder / "model"
    shutil.copy(model / SHARDS[0], model / "consolidated.safetensors")  # a second copy of unmarked weights
    shutil.copy("owner.key", model)
    (model / "old.mark.json").write_text("{}")
    (model / "stolen.json").symlink_to(folder / "owner.key")
    (model / "original").mkdir()
    out = said(capsys, *EMBED, *SCHEMES[scheme])
    for name in ("consolidated.safetensors", "old.mark.json", "original", "owner.key", "stolen.json"):
        assert name in out.partition("copy by hand what the model needs: ")[2]
        assert not (folder / "marked-1.5B" / name).exists()
    assert "config.json" in out
    assert {path.name for path in (folder / "marked-1.5B").iterdir()} == {
        *SHARDS, INDEX, "config.json", "tokenizer.model", "LICENSE"
    }  # fmt: skip
    changed = {n for n in SHARDS if (folder / "marked-1.5B" / n).read_bytes() != (model / n).read_bytes()}
    assert changed == TOUCHED[scheme]
    (model / "consolidated.safetensors").unlink()
    for suspect in ("marked-1.5B", f"marked-1.5B/{INDEX}"):
        reading = as_json(capsys, "extract", suspect, "--key", "owner.key", "--original", "model")
        assert reading["text"] == TEXT
    for beside in BESIDE[scheme]:
        found = as_json(capsys, "verify", "marked-1.5B", *CLAIM, *beside, *INNOCENT)
        assert (found["proven"], found["message_recovered"]) == (True, True)
    as_json(capsys, "verify", "model", *CLAIM, "--original", "model", code=1)


def test_one_shard_alone_proves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *EMBED)
    shard = folder / "marked-1.5B" / SHARDS[1]
    shard.rename("found.safetensors")
    shutil.rmtree(folder / "marked-1.5B")
    found = as_json(capsys, "verify", "found.safetensors", *CLAIM, "--original", "model", *INNOCENT)
    assert found["proven"]
    assert found["reader"] == "informed"
    layers = {name for name, home in _homes(list(_state())).items() if home != SHARDS[1] and "norm" not in name}
    assert {reason.removeprefix("it has no tensor ") for reason in found["missing"]} == layers
    out = said(capsys, "verify", "found.safetensors", *CLAIM, "--original", "model", *INNOCENT)
    assert f"missing: {len(layers)} of the mark's 4 layers" in out


def test_a_folder_is_inspected_and_planned_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(_state(), folder / "one.safetensors")
    for command in ("inspect", "plan"):
        one, many = (as_json(capsys, command, model) for model in ("one.safetensors", "model"))
        for found in (one, many):
            found.get("layers", []).sort(key=lambda layer: layer["name"])
        assert one == many


def test_a_dispute_takes_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *EMBED)
    Key(bytes(32)).save(folder / "thief.key")
    stolen = ("embed", "marked-1.5B", "--key", "thief.key", "--message", "no, mine", "-o", "stolen")
    said(capsys, *stolen)
    for party, key, original, marked, text in (
        ("alice", "owner.key", "model", "marked-1.5B", TEXT),
        ("bob", "thief.key", "marked-1.5B", "stolen", "no, mine"),
    ):
        (folder / party).mkdir()
        for name in (key, f"{marked}.mark.json", f"{marked}.commitment.json"):
            shutil.copy(name, party)
        (folder / party / "message.txt").write_text(text)
        (folder / party / "original").symlink_to(folder / original)
    assert as_json(capsys, "dispute", "stolen", "alice", "bob")["first"] == "A"


def _edit(**homes: str) -> None:
    path = Path("model", INDEX)
    index = json.loads(path.read_text())
    index["weight_map"] |= {name.replace("__", "."): home for name, home in homes.items()}
    path.write_text(json.dumps(index))


def _index(text: str) -> Callable[[], object]:
    return lambda: Path("model", INDEX).write_text(text)


def _twice() -> None:
    text = Path("model", INDEX).read_text()
    Path("model", INDEX).write_text(
        text.replace('"lm_head.weight"', f'"lm_head.weight": "{SHARDS[2]}", "lm_head.weight"')
    )


def _outside(target: str) -> None:
    Path("model", SHARDS[1]).rename("elsewhere.safetensors")
    Path("model", SHARDS[1]).symlink_to(Path(target).absolute())


def _in_two() -> None:
    path = Path("model", SHARDS[1])
    save_file({**load_file(path), "lm_head.weight": torch.zeros(3)}, path)


def _folder_for_a_shard() -> None:
    Path("model", SHARDS[1]).unlink()
    Path("model", SHARDS[1]).mkdir()


def _without_index() -> None:
    Path("model", INDEX).unlink()
    Path("model", SHARDS[1]).unlink()


def _empty() -> None:
    for path in Path("model").iterdir():
        path.unlink()


def _fourth() -> None:
    Path("model", INDEX).unlink()
    shutil.copy(Path("model", SHARDS[0]), Path("model", "model-00004-of-00003.safetensors"))


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "a shard is missing": (lambda: Path("model", SHARDS[1]).unlink(), f"{SHARDS[1]}, which is not there"),
    "one of the numbered is missing": (_without_index, f"lacks {SHARDS[1]}"),
    "one numbered too high": (_fourth, "model-00004-of-00003"),
    "a shard is a folder": (_folder_for_a_shard, "folder"),
    "a shard is cut off": (lambda: os.truncate(Path("model", SHARDS[1]), 99), SHARDS[1]),
    "a tensor named twice": (_twice, "names 'lm_head.weight' twice"),
    "a tensor that no shard has": (lambda: _edit(other=SHARDS[0]), f"puts tensor other into {SHARDS[0]}"),
    "a tensor in another shard": (lambda: _edit(lm_head__weight=SHARDS[2]), f"into {SHARDS[2]}, which lacks it"),
    "a tensor in two shards": (_in_two, "tensor lm_head.weight is in two shards"),
    "a name with ..": (lambda: _edit(other="../elsewhere.safetensors"), "outside the folder"),
    "an absolute name": (lambda: _edit(other="/elsewhere.safetensors"), "outside the folder"),
    "a name of another system": (lambda: _edit(other="C:\\elsewhere.safetensors"), "outside the folder"),
    "a name with a zero": (lambda: _edit(other="a\0.safetensors"), "outside the folder"),
    "an empty name": (lambda: _edit(other=""), "outside the folder"),
    "a name of another kind": (lambda: _edit(other="owner.key"), "shards are"),
    "a link out of the folder": (lambda: _outside("elsewhere.safetensors"), "link out of the folder"),
    "a link to nothing": (lambda: _outside("nothing"), "is not there"),
    "two checkpoints": (
        lambda: shutil.copy(Path("model", SHARDS[0]), "model/model.safetensors"), "several checkpoints"
    ),
    "two indices": (lambda: shutil.copy(Path("model", INDEX), f"model/fp16.{INDEX}"), "several checkpoints"),
    "no checkpoint": (_empty, "without a checkpoint"),
    "an index without a map": (_index("{}"), "no weight_map"),
    "an index of numbers": (_index('{"weight_map": {"a": 1}}'), "no weight_map"),
    "an index that is a list": (_index("[]"), INDEX),
    "an index without an end": (_index('{"weight_map": {"a": "b"'), "cannot read index"),
    "a huge index": (lambda: os.truncate(Path("model", INDEX), 17 << 20), "are the most"),
    "too many shards": (
        _index(json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(1001)}})), "1,001 shards"
    ),
}  # fmt: skip
COMMANDS = {"embed": EMBED, "inspect": ("inspect", "model"), "an index": ("inspect", f"model/{INDEX}")}
_BY_FOLDER = ("one of the numbered", "one numbered", "two ", "no checkpoint")  # an index says what it means


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", BAD)
def test_shards_that_do_not_fit_are_one_line(
    case: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "an index" and case.startswith(_BY_FOLDER):
        pytest.skip("an index says which checkpoint is meant, and is there")
    spoil, named = BAD[case]
    refused(folder, capsys, (spoil, COMMANDS[command], named))


OUTPUTS: dict[str, tuple[Callable[[], object], str, str]] = {
    "a file": (lambda: None, "marked.safetensors", "become a folder"),
    "of a name on a hub": (lambda: Path("model").rename("here"), "new", "no checkpoint at model; a model of a hub"),
    "the folder itself": (lambda: None, "model", "cannot be marked where it lies"),
    "a folder that is there": (lambda: Path("there").mkdir(), "there", "there exists"),
    "a folder with other files, by force": (
        lambda: (Path("there").mkdir(), Path("there", "thesis.txt").touch()), "there --force", "thesis.txt"
    ),
    "a mark of another checkpoint": (lambda: Path("new.mark.json").write_text("{}"), "new", "new.mark.json exists"),
}  # fmt: skip


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_that_would_lose_something_are_one_line(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, output, named = OUTPUTS[case]
    refused(folder, capsys, (spoil, (*EMBED[:-1], *output.split()), named))


def test_force_replaces_a_marked_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *EMBED)
    before = files(folder)
    assert run(*EMBED) == BAD_INPUT
    assert run(*EMBED, "--force") == DONE
    after = files(folder)
    assert set(before) == set(after)
    assert all(before[f"marked-1.5B/{shard}"] != after[f"marked-1.5B/{shard}"] for shard in SHARDS[:2])
