"""ONNX files: weights come back as they were written, wherever they lie, and hostile files are refused."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cwwm.cli.app import app
from cwwm.ownership.keys import Key
from cwwm.support.console import BAD_INPUT, DONE, run_app
from cwwm.support.errors import BadInput
from cwwm.weights.checkpoint import open_weights

onnx: Any = pytest.importorskip("onnx")
helper: Any = onnx.helper

BEHIND = {"location": "weights.bin", "offset": "8", "length": "96"}


def _floats(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _tensor(name: str, value: Tensor, **changes: Any) -> Any:  # noqa: ANN401 (a message of onnx)
    fields = {"dims": value.shape, "raw_data": value.numpy().tobytes(), **changes}
    return onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, **fields)


def _behind(name: str, shape: tuple[int, ...], stated: dict[str, str]) -> Any:  # noqa: ANN401
    made = onnx.TensorProto(
        name=name, data_type=onnx.TensorProto.FLOAT, dims=shape, data_location=onnx.TensorProto.EXTERNAL
    )
    for key, value in stated.items():
        made.external_data.add(key=key, value=value)
    return made


def _model(path: Path, initialisers: list[Any], nodes: list[Any] | None = None) -> Path:
    path.write_bytes(
        onnx.ModelProto(graph=onnx.GraphProto(initializer=initialisers, node=nodes or [])).SerializeToString()
    )
    return path


def test_initialisers_come_in_the_order_in_which_nodes_read_them(tmp_path: Path) -> None:
    one, two, three = _floats(4, 3), _floats(5, 4, seed=1), _floats(2, 2, seed=2)
    constant = helper.make_node("Constant", [], ["three"], value=_tensor("", three))
    nodes = [
        constant,
        helper.make_node("MatMul", ["x", "two"], ["y"]),
        helper.make_node("MatMul", ["y", "one"], ["z"]),
    ]
    whole = helper.make_tensor("count", onnx.TensorProto.INT64, [1], [3])
    weights = open_weights(_model(tmp_path / "m.onnx", [_tensor("one", one), whole, _tensor("two", two)], nodes))
    assert list(weights.names()) == ["two", "one", "three"]
    assert weights.exported
    for name, value in {"one": one, "two": two, "three": three}.items():
        assert torch.equal(weights.tensor(name), value)


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"])
@pytest.mark.parametrize("raw", [True, False])
def test_all_float_types_are_read(kind: str, raw: bool, tmp_path: Path) -> None:
    dtype = {"FLOAT": torch.float32, "DOUBLE": torch.float64, "FLOAT16": torch.float16, "BFLOAT16": torch.bfloat16}
    value = _floats(3, 4).to(dtype[kind])
    if raw:
        data: Any = value.view(torch.uint8).numpy().tobytes()
        made = helper.make_tensor("w", getattr(onnx.TensorProto, kind), [3, 4], data, raw=True)
    else:
        made = onnx.TensorProto(name="w", data_type=getattr(onnx.TensorProto, kind), dims=[3, 4])
        field = {"FLOAT": made.float_data, "DOUBLE": made.double_data}.get(kind, made.int32_data)
        bits = value.view(torch.int16).int() & 0xFFFF if value.element_size() == 2 else value
        field.extend(bits.flatten().tolist())
    assert torch.equal(open_weights(_model(tmp_path / "m.onnx", [made])).tensor("w"), value)


def test_values_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    value = _floats(6, 4)
    (tmp_path / "weights.bin").write_bytes(bytes(8) + value.numpy().tobytes())
    weights = open_weights(_model(tmp_path / "m.onnx", [_behind("w", (6, 4), BEHIND)]))
    assert torch.equal(weights.tensor("w"), value)


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({}, "not in the folder"),
        ({"location": ""}, "not in the folder"),
        ({"location": "../weights.bin"}, "not in the folder"),
        ({"location": "sub/../../weights.bin"}, "not in the folder"),
        ({"location": "/etc/passwd"}, "not in the folder"),
        ({"location": "link.bin"}, "not in the folder"),
        ({"location": "C:\\weights.bin"}, "not in the folder"),
        ({"location": "a\0b"}, "not in the folder"),
        ({"location": "absent.bin"}, "no values of tensor w at"),
        ({"location": "."}, "not a regular file"),
        ({"location": "pipe"}, "not a regular file"),
        ({**BEHIND, "offset": "9"}, "does not hold its 96 bytes"),
        ({**BEHIND, "offset": "-1"}, "no place in a file"),
        ({**BEHIND, "offset": "9" * 40}, "no place in a file"),
        ({**BEHIND, "length": "95"}, "does not hold its 96 bytes"),
        ({**BEHIND, "length": "x"}, "no place in a file"),
    ],
)
def test_values_elsewhere_are_refused(stated: dict[str, str], reason: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "weights.bin").write_bytes(bytes(104))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadInput, match=reason):
        open_weights(_model(folder / "m.onnx", [_behind("w", (6, 4), stated)]))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (lambda: [], "no initialisers of float numbers"),
        (lambda: [_tensor("w", _floats(3, 4), dims=[3, 5])], "not as many values"),
        (lambda: [_tensor("w", _floats(3, 4), dims=[-3, -4])], "impossible shape"),
        (lambda: [_tensor("w", _floats(3, 4), dims=[1 << 40, 1 << 40])], "impossible shape"),
        (lambda: [_tensor("w", _floats(3, 4), dims=[1] * 40)], "impossible shape"),
        (lambda: [_tensor("w", _floats(3, 4), raw_data=b"abc")], "not as many values"),
        (lambda: [_tensor("w", _floats(2, 2)), _tensor("w", _floats(2, 2))], "two tensors of the name w"),
        (lambda: [_tensor("w" * 2000, _floats(2, 2))], "1024 are the most"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be_are_refused(tensors: Callable[[], list[Any]], reason: str, tmp_path: Path) -> None:
    made = tensors()
    for tensor in made:
        assert isinstance(tensor, onnx.TensorProto)
    with pytest.raises(BadInput, match=reason):
        open_weights(_model(tmp_path / "m.onnx", made))


def test_bytes_that_many_tensors_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(104))
    made = [_behind(f"w{n}", (6, 4), BEHIND) for n in range(5)]
    with pytest.raises(BadInput, match="more than 4 times"):
        open_weights(_model(tmp_path / "m.onnx", made))


@pytest.mark.parametrize(
    "data",
    [b"", b"not a model", b"\x3a\xff\xff\xff\xff\x7f", b"\x3b\x3c", b"\xff" * 30, b"\x3a\x02\x2a\x7f", b"\x08"],
)
def test_what_is_no_message_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(BadInput, match=r"no ONNX file|is empty|no initialisers|is a short text"):
        open_weights(tmp_path / "m.onnx")


def test_a_file_of_millions_of_empty_nodes_is_refused(tmp_path: Path) -> None:
    nodes = b"\x0a\x00" * 1_000_001
    size = bytes([len(nodes) & 0x7F | 0x80, len(nodes) >> 7 & 0x7F | 0x80, len(nodes) >> 14 & 0x7F | 0x80,
                  len(nodes) >> 21])  # fmt: skip
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + size + nodes)
    with pytest.raises(BadInput, match="more than 1,000,000 nodes"):
        open_weights(tmp_path / "m.onnx")


class _Convolutions(nn.Module):
    """What exporters fold, rename and transpose: convolutions with norms, a depthwise one, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32)
        self.depthwise, self.norm2 = nn.Conv2d(32, 32, 3, groups=32, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.norm3 = nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64)
        self.hidden, self.square = nn.Linear(64, 48, bias=False), nn.Linear(48, 48)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm2(self.depthwise(torch.relu(self.norm1(self.conv1(x))))))
        x = torch.relu(self.norm3(self.conv2(x))).flatten(2).transpose(1, 2)  # tokens: products, no Gemm
        logits: Tensor = self.head(torch.relu(self.square(torch.relu(self.hidden(x)))).mean(1))
        return logits


