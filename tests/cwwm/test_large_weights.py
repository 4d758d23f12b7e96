"""What large checkpoints rest on: only pages with hosts are read, what is remembered follows what is written."""

import ctypes
import hashlib
import mmap
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cwwm.owner import ExhibitFiles, embed_file, read_file, verify_file
from cwwm.ownership.keys import Key
from cwwm.ownership.verification import copy_digest, is_original
from cwwm.schemes import make_scheme
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, host_digest, prunable, weights_digest
from cwwm.weights.checkpoint import open_weights, rewriting
from cwwm.weights.digests import tree_digest
from cwwm.weights.order_statistics import MagnitudeTable, Rank
from cwwm.weights.view import TensorWeights, Weights
from tests.fuzz.make_corpus import BITS, MESSAGE

KEY = Key(bytes(range(32)))


def _state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (64, 512), "b.weight": (512, 512), "head.weight": (100, 512)}
    return {name: (torch.randn(shape, generator=generator) * 0.05).bfloat16() for name, shape in shapes.items()}


def _resident(path: Path) -> int:
    """Return how many pages of a file are in memory."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages)
        del start
    assert not failed
    return sum(page & 1 for page in bytes(pages))


def _evict(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system forgets no file")
def test_only_pages_with_hosts_are_read(tmp_path: Path) -> None:
    path, weights = tmp_path / "m.safetensors", 1 << 24
    save_file({"x.weight": torch.randn(1 << 12, 1 << 12, generator=torch.Generator().manual_seed(0)).half()}, path)
    _evict(path)
    if _resident(path) > 100:
        pytest.skip("this file system keeps its files in memory")
    index = torch.randperm(weights, generator=torch.Generator().manual_seed(1))[:200]
    header = 64  # pages that reading the header takes, with what the system reads ahead
    values = open_weights(path).entries("x.weight", index)
    assert _resident(path) <= len(index) + header
    assert torch.equal(values, open_weights(path).tensor("x.weight").view(-1)[index])


@pytest.mark.parametrize("place", ["host", "elsewhere"])
def test_blind_readings_refuse_what_they_read_and_no_more(place: str, tmp_path: Path) -> None:
    source, marked = tmp_path / "m.safetensors", tmp_path / "marked.safetensors"
    save_file(_state(), source)
    scheme = make_scheme("sign", {"payload_bits": BITS, "carrier": "all"})
    mark = embed_file(source, marked, scheme, MESSAGE, KEY).mark
    hosts = hidden_hosts(KEY, mark, scheme.hosts)["b.weight"]
    others = sorted(set(range(9999)) - set(hosts.tolist()))
    index = hosts[:1] if place == "host" else torch.tensor(others[:1])
    with rewriting(marked, marked) as weights:
        weights.write("b.weight", index, torch.tensor([float("nan")]))
    files = {"mark_file": tmp_path / "marked.mark.json"}
    if place == "host":
        with pytest.raises(BadInput, match=r"b\.weight of the suspect holds NaN"):
            read_file(marked, KEY, **files)
    else:
        assert read_file(marked, KEY, **files).extraction.ok
        assert verify_file(marked, KEY, message=MESSAGE, files=ExhibitFiles(), **files).recovered
        with pytest.raises(BadInput, match=r"b\.weight of the suspect holds NaN"):
            read_file(marked, KEY, original=source, **files)


def test_large_hosts_are_known_by_digests_of_their_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, path = _state(), tmp_path / "m.safetensors"
    save_file(state, path)
    flat = host_digest(TensorWeights(state))
    monkeypatch.setattr("cwwm.weights.carrier.LARGE", 1000)
    digest = host_digest(open_weights(path))
    leaves = b"".join(hashlib.sha256(state[n].view(torch.uint8).numpy().tobytes()).digest() for n in sorted(state))
    layers = repr(Carrier.choose(open_weights(path), "all").layers)
    assert digest == hashlib.sha256(b"cwwm-tree v1\0" + layers.encode() + leaves).hexdigest() != flat
    assert digest == host_digest(TensorWeights(state)) == tree_digest(layers, open_weights(path), sorted(state))
    scheme = make_scheme("sign", {"payload_bits": BITS, "carrier": "all"})
    mark = embed_file(path, tmp_path / "new.safetensors", scheme, MESSAGE, KEY).mark
    assert mark.original == digest
    assert is_original(open_weights(path), mark)
    state["a.weight"][0, 0] += 1
    assert not is_original(TensorWeights(state), mark)


def test_marks_of_large_hosts_from_before_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    save_file(_state(), path)
    scheme = make_scheme("sign", {"payload_bits": BITS, "carrier": "all"})
    embed_file(path, tmp_path / "old.safetensors", scheme, MESSAGE, KEY)
    monkeypatch.setattr("cwwm.weights.carrier.LARGE", 1000)
    for reference in (path, tmp_path / "old.safetensors"):
        found = read_file(tmp_path / "old.safetensors", KEY, tmp_path / "old.mark.json", reference=reference)
        assert found.extraction.ok


def test_what_is_remembered_is_made_again_for_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwwm.weights.carrier.LARGE", 1000)
    path = tmp_path / "m.safetensors"
    save_file(_state(), path)
    with rewriting(path, tmp_path / "out.safetensors") as weights:
        names = prunable(weights)
        before = (copy_digest(weights), _median(weights, names))
        weights.write("b.weight", torch.arange(0, 512 * 512, 2), torch.full((512 * 256,), 0.5))
        after = (copy_digest(weights), _median(weights, names))
    assert before == (weights_digest(open_weights(path), names), _median(open_weights(path), names))
    written = open_weights(tmp_path / "out.safetensors")
    assert after == (weights_digest(written, names), _median(written, names))
    assert before[0] != after[0]
    assert before[1] < after[1]


def _median(weights: Weights, names: list[str]) -> float:
    table = MagnitudeTable.of(weights, names)
    members = tuple(range(len(names)))
    return table.kth([Rank(members, table.size(members) // 2)])[0]
