"""A folder that a driver and its workers share: whole files, first come first kept, copies held against digests."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from bench.execution.cluster.artefacts import SharedArtefacts, is_shared
from bench.execution.cluster.shared_folder import PathFolder, SharedFolder, UrlFolder, open_shared
from bench.support.artifact_store import Artefact
from cwwm.support.errors import BadInput

Make = Callable[[Path], SharedFolder]


def by_url(path: Path) -> SharedFolder:
    return UrlFolder(f"local://{path}", LocalFileSystem(), str(path))


both = pytest.mark.parametrize("make", [PathFolder, by_url])


@both
def test_files_are_whole_and_the_first_of_a_name_may_stay(make: Make, tmp_path: Path) -> None:
    folder, other = make(tmp_path / "shared"), make(tmp_path / "shared")
    assert folder.read("cells/a") is None
    assert folder.names("cells") == set()
    assert not (tmp_path / "shared").exists(), "whoever only looks makes nothing"
    assert folder.add("cells/a", b"first")
    assert not other.add("cells/a", b"second")
    assert other.read("cells/a") == b"first"
    other.write("cells/a", b"third")
    assert folder.read("cells/a") == b"third"
    other.put(Path(__file__), "cells/b")
    assert folder.fetch("cells/b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == Path(__file__).read_bytes()
    assert not folder.fetch("cells/c", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert folder.names("cells") == {"a", "b"}
    assert not list(tmp_path.rglob("*.part"))
    folder.remove("cells/a")
    folder.remove("cells/a")
    assert not other.exists("cells/a")


def test_a_turn_that_somebody_has_is_not_free(tmp_path: Path) -> None:
    folder, other = PathFolder(tmp_path), PathFolder(tmp_path)
    with folder.if_free("tasks/one") as first, other.if_free("tasks/one") as second:
        assert (first, second) == (True, False)
        with other.if_free("tasks/two") as third:
            assert third
    with other.if_free("tasks/one") as again:
        assert again


@both
def test_a_model_is_made_once_for_all_nodes_and_anew_where_it_is_damaged(make: Make, tmp_path: Path) -> None:
    shared, made = make(tmp_path / "shared"), list[int]()

    def model() -> Artefact:
        made.append(1)
        return Artefact({"weight": torch.arange(8.0)}, {"made": True})

    def on(node: str) -> Artefact:
        return SharedArtefacts(tmp_path / node, make(tmp_path / "shared")).get("0f", model)

    assert not is_shared("0f", shared)
    assert torch.equal(on("one").tensors["weight"], on("two").tensors["weight"])
    assert (len(made), is_shared("0f", shared)) == (1, True)
    (tmp_path / "one" / "0f.safetensors").write_bytes(b"damaged")
    assert on("one").facts == {"made": True}
    assert len(made) == 1, "the shared copy was whole"
    (tmp_path / "shared" / "artefacts" / "0f.safetensors").write_bytes(b"damaged")
    on("three")
    on("four")
    assert len(made) == 2


@pytest.mark.parametrize(("url", "said"), [("s3://a/b", "s3fs"), ("nonsense://a", "nonsense")])
def test_a_url_that_cannot_be_opened_says_what_is_missing(url: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        open_shared(url)


def test_paths_and_file_urls_are_folders(tmp_path: Path) -> None:
    assert open_shared(str(tmp_path)).url == open_shared(f"file://{tmp_path}").url == str(tmp_path)
    assert isinstance(open_shared("memory://a"), UrlFolder)
