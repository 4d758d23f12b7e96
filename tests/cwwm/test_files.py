"""Laws of writing: whole files or none, several together, and of two writers to one name one is refused."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import Tensor

from cwwm.cli.app import app
from cwwm.owner import embed_file
from cwwm.ownership.keys import Key
from cwwm.schemes import make_scheme
from cwwm.support import publication
from cwwm.support.console import run_app
from cwwm.support.errors import BadInput
from cwwm.support.files import atomic_path, write_atomic
from cwwm.support.publication import appearing_together, undo_unfinished
from tests.fuzz.make_corpus import BITS, MESSAGE

NAMES = ("a", "b", "c")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _contents(folder: Path) -> dict[str, str]:
    """Return the text of every file, by its name in the folder; temporary folders that are left, too."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, b"old")
    path.chmod(0o640)
    write_atomic(path, b"new")
    assert (path.read_bytes(), _mode(path)) == (b"new", 0o640)


def test_a_library_that_replaces_the_temporary_file_does_not_choose_its_mode(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "f") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    plain = tmp_path / "plain"
    plain.touch()
    assert _mode(tmp_path / "f") == _mode(plain)


@pytest.mark.parametrize("links", [True, False])
def test_an_exclusive_file_is_created_once(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    write_atomic(tmp_path / "f", b"first", exclusive=True)
    with pytest.raises(BadInput, match="never overwritten"):
        write_atomic(tmp_path / "f", b"second", exclusive=True)
    assert _contents(tmp_path) == {"f": "first"}


def _no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def _write(folder: Path, names: Sequence[str], text: str, last: str = "file") -> None:
    with appearing_together([folder / name for name in NAMES]) as staging:
        _name(staging, names, text, last)


def test_files_appear_together(tmp_path: Path) -> None:
    with appearing_together([tmp_path / name for name in NAMES]) as staging:
        for name in NAMES:
            (staging / name).write_text("new")
        assert not any((tmp_path / name).exists() for name in NAMES)
    assert _contents(tmp_path) == dict.fromkeys(NAMES, "new")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("failing", range(3))
@pytest.mark.parametrize("before", [(), ("a",), NAMES])
def test_where_one_name_fails_none_changes(
    links: bool, failing: int, before: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in before:
        (tmp_path / name).write_text("old")
    calls: list[Path] = []

    def failing_sometimes(original: str) -> object:
        function = getattr(publication, original)

        def call(first: Path, second: Path) -> None:
            calls.append(second)
            if len(calls) == failing + 1:
                raise OSError(28, "No space left on device")
            function(first, second)

        return call

    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    for original in ("create", "_keep"):  # each name takes one of them
        monkeypatch.setattr(publication, original, failing_sometimes(original))
    with pytest.raises(OSError, match="No space left"):
        _write(tmp_path, NAMES, "new")
    assert _contents(tmp_path) == dict.fromkeys(before, "old")


def test_names_that_another_process_wrote_meanwhile_are_refused(tmp_path: Path) -> None:
    for taken in ("a", "c"):
        with pytest.raises(BadInput, match="by another process meanwhile"):
            _write_while_another_does(tmp_path, taken)
    assert _contents(tmp_path) == {"a": "theirs", "c": "theirs"}


def _write_while_another_does(folder: Path, taken: str) -> None:
    with appearing_together([folder / name for name in NAMES]) as staging:
        (staging / "b").write_text("mine")
        write_atomic(folder / taken, b"theirs")


def test_replaced_files_keep_their_modes(tmp_path: Path) -> None:
    for name, mode in zip(NAMES, (0o600, 0o640, 0o444), strict=True):
        (tmp_path / name).write_text("old")
        (tmp_path / name).chmod(mode)
    _write(tmp_path, NAMES, "new")
    assert [_mode(tmp_path / name) for name in NAMES] == [0o600, 0o640, 0o444]
    assert _contents(tmp_path) == dict.fromkeys(NAMES, "new")


_CALLS = ("link", "replace", "rename")  # by which files and folders get their names


@pytest.mark.parametrize("moment", range(8))
@pytest.mark.parametrize("before", [(), ("a",), NAMES])
@pytest.mark.parametrize("last", ["file", "folder"])
def test_killed_between_two_names_all_or_none_are_there_in_the_end(
    last: str, before: Sequence[str], moment: int, tmp_path: Path
) -> None:
    """A child dies before one of the calls of the system that name files; what comes after undoes what it did."""
    _name(tmp_path, before, "old", last)
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    else:
        _die_at(moment)
        _write(tmp_path, NAMES, "new", last)
        os.kill(os.getpid(), signal.SIGKILL)  # so few calls
    undo_unfinished([tmp_path / name for name in NAMES])
    assert _contents(tmp_path) in (_named(before, "old", last), _named(NAMES, "new", last))
    _write(tmp_path, NAMES, "again", last)
    assert _contents(tmp_path) == _named(NAMES, "again", last)


@pytest.mark.parametrize("before", [(), ("a",), NAMES])
@pytest.mark.parametrize("failing", range(4))
def test_where_a_folder_fails_to_get_its_name_none_changes(
    failing: int, before: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _name(tmp_path, before, "old", "folder")
    calls, rename = iter(range(failing, -9, -1)), os.rename

    def failing_once(first: Path, second: Path) -> None:
        if next(calls) == 0:
            raise OSError(28, "No space left on device")
        rename(first, second)

    monkeypatch.setattr(os, "rename", failing_once)
    renames = 2 if "c" in before else 1
    if failing < renames:
        with pytest.raises(OSError, match="No space left"):
            _write(tmp_path, NAMES, "new", "folder")
        assert _contents(tmp_path) == _named(before, "old", "folder")
    else:
        _write(tmp_path, NAMES, "new", "folder")
        assert _contents(tmp_path) == _named(NAMES, "new", "folder")


def _name(folder: Path, names: Sequence[str], text: str, last: str = "file") -> None:
    for name, value in _named(names, text, last).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(value)


def _named(names: Sequence[str], text: str, last: str) -> dict[str, str]:
    """Return texts by name, where the last name may be a folder with two files."""
    inside = {"file": ("c",), "folder": (f"c/{text}", "c/both")}[last]
    return dict.fromkeys([name for one in names for name in (inside if one == "c" else (one,))], text)


def _die_at(moment: int) -> None:
    """Let this process die at a call of `_CALLS`, the first having the number 0."""
    left = iter(range(moment, -1, -1))

    def dying(call: Callable[..., None]) -> Callable[..., None]:
        def made(*arguments: object) -> None:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            call(*arguments)

        return made

    for name in _CALLS:
        setattr(os, name, dying(getattr(os, name)))


def test_what_a_living_process_stages_is_left_alone(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in NAMES]
    with appearing_together(paths) as staging:
        _name(staging, NAMES, "new")
        undo_unfinished(paths)
    assert _contents(tmp_path) == dict.fromkeys(NAMES, "new")


_RACE = """
import sys, time
from pathlib import Path
from cwwm.support.console import run_app
from cwwm.cli.app import app
import cwwm.ownership.keys
Path(sys.argv[1]).touch()
while not Path("go").exists():
    time.sleep(0.001)
sys.exit(run_app(app, "cwwm", sys.argv[2:]))
"""


def _race(folder: Path, *arguments: str) -> list[int]:
    """Start two equal commands, let both begin at one moment, and return their exit codes, sorted."""
    both = [
        subprocess.Popen([sys.executable, "-c", _RACE, name, *arguments], cwd=folder, stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    while not all((folder / name).exists() for name in ("one", "two")):
        assert all(process.poll() is None for process in both)
        time.sleep(0.01)
    (folder / "go").touch()
    for process in both:
        process.communicate(timeout=120)
    for name in ("one", "two", "go"):
        (folder / name).unlink()
    return sorted(process.returncode for process in both)


def test_of_two_keys_at_once_to_one_name_one_is_refused(tmp_path: Path) -> None:
    for turn in range(3):
        assert _race(tmp_path, "keygen", "-o", f"k{turn}") == [0, 2]
        Key.load(tmp_path / f"k{turn}")


def _model(folder: Path, state: dict[str, Tensor]) -> Path:
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.mark.parametrize("force", [(), pytest.param(("--force",), marks=pytest.mark.slow)])
def test_of_two_marks_at_once_to_one_name_one_is_refused(
    force: tuple[str, ...], tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    _model(tmp_path, state)
    Key(bytes(range(32))).save(tmp_path / "k")
    embed = ("embed", "model.safetensors", "--key", "k", "--message", "m", "-o", "m.safetensors")
    options = ("--scheme", "sign", "--payload-bits", "16", *force)
    assert _race(tmp_path, *embed, *options) == [0, 2]
    names = {"model.safetensors", "k", "m.safetensors", "m.mark.json", "m.commitment.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    verify = ("verify", "m.safetensors", "--key", "k", "--mark", "m.mark.json", "--commitment", "m.commitment.json")
    monkeypatch.chdir(tmp_path)
    assert run_app(app, "cwwm", [*verify, "--message", "m", "--fpr", "1e-4"]) == 0


def test_a_commitment_that_cannot_be_written_leaves_no_model(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _model(tmp_path, state)
    monkeypatch.setattr("cwwm.commitment.write_json", _no_links)
    with pytest.raises(PermissionError):
        embed_file(
            source, tmp_path / "m.safetensors", make_scheme("sign", {"payload_bits": BITS}), MESSAGE, Key(bytes(32))
        )
    assert list(tmp_path.iterdir()) == [source]
