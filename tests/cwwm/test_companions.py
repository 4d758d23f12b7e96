"""What lies beside shards goes along at any depth, except what may be weights or a secret; all of it or nothing."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cwwm.ownership.keys import Key
from cwwm.support.console import BAD_INPUT
from cwwm.weights.companions import companions
from cwwm.weights.shard_files import ShardFiles
from tests.cwwm.owner_commands import as_json, files, run

GOES = (
    "config.json",
    "1_Pooling/config.json",
    "1_Pooling/deep/er/vocab.txt",
    "2_Dense/config.json",
    "code/model.py",
)
#: by what is named as left out: what is made, and what does not go along
LEFT = {
    "2_Dense/model.safetensors": "2_Dense/model.safetensors",
    "2_Dense/pytorch_model.bin": "2_Dense/pytorch_model.bin",
    "1_Pooling/mark.safetensors.index.json": "1_Pooling/mark.safetensors.index.json",
    "code/message.txt": "code/message.txt",
    "code/owner.key": "code/owner.key",
    "onnx": "onnx/model.onnx",
    "empty": "empty/",
}
EMBED = ("embed", "model", "--key", "k", "--message", "it is mine", "-o", "marked")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a key and a model among folders; return the model's."""
    monkeypatch.chdir(tmp_path)
    Key(bytes(range(32))).save(Path("k"))
    model = tmp_path / "model"
    for name in (*GOES, *LEFT.values()):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).mkdir() if name.endswith("/") else (model / name).write_text(f'{{"name": "{name}"}}')
    draw = torch.Generator().manual_seed(0)
    save_file({"wide.weight": 0.05 * torch.randn(256, 256, generator=draw)}, model / "model.safetensors")
    return model


def test_files_of_folders_inside_go_along(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = as_json(capsys, *EMBED)
    copy = files(Path("marked"))
    assert sorted(made["copied"]) == sorted(GOES)
    assert sorted(made["files_left_out"]) == sorted(LEFT)
    assert copy.keys() == {*GOES, "model.safetensors"}
    assert all(copy[name] == (folder / name).read_bytes() for name in GOES)
    assert not any((Path("marked") / name).samefile(folder / name) for name in GOES)


def test_keys_and_marks_stay_by_whatever_name(folder: Path) -> None:
    shutil.copy("k", folder / "LICENSE")
    shutil.copy("k", folder / "code" / "settings.json")
    assert run(*EMBED) == 0
    for name in ("mark", "commitment"):
        shutil.copy(f"marked.{name}.json", folder / "1_Pooling" / f"{name}.json")
    goes, left = companions(ShardFiles.of(folder))
    assert sorted(goes) == sorted(GOES)
    assert {"LICENSE", "code/settings.json", "1_Pooling/mark.json", "1_Pooling/commitment.json"} <= set(left)


def test_nothing_from_outside_and_no_large_file_goes_along(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "stolen.json").write_text("{}")
    (folder / "1_Pooling" / "stolen.json").symlink_to(folder.parent / "elsewhere" / "stolen.json")
    (folder / "linked").symlink_to(folder.parent / "elsewhere")
    (folder / "loop").symlink_to(folder)
    with (folder / "code" / "large.txt").open("wb") as file:
        file.truncate((64 << 20) + 1)
    goes, left = companions(ShardFiles.of(folder))
    assert sorted(goes) == sorted(GOES)
    assert {"1_Pooling/stolen.json", "linked", "loop", "code/large.txt"} <= set(left)


def test_files_of_a_cache_are_links_and_go_along(tmp_path: Path) -> None:
    """As Hugging Face keeps them: every file of a snapshot is a link to a blob."""
    snapshot = tmp_path / "snapshots" / "0123"
    (tmp_path / "blobs").mkdir()
    for number, name in enumerate(("model.safetensors", *GOES)):
        (tmp_path / "blobs" / str(number)).write_text("{}")
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(tmp_path / "blobs" / str(number))
    assert companions(ShardFiles.of(snapshot)) == (sorted(GOES), [])


def test_a_copy_is_not_replaced_if_a_folder_in_it_holds_more(folder: Path) -> None:
    assert run(*EMBED) == 0
    Path("marked/1_Pooling/mine.txt").write_text("notes")
    before = files(folder.parent)
    assert run(*EMBED, "--force") == BAD_INPUT
    assert files(folder.parent) == before
    Path("marked/1_Pooling/mine.txt").unlink()
    assert run(*EMBED, "--force") == 0
