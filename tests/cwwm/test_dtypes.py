"""Every tensor of a file is listed; floats of one byte are read by casting up, and what cannot carry is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cwwm.ownership.keys import Key
from cwwm.readers import find_reader, view_of
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.support.console import BAD_INPUT, DONE
from cwwm.weights.carrier import host_digest
from cwwm.weights.checkpoint import open_weights
from cwwm.weights.view import SMALL_FLOATS, as_weights, dtype_name
from tests.cwwm.owner_commands import CLAIM, EMBED, MAGNITUDES, ORIGINAL, TEXT, as_json, refused, run, said

State = dict[str, Tensor]
SMALL = sorted(SMALL_FLOATS, key=str)


def _base() -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = {"fc1.weight": (512, 512), "fc2.weight": (512, 512), "head.weight": (100, 512)}
    return {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a key and an unmarked model."""
    monkeypatch.chdir(tmp_path)
    save_file(_base(), "model.safetensors")
    assert run("keygen", "-o", "owner.key") == DONE
    return tmp_path


@pytest.fixture(scope="module")
def _marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_file(_base(), "model.safetensors")
        assert run("keygen", "-o", "owner.key") == run(*EMBED) == DONE
    return folder


@pytest.fixture
def marked(_marked: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """The tensors of a marked model; the working directory holds it, its mark, key and original, for all tests."""
    monkeypatch.chdir(_marked)
    return load_file("marked.safetensors")


WRITERS: dict[str, Callable[[State, str], Any]] = {
    "safetensors": lambda state, path: save_file(state, path),
    "pt": lambda state, path: torch.save(state, path),
    "old pt": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize(
    ("writer", "dtype"),
    [("safetensors", torch.float8_e4m3fn), ("pt", torch.float8_e5m2), ("old pt", torch.float8_e4m3fn)],
)
def test_a_suspect_in_floats_of_one_byte_is_read_and_listed(
    writer: str, dtype: torch.dtype, marked: State, capsys: pytest.CaptureFixture[str]
) -> None:
    suspect = f"small.{'safetensors' if writer == 'safetensors' else 'pt'}"
    WRITERS[writer]({name: value.to(dtype) for name, value in marked.items()}, suspect)
    listed = {layer["name"]: layer["dtype"] for layer in as_json(capsys, "inspect", suspect)["layers"]}
    assert listed == dict.fromkeys(_base(), str(dtype).removeprefix("torch."))
    found = as_json(capsys, CLAIM[0], suspect, *CLAIM[2:], *ORIGINAL, "--innocent", "model.safetensors")
    assert found["proven"]
    assert found["message_recovered"]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_reader_reads_floats_of_one_byte(dtype: torch.dtype) -> None:
    """What cast and cast back says, by each reader, is what the cast says."""
    original = as_weights(_base())
    state = _base()
    key, scheme = Key(bytes(32), origin="harness"), make_scheme("sign", {"payload_bits": 64})
    mark = embed(scheme, as_weights(state), np.zeros(64, np.uint8), key, EmbedContext(nonce=bytes(16)))[1]
    small = {name: value.to(dtype) for name, value in state.items()}
    for name, owned in (("blind", None), ("per-channel", None), ("aligned", original), ("informed", original)):
        views = [
            view_of(find_reader(name), scheme, as_weights(suspect), key, mark, owned)
            for suspect in (small, {tensor: value.float() for tensor, value in small.items()})
        ]
        found, expected = (view.extraction(scheme, key, mark) for view in views)
        assert found.applicable
        assert np.array_equal(found.reliabilities, expected.reliabilities)
        assert np.array_equal(found.bits, expected.bits)


@pytest.mark.parametrize("dtype", SMALL)
def test_all_floats_of_one_byte_read_as_what_they_stand_for(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {"w.weight": torch.tensor([[1.0, 2.0, 4.0], [0.5, 0.25, 8.0]]).to(dtype)}
    save_file(state, tmp_path / "m.safetensors")
    torch.save(state, tmp_path / "m.pt")
    digests = set()
    for weights in (open_weights(tmp_path / "m.safetensors"), open_weights(tmp_path / "m.pt"), as_weights(state)):
        assert weights.dtype("w.weight") == str(dtype).removeprefix("torch.")
        assert torch.equal(weights.tensor("w.weight"), torch.tensor([[1.0, 2.0, 4.0], [0.5, 0.25, 8.0]]))
        digests.add(host_digest(weights))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("scheme", "suffix"),
    [("spread-cwc", ".safetensors"), ("spread-cwc", ".pt"), ("protected-cwc", ".pt"), ("sign", ".safetensors")],
)
def test_a_host_in_floats_of_one_byte_is_refused_by_name(
    scheme: str, suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {name: value.to(torch.float8_e4m3fn) for name, value in _base().items()}
    WRITERS[suffix.removeprefix(".")](state, f"small{suffix}")
    command = ("embed", f"small{suffix}", *EMBED[2:], "--scheme", scheme)
    words = "fc1.weight is float8_e4m3fn; carriers are float32, float16, bfloat16; cast the checkpoint up first"
    refused(folder, capsys, (lambda: None, command, words))


@pytest.mark.parametrize(
    ("scheme", "dtype"), [("spread-cwc", torch.int8), ("protected-cwc", torch.uint8), ("cwc", torch.int32)]
)
def test_packed_weights_are_left_out_with_a_note_and_kept(
    scheme: str, dtype: torch.dtype, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = torch.arange(300 * 300).view(300, 300).to(dtype)
    save_file(_base() | {"q.weight": packed}, "model.safetensors")
    note = f"left out: q.weight ({str(dtype).removeprefix('torch.')})"
    chosen = ("--scheme", scheme, "--carrier", "all")
    assert note in said(capsys, "inspect", "model.safetensors")
    assert note in said(capsys, "plan", "model.safetensors", *chosen)
    assert note in said(capsys, *EMBED, *chosen)
    assert as_json(capsys, "plan", "model.safetensors", *chosen)["tensors_left_out"].keys() == {"q.weight"}
    assert torch.equal(load_file("marked.safetensors")["q.weight"], packed)
    assert as_json(capsys, *CLAIM, *ORIGINAL)["proven"]
    by_name = ("embed", "model.safetensors", "--key", "owner.key", "--message", TEXT, "-o", "other.safetensors")
    words = f"q.weight is {str(dtype).removeprefix('torch.')}; carriers are float32"
    refused(folder, capsys, (lambda: None, (*by_name, "--carrier", "q.weight"), words))


def test_a_pool_of_nothing_but_packed_weights_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({f"q{i}.weight": torch.zeros(300, 300, dtype=torch.int8) for i in range(5)}, "model.safetensors")
    words = "left out: q0.weight (int8), q1.weight (int8), q2.weight (int8) and 2 more; carriers are float32"
    refused(folder, capsys, (lambda: None, EMBED, words))
    refused(folder, capsys, (lambda: None, (*EMBED, *MAGNITUDES), words))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_every_dtype_is_listed_and_copied(suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dtypes = [torch.complex64, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.float8_e8m0fnu]
    odd = {dtype_name(dtype): torch.arange(64).view(8, 8).to(dtype) for dtype in dtypes}
    WRITERS[suffix](_base() | odd, f"model.{suffix}")
    listed = {layer["name"]: layer for layer in as_json(capsys, "inspect", f"model.{suffix}")["layers"]}
    assert all(listed[name]["dtype"] == name for name in odd)
    assert all(listed[name]["finite"] is (None if name == "complex64" else True) for name in odd)
    said(capsys, "embed", f"model.{suffix}", *EMBED[2:])
    written = load_file("marked.safetensors")
    assert all(torch.equal(written[name].view(torch.uint8), odd[name].view(torch.uint8)) for name in odd)
    assert as_json(capsys, *CLAIM, "--original", f"model.{suffix}")["proven"]


def test_floats_below_a_byte_are_listed_left_out_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"F4": (4, "float4_e2m1fn"), "F6_E2M3": (6, "float6_e2m3fn"), "F6_E3M2": (6, "float6_e3m2fn")}
    tensors = {"fc.weight": ("F32", [256, 512], torch.randn(256, 512).numpy().tobytes())}
    for code, (bits, _) in names.items():
        tensors[f"{code}.weight"] = (code, [16, 32], bytes(range(64)) * bits)
    header, data = dict[str, Any](), b""
    for tensor, (dtype, shape, raw) in tensors.items():
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    Path("model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    listed = {layer["name"]: layer for layer in as_json(capsys, "inspect", "model.safetensors")["layers"]}
    for code, (_, name) in names.items():
        assert (listed[f"{code}.weight"]["shape"], listed[f"{code}.weight"]["dtype"]) == ([16, 32], name)
    assert "left out: F4.weight (float4_e2m1fn), F6_E2M3.weight (float6_e2m3fn)" in said(capsys, *EMBED)
    assert (
        Path("marked.safetensors").read_bytes().endswith(b"".join(raw for _, _, raw in list(tensors.values())[1:]))
    )
    assert as_json(capsys, *CLAIM, *ORIGINAL)["proven"]


UNUSUAL: dict[str, Callable[[Tensor], Any]] = {
    "sparse": lambda weight: weight.to_sparse(),
    "of complex numbers": lambda weight: weight.to(torch.complex64),
    "quantised": lambda weight: torch.quantize_per_tensor(weight, 0.01, 0, torch.qint8),
    "a shape without values (device meta)": lambda weight: weight.to("meta"),
    "expanded or overlaps others": lambda weight: torch.ones(1, 1).expand(1 << 14, 1 << 14),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_an_unusual_tensor_matters_where_it_is_needed(
    kind: str, marked: State, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(marked | {"extra.weight": UNUSUAL[kind](torch.eye(300))}, "beside.pt")
    beside = ("verify", "beside.pt", *CLAIM[2:], *ORIGINAL, "--innocent", "model.safetensors")
    assert as_json(capsys, *beside)["proven"]
    if not kind.startswith("expanded"):
        torch.save(marked | {"fc2.weight": UNUSUAL[kind](marked["fc2.weight"])}, "inside.pt")
        inside = ("verify", "inside.pt", *CLAIM[2:], *ORIGINAL)
        refused(Path(), capsys, (lambda: None, inside, f"tensor fc2.weight of inside.pt is {kind}"))
    if kind != "of complex numbers":
        command = ("embed", "beside.pt", *EMBED[2:-1], "other.safetensors")
        refused(Path(), capsys, (lambda: None, command, f"tensor extra.weight of beside.pt is {kind}"))
        assert run("inspect", "beside.pt") == BAD_INPUT
