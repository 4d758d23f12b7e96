"""First bytes decide what a file is: checkpoints are read under any name, all else is named in one line."""

import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cwwm.support.errors import BadInput
from cwwm.weights.checkpoint import FileWeights, open_weights
from cwwm.weights.first_bytes import Form, form_of
from tests.cwwm.owner_commands import refused
from tests.cwwm.test_onnx_file import _model, _tensor

STATE = {"fc.weight": torch.arange(1200.0).view(40, 30), "fc.bias": torch.ones(40)}
SUFFIXES = [".safetensors", ".pt", ".bin", ".onnx", ".gguf", ""]

WRITERS: dict[Form, Callable[[Path], object]] = {
    Form.SAFETENSORS: lambda path: save_file(STATE, path),
    Form.TORCH: lambda path: torch.save({"state_dict": STATE}, path),
    Form.ONNX: lambda path: _model(path, [_tensor(name, value) for name, value in STATE.items()]),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("form", WRITERS)
def test_a_checkpoint_is_read_whatever_its_name_ends_in(form: Form, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    WRITERS[form](path)
    assert form_of(path) is form
    weights = open_weights(path)
    assert all(torch.equal(weights.tensor(name), value) for name, value in STATE.items())
    assert isinstance(weights, FileWeights) == (form is Form.SAFETENSORS)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_old_torch_files_are_read_whatever_their_name_ends_in(suffix: str, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / f"m{suffix}", _use_new_zipfile_serialization=False)
    assert torch.equal(open_weights(tmp_path / f"m{suffix}").tensor("fc.weight"), STATE["fc.weight"])


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("m.pt"))
    return buffer.getvalue()


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _scripted() -> bytes:
    return _written(lambda file: torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), file))


SAVED = b"GGUF\x03\0\0\0" + bytes(100)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"
FOREIGN: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "git-lfs pointer": (lambda: LFS, "a git-lfs pointer", "git lfs pull"),
    "html": (lambda: b"\n <!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page", "download"),
    "xml": (lambda: b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "an XML", "download"),
    "text": (lambda: b"Invalid username or password.\n", "'Invalid username or password.'", "logged in"),
    "gguf": (lambda: SAVED, "a GGUF file", "safetensors"),
    "npy": (lambda: _written(lambda file: np.save(file, np.ones(3))), "a NumPy array", "safetensors"),
    "npz": (lambda: _written(lambda file: np.savez(file, a=np.ones(3))), "a NumPy archive", "safetensors"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file", "convert"),
    "keras": (lambda: _zip("config.json", "model.weights.h5"), "a Keras file", "convert"),
    "tflite": (lambda: b"\x1c\0\0\0TFL3" + bytes(50), "a TensorFlow Lite model", "convert"),
    "pickle": (lambda: pickle.dumps({"w": [1.0]}, 2), "a pickle that torch.save did not write", "state dict"),
    "torchscript": (_scripted, "a TorchScript program", "torch.jit.load"),
    "export": (lambda: _zip("m/archive_format", "m/data/weights/w"), "torch.export", "state_dict"),
    "zip": (lambda: _zip("readme.txt"), "a zip archive and no torch checkpoint", "unpack"),
    "cut zip": (lambda: _zip("readme.txt")[:50], "cut short", "get it again"),
    "gzip": (lambda: gzip.compress(b"x"), "compressed by gzip", "gunzip"),
    "xz": (lambda: lzma.compress(b"x"), "compressed by xz", "unxz"),
    "tar": (_tar, "a tar archive", "unpack"),
    "json": (lambda: json.dumps({"hidden_size": 9}).encode(), "a JSON text", "checkpoint"),
    "nothing": (lambda: b"", "is empty", "get it again"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_checkpoint_is_named_in_one_line(
    kind: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words, advice = FOREIGN[kind]
    path = tmp_path / f"m{suffix}"
    refused(tmp_path, capsys, (lambda: path.write_bytes(make()), ("inspect", str(path)), words))
    with pytest.raises(BadInput, match=rf"{path.name}.*{advice}"):
        open_weights(path)


@pytest.mark.parametrize(("suffix", "words"), [(".pt", "torch"), (".safetensors", "safetensors"), (".onnx", "ONNX"),
                                               (".pb", "a TensorFlow graph"), (".msgpack", "Flax")])  # fmt: skip
def test_where_first_bytes_say_nothing_the_suffix_does(suffix: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"\xff\xfe" * 100)
    assert suffix in (".pb", ".msgpack") or form_of(path) is Form.UNKNOWN
    with pytest.raises(BadInput, match=words):
        open_weights(path)


def test_a_file_that_reads_as_numbers_without_end_is_left_soon(tmp_path: Path) -> None:
    """Each two bytes are a field of a message: only a bound on their number ends the reading."""
    with (tmp_path / "m.bin").open("wb") as file:
        file.write(b"\x08\x00\x08\x00" * 10)
        file.truncate(1 << 34)  # takes no room on the disk
    assert form_of(tmp_path / "m.bin") is Form.UNKNOWN
