"""Laws of checkpoint files: only marked bytes change, every layout and dtype is read, failures leave nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cwwm.ownership.keys import Stretch
from cwwm.ownership.mark import Mark, load_mark, save_mark
from cwwm.support.errors import BadInput
from cwwm.weights.checkpoint import open_weights, rewriting, save_tensors

State = dict[str, Tensor]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def _file(path: Path, tensors: State, *, padding: int = 0, order: list[str] | None = None) -> Path:
    """Write safetensors by hand: any order of entries, and a header whose length shifts all data by `padding`."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "note": "kept"}}
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.uint8: "U8"}
    data = b""
    for name in order or list(tensors):
        raw = tensors[name].contiguous().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {
            "dtype": names[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": offsets,
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + padding)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _mixed() -> State:
    generator = torch.Generator().manual_seed(0)
    return {
        "z.weight": torch.randn(8, 5, generator=generator),
        "mask": torch.arange(3, dtype=torch.uint8),
        "a.weight": torch.randn(6, 4, generator=generator).half(),
        "m.weight": torch.randn(7, 3, generator=generator).bfloat16(),
    }


def _names_left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_reads_as_safetensors_reads_it(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {"x": torch.arange(12).view(3, 4).to(dtype), "empty": torch.empty(0, 4, dtype=dtype)}
    save_file(tensors, tmp_path / "m.safetensors")
    weights = open_weights(tmp_path / "m.safetensors")
    for name, value in load_file(tmp_path / "m.safetensors").items():
        assert torch.equal(weights.tensor(name), value)
        assert weights.shape(name) == tuple(value.shape)
        assert weights.dtype(name) == str(dtype).removeprefix("torch.")
        assert name in weights
    assert "other" not in weights


@pytest.mark.parametrize("padding", range(4))
def test_unaligned_tensors_are_read_and_written(padding: int, tmp_path: Path) -> None:
    tensors = _mixed()
    source = _file(tmp_path / "m.safetensors", tensors, padding=padding)
    assert all(torch.equal(open_weights(source).tensor(name), tensors[name]) for name in tensors)
    index, values = torch.tensor([2, 11, 20]), torch.tensor([0.5, -2.0, 8.0])
    with rewriting(source, tmp_path / "out.safetensors") as weights:
        for name in ("z.weight", "a.weight", "m.weight"):
            weights.write(name, index, values)
    written = load_file(tmp_path / "out.safetensors")
    for name in ("z.weight", "a.weight", "m.weight"):
        tensors[name].view(-1)[index] = values.to(tensors[name].dtype)
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("order", [["m.weight", "a.weight", "mask", "z.weight"], ["mask", "z.weight", "a.weight"]])
def test_every_other_byte_stays_as_it_was(order: list[str], tmp_path: Path) -> None:
    source = _file(tmp_path / "m.safetensors", _mixed(), order=order, padding=8)
    before = source.read_bytes()
    with rewriting(source, tmp_path / "out.safetensors") as weights:
        assert list(weights.names()) == order
        weights.write("z.weight", torch.tensor([0]), torch.tensor([123.0]))
    after = (tmp_path / "out.safetensors").read_bytes()
    assert source.read_bytes() == before
    assert len(after) == len(before)
    assert 1 <= sum(a != b for a, b in zip(after, before, strict=True)) <= 4


def test_reading_a_file_never_changes_it(tmp_path: Path) -> None:
    source = _file(tmp_path / "m.safetensors", _mixed())
    before = source.read_bytes()
    open_weights(source).tensor("z.weight").fill_(7.0)
    assert source.read_bytes() == before


def test_rewriting_in_place_replaces_the_file(tmp_path: Path) -> None:
    source = _file(tmp_path / "m.safetensors", _mixed())
    with rewriting(source, source) as weights:
        weights.write("z.weight", torch.tensor([1]), torch.tensor([9.0]))
    assert load_file(source)["z.weight"].view(-1)[1] == 9.0
    assert _names_left(tmp_path) == {"m.safetensors"}


def _fail_while_rewriting(source: Path, target: Path) -> None:
    with rewriting(source, target) as weights:
        weights.write("z.weight", torch.tensor([0]), torch.tensor([1.0]))
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_an_exception_inside_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    source = tmp_path / f"m.{kind}"
    _file(source, _mixed()) if kind == "safetensors" else torch.save(_mixed(), source)
    (tmp_path / "old.safetensors").write_bytes(b"old")
    for target in ("new.safetensors", "old.safetensors"):
        with pytest.raises(RuntimeError, match="on purpose"):
            _fail_while_rewriting(source, tmp_path / target)
    assert _names_left(tmp_path) == {f"m.{kind}", "old.safetensors"}
    assert (tmp_path / "old.safetensors").read_bytes() == b"old"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_torch_files_are_read_wrapped_or_not(suffix: str, wrapper: str | None, tmp_path: Path) -> None:
    state = _mixed()
    path = tmp_path / f"m{suffix}"
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    weights = open_weights(path)
    assert list(weights.names()) == list(state)
    assert all(torch.equal(weights.tensor(name), state[name]) for name in state)


def test_a_torch_file_becomes_safetensors(tmp_path: Path) -> None:
    state = {"w.weight": torch.arange(6.0).view(2, 3).t(), "tied": torch.zeros(3)}
    state["again"] = state["tied"]
    torch.save(state, tmp_path / "m.pt")
    with rewriting(tmp_path / "m.pt", tmp_path / "out.safetensors") as weights:
        weights.write("w.weight", torch.tensor([1]), torch.tensor([-1.0]))
    written = load_file(tmp_path / "out.safetensors")
    assert torch.equal(written["w.weight"], torch.tensor([[0.0, -1.0], [1.0, 4.0], [2.0, 5.0]]))
    assert torch.equal(torch.load(tmp_path / "m.pt")["w.weight"], state["w.weight"])


class _Code:
    """Runs code when it is unpickled: what a hostile checkpoint does."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2), "evil": _Code(tmp_path / "ran")}, tmp_path / "m.pt")
    with pytest.raises(BadInput, match="could run code"):
        open_weights(tmp_path / "m.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])
@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_truncated_files_are_refused(name: str, kept: int, tmp_path: Path) -> None:
    path = tmp_path / name
    torch.save(_mixed(), path) if name == "m.pt" else _file(path, _mixed())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=name):
        open_weights(path)


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])
def test_missing_files_and_folders_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=name):
        open_weights(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(BadInput, match=name):
        open_weights(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 1}, torch.zeros(3)])
def test_torch_files_without_a_state_dict_are_refused(content: Any, tmp_path: Path) -> None:  # noqa: ANN401
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(BadInput, match="holds no"):
        open_weights(tmp_path / "m.pt")


def test_save_tensors_writes_tied_and_strided_tensors(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    save_tensors({"a": shared, "b": shared, "c": shared.t()}, tmp_path / "t.safetensors", {"by": "test"})
    written = load_file(tmp_path / "t.safetensors")
    assert torch.equal(written["a"], shared)
    assert torch.equal(written["b"], shared)
    assert torch.equal(written["c"], shared.t())
    assert _names_left(tmp_path) == {"t.safetensors"}


def test_a_mark_with_tensors_keeps_them_beside_it(tmp_path: Path) -> None:
    tensors = {"extractor": torch.randn(3, 4), "triggers": torch.arange(4, dtype=torch.uint8)}
    learned = {"extractor": torch.ones(2)}  # of the other kind, under a name that both may use
    original, stretch = "0" * 64, Stretch(2, 1, 1)
    mark = Mark(
        "cwc", {}, 8, None, bytes(16), original, stretch, "0" * 32, "owner", tensors=tensors, learned=learned
    )
    save_mark(mark, tmp_path / "m.mark.json")
    loaded = load_mark(tmp_path / "m.mark.json")
    assert loaded.carrier is None
    assert set(loaded.tensors) == set(tensors)
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)
    assert torch.equal(loaded.learned["extractor"], learned["extractor"])
    assert loaded.form == mark.form
    assert _names_left(tmp_path) == {"m.mark.json", "m.mark.safetensors"}
    (tmp_path / "m.mark.safetensors").unlink()
    with pytest.raises(BadInput, match=r"m\.mark\.safetensors"):
        load_mark(tmp_path / "m.mark.json")
