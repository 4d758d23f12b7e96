"""Tied tensors: one place in the pool, all names in the file, the same bytes under each."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from cwwm.support.console import DONE, NO
from tests.cwwm.owner_commands import CLAIM, EMBED, MAGNITUDES, as_json, run, said

NAMES = ["fc1.weight", "fc2.weight", "head.weight", "lm_head.weight"]
COMMAND = ("embed", "tied.bin", *EMBED[2:])
ORIGINAL = ("--original", "tied.bin")


@pytest.fixture(params=[1, -1], ids=["forth", "back"])
def state(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A working directory with a key and tied.bin, in both orders: lm_head is fc1, fc2 lies transposed."""
    monkeypatch.chdir(tmp_path)
    assert run("keygen", "-o", "owner.key") == DONE
    generator = torch.Generator().manual_seed(0)
    shared, turned, head = (torch.randn(n, 512, generator=generator) * 0.05 for n in (512, 512, 64))
    values = [shared, turned.T, head, shared]
    found = dict(list(zip(NAMES, values, strict=True))[:: request.param])
    torch.save(found, "tied.bin")
    return found


@pytest.mark.parametrize("how", [(), MAGNITUDES])
def test_all_names_are_written_and_marked_alike(
    how: tuple[str, ...], state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, *COMMAND, *how)
    written = load_file("marked.safetensors")
    assert set(written) == set(NAMES)
    assert torch.equal(written["fc1.weight"], written["lm_head.weight"])
    assert not all(torch.equal(written[name], state[name]) for name in NAMES)
    assert all(torch.allclose(written[name], state[name], atol=0.2) for name in NAMES)
    with safe_open("marked.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert as_json(capsys, *CLAIM, *ORIGINAL)["proven"]
    aligned = as_json(capsys, *CLAIM, *ORIGINAL, "--reference", "marked.safetensors", code=DONE if how else NO)
    assert (
        aligned["alignment"]["score"] == 1.0
    )  # it is the copy that the mark names, whose blind mark may say little


def test_the_pool_holds_the_tensor_once_and_the_list_all_names(
    state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    found = as_json(capsys, "inspect", "tied.bin")
    assert found["carriers"]["all"] == 2 * 512 * 512 + 64 * 512
    assert {x["name"]: x.get("tied") for x in found["layers"]} == {
        **dict.fromkeys(NAMES),
        "lm_head.weight": "fc1.weight",
    }
    assert "tied to fc1.weight" in said(capsys, "inspect", "tied.bin")


def test_a_suspect_is_read_by_either_name(state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    """A copy that is saved again may tie what was written apart, or drop the name that does not count."""
    said(capsys, *COMMAND)
    written = load_file("marked.safetensors")
    torch.save(dict(reversed((written | {"lm_head.weight": written["fc1.weight"]}).items())), "again.bin")
    save_file({name: value for name, value in written.items() if name != "lm_head.weight"}, "again.safetensors")
    for suspect in ("again.bin", "again.safetensors"):
        assert as_json(capsys, "verify", suspect, *CLAIM[2:], *ORIGINAL)["proven"]


def test_a_mark_in_the_name_that_does_not_count_is_read(
    state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """The host holds both apart; the suspect ties them and lists the other name."""
    save_file({name: value.contiguous().clone() for name, value in state.items()}, "model.safetensors")
    said(capsys, *EMBED, "--carrier", "^lm_head")
    written = load_file("marked.safetensors")
    torch.save(written | {"fc1.weight": written["lm_head.weight"]}, "again.bin")
    assert as_json(capsys, "verify", "again.bin", *CLAIM[2:], "--original", "model.safetensors")["proven"]