def network() -> nn.Module:
    """Return it in evaluation mode, its batch norms with factors that a third of the time are negative."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Convolutions().eval()
        for norm in (model.norm1, model.norm2, model.norm3):
            nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
            norm.weight.data.normal_(1, 1.5).exp_()
            norm.weight.data[::3] *= -1
    return model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a key, an original and a copy marked by ``cwwm embed``."""
    monkeypatch.chdir(tmp_path)
    Key(bytes(range(32))).save(tmp_path / "owner.key")
    save_file(network().state_dict(), tmp_path / "model.safetensors")
    embed = ("embed", "model.safetensors", "--key", "owner.key", "--message", "ours", "-o", "marked.safetensors")
    settings = ("--scheme", "spread-spectrum", "--payload-bits", "32", "--carrier", "all")
    assert run_app(app, "cwwm", [*embed, *settings]) == DONE
    return tmp_path


def _exported(path: Path, *, dynamo: bool) -> None:
    model = network()
    model.load_state_dict(load_file("marked.safetensors"))
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.onnx.export(model, (torch.zeros(2, 3, 8, 8),), path, dynamo=dynamo, external_data=dynamo, verbose=False)


VERIFY = ("verify", "suspect.onnx", "--key", "owner.key", "--mark", "marked.mark.json", "--commitment",
          "marked.commitment.json", "--message", "ours")  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "new"])
