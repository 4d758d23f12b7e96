"""The owner's command line: one happy walk, and every bad input ends in exit code 2, one line, and no new file."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

from cwwm.ownership.keys import Key
from cwwm.support.console import BAD_INPUT, DONE, FAILED, NO, run_app
from cwwm.support.errors import BadInput
from tests.cwwm.owner_commands import (
    CLAIM,
    COMMITTED,
    EMBED,
    EXTRACT,
    MAGNITUDES,
    ORIGINAL,
    TEXT,
    VERIFY,
    Case,
    as_json,
    files,
    refused,
    run,
)

PRUNABLE = {"stem.weight", "block.weight", "head.weight", "wide.weight"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> Path:
    """Go to a folder with an owner's key, another key, a harness key and a model of 584,288 weights."""
    monkeypatch.chdir(tmp_path)
    Key(bytes(range(32))).save(tmp_path / "owner.key")
    Key(bytes(32)).save(tmp_path / "other.key")
    Key.for_harness(seed=0).save(tmp_path / "harness.key")
    state["wide.weight"] = torch.randn(512, 1024, generator=torch.Generator().manual_seed(1))
    for name in PRUNABLE:  # of one scale, so that the default plan has room
        state[name] *= 0.05 / state[name].std()
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    return tmp_path


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what embedding wrote: it is the same model and key for each test."""
    return tmp_path_factory.mktemp("embedded")


def _mark_once(folder: Path, store: Path, *command: str) -> Path:
    """Mark the model of `folder`, or copy what the same command wrote before."""
    if not store.exists():
        before = set(folder.iterdir())
        assert run(*command) == DONE
        store.mkdir()
        for path in set(folder.iterdir()) - before:
            shutil.copy2(path, store)
    for path in store.iterdir():
        shutil.copy2(path, folder)
    return folder


@pytest.fixture
def marked(folder: Path, embedded: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Mark the model as an owner does by default, and return the folder."""
    found = _mark_once(folder, embedded / "default", *EMBED)
    capsys.readouterr()
    return found


