"""Raw and averaged weights in one file: each copy is read, each is a try, the one that is marked is named."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats

from cwwm.ownership.keys import Key
from cwwm.ownership.sightings import sightings
from cwwm.schemes import Claim, EmbedContext, make_scheme
from cwwm.support.console import DONE, NO
from cwwm.support.errors import BadInput
from cwwm.weights.checkpoint import open_weights
from cwwm.weights.copies import copies_of, read_states
from cwwm.weights.view import TensorWeights, Weights, as_weights
from tests.cwwm.marked_state import State, network, owner
from tests.cwwm.owner_commands import Case, as_json, refused, run, said

RAW = network(1)


def _under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _saved(folder: Path, value: object) -> Weights:
    torch.save(value, folder / "m.pt")
    return open_weights(folder / "m.pt")


def _adam(state: State) -> dict[str, Any]:
    """Return what an optimiser keeps, by name, as sharded training saves it, and by number."""
    by_name = {name: {"exp_avg": torch.ones_like(t), "step": torch.tensor(3.0)} for name, t in state.items()}
    return {"state": by_name, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}


def _listed(state: State) -> list[torch.Tensor]:
    return [tensor for name, tensor in state.items() if "running" not in name]


Nested = Callable[[State, State], object]  # of raw weights and their average
NESTED: dict[str, tuple[Nested, str, int]] = {  # with the copy that is marked, and how many are read
    "model_ema": (lambda a, b: {"model": a, "model_ema": b, "optimizer": _adam(a)}, "model_ema", 2),
    "state_dict_ema": (lambda a, b: {"epoch": 3, "state_dict": a, "state_dict_ema": b}, "state_dict_ema", 2),
    "params": (lambda a, b: {"params_ema": b, "params": a}, "params_ema", 2),
    "net": (lambda a, b: {"net": a, "ema_model": b, "acc": 0.9}, "ema_model", 2),
    "deep": (lambda a, b: {"state_dict": a, "callbacks": {"EMA": {"ema_state_dict": b}}},
             "callbacks.EMA.ema_state_dict", 2),
    "shadow": (lambda a, b: {"model": a, "ema": {"decay": 0.9, "shadow_params": _listed(b)}},
               "ema.shadow_params", 2),
    "module_ema": (lambda a, b: {"module": a, "module_ema": b, "scaler": {"scale": torch.ones(1)}},
                   "module_ema", 2),
    "under a prefix": (lambda a, b: {"model": a, "swa": {**_under("module.", b), "n_averaged": torch.ones(())}},
                       "swa", 3),
    "three": (lambda a, b: {"model": a, "ema": network(5), "ema_slow": b}, "ema_slow", 3),
    "flat, in front": (lambda a, b: {**a, **_under("ema.", b)}, "ema.", 2),
    "flat, both in front": (lambda a, b: {**_under("model.", a), **_under("ema_model.", b)}, "ema_model.", 3),
    "flat, undotted": (lambda a, b: {**_under("model.", a), "model_ema.decay": torch.ones(()),
                                     **{f"model_ema.{n.replace('.', '')}": t for n, t in b.items()}},
                       "model_ema.", 3),
    "flat, behind": (lambda a, b: {**a, **{f"{n}_ema": t for n, t in b.items()}}, "_ema", 2),
    "flat, inside": (lambda a, b: {**a, **{n.replace(".", "_ema.", 1): t for n, t in b.items()}}, "_ema", 2),
}  # fmt: skip


@pytest.mark.parametrize("case", NESTED)
def test_every_copy_is_read_and_the_marked_one_is_named(case: str, tmp_path: Path) -> None:
    build, label, tries = NESTED[case]
    for raw, average, carries in ((RAW, owner().marked, True), (owner().marked, RAW, False)):
        found = owner().judges(_saved(tmp_path, build(raw, average)))
        assert found.verdict.proven
        assert found.recovered
        assert (found.sighting.copy == label) is carries
        assert found.tries == tries
        assert found.verdict.log10_p == pytest.approx(found.evidence.combined + math.log10(tries))
        assert min(found.copies, key=found.copies.__getitem__) == found.sighting.label
        assert sum(log10_p < -12 for log10_p in found.copies.values()) == 1


@pytest.mark.parametrize("case", NESTED)
def test_a_host_with_copies_asks_which(case: str, tmp_path: Path) -> None:
    copies = copies_of(_saved(tmp_path, NESTED[case][0](RAW, owner().marked)))
    assert len(copies) == (3 if case == "three" else 2)
    assert NESTED[case][1] in copies


ALONE: dict[str, tuple[object, list[str]]] = {
    "plain": (RAW, list(RAW)),
    "state_dict.model": ({"state_dict": {"model": RAW}}, list(RAW)),
    "three deep": ({"a": {"b": {"net": RAW}}, "epoch": 1}, list(RAW)),
    "average alone": ({"params_ema": RAW}, list(RAW)),
    "with an optimiser": ({"net": RAW, "optimizer": _adam(RAW), "lr_scheduler": {"x.weight": RAW["head.weight"]}},
                          list(RAW)),
    "with other tensors": ({"model": RAW, "criterion": {"weight": torch.ones(4)}, "rng": torch.ones(9)}, list(RAW)),
    "parts": ({"encoder": {"fc.weight": torch.ones(4, 5)}, "decoder": {"out.weight": torch.ones(6, 7)}},
              ["encoder.fc.weight", "decoder.out.weight"]),
    "a layer called ema": ({"a.weight": torch.ones(4, 5), "ema.conv.weight": torch.ones(6, 7)},
                           ["a.weight", "ema.conv.weight"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ALONE)
def test_what_is_no_copy_is_not_taken_for_one(case: str, tmp_path: Path) -> None:
    value, names = ALONE[case]
    weights = _saved(tmp_path, value)
    assert list(weights.names()) == names
    assert copies_of(weights) == {}


def test_mappings_that_lie_in_many_places_are_walked_once() -> None:
    """A hostile file names one mapping a thousand times, in each of three depths."""
    inner: dict[str, Any] = {"w.weight": torch.ones(3, 4)}
    for _ in range(3):
        inner = {f"k{i}": inner for i in range(1000)}
    assert len(read_states(inner, Path("m.pt"))) == 1


def test_an_original_among_copies_is_found(tmp_path: Path) -> None:
    kept = _saved(tmp_path, {"model": RAW, "model_ema": owner().original})
    assert owner().judges(TensorWeights(owner().marked), original=kept).verdict.proven


BITS, KEYS, RATE = 64, 300, 0.1


def test_false_positives_keep_their_rate_over_copies_and_prefixes() -> None:
    """Three copies that hold nothing, under a prefix, give the best of three p-values, times four."""
    scheme = make_scheme("sign-repetition", {"payload_bits": BITS, "repetition": 5})
    state: State = {}
    for number, prefix in enumerate(("model.", "ema.", "swa.")):
        state |= _under(prefix, network(20 + number))
    suspect, host = TensorWeights(state), as_weights(network(0))
    carrier = owner().claim.mark.carrier
    alone, corrected = 0, 0
    for number in range(KEYS):
        key = Key.for_harness(copies=number)
        message = np.random.default_rng(number).integers(0, 2, BITS).astype(np.uint8)
        mark = scheme.bind(host, message, key, EmbedContext(nonce=bytes(16)), carrier=carrier)
        claim = Claim(key, mark, message)
        found = replace(owner(), claim=claim).judges(suspect)
        assert found.tries == 4
        assert len(found.copies) == 3
        assert found.verdict.log10_p == pytest.approx(min(0, min(found.copies.values()) + math.log10(4)))
        alone += min(found.copies.values()) <= math.log10(RATE)
        corrected += found.verdict.log10_p <= math.log10(RATE)
    most = stats.binom.ppf(0.999, KEYS, RATE)
    assert corrected <= most < alone


def test_sightings_of_a_mark_without_layers_are_the_model_itself() -> None:
    mark = replace(owner().claim.mark, carrier=None)
    suspect = TensorWeights(_under("module.", RAW))
    assert sightings(suspect, mark).found[0].weights is suspect


CLAIM = ("--key", "owner.key", "--mark", "m.mark.json")
MINE = ("--message", "mine", "--commitment", "m.commitment.json")
SCHEME = ("--scheme", "sign-repetition", "--payload-bits", "64")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Key(bytes(range(32))).save(tmp_path / "owner.key")
    torch.save({"model": network(0), "model_ema": RAW}, "two.pt")
    save_file({**network(0), **_under("ema.", RAW)}, "flat.safetensors")
    return tmp_path


def _embed(model: str, *options: str) -> tuple[str, ...]:
    return ("embed", model, "--key", "owner.key", "--message", "mine", "-o", "m.safetensors", *SCHEME, *options)


ASKED: dict[str, tuple[tuple[str, ...], str]] = {
    "nested": (_embed("two.pt"), "2 copies of the same weights: model, model_ema; name one with --copy"),
    "flat": (_embed("flat.safetensors"), "2 copies of the same weights: raw, ema.; name one with --copy"),
    "planned": (("plan", "two.pt"), "name one with --copy"),
    "another": (_embed("two.pt", "--copy", "model_emma"), "did you mean model_ema"),
    "none": (_embed("one.safetensors", "--copy", "ema."), "leave out --copy"),
}


@pytest.mark.parametrize("case", ASKED)
def test_embed_asks_which_copy(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, named = ASKED[case]
    one: Case = (lambda: save_file(RAW, "one.safetensors"), arguments, named)
    refused(folder, capsys, one)


@pytest.mark.parametrize(("model", "copy"), [("two.pt", "model_ema"), ("flat.safetensors", "ema.")])
def test_the_copy_that_is_named_is_marked_and_found(
    model: str, copy: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*_embed(model, "--copy", copy)) == DONE
    state = load_file("m.safetensors")
    if copy == "ema.":
        assert all(torch.equal(state[name], tensor) for name, tensor in network(0).items())
        state = {name.removeprefix(copy): state[name] for name in state if name.startswith(copy)}
    assert {name: state[name].shape for name in state} == {name: RAW[name].shape for name in RAW}
    torch.save({"model": network(4), "model_ema": state}, "suspect.pt")
    found = as_json(capsys, "verify", "suspect.pt", *CLAIM, *MINE, "--original", model)
    assert (found["proven"], found["names"]["tries"]) == (True, 2 if copy == "model_ema" else 4)
    assert found["names"]["copy"] == "model_ema"
    extracted = as_json(capsys, "extract", "suspect.pt", *CLAIM)
    assert (extracted["text"], extracted["names"]["copy"]) == ("mine", "model_ema")
    assert sorted(extracted["names"]["copies"].values()) == [False, True]


def test_commands_say_prefix_and_copy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(network(0), "one.safetensors")
    assert run(*_embed("one.safetensors")) == DONE
    marked = load_file("m.safetensors")
    save_file(_under("_orig_mod.", marked), "prefixed.safetensors")
    torch.save({"model": network(3), "model_ema": marked}, "ema.pt")
    told = "names: prefix '_orig_mod.' added\ncopies and namings looked at: 2; p counts them\n"
    assert told in said(capsys, "verify", "prefixed.safetensors", *CLAIM, *MINE)
    assert told in said(capsys, "extract", "prefixed.safetensors", *CLAIM)
    facts = as_json(capsys, "verify", "prefixed.safetensors", *CLAIM, *MINE)["names"]
    assert (facts["prefix_added"], facts["prefix_removed"], facts["tries"]) == ("_orig_mod.", "", 2)
    text = said(capsys, "verify", "ema.pt", *CLAIM, *MINE)
    assert "copy model: log10 p = " in text
    assert "read: the copy model_ema\n" in text
    plain = said(capsys, "verify", "m.safetensors", *CLAIM, *MINE)
    assert "names:" not in plain
    assert "looked at" not in plain
    listed = said(capsys, "inspect", "ema.pt")
    assert "copy of the weights" in listed
    assert "model_ema" in listed
    assert as_json(capsys, "inspect", "ema.pt")["copies"] == {"model": 5, "model_ema": 5}
    torch.save({**_under("teacher.", network(3)), **_under("pupil.", marked)}, "both.pt")
    both: Case = (
        lambda: None,
        ("verify", "both.pt", *CLAIM, *MINE),
        "'pupil.' added, and with the prefix 'teacher.'",
    )
    refused(folder, capsys, both)
    assert said(capsys, "verify", "one.safetensors", *CLAIM, *MINE, code=NO)


def test_unusual_tensors_of_a_copy_are_refused_where_they_are_read(tmp_path: Path) -> None:
    odd = {**RAW, "s": torch.eye(3).to_sparse()}
    for tree in ({"model": odd}, {"model": RAW, "model_ema": odd}):
        copies = copies_of(weights := _saved(tmp_path, tree))
        read = copies.get("model_ema", weights)
        assert read.unreadable("s") == "sparse"
        with pytest.raises(BadInput, match=r"tensor s of .* is sparse"):
            read.tensor("s")
