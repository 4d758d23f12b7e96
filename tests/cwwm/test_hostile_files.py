"""Files of strangers: whatever they hold, a reader takes little memory and time, and refuses in one line."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cwwm.cli.app import app
from cwwm.commitment import Commitment
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import load_mark
from cwwm.ownership.message import read_text
from cwwm.support.console import BAD_INPUT, DONE, run_app
from cwwm.support.errors import BadInput
from cwwm.support.files import MOST_JSON, read_json
from cwwm.weights.checkpoint import open_weights
from tests.fuzz.make_corpus import CORPUS, KEY, MESSAGE

READERS: dict[str, Callable[[Path], object]] = {
    "mark": load_mark,
    "commitment": Commitment.load,
    "key": Key.load,
    "model.safetensors": open_weights,
    "model.pt": open_weights,
    "message": lambda path: read_text(str(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_take_regular_files_only(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path, 0o600)
    with pytest.raises(BadInput, match="not a regular file"):
        READERS[name](path)  # a reader that waited for the pipe would hang here
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="not a regular file"):
        READERS[name](path)


@pytest.mark.parametrize("name", ["mark", "commitment", "key", "message"])
def test_readers_take_files_of_bounded_size(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(BadInput, match="are the most"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 10**5 + "]" * 10**5, "cannot read"),
        ('{"a":' * 10**5 + "1" + "}" * 10**5, "cannot read"),
        ('{"a":' * 100 + "1" + "}" * 100, "nested deeper than 64"),
        ('{"a": NaN}', "no number of JSON"),
        ('{"a": -Infinity}', "no number of JSON"),
        ('{"a": 1e999}', "too large"),
        ('{"a": %s}' % ("9" * 10**6), "too large"),
        ('{"a": 9223372036854775808}', "too large"),
        ("{" + " " * MOST_JSON + "}", "are the most"),
    ],
)  # fmt: skip
def test_json_has_bounds(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(BadInput, match=reason):
        read_json(tmp_path / "m.json", "mark file")


def _mark(name: str, path: Path, **changes: Any) -> Path:  # noqa: ANN401 (any JSON value)
    path.write_text(json.dumps({**json.loads((CORPUS / f"{name}.mark.json").read_text()), **changes}))
    return path


def _layers(*shape: int, name: str = "fc.weight") -> dict[str, Any]:
    return {"rule": "all", "layers": [{"name": name, "shape": list(shape), "dtype": "float32"}]}


HUGE = 10**10


def _parameters(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"parameters": {"payload_bits": 16, **changes}}


BAD_MARKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "huge lengths": ("cwc", _parameters(length=HUGE, weight=HUGE // 2), "too large"),
    "a word of gigabytes": ("cwc", _parameters(length=2**30, weight=2**29), "too large"),
    "no density": ("cwc", {"payload_bits": 200, "parameters": {"density": 1e-300, "payload_bits": 200}}, "density"),
    "huge block": ("protected-cwc", _parameters(block_length=HUGE), "a block of"),
    "many blocks": ("protected-cwc", _parameters(blocks=HUGE), "too large"),
    "long codeword": (
        "protected-cwc",
        _parameters(blocks=60_000, block_length=2**16),
        "too large",
    ),
    "many check bits": ("protected-cwc", _parameters(check_bits=HUGE), "too large"),
    "endless repetition": ("sign-repetition", _parameters(repetition=HUGE), "the code needs"),
    "endless repetition in a huge carrier": (
        "sign-repetition",
        {"parameters": {"repetition": HUGE, "payload_bits": 16}, "carrier": _layers(2**40)},
        "cannot be read",
    ),
    "certain survival": ("sign-erasure", _parameters(survive=1 - 1e-15), "too large"),
    "huge matrix": ("spread-spectrum", _parameters(length=HUGE), "too large"),
    "huge projection": (
        "sign",
        {"scheme": "uchida", "payload_bits": 2**20, "parameters": {"payload_bits": 2**20}},
        "too small",
    ),
    "huge payload": ("sign", {"payload_bits": HUGE, "parameters": {"payload_bits": HUGE}}, "payload_bits"),
    "fractional payload": ("sign", {"payload_bits": 16.0}, "payload_bits"),
    "payload of text": ("sign", {"payload_bits": "16"}, "payload_bits"),
    "float for a count": ("sign-repetition", _parameters(repetition=3.5), "whole number"),
    "truth for a count": ("sign-repetition", _parameters(repetition=True), "whole number"),
    "no carrier": ("sign", {"carrier": {"rule": "all", "layers": []}}, "at least one layer"),
    "layers twice": ("sign", {"carrier": {"rule": "all", "layers": 2 * _layers(24, 40)["layers"]}}, "only once"),
    "huge layer": ("sign", {"carrier": _layers(2**40, 2**40)}, "number of weights"),
    "negative layer": ("sign", {"carrier": _layers(-24, 40)}, "size"),
    "empty layer": ("sign", {"carrier": _layers(0, 40)}, "size"),
    "costly stretch": ("sign", {"stretch": {"n": 2**18, "r": 8, "p": 16}}, "costs more"),
    "stretch that scrypt refuses": ("sign", {"stretch": {"n": 2**17, "r": 1, "p": 1}}, "below"),
    "no step": ("dm-qim", {"state": {}}, "step"),
    "a step of text": ("dm-qim", {"state": {"step": "0.1"}}, "step"),
    "no widths": ("structural", {"state": {}}, "widths"),
    "widths of text": ("structural", {"state": {"widths": {"fc.weight": "24"}}}, "width"),
    "huge form": ("spread-cwc", _parameters(blocks=HUGE, rows=HUGE), "not 10000000000 of"),
    "half a form": ("spread-cwc", _parameters(blocks=64), "together, or neither"),
    "a message for no pool": (
        "spread-cwc",
        {"payload_bits": 999, "parameters": {"payload_bits": 999}},
        "too small",
    ),
    "gains of text": ("spread-cwc", {"state": {"gains": {"fc.weight": "1"}}}, "gains that are no finite numbers"),
    "a list of gains": ("spread-cwc", {"state": {"gains": [1.0]}}, "gains that are no finite numbers"),
    "gains below nothing": ("spread-cwc", {"state": {"gains": {"fc.weight": -1}}}, "gains that are no finite"),
    "digest of a letter": ("sign", {"key_digest": "\u00fc" * 32}, "key_digest"),
}


@pytest.mark.parametrize("case", BAD_MARKS)
def test_marks_have_bounds(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cwwm.owner import ExhibitFiles, read_file, verify_file

    name, changes, reason = BAD_MARKS[case]
    path = _mark(name, tmp_path / "m.mark.json", **changes)
    suspect = CORPUS / "protected-cwc.safetensors"
    message = MESSAGE[: json.loads(path.read_text())["payload_bits"]] if case not in _ODD else MESSAGE
    with pytest.raises(BadInput, match=reason):
        read_file(suspect, KEY, path)
    with pytest.raises(BadInput, match=rf"{reason}|the claimed message"):
        verify_file(suspect, KEY, path, message, ExhibitFiles())


@pytest.mark.parametrize("name", ["protected-cwc", "spread-cwc"])
@pytest.mark.parametrize(
    ("carrier", "reason"),
    [
        (_layers(24, 41), "fc.weight has shape"),
        (_layers(24, 40, name="else.weight"), "it has no tensor else.weight"),
    ],
)
def test_an_original_must_have_the_layers_of_the_mark(
    name: str, carrier: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    from cwwm.owner import read_file

    path = _mark(name, tmp_path / "m.mark.json", carrier=carrier)
    with pytest.raises(BadInput, match=rf"the mark is damaged: .* has not the layers that it names, for {reason}"):
        read_file(CORPUS / "protected-cwc.safetensors", KEY, path, original=CORPUS / "model.safetensors")


def test_a_mark_in_a_bias_says_nothing_against_the_original(tmp_path: Path) -> None:
    from cwwm.owner import read_file

    path = _mark("spread-cwc", tmp_path / "m.mark.json", carrier=_layers(24, name="fc.bias"))
    found = read_file(CORPUS / "protected-cwc.safetensors", KEY, path, original=CORPUS / "model.safetensors")
    assert not found.extraction.applicable


_ODD = ("no density", "huge payload", "fractional payload", "payload of text", "huge projection")


@pytest.mark.parametrize("digest", [None, 5, "", "0" * 63, "z" * 64, "\u00fc" * 64])
def test_commitments_have_a_digest(digest: object, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"format": "cwwm-commitment v2", "digest": digest}))
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        Commitment.load(tmp_path / "c.json")


def _weights() -> dict[str, Tensor]:
    return {"fc.weight": torch.randn(40, 30), "fc.bias": torch.zeros(40)}


def _many_views() -> dict[str, Tensor]:
    flat = torch.zeros(1 << 16)
    return {f"w{i}.weight": flat[i : i + 60_000].view(600, 100) for i in range(100)}


def _nested() -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])


#: what makes a tensor, its name, what it is called, and its row of cwwm inspect
UNUSUAL: dict[str, tuple[Callable[[], Any], str, str, tuple[list[int], str]]] = {
    "sparse": (lambda: _weights() | {"s": torch.eye(9).to_sparse()}, "s", "sparse", ([9, 9], "float32")),
    "sparse rows": (lambda: _weights() | {"s": torch.eye(9).to_sparse_csr()}, "s", "sparse", ([9, 9], "float32")),
    "meta": (
        lambda: _weights() | {"m": torch.empty(1 << 40, 2, device="meta")},
        "m",
        "a shape without values (device meta)",
        ([1 << 40, 2], "float32"),
    ),
    "quantised": (
        lambda: _weights() | {"q": torch.quantize_per_tensor(torch.ones(9), 0.1, 0, torch.qint8)},
        "q",
        "quantised",
        ([9], "qint8"),
    ),
    "nested": (lambda: _weights() | {"n": _nested()}, "n", "nested", ([], "float32")),
    "complex": (
        lambda: _weights() | {"c": torch.ones(9, dtype=torch.complex128)},
        "c",
        "of complex numbers",
        ([9], "complex128"),
    ),
    "expanded": (
        lambda: {"fc.weight": torch.ones(1, 1).expand(1 << 15, 1 << 15)},
        "fc.weight",
        "expanded or overlaps others",
        ([1 << 15, 1 << 15], "float32"),
    ),
    "overlapping": (_many_views, "w4.weight", "expanded or overlaps others", ([600, 100], "float32")),
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_unusual_tensors_are_listed_and_refused_in_one_line(
    kind: str, zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, name, words, (shape, dtype) = UNUSUAL[kind]
    torch.save(make(), tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    assert run_app(app, "cwwm", ["inspect", str(tmp_path / "m.pt"), "--json"]) == BAD_INPUT
    out, err = capsys.readouterr()
    (found,) = [layer for layer in json.loads(out)["layers"] if layer["name"] == name]
    assert (found["shape"], found["dtype"], found["finite"]) == (shape, dtype, None)
    assert found["unusual"].startswith(words)
    assert err.count("\n") == 1
    assert f"{name} of {tmp_path / 'm.pt'} is {words}" in err
    with pytest.raises(BadInput, match=rf"tensor {name} of .*m\.pt is {re.escape(words)}"):
        open_weights(tmp_path / "m.pt").tensor(name)


@pytest.mark.parametrize("dtype", ["qint8", "quint8", "qint32", "quint4x2", "bits8", "uint1", "float4_e2m1fn_x2"])
def test_a_dtype_that_torch_makes_no_tensor_of_ends_no_process(dtype: str, tmp_path: Path) -> None:
    """Stored bytes seen as quantised numbers make torch itself crash."""
    torch.save({"w.weight": torch.zeros(8, 8, dtype=torch.uint32)}, tmp_path / "m.pt")
    change = lambda name, data: (  # noqa: E731
        data.replace(b"ctorch\nuint32\n", f"ctorch\n{dtype}\n".encode()) if name.endswith("data.pkl") else data
    )
    _repacked(tmp_path / "m.pt", tmp_path / "odd.pt", change, zipfile.ZIP_STORED)
    weights = open_weights(tmp_path / "odd.pt")
    assert (weights.shape("w.weight"), weights.dtype("w.weight")) == ((8, 8), dtype)
    with pytest.raises(BadInput, match=rf"tensor w\.weight of .* is of {dtype}"):
        weights.tensor("w.weight")


def _repacked(source: Path, target: Path, change: Callable[[str, bytes], bytes], kind: int) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", kind) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def test_a_deflated_bomb_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(1 << 12, 1 << 10)}, tmp_path / "m.pt")
    _repacked(tmp_path / "m.pt", tmp_path / "bomb.pt", lambda _, data: data, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < 1 << 16
    with pytest.raises(BadInput, match="is compressed"):
        open_weights(tmp_path / "bomb.pt")


PICKLES = {
    "a long array": (b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "no torch checkpoint"),
    "a far memo": (b"\x80\x02]r\xff\xff\xff\x7f.", "holds no"),
    "an array made by a call": (b"\x80\x02cbuiltins\nbytearray\nM\xff\xff\x85R.", "could run code"),
    "a call of code": (b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R.", "could run code"),
    "deep tuples": (b"\x80\x02K\x01" + b"\x85" * 10**5 + b".", "holds no"),
    "nothing on the stack": (b"\x80\x02R.", "no torch checkpoint"),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_hostile_pickles_take_no_memory_and_run_nothing(kind: str, tmp_path: Path) -> None:
    data, reason = PICKLES[kind]
    torch.save(_weights(), tmp_path / "m.pt")
    change = lambda name, old: data if name.endswith("data.pkl") else old  # noqa: E731
    _repacked(tmp_path / "m.pt", tmp_path / "hostile.pt", change, zipfile.ZIP_STORED)
    with pytest.raises(BadInput, match=reason):
        open_weights(tmp_path / "hostile.pt")


def test_old_files_of_torch_are_read(tmp_path: Path) -> None:
    state = _weights() | {"strided.weight": torch.arange(6.0).view(2, 3).t(), "tied.weight": torch.ones(4, 4)}
    state["again.weight"] = state["tied.weight"]
    torch.save({"model": state}, tmp_path / "m.pth.tar", _use_new_zipfile_serialization=False)
    weights = open_weights(tmp_path / "m.pth.tar")
    assert list(weights.names()) == [name for name in state if name != "tied.weight"]
    assert all(torch.equal(weights.tensor(name), state[name]) for name in state)


def test_every_dtype_of_torch_files_is_read(tmp_path: Path) -> None:
    dtypes = (
        torch.float64,
        torch.bfloat16,
        torch.int16,
        torch.bool,
        torch.complex64,
        torch.float8_e4m3fn,
        torch.uint32,
    )
    state = {str(dtype): torch.tensor([[0, 1], [1, 0]]).to(dtype) for dtype in dtypes}
    torch.save(state, tmp_path / "m.pt")
    weights = open_weights(tmp_path / "m.pt")
    stored = {name: weights.stored(name) for name in state}
    assert all(value is not None and value.dtype == state[name].dtype for name, value in stored.items())
    assert all(
        v is not None and torch.equal(v.view(torch.uint8), state[n].view(torch.uint8)) for n, v in stored.items()
    )


def test_writing_to_a_torch_file_leaves_it_alone(tmp_path: Path) -> None:
    torch.save(_weights(), tmp_path / "m.pt")
    before = (tmp_path / "m.pt").read_bytes()
    open_weights(tmp_path / "m.pt").write("fc.bias", torch.tensor([0]), torch.tensor([7.0]))
    assert (tmp_path / "m.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [([0, 2**63], [0, 0]), ([1] * 1000, [0, 4]), ([0, 2**62], [0, 0]), ([2**32, 2**32], [0, 4])],
)
def test_impossible_shapes_are_refused(shape: list[int], offsets: list[int], tmp_path: Path) -> None:
    header = json.dumps({"w.weight": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(offsets[1]))
    with pytest.raises(BadInput, match=r"impossible shape|no safetensors file"):
        open_weights(path)


def test_names_of_tensors_cannot_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202efc\n.weight"
    save_file({evil: torch.ones(4, 4), ":smile:.weight": torch.ones(4, 4)}, tmp_path / "m.safetensors")
    assert run_app(app, "cwwm", ["inspect", str(tmp_path / "m.safetensors")]) == DONE
    out = capsys.readouterr().out
    assert r"\x1b[2J\x1b]0;owned\x07\u202efc\n.weight" in out
    assert ":smile:.weight" in out
    assert all(line.isprintable() for line in out.split("\n"))


def test_reasons_and_names_of_files_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    carrier = _layers(24, 40, name="\x1b[31mfc.weight")
    mark = _mark("sign", tmp_path / "m.mark.json", carrier=carrier, key_digest=Key(bytes(32)).digest)
    Key(bytes(32)).save(tmp_path / "k")
    files = [str(CORPUS / "protected-cwc.safetensors"), "--key", str(tmp_path / "k"), "--mark", str(mark)]
    assert run_app(app, "cwwm", ["extract", *files]) == 1
    assert r"it has no tensor \x1b[31mfc.weight" in capsys.readouterr().out
    assert run_app(app, "cwwm", ["inspect", "\x1b[31mabsent.pt"]) == BAD_INPUT
    assert capsys.readouterr().err == "cwwm: no checkpoint at \\x1b[31mabsent.pt\n"


def test_refusing_a_huge_mark_takes_neither_time_nor_memory(tmp_path: Path) -> None:
    changes = {"parameters": {"length": HUGE, "weight": HUGE // 2, "payload_bits": 16}}
    mark = _mark("cwc", tmp_path / "m.mark.json", **changes, key_digest=Key(bytes(32)).digest)
    Key(bytes(32)).save(tmp_path / "k")
    suspect = str(CORPUS / "protected-cwc.safetensors")
    command = ["verify", suspect, "--key", str(tmp_path / "k"), "--mark", str(mark), "--hex", "0000"]
    found = subprocess.run(
        [sys.executable, "-m", "cwwm.cli", *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (BAD_INPUT, "", 1)
    assert "too large" in found.stderr


def test_a_file_that_is_no_archive_is_called_that(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    (tmp_path / "m.pt").write_bytes(buffer.getvalue())
    with pytest.raises(BadInput, match="no torch checkpoint"):
        open_weights(tmp_path / "m.pt")