@pytest.fixture
def blocks(folder: Path, embedded: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Mark the model by a code on magnitudes, which is read blind, and return the folder."""
    found = _mark_once(folder, embedded / "blocks", *EMBED, *MAGNITUDES)
    capsys.readouterr()
    return found


def test_happy_walk_in_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk = [
        (("keygen", "-o", "new.key"), "keep it secret"),
        (("plan", "model.safetensors"), "embed with: --payload-bits 256"),
        (EMBED, "marked.commitment.json: publish this, dated, first"),
        (("inspect", "marked.safetensors"), "block.weight"),
        ((*EXTRACT, *ORIGINAL), f"text: {TEXT}"),
        ((*CLAIM, *ORIGINAL), "proven: p = 1e"),
    ]
    for arguments, expected in walk:
        assert run(*arguments) == DONE
        out, err = capsys.readouterr()
        assert expected in out
        assert err == ""
    secret = bytes(range(32)).hex()
    assert all(secret not in p.read_text("latin-1") for p in folder.iterdir() if p.name != "owner.key")


def test_happy_walk_in_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(as_json(capsys, "keygen", "-o", "new.key")) == {"key", "digest"}
    plan = as_json(capsys, "plan", "model.safetensors", "--payload-bits", "128")
    assert plan["pool"] == 584_288
    embedded = as_json(capsys, *EMBED, "--payload-bits", "128", "--set", f"gain={plan['gain']}")
    assert embedded["report"]["squared_change"] > 0
    assert embedded["files"] == ["marked.safetensors", "marked.mark.json", "marked.commitment.json"]
    inspected = as_json(capsys, "inspect", "marked.safetensors")
    assert inspected["carriers"]["all"] == 584_288
    assert {layer["name"] for layer in inspected["layers"] if layer["kind"] != "-"} == PRUNABLE
    found = as_json(capsys, *EXTRACT, *ORIGINAL)
    assert (found["ok"], found["text"], found["applicable"], found["reader"]) == (True, TEXT, True, "informed")
    verified = as_json(capsys, *CLAIM, *ORIGINAL)
    assert (verified["proven"], verified["message_recovered"], verified["reader"]) == (True, True, "informed")
    assert verified["log10_p"] < -12


def test_a_plan_of_blocks_is_embedded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = as_json(capsys, "plan", "model.safetensors", "--payload-bits", "128", *MAGNITUDES)["designs"][0]
    names = ("blocks", "block_length", "block_weight", "survive", "low")  # the plan lifts nothing
    code = [part for name in names for part in ("--set", f"{name}={best[name]}")] + ["--set", "lift=1"]
    assert run(*EMBED, *MAGNITUDES, "--payload-bits", "128", "--carrier", best["carrier"], *code) == DONE
    capsys.readouterr()
    found = as_json(capsys, *EXTRACT)
    assert (found["ok"], found["text"], found["erased"], found["reader"]) == (True, TEXT, 0, "blind")


def test_a_plain_code_is_planned_and_embedded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = as_json(capsys, "plan", "model.safetensors", "--scheme", "cwc", "--survive", "0.9")
    assert plan["pool"] == 584_288
    best = plan["options"][0]
    code = ("--set", f"length={best['length']}", "--set", f"weight={best['weight']}")
    assert run(*EMBED, "--scheme", "cwc", "--survive", "0.9", *code) == DONE
    capsys.readouterr()
    assert as_json(capsys, *EXTRACT)["text"] == TEXT


def test_a_plan_that_cannot_be_met_names_the_nearest_that_can(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ("plan", "model.safetensors", *MAGNITUDES, "--carrier", "all", "--survive")
    assert run(*plan, "random=0.9") == BAD_INPUT
    refusal = capsys.readouterr().err
    nearest = re.search(r"random (0\.\d+)", refusal.split("possible would be")[1])
    assert nearest
    found = as_json(capsys, *plan, f"random={nearest[1]}")
    assert found["designs"][0]["random"] >= 0.999


OTHER_WAYS = [
    (*MAGNITUDES, "--covert"),
    (*MAGNITUDES, "--carrier", "body"),
    ("--scheme", "sign-repetition"),
    ("--scheme", "cwc"),
]


@pytest.mark.parametrize("options", OTHER_WAYS)
def test_other_ways_to_embed(options: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*EMBED, *options) == DONE
    assert run(*EXTRACT) == DONE
    assert f"text: {TEXT}" in capsys.readouterr().out


def test_hex_messages_and_torch_checkpoints(
    folder: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state, "model.pt")
    hexed = ("embed", "model.pt", "--key", "owner.key", "--hex", "00ff10", "--payload-bits", "24")
    assert run(*hexed, "-o", "marked.safetensors") == DONE
    capsys.readouterr()
    original = ("--original", "model.pt")
    assert as_json(capsys, *EXTRACT, *original)["hex"] == "00ff10"
    assert as_json(capsys, *COMMITTED, "--hex", "00ff10", *original)["proven"]


def test_marking_leaves_the_source_and_the_other_tensors_alone(marked: Path, state: dict[str, Tensor]) -> None:
    before, after = load_file("model.safetensors"), load_file("marked.safetensors")
    assert all(torch.equal(before[name], state[name]) for name in state)
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in set(before) - PRUNABLE)
    assert not any(path.name.endswith(".part") for path in marked.iterdir())


def _clean(tensors: dict[str, Tensor]) -> None:
    save_file(tensors, "marked.safetensors")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((*VERIFY, "--message", TEXT), "not proven: no prior commitment"),
        ((*COMMITTED, "--message", "it is yours"), "binds another key, message or mark"),
        ((*COMMITTED, "--message", TEXT, "--tried", "keys=" + "9" * 400), "is above 1e-12"),
    ],
)
def test_not_proven_is_exit_code_1(
    arguments: tuple[str, ...], reason: str, marked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == NO
    out, err = capsys.readouterr()
    assert reason in out
    assert err == ""
    assert not as_json(capsys, *arguments, code=NO)["proven"]


def _enough(found: dict[str, Any]) -> str:
    """Return so many suspects that the verdict's p-value is above that of a guess of the key, and still a proof."""
    return f"suspects={10 ** int(-30 - min(found['statistics'].values()))}"


def test_what_was_tried_raises_the_bar(blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enough = _enough(as_json(capsys, *CLAIM))
    once = as_json(capsys, *CLAIM, "--tried", enough)
    often = as_json(capsys, *CLAIM, "--tried", f"{enough},keys=10,marks=10,commitments=10")
    assert often["log10_p"] == pytest.approx(once["log10_p"] + 3)


def test_an_unmarked_model_is_not_proven(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _clean(load_file("model.safetensors"))
    for exhibits in ((), ORIGINAL):
        found = as_json(capsys, *CLAIM, *exhibits, code=NO)
        assert (found["proven"], found["message_recovered"]) == (False, False)
        assert found["log10_p"] > -4


def test_a_model_without_the_layers_is_not_applicable(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _clean({"other.weight": torch.ones(3, 3)})
    for arguments in (EXTRACT, (*COMMITTED, "--message", TEXT)):
        assert run(*arguments) == NO
        assert "not applicable: it has no tensor" in capsys.readouterr().out
    assert not as_json(capsys, *EXTRACT, code=NO)["applicable"]


def test_a_model_of_zeros_is_lost_and_not_proven(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _clean({name: torch.zeros_like(tensor) for name, tensor in load_file("model.safetensors").items()})
    for exhibits in ((), ORIGINAL):
        assert run(*CLAIM, *exhibits) == NO
        assert "message recovered: no" in capsys.readouterr().out


class _Code:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def _truncate() -> None:
    data = Path("model.safetensors").read_bytes()
    Path("model.safetensors").write_bytes(data[: len(data) // 2])


def _poison() -> None:
    tensors = load_file("model.safetensors")
    tensors["block.weight"][3, 3] = float("nan")
    save_file(tensors, "model.safetensors")


def _sparse() -> None:
    tensors = load_file("model.safetensors")
    save_file(
        {name: tensor * (torch.rand(tensor.shape) < 0.3) for name, tensor in tensors.items()}, "model.safetensors"
    )


def _hostile() -> None:
    torch.save({"w": torch.zeros(2), "evil": _Code()}, "model.pt")


def _nothing() -> None:
    """Spoil nothing."""


def _replaced(old: str, new: str, arguments: tuple[str, ...] = EMBED) -> tuple[str, ...]:
    return tuple(new if argument == old else argument for argument in arguments)


PLAN = ("plan", "model.safetensors")
BAD_EMBEDDINGS: dict[str, Case] = {
    "unknown command": (_nothing, ("embde",), "embde"),
    "unknown scheme": (_nothing, (*EMBED, "--scheme", "cwx"), "did you mean cwc"),
    "targets of another code": (_nothing, (*EMBED, "--scheme", "sign", "--survive", "0.9"), "sign takes its"),
    "budget of another code": (_nothing, (*EMBED, "--budget-depth", "1"), "takes its strength from --survive"),
    "budget of another plan": (_nothing, (*PLAN, "--budget-energy", "1"), "takes its strength from --survive"),
    "unknown target of a gain": (_nothing, (*EMBED, "--survive", "drif=0.2"), "did you mean drift"),
    "unknown target of a plan": (_nothing, (*PLAN, "--survive", "lowrank=0.2"), "did you mean low-rank"),
    "target of a gain no number": (_nothing, (*PLAN, "--survive", "noise=much"), "no number"),
    "target of a gain without number": (_nothing, (*PLAN, "--survive", "drift="), "no number"),
    "no target": (_nothing, (*PLAN, "--survive", ","), "names no target"),
    "all singular values": (_nothing, (*PLAN, "--survive", "low-rank=1"), "at least 0 and below 1"),
    "half a copy": (_nothing, (*PLAN, "--survive", "average=2.5"), "a whole number from 1"),
    "drift without end": (_nothing, (*EMBED, "--survive", "drift=nan"), "the target drift is finite"),
    "blind twice": (_nothing, (*PLAN, "--survive", "blind=2"), "the target blind is 1"),
    "target beyond any gain": (
        _nothing,
        (*PLAN, "--survive", "random=0.9999"),
        "random=0.9999: nearest is random=0.99",
    ),
    "target that costs much": (
        _nothing,
        (*EMBED, "--survive", "drift=0.4,magnitude=0.9"),
        "--survive drift=0.4 asks for a gain of 0.0",
    ),
    "gain below a target": (
        _nothing,
        (*EMBED, "--survive", "drift=0.4", "--set", "gain=0.001"),
        "a gain of 0.001 does not meet drift=0.4",
    ),
    "gain of nothing beside a target": (
        _nothing,
        (*EMBED, "--survive", "drift=0.4", "--set", "gain=0"),
        "a finite gain above 0",
    ),
    "NaN weights to plan for": (_poison, PLAN, "block.weight holds NaN"),
    "gain of nothing": (_nothing, (*EMBED, "--set", "gain=0"), "a finite gain above 0"),
    "carrier of a bias": (_nothing, (*EMBED, "--carrier", "block|head"), "block.bias is a norm, a bias"),
    "carrier too small": (_nothing, (*EMBED, "--carrier", "head"), "carrier 'head': a pool of 5,252 weights"),
    "unknown option": (_nothing, (*EMBED, "--mesage", "x"), "--mesage"),
    "unknown parameter": (_nothing, (*EMBED, "--set", "blokcs=3"), "did you mean blocks"),
    "parameter of another scheme": (_nothing, (*EMBED, "--set", "repetition=3"), "repetition"),
    "parameter without value": (_nothing, (*EMBED, "--set", "length"), "name=value"),
    "parameter of a wrong type": (_nothing, (*EMBED, "--set", "gain=high"), "spread-cwc"),
    "fractional length": (
        _nothing,
        (*EMBED, "--scheme", "cwc", "--set", "length=3000.5", "--set", "weight=60"),
        "length",
    ),
    "payload no number": (_nothing, (*EMBED, "--payload-bits", "many"), "--payload-bits"),
    "payload zero": (_nothing, (*EMBED, "--payload-bits", "0"), "payload"),
    "bad survival": (_nothing, (*EMBED, *MAGNITUDES, "--survive", "1.5"), "magnitude"),
    "unknown target": (_nothing, (*EMBED, *MAGNITUDES, "--survive", "magnitud=0.9"), "did you mean magnitude"),
    "target no number": (_nothing, (*EMBED, *MAGNITUDES, "--survive", "random=much"), "no number"),
    "budget too small": (_nothing, (*EMBED, *MAGNITUDES, "--budget-energy", "1e-6"), "budget-energy"),
    "plan for another scheme": (_nothing, ("plan", "model.safetensors", "--scheme", "sign"), "sign"),
    "bad carrier": (_nothing, (*EMBED, "--carrier", "("), "regular expression"),
    "carrier without match": (_nothing, (*EMBED, "--carrier", "nothing"), "matches no weight"),
    "truncated model": (_truncate, EMBED, "model.safetensors is truncated"),
    "NaN weights": (_poison, EMBED, "block.weight holds NaN"),
    "sparse model": (_sparse, (*EMBED, *MAGNITUDES), "sparse already"),
    "payload too long": (_nothing, (*EMBED, *MAGNITUDES, "--payload-bits", "400000"), "no protected code meets"),
    "payload too long for any form": (_nothing, (*EMBED, "--payload-bits", "400000"), "bits are the most"),
    "payload too long for the pool": (_nothing, (*EMBED, "--payload-bits", "4096"), "choose a larger carrier"),
    "message too long": (_nothing, (*EMBED, "--payload-bits", "16"), "the message has 80 bits"),
    "empty message": (_nothing, _replaced(TEXT, ""), "not empty"),
    "no message": (_nothing, tuple(a for a in EMBED if a not in ("--message", TEXT)), "--message TEXT or --hex"),
    "two messages": (_nothing, (*EMBED, "--hex", "00"), "--message TEXT or --hex"),
    "no hexadecimal": (_nothing, _replaced(TEXT, "xyz", _replaced("--message", "--hex")), "not hexadecimal"),
    "hexadecimal too long": (
        _nothing,
        _replaced(TEXT, "00" * 99, _replaced("--message", "--hex")),
        "the message has 792 bits, the payload 256",
    ),
    "odd hexadecimal": (_nothing, _replaced(TEXT, "abc", _replaced("--message", "--hex")), "not hexadecimal"),
    "empty hexadecimal": (_nothing, _replaced(TEXT, "", _replaced("--message", "--hex")), "hex"),
    "harness key": (_nothing, _replaced("owner.key", "harness.key"), "benchmark's key"),
    "key that others read": (lambda: Path("owner.key").chmod(0o644), EMBED, "chmod 600"),
    "no key": (lambda: Path("owner.key").unlink(), EMBED, "owner.key"),
    "model for a key": (_nothing, _replaced("owner.key", "model.safetensors"), "model.safetensors"),
    "no model": (lambda: Path("model.safetensors").unlink(), EMBED, "no checkpoint at model.safetensors"),
    "pickle with code": (_hostile, _replaced("model.safetensors", "model.pt"), "could run code"),
    "output below a file": (_nothing, _replaced("marked.safetensors", "owner.key/m.safetensors"), "owner.key/m"),
    "output in /proc": (
        _nothing,
        _replaced("marked.safetensors", "/proc/none/m.safetensors"),
        "cannot write /proc",
    ),
    "output no safetensors": (_nothing, _replaced("marked.safetensors", "marked.pt"), "marked.safetensors"),
    "output over the model": (_nothing, _replaced("marked.safetensors", "model.safetensors"), "model.safetensors"),
    "plan for a missing model": (_nothing, ("plan", "absent.safetensors"), "absent.safetensors"),
    "plan for an impossible payload": (
        _nothing,
        ("plan", "model.safetensors", "--payload-bits", "0"),
        "payload",
    ),
    "inspect a truncated model": (_truncate, ("inspect", "model.safetensors"), "truncated"),
    "keygen over a key": (_nothing, ("keygen", "-o", "owner.key"), "never overwritten"),
    "keygen below a file": (_nothing, ("keygen", "-o", "owner.key/new.key"), "cannot write"),
}


@pytest.mark.parametrize("case", BAD_EMBEDDINGS)
def test_bad_input_before_anything_is_marked(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(folder, capsys, BAD_EMBEDDINGS[case])


def _edit(name: str, **changes: Any) -> Callable[[], None]:  # noqa: ANN401 (any JSON value)
    def edit() -> None:
        value = json.loads(Path(name).read_text())
        Path(name).write_text(json.dumps({**value, **changes}))

    return edit


def _rename(old: str, new: str) -> Callable[[], None]:
    def rename() -> None:
        Path(old).rename(new)

    return rename


def _write(name: str, text: str) -> Callable[[], None]:
    def write() -> None:
        Path(name).write_text(text)

    return write


def _poison_marked() -> None:
    _poison()
    os.replace("model.safetensors", "marked.safetensors")


def _stranger() -> None:
    save_file({"other.weight": torch.ones(8, 8)}, "else.safetensors")


MARK, COMMITMENT = "marked.mark.json", "marked.commitment.json"
BAD_READINGS: dict[str, Case] = {
    "existing output": (_nothing, EMBED, "marked.safetensors exists"),
    "existing mark": (_rename("marked.safetensors", "else"), EMBED, f"{MARK} exists"),
    "wrong key": (_nothing, _replaced("owner.key", "other.key", EXTRACT), "wrong key"),
    "wrong key to verify": (_nothing, _replaced("owner.key", "other.key", CLAIM), "wrong key"),
    "harness key": (_nothing, _replaced("owner.key", "harness.key", CLAIM), "benchmark's key"),
    "no mark": (lambda: Path(MARK).unlink(), EXTRACT, MARK),
    "no suspect": (lambda: Path("marked.safetensors").unlink(), CLAIM, "marked.safetensors"),
    "no commitment": (lambda: Path(COMMITMENT).unlink(), CLAIM, COMMITMENT),
    "mark for a commitment": (_nothing, _replaced(COMMITMENT, MARK, CLAIM), "not a commitment file"),
    "commitment for a mark": (_nothing, _replaced(MARK, COMMITMENT, CLAIM), "not a mark file"),
    "mark of another format": (_edit(MARK, format="cwwm-mark v1"), EXTRACT, "not a mark file"),
    "mark of an unknown scheme": (_edit(MARK, scheme="cwx"), EXTRACT, "did you mean cwc"),
    "mark with unknown parameters": (_edit(MARK, parameters={"x": 1}), EXTRACT, "'x'"),
    "mark with parameters of a wrong type": (_edit(MARK, parameters={"gain": "x"}), EXTRACT, "spread-cwc"),
    "mark with a short salt": (_edit(MARK, salt="00"), EXTRACT, "salt"),
    "mark with a carrier that is none": (_edit(MARK, carrier={"rule": "all"}), EXTRACT, "damaged"),
    "mark with a list of parameters": (_edit(MARK, parameters=[1]), EXTRACT, "damaged"),
    "mark with another payload": (_edit(MARK, payload_bits=8), EXTRACT, "payload"),
    "mark that is no JSON": (_write(MARK, "{"), EXTRACT, MARK),
    "mark that is a list": (_write(MARK, "[]"), EXTRACT, MARK),
    "NaN suspect": (_poison_marked, CLAIM, "block.weight of the suspect holds NaN"),
    "rate zero": (_nothing, (*CLAIM, "--fpr", "0"), "--fpr"),
    "rate above one": (_nothing, (*CLAIM, "--fpr", "2"), "--fpr"),
    "rate no number": (_nothing, (*CLAIM, "--fpr", "nan"), "--fpr"),
    "no keys tried": (_nothing, (*CLAIM, "--tried", "keys=0"), "how many keys were tried"),
    "unknown thing tried": (_nothing, (*CLAIM, "--tried", "key=2"), "did you mean keys"),
    "mark with a short nonce": (_edit(MARK, nonce="00"), EXTRACT, "nonce"),
    "mark with a cheap stretch": (_edit(MARK, stretch={"n": 2, "r": 1, "p": 1}), CLAIM, "is cheaper than"),
    "mark with an endless stretch": (_edit(MARK, stretch={"n": 2**40, "r": 8, "p": 1}), CLAIM, "costs more than"),
    "mark in a bias": (
        _edit(MARK, carrier={"rule": "x", "layers": [{"name": "head.bias", "shape": [52], "dtype": "float32"}]}),
        CLAIM,
        "a norm, a bias or a running statistic",
    ),
    "the suspect as an innocent": (_nothing, (*CLAIM, "--innocent", "marked.safetensors"), "the suspect itself"),
    "an innocent of another kind": (_stranger, (*CLAIM, "--innocent", "else.safetensors"), "has no place"),
    "another original": (_nothing, (*CLAIM, "--original", "marked.safetensors"), "its digest differs"),
    "two messages": (_nothing, (*CLAIM, "--hex", "00"), "--message TEXT or --hex"),
    "message too long": (_nothing, (*COMMITTED, "--message", "x" * 99), "792 bits"),
}


@pytest.mark.parametrize("case", BAD_READINGS)
def test_bad_input_after_marking(case: str, marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(marked, capsys, BAD_READINGS[case])


def test_pruning_beyond_the_rate_loses_the_message_but_not_the_proof(
    blocks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file("marked.safetensors")
    with torch.no_grad():
        for name in PRUNABLE:
            tensor = tensors[name]
            tensor[tensor.abs() <= tensor.abs().flatten().kthvalue(round(0.9985 * tensor.numel())).values] = 0
    _clean(tensors)
    found = as_json(capsys, *COMMITTED, "--message", TEXT)
    assert (found["proven"], found["message_recovered"]) == (True, False)


def test_a_mark_with_a_small_carrier_is_refused(blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"rule": "all", "layers": [{"name": "head.bias", "shape": [52], "dtype": "float32"}]}
    refused(blocks, capsys, (_edit(MARK, carrier=small), EXTRACT, "the code needs"))


def test_inspect_names_tensors_that_are_not_finite(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _poison()
    assert run("inspect", "model.safetensors") == DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "NOT FINITE" in line] == ["block.weight"]


def test_embed_says_which_layers_are_not_protected(
    folder: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    # of 200 layers with 12 weights, some get more ones than pruning them by themselves leaves, whatever the salt
    tiny = {f"tiny{i}.weight": torch.linspace(-0.05, 0.05, 12).view(3, 4) for i in range(200)}
    save_file({"block.weight": state["block.weight"], **tiny}, "model.safetensors")
    plain = ("--scheme", "cwc", "--survive", "0.9", "--set", "density=0.25", "--set", "covert=true")
    assert run(*EMBED, "--payload-bits", "12000", *plain) == DONE
    assert "not protected under a ranking of their own: tiny" in capsys.readouterr().out


def _failing(error: BaseException) -> int:
    failing = typer.Typer()

    @failing.command()
    def work() -> None:
        raise error

    return run_app(failing, "cwwm", [])


def test_failures_and_interrupts_have_their_own_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert _failing(KeyboardInterrupt()) == 130
    assert _failing(typer.Abort()) == 130
    assert _failing(BadInput("two\nlines")) == BAD_INPUT
    assert capsys.readouterr().err.splitlines()[-1] == "cwwm: two lines"
    assert _failing(RuntimeError("broken")) == FAILED
    assert capsys.readouterr().err.splitlines()[-1] == "cwwm: the work failed; the lines above say where"


def test_force_replaces_all_three_files(marked: Path) -> None:
    before = files(marked)
    assert run(*EMBED, "--force") == DONE
    after = files(marked)
    assert set(before) == set(after)
    assert all(before[name] != after[name] for name in ("marked.safetensors", MARK, COMMITMENT))


def test_a_failed_replacement_keeps_the_old_files(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(marked, capsys, (_poison, (*EMBED, "--force"), "NaN"))


@pytest.mark.parametrize("arguments", [(), ("--help",), ("embed", "--help")])
def test_help_is_no_error(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == (DONE if arguments else BAD_INPUT)
    assert "Usage" in "".join(capsys.readouterr())


@pytest.fixture
def shuffled(blocks: Path) -> Path:
    """Write a suspect whose outputs of every layer have another order; return the folder."""
    generator = torch.Generator().manual_seed(2)
    tensors = load_file(blocks / "marked.safetensors")
    for name in PRUNABLE:
        tensors[name] = tensors[name][torch.randperm(len(tensors[name]), generator=generator)].contiguous()
    save_file(tensors, blocks / "suspect.safetensors", {"format": "pt"})
    return blocks


REFERRED = ("suspect.safetensors", "--key", "owner.key", "--mark", "marked.mark.json")
REFERENCE = ("--reference", "marked.safetensors")


def test_a_shuffled_suspect_is_read_against_the_marked_copy(
    shuffled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("extract", *REFERRED) == NO
    capsys.readouterr()
    found = as_json(capsys, "extract", *REFERRED, *REFERENCE)
    assert found["text"] == TEXT
    assert found["alignment"]["moved"] > 100
    assert found["alignment"]["removed"] == found["alignment"]["added"] == 0


def test_a_proof_through_an_alignment_counts_two(shuffled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = ("--commitment", "marked.commitment.json", "--message", TEXT)
    tried = ("--tried", _enough(as_json(capsys, *VERIFY, *claim)))
    plain = as_json(capsys, *VERIFY, *claim, *tried)
    aligned = as_json(capsys, "verify", *REFERRED, *claim, "--reference", "model.safetensors", *tried)
    assert aligned["log10_p"] == pytest.approx(plain["log10_p"] + math.log10(2), abs=1e-6)
    assert run("verify", *REFERRED, *claim, *REFERENCE, "--original", "model.safetensors") == DONE
    assert re.search(
        r"aligned: \d+\.\d% of the owner's copy recognised; channels: .* moved", capsys.readouterr().out
    )


def test_another_reference_than_the_marked_copy_is_refused(
    shuffled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("extract", *REFERRED, "--reference", "suspect.safetensors") == BAD_INPUT
    error = capsys.readouterr().err
    assert "suspect.safetensors is neither the copy that the mark was made in nor the original" in error
    assert error.count("\n") == 1


def test_the_original_is_a_reference_that_proves(shuffled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = (*REFERRED, "--commitment", "marked.commitment.json", "--message", TEXT)
    assert as_json(capsys, "verify", *claim, "--reference", "model.safetensors")["proven"]


def test_the_marked_copy_alone_gives_statistics_only(shuffled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = (*REFERRED, "--commitment", "marked.commitment.json", "--message", TEXT)
    found = as_json(capsys, "verify", *claim, *REFERENCE, code=NO)
    assert found["message_recovered"]
    assert found["reason"].startswith("not proven: statistics only, the marked copy was made after the positions")


def test_a_claim_must_fail_on_innocent_models(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(3)
    tensors = load_file("model.safetensors")
    save_file({n: torch.randn(t.shape, generator=generator) for n, t in tensors.items()}, "stranger.safetensors")
    innocents = (*ORIGINAL, "--innocent", "model.safetensors", "--innocent", "stranger.safetensors")
    found = as_json(capsys, *CLAIM, *innocents)
    assert found["proven"]
    assert all(log10_p > -2 for log10_p in found["innocents"].values())
    save_file({n: 0.5 * t for n, t in load_file("marked.safetensors").items()}, "copy.safetensors")
    fitted = as_json(capsys, *CLAIM, *innocents, "--innocent", "copy.safetensors", code=NO)
    assert fitted["reason"].startswith("not proven: the claim fits copy.safetensors as well")


def test_a_stranger_is_not_aligned(blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(3)
    tensors = load_file("marked.safetensors")
    strangers = {name: torch.randn(t.shape, generator=generator) * 0.05 for name, t in tensors.items()}
    save_file(strangers, blocks / "suspect.safetensors", {"format": "pt"})
    found = as_json(capsys, "extract", *REFERRED, *REFERENCE, code=NO)
    assert not found["applicable"]
    assert "does not match the owner's copy" in found["reason"]