def test_a_mark_is_proven_in_what_an_exporter_wrote(
    dynamo: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _exported(folder / "suspect.onnx", dynamo=dynamo)
    capsys.readouterr()
    assert run_app(app, "cwwm", [*VERIFY, "--reference", "model.safetensors"]) == DONE
    out = capsys.readouterr().out
    assert "layers of the owner's copy: 6 matched, 0 absent" in out
    assert "message recovered: yes" in out
    extract = ("extract", "suspect.onnx", "--key", "owner.key", "--mark", "marked.mark.json")
    assert run_app(app, "cwwm", [*extract, "--reference", "marked.safetensors"]) == DONE
    assert "text: ours" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "new"])
def test_a_weak_mark_is_proven_in_what_an_exporter_wrote_against_the_original(
    dynamo: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed = ("embed", "model.safetensors", "--key", "owner.key", "--message", "ours", "-o", "marked.safetensors")
    assert run_app(app, "cwwm", [*embed, "--payload-bits", "32", "--set", "gain=0.1", "--force"]) == DONE
    _exported(folder / "suspect.onnx", dynamo=dynamo)
    capsys.readouterr()
    assert run_app(app, "cwwm", [*VERIFY, "--original", "model.safetensors"]) == DONE
    out = capsys.readouterr().out
    assert out.startswith("read: informed\nlayers of the owner's copy: 6 matched, 0 absent")
    assert "message recovered: yes" in out


def test_without_a_reference_the_line_asks_for_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _model(folder / "suspect.onnx", [_tensor("w", _floats(3, 4))])
    capsys.readouterr()
    for command in (VERIFY, ("extract", "suspect.onnx", "--key", "owner.key", "--mark", "marked.mark.json")):
        assert run_app(app, "cwwm", list(command)) == BAD_INPUT
        (line,) = capsys.readouterr().err.splitlines()
        assert "an ONNX file has an exporter's names: give --original" in line


def test_an_exported_model_cannot_be_marked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _model(folder / "suspect.onnx", [_tensor("conv1.weight", _floats(64, 64))])
    capsys.readouterr()
    embed = ("embed", "suspect.onnx", "--key", "owner.key", "--message", "ours", "-o", "new.safetensors")
    assert run_app(app, "cwwm", [*embed, "--scheme", "sign", "--payload-bits", "32"]) == BAD_INPUT
    assert "mark that one, and export it then" in capsys.readouterr().err
    assert not (folder / "new.safetensors").exists()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_suspect_without_numbers_is_refused(bad: float, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _model(folder / "suspect.onnx", [_tensor("w", torch.full((48, 64), bad))])
    capsys.readouterr()
    assert run_app(app, "cwwm", [*VERIFY, "--reference", "model.safetensors"]) == BAD_INPUT
    assert "NaN or infinite" in capsys.readouterr().err
