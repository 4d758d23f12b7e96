"""MNIST and Fashion-MNIST in their own file format, idx: from Debian's package or downloaded."""

import gzip
import struct
from pathlib import Path

import numpy as np

from bench.data.dataset import Split
from bench.data.source import Raw, Request, missing, split_from_arrays
from cwwm.support.errors import BadInput, EnvironmentFault

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts it
_UNSIGNED_BYTE = 0x08


def read_fashion_mnist(request: Request) -> Raw:
    """Return Fashion-MNIST: 60,000 to train, 10,000 to test, grey 28x28, ten classes."""
    hint = "apt-get install dataset-fashion-mnist, or connect to a network"
    folders = [request.root / "fashion-mnist", DEBIAN, request.root / "FashionMNIST" / "raw"]
    return _read("fashion-mnist", "FashionMNIST", folders, request.root, hint)


def read_mnist(request: Request) -> Raw:
    """Return MNIST: 60,000 to train, 10,000 to test, grey 28x28, ten classes."""
    folders = [request.root / "mnist", request.root / "MNIST" / "raw"]
    hint = f"connect to a network, or put its four idx files under {folders[0]}"
    return _read("mnist", "MNIST", folders, request.root, hint)


def _read(name: str, torchvision_name: str, folders: list[Path], root: Path, hint: str) -> Raw:
    """Read from the first folder that has the files; torchvision downloads into the last one."""
    folder = next((folder for folder in folders if _file(folder, "t10k-labels-idx1-ubyte")), None)
    if folder is None:
        _download(name, torchvision_name, root, hint)
        folder = folders[-1]
    return Raw(_split(folder, "train"), _split(folder, "t10k"), classes=10)


def _download(name: str, torchvision_name: str, root: Path, hint: str) -> None:
    import torchvision

    try:
        getattr(torchvision.datasets, torchvision_name)(root, download=True)
    except (OSError, RuntimeError) as error:
        raise missing(name, hint, error) from error


def _split(folder: Path, part: str) -> Split:
    images = read_idx(folder, f"{part}-images-idx3-ubyte")
    labels = read_idx(folder, f"{part}-labels-idx1-ubyte")
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise BadInput(f"{folder}: {part} has images {images.shape} but labels {labels.shape}")
    return split_from_arrays(images, labels)


def _file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def read_idx(folder: Path, name: str) -> np.ndarray:
    """Read the idx file `name`, or `name`.gz, of unsigned bytes.

    The format: two zero bytes, a type, the number of dimensions, each dimension as a big-endian 32-bit
    integer, then the values, last dimension fastest.

    Returns:
        uint8, of the shape the file states.

    Raises:
        BadInput: the file is of another type.
        EnvironmentFault: it is missing, damaged, or has another length than it states.
    """
    path = _file(folder, name)
    if path is None:
        raise EnvironmentFault(f"{folder}: {name}(.gz) is missing beside the other files")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise EnvironmentFault(f"{path} cannot be read ({error}); fetch it again") from error
    if len(data) < 4 or data[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise BadInput(f"{path} is not an idx file of unsigned bytes")
    header = 4 + 4 * data[3]
    if len(data) < header:
        raise EnvironmentFault(f"{path} ends inside its header; fetch it again")
    shape = struct.unpack(f">{data[3]}I", data[4:header])
    if len(data) - header != int(np.prod(shape)):
        raise EnvironmentFault(
            f"{path} has {len(data) - header} values where its header says {shape}; fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()  # bytes are read-only
