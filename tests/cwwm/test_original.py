"""The default way of an owner: a weak mark on all wide layers, read and judged against the unmarked original."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cwwm.ownership.keys import Key
from cwwm.support.console import DONE, NO
from tests.cwwm.owner_commands import (
    CLAIM,
    EMBED,
    EXTRACT,
    ORIGINAL,
    TEXT,
    VERIFY,
    Case,
    as_json,
    refused,
    run,
    said,
)

State = dict[str, Tensor]
SHAPES = {"conv.weight": (64, 96, 3, 3), "wide.weight": (300, 512), "head.weight": (40, 300)}


def _model(seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    state = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return state | {"norm.weight": torch.ones(64), "head.bias": torch.zeros(40)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mark a model of 220,896 weights by default, once; return the folder."""
    folder = tmp_path_factory.mktemp("made")
    Key(bytes(range(32))).save(folder / "owner.key")
    save_file(_model(), folder / "model.safetensors", {"format": "pt"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*EMBED) == DONE
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a copy of that folder."""
    for path in made.iterdir():
        shutil.copy2(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _suspect(change: Callable[[Tensor], Tensor]) -> None:
    """Change every wide layer of the marked copy."""
    marked = load_file("marked.safetensors")
    save_file({n: change(t).contiguous() if n in SHAPES else t for n, t in marked.items()}, "marked.safetensors")


def _noise(weight: Tensor, share: float = 0.05) -> Tensor:
    generator = torch.Generator().manual_seed(weight.numel())
    return weight + share * weight.std() * torch.randn(weight.shape, generator=generator)


def test_every_wide_layer_is_marked_far_below_its_weights(folder: Path) -> None:
    before, after = load_file("model.safetensors"), load_file("marked.safetensors")
    for name in before:
        moved = float((after[name] - before[name]).norm() / before[name].norm().clamp(min=1))
        assert (0 < moved < 0.01) if name in SHAPES else moved == 0, name


def test_text_names_the_reader_and_what_reads_better(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, *EXTRACT, *ORIGINAL).startswith(f"read: informed\ntext: {TEXT}\n")
    assert said(capsys, *CLAIM, *ORIGINAL).startswith("read: informed\n")
    blind = said(capsys, *CLAIM, code=NO)
    assert blind.startswith("read: blind; weak marks take --original\n")
    assert "message recovered: no" in blind
    assert "not proven: p = " in blind
    both = (*ORIGINAL, "--reference", "model.safetensors", "--mark", "marked.mark.json")
    assert said(capsys, *EXTRACT, *both, code=NO).startswith(
        "read: aligned; weak marks take --original without --reference\n"
    )


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda w: w,
    "noise": _noise,
    "pruned": lambda w: w.masked_fill(w.abs() <= w.abs().flatten().kthvalue(int(0.9 * w.numel())).values, 0),
    "scaled and turned": lambda w: w * torch.linspace(-2, 2, len(w)).view(-1, *[1] * (w.dim() - 1)),
    "in another order": lambda w: w.flip(0),
    "half precision": lambda w: w.bfloat16().float(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_blind_reading_cannot_see_is_proven_against_the_original(
    change: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _suspect(CHANGES[change])
    assert not as_json(capsys, *CLAIM, code=NO)["proven"]
    found = as_json(capsys, *CLAIM, *ORIGINAL)
    assert (found["proven"], found["message_recovered"], found["reader"]) == (True, True, "informed")
    assert ("alignment" in found) == (change == "in another order")
    extracted = as_json(capsys, *EXTRACT, *ORIGINAL)
    assert (extracted["text"], extracted["reader"]) == (TEXT, "informed")


def test_nothing_is_proven_of_the_original_or_a_stranger(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(_model(1), "stranger.safetensors")
    innocents = ("--innocent", "model.safetensors", "--innocent", "stranger.safetensors")
    found = as_json(capsys, *CLAIM, *ORIGINAL, *innocents)
    assert found["proven"]
    assert all(log10_p > -2 for log10_p in found["innocents"].values())
    shutil.copy2("stranger.safetensors", "marked.safetensors")
    assert not as_json(capsys, *CLAIM, *ORIGINAL, code=NO)["message_recovered"]


def test_the_original_proves_nothing_without_a_commitment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, *VERIFY, "--message", TEXT, *ORIGINAL, code=NO)
    assert "message recovered: yes" in out
    assert "not proven: no prior commitment" in out


def test_both_ways_to_read_and_to_align_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _suspect(lambda w: _noise(w, 0.2))
    found = as_json(capsys, *CLAIM, *ORIGINAL)
    (alone,) = found["statistics"].values()
    assert -77 < alone < -12
    assert found["log10_p"] == pytest.approx(alone + math.log10(4))


def _other_architecture() -> None:
    save_file({"layer.weight": torch.ones(64, 64)}, "else.safetensors")


def _truncated() -> None:
    data = Path("model.safetensors").read_bytes()
    Path("else.safetensors").write_bytes(data[: len(data) // 2])


def _rounded() -> None:
    save_file({n: t.half().float() for n, t in load_file("model.safetensors").items()}, "else.safetensors")


def _nothing() -> None:
    """Spoil nothing."""


ELSE = ("--original", "else.safetensors")
OTHERS: dict[str, tuple[Callable[[], object], tuple[str, ...], str]] = {
    "another model": (lambda: save_file(_model(1), "else.safetensors"), ELSE, "its digest differs"),
    "another architecture": (_other_architecture, ELSE, "its digest differs"),
    "rounded": (_rounded, ELSE, "its digest differs"),
    "truncated": (_truncated, ELSE, "else.safetensors is truncated"),
    "absent": (_nothing, ELSE, "no checkpoint at else.safetensors"),
    "the marked copy": (_nothing, ("--original", "marked.safetensors"), "no cast, trained or marked copy"),
    "per channel": (_nothing, (*ORIGINAL, "--per-channel"), "give one of them or --per-channel"),
}


@pytest.mark.parametrize("command", [EXTRACT, CLAIM], ids=["extract", "verify"])
@pytest.mark.parametrize("case", OTHERS)
def test_other_originals_are_refused_in_one_line(
    case: str, command: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, options, named = OTHERS[case]
    refusal: Case = (spoil, (*command, *options), named)
    refused(folder, capsys, refusal)


def test_an_original_that_was_only_renamed_and_stored_anew_is_the_original(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is bound is the digest of the tensors, not of the file."""
    torch.save(load_file("model.safetensors"), "kept.pt")
    assert as_json(capsys, *CLAIM, "--original", "kept.pt")["proven"]


def test_a_scheme_that_cannot_be_read_against_the_original_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*EMBED, "--force", "--scheme", "dm-qim", "--payload-bits", "128") == DONE
    told = "read: blind; this scheme cannot be read against --original\n"
    assert said(capsys, *EXTRACT, *ORIGINAL).startswith(told)
    assert said(capsys, *CLAIM, *ORIGINAL).startswith(told)
    assert as_json(capsys, *CLAIM, *ORIGINAL)["reader"] == "blind"


SAYS = {
    "nothing": ((), "nothing, by law; extract and verify take --original model.safetensors"),
    "proof": (("--set", "gain=0.024"), "a proof but no message, by law; extract and verify take --original"),
    "message": (("--set", "gain=0.08"), "the message\n"),
    "magnitudes": (("--scheme", "sign-repetition"), "the message\n"),
}


@pytest.mark.parametrize("case", SAYS)
def test_embed_tells_what_the_mark_says_without_the_original(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, words = SAYS[case]
    assert f"read without the original: {words}" in said(capsys, *EMBED, "--force", *options)
    blind = as_json(capsys, *EMBED, "--force", *options)["without_original"]
    assert blind == (case if case in ("nothing", "proof") else "message")
    proven, recovered = blind != "nothing", blind == "message"
    found = as_json(capsys, *CLAIM, code=DONE if proven else NO)
    assert (found["proven"], found["message_recovered"]) == (proven, recovered)
