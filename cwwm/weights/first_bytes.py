"""What a file is by its first bytes, whatever it is called: a checkpoint that can be read, or what else."""

import mmap
import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from cwwm.support.errors import BadInput
from cwwm.support.files import open_regular
from cwwm.weights.protobuf import messages_in

_HEAD = 4096  # bytes that are looked at; of an archive its list of entries, too
_MOST_HEADER = 1 << 40  # bytes that the header of a safetensors file may claim: text never reads as so few
_MOST_FIELDS = 10_000  # of an ONNX file's outer message
_GRAPH = 7  # its field with the network
_TAR_MAGIC = slice(257, 262)
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch.save began with before 1.6


class Form(Enum):
    """Files that can be opened, by what their first bytes say, or nothing if these say nothing."""

    SAFETENSORS = "safetensors"
    TORCH = "a torch checkpoint"
    ONNX = "an ONNX file"
    FOLDER = "a folder"
    INDEX = "an index of shards"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class _Foreign:
    """A file that holds no weights that are read here: how it begins, what it is, what to do."""

    begins: bytes
    words: str
    advice: str


_PICKLE = "a pickle that torch.save did not write, and loading it could run code"
_UNPACK = "unpack it, and give the checkpoint that is in it"
_DOWNLOAD = "the download failed: download the checkpoint again, logged in if it asks for that"
_CONVERT = "convert it to safetensors with the library that wrote it"
_FOREIGN = (
    _Foreign(
        b"version https://git-lfs.github.com/spec/", "a git-lfs pointer, not the file itself", "run git lfs pull"
    ),
    _Foreign(b"GGUF", "a GGUF file, for llama.cpp", "give the checkpoint in safetensors that it was made from"),
    _Foreign(b"\x93NUMPY", "a NumPy array (.npy)", "save its tensors, by name, as safetensors"),
    _Foreign(b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow write it", _CONVERT),
    _Foreign(b"\x1f\x8b", "compressed by gzip", "unpack it first: gunzip"),
    _Foreign(b"\xfd7zXZ\0", "compressed by xz", "unpack it first: unxz"),
    _Foreign(b"BZh", "compressed by bzip2", "unpack it first: bunzip2"),
    _Foreign(b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first: unzstd"),
    _Foreign(b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _Foreign(b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    _Foreign(b"%PDF-", "a PDF document", "give the checkpoint"),
)
_IN_ZIP = (  # an entry's name ends so: what the archive is
    ("constants.pkl", "a TorchScript program", "load it with torch.jit.load and save its state_dict()"),
    ("/archive_format", "a program of torch.export", "load it with torch.export.load and save its state_dict"),
    ("model.weights.h5", "a Keras file", _CONVERT),
    (".npy", "a NumPy archive (.npz)", "save its arrays, by name, as safetensors"),
)


_BY_SUFFIX = {  # the last resort, where first bytes say nothing
    ".pb": "a TensorFlow graph",
    ".msgpack": "a Flax checkpoint",
    ".mlmodel": "a Core ML model",
}


def form_of(path: Path) -> Form:
    """Return what a file or folder is, by its first bytes.

    Raises:
        BadInput: if it is missing, a pipe or a device, empty, or something that holds no weights that can be read;
            the text says what it is, and what to do.
    """
    if path.is_dir():
        return Form.FOLDER
    with open_regular(path, "checkpoint") as file:
        head = file.read(_HEAD)
        if not head:
            raise BadInput(f"{path} is empty: the download or the copy failed; get it again")
        return _form(path, file, head)


def _form(path: Path, file: BinaryIO, head: bytes) -> Form:
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MOST_HEADER:
        return Form.SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        return _in_zip(path, file, head)
    if head.startswith(_LEGACY_TORCH):
        return Form.TORCH
    for kind in _FOREIGN:
        if head.startswith(kind.begins):
            raise _refusal(path, kind.words, kind.advice)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        raise _refusal(path, _PICKLE, "load it where you trust it, and save its state dict as safetensors")
    if head[4:8] == b"TFL3":
        raise _refusal(path, "a TensorFlow Lite model", _CONVERT)
    if head[_TAR_MAGIC] == b"ustar":
        raise _refusal(path, "a tar archive", _UNPACK)
    if _is_onnx(file):
        return Form.ONNX
    return _text(path, head)


def _in_zip(path: Path, file: BinaryIO, head: bytes) -> Form:
    """Tell archives apart by the names of their entries; one that is cut short by the first of them."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        if b"data.pkl" in head:
            return Form.TORCH  # says what is missing
        raise BadInput(f"{path} is a zip archive that is cut short or damaged; get it again") from None
    for end, words, advice in _IN_ZIP:
        if any(name.endswith(end) for name in names):
            raise _refusal(path, words, advice)
    if any(name.endswith("/data.pkl") for name in names):
        return Form.TORCH
    raise _refusal(path, "a zip archive and no torch checkpoint", _UNPACK)


def _is_onnx(file: BinaryIO) -> bool:
    """Say whether a whole file is a message with a graph where an ONNX file has it."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
        found = False
        try:
            for field, message in messages_in(data, _MOST_FIELDS):
                found |= field == _GRAPH
                message.release()
        except (ValueError, IndexError):
            return False
        return found


def _text(path: Path, head: bytes) -> Form:
    """Tell texts apart; what is none says nothing."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    start = text[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        raise _refusal(path, "an HTML page", _DOWNLOAD)
    if start.startswith(b"<?xml"):
        raise _refusal(path, "an XML document, and no checkpoint", _DOWNLOAD)
    if text.startswith(b"{"):
        if path.name.endswith(".index.json") or b'"weight_map"' in head:
            return Form.INDEX
        raise _refusal(path, "a JSON text", "give the checkpoint beside it")
    words = head.decode("utf-8", "ignore").strip()
    if words and len(head) < _HEAD and words.replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable():
        raise _refusal(path, f"a short text ({words.splitlines()[0][:60]!r}), and no checkpoint", _DOWNLOAD)
    if path.suffix.lower() in _BY_SUFFIX:
        raise _refusal(path, _BY_SUFFIX[path.suffix.lower()], _CONVERT)
    return Form.UNKNOWN


def _refusal(path: Path, words: str, advice: str) -> BadInput:
    return BadInput(f"{path} is {words}; {advice}")
