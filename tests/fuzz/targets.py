"""What is fuzzed: every reader that takes a file of a stranger; it succeeds, or says `BadInput`."""

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cwwm.cli.app import app
from cwwm.commitment import Commitment
from cwwm.owner import ExhibitFiles, read_file, verify_file
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import load_mark
from cwwm.ownership.message import bits_to_text, read_text, text_to_bits
from cwwm.support.console import run_app
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import RULES, Carrier
from cwwm.weights.checkpoint import open_weights
from cwwm.weights.view import all_finite
from tests.fuzz.inputs import Target, changed, changed_values, seeds
from tests.fuzz.make_corpus import CORPUS, KEY, MESSAGE
from tests.fuzz.mutations import byte_edits, changed_bytes, json_edits, rewritten
from tests.fuzz.result_targets import RESULT_TARGETS


def _safetensors(pattern: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return safetensors files whose header is changed as JSON, its length corrected."""

    def made(drawn: tuple[Path, Any]) -> tuple[str, bytes]:
        data = drawn[0].read_bytes()
        stop = 8 + int.from_bytes(data[:8], "little")
        header = rewritten(data[8:stop], drawn[1])
        return drawn[0].name, len(header).to_bytes(8, "little") + header + data[stop:]

    return st.tuples(st.sampled_from(seeds(pattern)), json_edits).map(made)


_REDUCED = st.sampled_from(
    (b"c__builtin__\neval\n", b"ctorch\nTensor\n", b"cbuiltins\nbytearray\n",
     b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
     b"ctorch._utils\n_rebuild_sparse_tensor\n", b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"2" * 50, b"]" * 5000)
)  # fmt: skip


def _repacked(pattern: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return torch files whose pickle is changed and packed again, sometimes compressed."""

    def made(drawn: tuple[Path, Any, Any, bool]) -> tuple[str, bytes]:
        source, edits, other, deflated = drawn
        buffer = io.BytesIO()
        kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(buffer, "w", kind) as new:
            for name in old.namelist():
                data = old.read(name)
                if name.endswith("data.pkl"):
                    data = changed_bytes(data, edits)
                    if other is not None:
                        place = int(other[0] * len(data))
                        data = data[:place] + other[1] + data[place:]
                new.writestr(name, data)
        return source.name, buffer.getvalue()

    extra = st.none() | st.tuples(st.floats(0, 1, exclude_max=True), _REDUCED)
    return st.tuples(
        st.sampled_from(seeds(pattern)), byte_edits, extra, st.integers(0, 9).map(lambda n: not n)
    ).map(made)


_NUMBERS = st.sampled_from((0, 1, 2, 3, -1, 40, 2**20, 2**31, 2**40, 2**62, 2**63, 10**30))


class _Described:
    """A tensor as a hostile file states it: pickled as a call of torch's own function."""

    def __init__(self, numbers: tuple[Any, ...]) -> None:
        self.numbers = numbers

    def __reduce__(self) -> tuple[Any, ...]:
        from torch._utils import _rebuild_tensor_v2

        return _rebuild_tensor_v2, (_Run(), *self.numbers, False, {})


class _Run:
    """The stored run of bytes of a described tensor."""


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        import torch

        return ("storage", torch.FloatStorage, "0", "cpu", 960) if isinstance(value, _Run) else None


def _described() -> st.SearchStrategy[tuple[str, bytes]]:
    """Return torch files of tensors with any offset, shape and strides over one small run of bytes."""

    def made(tensors: list[tuple[int, list[int], list[int]]]) -> tuple[str, bytes]:
        tree = {f"w{i}.weight": _Described((at, tuple(a), tuple(b))) for i, (at, a, b) in enumerate(tensors)}
        text, buffer = io.BytesIO(), io.BytesIO()
        _Pickler(text, protocol=2).dump(tree)
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("m/data.pkl", text.getvalue())
            archive.writestr("m/data/0", bytes(3840))
        return "described.pt", buffer.getvalue()

    numbers = st.lists(_NUMBERS, max_size=4)
    same = st.lists(st.tuples(_NUMBERS, _NUMBERS), max_size=4).map(
        lambda both: [list(x) for x in zip(*both, strict=True)] or [[], []]
    )
    tensor = st.tuples(_NUMBERS, numbers, numbers) | same.flatmap(
        lambda both: st.tuples(st.sampled_from((0, 0, 0, 5)), st.just(both[0]), st.just(both[1]))
    )
    return st.lists(tensor, min_size=1, max_size=4).map(made)


def _read_weights(path: Path) -> None:
    weights = open_weights(path)
    for name in weights.names():
        assert name in weights
        if not weights.unreadable(name):
            assert weights.shape(name) == tuple(weights.tensor(name).shape)
            all_finite(weights.tensor(name))
    for rule in RULES:
        with contextlib.suppress(BadInput):
            Carrier.choose(weights, rule)


@contextlib.contextmanager
def _silent() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def _inspect(path: Path) -> None:
    with _silent() as (out, err):
        code = run_app(app, "cwwm", ["inspect", str(path)])
    assert code in (0, 2), err.getvalue()
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    if code == 2:
        assert err.getvalue().count("\n") == 1
        raise BadInput(err.getvalue())


def _verify(path: Path) -> None:
    mark = load_mark(path)
    message = np.resize(MESSAGE, mark.payload_bits)
    suspect = CORPUS / "protected-cwc.safetensors"
    commitment = CORPUS / "protected-cwc.commitment.json"
    read_file(suspect, KEY, path)
    verify_file(suspect, KEY, path, message, ExhibitFiles(commitment=commitment))
    original = CORPUS / "model.safetensors"
    read_file(suspect, KEY, path, original=original)
    verify_file(suspect, KEY, path, message, ExhibitFiles(commitment=commitment, original=original))


def _suspect(path: Path) -> None:
    verify_file(path, KEY, CORPUS / "protected-cwc.mark.json", MESSAGE, ExhibitFiles())
    original = CORPUS / "model.safetensors"
    verify_file(path, KEY, CORPUS / "protected-cwc.mark.json", MESSAGE, ExhibitFiles(reference=original))
    verify_file(path, KEY, CORPUS / "spread-cwc.mark.json", MESSAGE, ExhibitFiles(original=original))


def _exported(path: Path) -> None:
    """Read an ONNX file whose values lie partly in a file beside it, and judge it as a suspect."""
    beside = path.with_name("exported.bin")
    beside.write_bytes((CORPUS / "exported.bin").read_bytes())
    weights = open_weights(path)
    for name in weights.names():
        assert weights.shape(name) == tuple(weights.tensor(name).shape)
    reference = ExhibitFiles(reference=CORPUS / "model.safetensors")
    verify_file(path, KEY, CORPUS / "protected-cwc.mark.json", MESSAGE, reference)


def _learned(path: Path) -> None:
    mark = path.with_name("learned.mark.json")
    mark.write_bytes((CORPUS / "learned.mark.json").read_bytes())
    verify_file(CORPUS / "model.safetensors", KEY, mark, MESSAGE, ExhibitFiles())


def _message(path: Path) -> None:
    text = read_text(str(path))
    bits = text_to_bits(text, 1 << 14)
    assert bits_to_text(bits) is not None


def _load_json_mark(path: Path) -> None:
    json.dumps(load_mark(path).to_json(), allow_nan=False)


TARGETS = {
    "mark": Target(changed("*.mark.json") | changed_values("*.mark.json"), _load_json_mark),
    "verify": Target(changed_values("*.mark.json"), _verify),
    "commitment": Target(changed("*.commitment.json") | changed_values("*.commitment.json"), Commitment.load),
    "key": Target(changed("harness.key"), Key.load),
    "message": Target(changed("message.txt"), _message),
    "safetensors": Target(changed("model.safetensors") | _safetensors("model.safetensors"), _read_weights),
    "torch": Target(changed("*.pt") | _repacked("*.pt") | _described(), _read_weights),
    "legacy": Target(changed("*.pth"), _read_weights),
    "onnx": Target(changed("*.onnx"), _exported),
    "inspect": Target(_safetensors("model.safetensors") | _repacked("*.pt"), _inspect),
    "suspect": Target(
        _safetensors("protected-cwc.safetensors") | changed("protected-cwc.safetensors") | _repacked("model.pt"),
        _suspect,
    ),
    "learned": Target(_safetensors("learned.mark.safetensors") | changed("learned.mark.safetensors"), _learned),
    **RESULT_TARGETS,
}
