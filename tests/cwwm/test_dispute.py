"""Disputes: who marked first is told from originals, or left to dates, and never told wrongly."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import cwwm
from cwwm.cli.app import app
from cwwm.codes import Bits
from cwwm.commitment import Commitment
from cwwm.ownership.dispute import Dispute, Party, dispute
from cwwm.ownership.keys import Key
from cwwm.ownership.verification import Exhibits, verify
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.support.console import BAD_INPUT, DONE, NO, run_app
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import host_digest
from cwwm.weights.view import TensorWeights, as_weights
from tests.plain_net import plain_net

State = dict[str, Tensor]
SPREAD = make_scheme("spread-cwc", {"payload_bits": 16, "gain": 0.05})
SHAPES = {"body.weight": (96, 100), "head.weight": (60, 96)}


def _draw(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


def _host(seed: int) -> State:
    """Return the weights of a network of two layers, 15,000 of them in channels of unlike scale."""
    draw = _draw(seed)
    return {name: 0.05 * draw(*shape) * (draw(shape[0], 1) / 3).exp() for name, shape in SHAPES.items()}


def _changed(state: State, change: Callable[[Tensor, Callable[..., Tensor]], Tensor], seed: int = 0) -> State:
    draw = _draw(1000 + seed)
    return {name: change(weight, draw) for name, weight in state.items()}


def _noisy(share: float) -> Callable[[Tensor, Callable[..., Tensor]], Tensor]:
    return lambda w, draw: w + share * w.std() * draw(*w.shape)


def _plus(state: State, *patterns: State) -> State:
    return {name: weight + sum(pattern[name] for pattern in patterns) for name, weight in state.items()}


def _minus(state: State, other: State) -> State:
    return {name: weight - other[name] for name, weight in state.items()}


@dataclass(frozen=True)
class Maker:
    """Somebody who marks models, and what it would show of that."""

    number: int
    scheme: Scheme = SPREAD

    @property
    def key(self) -> Key:
        return Key.for_harness(dispute=self.number)

    @property
    def message(self) -> Bits:
        return np.random.default_rng(self.number).integers(0, 2, self.scheme.payload_bits).astype(np.uint8)

    def marks(self, original: State, committed: date | None = None) -> tuple[State, Party]:
        """Return a marked copy, and the party whose original this is."""
        copy = {name: weight.clone() for name, weight in original.items()}
        context = EmbedContext(nonce=bytes([self.number % 256] * 16))
        _, mark = embed(self.scheme, as_weights(copy), self.message, self.key, context)
        claim = Claim(self.key, mark, self.message)
        return copy, Party(claim, TensorWeights(original), Commitment.to(claim), committed)

    def pattern(self, original: State) -> State:
        """Return what its mark adds to an original."""
        return _minus(self.marks(original)[0], original)


def _settle(suspect: State, owner: Party, attacker: Party, owner_is_a: bool) -> tuple[str, Dispute]:
    """Return who is said to be first, by role, and the whole answer."""
    found = dispute(TensorWeights(suspect), *((owner, attacker) if owner_is_a else (attacker, owner)))
    roles = {"A": "owner", "B": "attacker"} if owner_is_a else {"B": "owner", "A": "attacker"}
    return roles[found.first] if found.first else "undecided", found


Built = tuple[State, Party, Party]  # suspect, owner, attacker
Kind = Callable[[int, Scheme], Built]


def _pair(seed: int, scheme: Scheme) -> tuple[Maker, Maker]:
    return Maker(2 * seed, scheme), Maker(2 * seed + 1, scheme)


def _on_top(change: Callable[[Tensor, Callable[..., Tensor]], Tensor]) -> Kind:
    """Return the dispute with an attacker who changes the marked copy, calls that its original and marks it."""

    def build(seed: int, scheme: Scheme) -> Built:
        owner, attacker = _pair(seed, scheme)
        copy, honest = owner.marks(_host(seed))
        suspect, claimed = attacker.marks(_changed(copy, change, seed))
        return suspect, honest, claimed

    return build


def _pruned(weight: Tensor, draw: Callable[..., Tensor]) -> Tensor:
    return weight.masked_fill(weight.abs() < weight.abs().median(), 0.0)


def _quantised(weight: Tensor, draw: Callable[..., Tensor]) -> Tensor:
    step = weight.abs().max() / 127
    return (weight / step).round() * step


def _drifted(weight: Tensor, draw: Callable[..., Tensor]) -> Tensor:
    """Return a weight with a change of low rank, as fine-tuning leaves."""
    flat = weight.flatten(1)
    return weight + (0.05 * flat.std() * draw(len(flat), 2) @ draw(2, flat.shape[1])).view(weight.shape)


def _permuted(seed: int, scheme: Scheme) -> Built:
    """The attacker puts the channels between the two layers into another order, and calls that its original."""
    owner, attacker = _pair(seed, scheme)
    copy, honest = owner.marks(_host(seed))
    order = torch.randperm(96, generator=torch.Generator().manual_seed(seed))
    body, head = copy.values()
    suspect, claimed = attacker.marks({"body.weight": body[order], "head.weight": head[:, order].contiguous()})
    return suspect, honest, claimed


def _fabricated(seed: int, scheme: Scheme) -> Built:
    """The attacker takes its own pattern off the stolen copy, and binds its mark anew to what is left."""
    owner, attacker = _pair(seed, scheme)
    copy, honest = owner.marks(_host(seed))
    fake = _minus(copy, attacker.pattern(copy))
    return copy, honest, attacker.marks(fake)[1]


def _fabricated_and_marked(seed: int, scheme: Scheme) -> Built:
    """The same, and the attacker marks what is left, so that its claim is proven."""
    owner, attacker = _pair(seed, scheme)
    copy, honest = owner.marks(_host(seed))
    suspect, claimed = attacker.marks(_minus(copy, attacker.pattern(copy)))
    return suspect, honest, claimed


def _of_public_base(seed: int, scheme: Scheme) -> Built:
    """The owner fine-tuned a public base; the attacker shows the base, and adds the pattern that belongs to it."""
    owner, attacker = _pair(seed, scheme)
    base = _host(seed)
    copy, honest = owner.marks(_changed(base, _noisy(0.05), seed))
    return _plus(copy, attacker.pattern(base)), honest, attacker.marks(base)[1]


def _of_another_network(seed: int, scheme: Scheme) -> Built:
    owner, attacker = _pair(seed, scheme)
    copy, honest = owner.marks(_host(seed))
    other = _host(seed + 500)
    return _plus(copy, attacker.pattern(other)), honest, attacker.marks(other)[1]


def _side_by_side(seed: int, scheme: Scheme) -> Built:
    """Two parties mark one public base by themselves; the suspect holds both marks."""
    first, second = _pair(seed, scheme)
    base = _host(seed)
    copy, honest = first.marks(base)
    return _plus(copy, second.pattern(base)), honest, second.marks(base)[1]


def _drowned(seed: int, scheme: Scheme) -> Built:
    """The attacker's original is the copy under so much noise that nothing of the owner's mark is left."""
    owner, attacker = Maker(2 * seed, scheme), Maker(2 * seed + 1, make_scheme("spread-cwc", LOUD))
    copy, honest = owner.marks(_host(seed))
    noisy = _changed(copy, _noisy(2.0), seed)
    return _plus(copy, attacker.pattern(noisy)), honest, attacker.marks(noisy)[1]


LOUD = {"payload_bits": 16, "gain": 0.2}


def _uncommitted(seed: int, scheme: Scheme) -> Built:
    suspect, honest, claimed = _on_top(lambda w, draw: w)(seed, scheme)
    return suspect, replace(honest, committed=date(2026, 1, 2)), replace(claimed, commitment=None)


def _dated_back(seed: int, scheme: Scheme) -> Built:
    suspect, honest, claimed = _on_top(lambda w, draw: w)(seed, scheme)
    return suspect, replace(honest, committed=date(2026, 1, 2)), replace(claimed, committed=date(2025, 1, 2))


def _later(seed: int, scheme: Scheme) -> Built:
    suspect, honest, claimed = _side_by_side(seed, scheme)
    return suspect, replace(honest, committed=date(2026, 1, 2)), replace(claimed, committed=date(2026, 3, 4))


def _the_suspect_itself(seed: int, scheme: Scheme) -> Built:
    owner, attacker = _pair(seed, scheme)
    copy, honest = owner.marks(_host(seed))
    return copy, honest, attacker.marks(copy)[1]


def _layers(seed: int, scheme: Scheme, first: int, second: int) -> Built:
    """Three parties mark on top of each other; two of them meet."""
    model, parties = _host(seed), []
    for number in range(3):
        model, party = Maker(3 * seed + number, scheme).marks(model)
        parties.append(party)
    return model, parties[first], parties[second]


OWNER, UNDECIDED = "owner", "undecided"
#: by kind: how it is built, and what is said of it
KINDS: dict[str, tuple[Kind, str]] = {
    "the marked copy": (_on_top(lambda w, draw: w), OWNER),
    "it pruned": (_on_top(_pruned), OWNER),
    "it with noise": (_on_top(_noisy(0.1)), OWNER),
    "it quantised": (_on_top(_quantised), OWNER),
    "it scaled and turned": (_on_top(lambda w, draw: -3 * w), OWNER),
    "it fine-tuned": (_on_top(_drifted), OWNER),
    "it with channels in another order": (_permuted, OWNER),
    "own pattern taken off": (_fabricated, UNDECIDED),
    "own pattern taken off, then marked": (_fabricated_and_marked, OWNER),
    "the public base": (_of_public_base, UNDECIDED),
    "another network": (_of_another_network, UNDECIDED),
    "side by side": (_side_by_side, UNDECIDED),
    "drowned in noise": (_drowned, UNDECIDED),
    "no commitment": (_uncommitted, UNDECIDED),
    "dated back": (_dated_back, OWNER),
    "dated later": (_later, UNDECIDED),
    "the suspect itself": (_the_suspect_itself, UNDECIDED),
    "three layers, 1 and 2": (lambda seed, scheme: _layers(seed, scheme, 0, 1), OWNER),
    "three layers, 2 and 3": (lambda seed, scheme: _layers(seed, scheme, 1, 2), OWNER),
    "three layers, 1 and 3": (lambda seed, scheme: _layers(seed, scheme, 0, 2), OWNER),
}

SEEDS = range(3)
#: by kind, what dates say where the owner is A
DATES = {
    "no commitment": "dates given: A 2026-01-02, B none; they do not say who was first",
    "dated back": "dates given: A 2026-01-02, B 2025-01-02; the commitment of B is older",
    "dated later": "dates given: A 2026-01-02, B 2026-03-04; the commitment of A is older",
}
DATES_DECIDE = {"the public base", "side by side", "drowned in noise", "dated later"}


def test_of_all_disputes_built_none_is_decided_wrongly() -> None:
    said = {(kind, seed): _settle(*KINDS[kind][0](seed, SPREAD), seed % 2 == 0) for kind in KINDS for seed in SEEDS}
    assert len(said) >= 50
    assert [case for case, (first, _) in said.items() if first == "attacker"] == []
    assert {case: first for case, (first, _) in said.items()} == {case: KINDS[case[0]][1] for case in said}
    assert Counter(first for first, _ in said.values()) == {OWNER: 36, UNDECIDED: 24}


def test_what_is_not_decided_says_why() -> None:
    for kind, (build, expected) in KINDS.items():
        if expected == UNDECIDED:
            _, found = _settle(*build(7, SPREAD), True)
            dates_decide = found.reason == "undecided: dates decide; neither original holds the other party's mark"
            unproven = found.reason == "undecided: the claim of B is not proven on the suspect; that of A is"
            assert dates_decide == (kind in DATES_DECIDE), kind
            assert unproven != dates_decide, kind


@pytest.mark.parametrize("kind", DATES)
def test_dates_are_told(kind: str) -> None:
    _, found = _settle(*KINDS[kind][0](8, SPREAD), True)
    assert found.dates == DATES[kind]


@pytest.mark.parametrize(("kind", "expected"), [("the marked copy", OWNER), ("side by side", UNDECIDED)])
def test_marks_that_rank_magnitudes_are_told_apart_too(kind: str, expected: str) -> None:
    code = {"payload_bits": 64, "blocks": 40, "block_length": 64}
    scheme = make_scheme("protected-cwc", {**code, "survive": 0.95, "low": 0.5, "lift": 1.0})
    for seed, owner_is_a in enumerate((True, False)):
        assert _settle(*KINDS[kind][0](seed, scheme), owner_is_a)[0] == expected


def test_every_p_value_counts_readers_alignments_and_the_two_models_read() -> None:
    weak = make_scheme("spread-cwc", {"payload_bits": 16, "gain": 0.05})
    suspect, owner, attacker = _on_top(_noisy(0.7))(0, weak)
    suspect = _changed(suspect, _noisy(0.7))
    _, found = _settle(suspect, owner, attacker, True)
    for standing in (found.a, found.b):
        for seen in (standing.claim, standing.elsewhere):
            assert seen.reader == "informed"
            expected = min(0.0, seen.evidence.combined + np.log10(2 * 2 * 2))
            assert seen.verdict.log10_p == pytest.approx(expected)
    assert -40 < found.a.elsewhere.verdict.log10_p < -1


def test_one_mark_shown_by_both_is_refused() -> None:
    copy, party = Maker(1).marks(_host(1))
    again = Maker(1).marks(_host(1))[1]
    with pytest.raises(BadInput, match="both parties show the same mark"):
        dispute(TensorWeights(copy), party, again)


def test_an_original_that_the_mark_does_not_bind_is_refused_by_party() -> None:
    copy, party = Maker(1).marks(_host(1))
    other = replace(Maker(2).marks(copy)[1], original=TensorWeights(_host(2)))
    with pytest.raises(BadInput, match="party B: the original is another model"):
        dispute(TensorWeights(copy), party, other)


def test_a_mark_of_layers_that_its_original_lacks_is_refused() -> None:
    """Its salt follows and its commitment binds it, so nothing else would stop it from being read."""
    copy, party = Maker(1).marks(_host(1))
    claim = Maker(2).marks(copy)[1].claim
    assert claim.mark.carrier is not None
    layer = replace(claim.mark.carrier.layers[0], name="more.weight")
    more = replace(claim.mark.carrier, layers=(*claim.mark.carrier.layers, layer))
    claim = replace(claim, mark=replace(claim.mark, carrier=more).salted(claim.key, claim.message))
    with pytest.raises(BadInput, match="has not the layers that it names, for it has no tensor more"):
        dispute(TensorWeights(copy), party, Party(claim, TensorWeights(copy), Commitment.to(claim)))


def test_the_library_takes_modules_and_texts() -> None:
    scheme = make_scheme("spread-cwc", {"payload_bits": 16, "gain": 0.05})
    model = plain_net()
    parties = []
    for number, text in enumerate(("me", "no")):
        original = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        key = Key.for_harness(library=number)
        _, mark, commitment = cwwm.embed(scheme, model, text, key)
        parties.append(cwwm.Party.of(key, mark, text, original, commitment))
    assert cwwm.dispute(model, *parties).first == "A"
    assert cwwm.dispute(model, *reversed(parties)).first == "B"


# Originals that an attacker makes up for a suspect that it did not mark.

NARROW = {"body.weight": (48, 64)}
STOLEN = {name: 0.05 * _draw(99)(*shape) for name, shape in NARROW.items()}


def _claimed(original: State, number: int) -> Claim:
    """Return the claim of somebody who binds a mark to an original and adds nothing to any model."""
    maker = Maker(number)
    embedding = SPREAD.begin(
        as_weights(original), maker.message, maker.key, EmbedContext(nonce=bytes([number % 256] * 16))
    )
    return Claim(maker.key, embedding.mark, maker.message)


def _log10_p(original: State, number: int, claim: Claim | None = None) -> tuple[bool, float]:
    claim = claim or _claimed(original, number)
    exhibits = Exhibits(commitment=Commitment.to(claim), original=TensorWeights(original))
    verdict = verify(TensorWeights(STOLEN), claim, exhibits).verdict
    return verdict.proven, verdict.log10_p


def _own_pattern_off(number: int, rounds: int) -> State:
    """Return the suspect without the pattern that belongs to the original of the round before."""
    original = STOLEN
    for _ in range(rounds):
        original = _minus(STOLEN, Maker(number).pattern(original))
    return original


def _between(number: int, noise: float) -> State:
    draw = _draw(number)
    return {
        name: (1 - noise) * weight + noise * weight.std() * draw(*weight.shape) for name, weight in STOLEN.items()
    }


def _best_of(number: int, tries: int) -> State:
    """Return the original, of several near the suspect, against which the attacker's pattern is found best."""
    return min((_between(1000 * number + t, 0.05) for t in range(tries)), key=lambda o: _blind(o, number))


def _blind(original: State, number: int) -> float:
    claim = _claimed(original, number)
    read = SPREAD.read(TensorWeights(STOLEN), claim.key, claim.mark)
    return SPREAD.evidence(read, claim).combined


def _fabrications() -> Iterator[tuple[State, int]]:
    for number in range(70):
        yield _own_pattern_off(number, 1 + number % 2), number
    for number in range(70, 150):
        yield _between(number, (number - 69) / 81), number
    for number in range(150, 200):
        yield _best_of(number, 4), number


def test_of_200_fabricated_originals_none_is_accepted() -> None:
    found = [_log10_p(original, number) for original, number in _fabrications()]
    assert len(found) == 200
    assert not any(proven for proven, _ in found)
    assert min(log10_p for _, log10_p in found) > -4  # chance, 200 times


def test_what_a_fabricated_original_would_prove_if_the_salt_did_not_bind_it() -> None:
    claim = _claimed(STOLEN, 1)
    fake = _minus(STOLEN, Maker(1).pattern(STOLEN))
    renamed = replace(claim, mark=replace(claim.mark, original=host_digest(TensorWeights(fake))))
    with pytest.raises(BadInput, match="its digest differs"):
        _log10_p(fake, 1, claim)
    proven, log10_p = _log10_p(fake, 1, renamed)
    assert log10_p < -70
    assert not proven  # the salt does not follow from another digest


# The command line.


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where alice marked a model, and bob the marked copy: two folders, and the suspect."""
    folder = tmp_path_factory.mktemp("dispute")
    source = folder / "model.safetensors"
    save_file(_host(0), source)
    for number, name in enumerate(("alice", "bob")):
        (folder / name).mkdir()
        key, marked = folder / name / "secret.key", folder / f"{name}.safetensors"
        Key(bytes([number] * 32)).save(key)
        options = ("--payload-bits", "64", "--set", "gain=0.1", "--message", name)
        assert run_app(app, "cwwm", ["embed", str(source), "--key", str(key), "-o", str(marked), *options]) == DONE
        for made in folder.glob(f"{name}.*.json"):
            shutil.move(made, folder / name)
        shutil.copy(source, folder / name / "original.safetensors")
        (folder / name / "message.txt").write_text(f"{name}\n")
        source = marked
    return folder


@pytest.fixture
def folder(handed_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(handed_in, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*arguments: str) -> int:
    return run_app(app, "cwwm", ["dispute", *arguments])


def test_the_command_says_who_was_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("bob.safetensors", "alice", "bob", "--date-a", "2026-01-02", "--date-b", "2026-01-01") == DONE
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert [line.partition(":")[0] for line in lines[:4]] == [
        "claim of A, alice",
        "claim of B, bob",
        "mark of A in the other's original",
        "mark of B in the other's original",
    ]
    assert lines[2].endswith("is at most 1e-12 (read informed)")
    assert lines[4] == "A marked first: the original of B holds the mark of A, and not the reverse"
    assert lines[5] == "dates given: A 2026-01-02, B 2026-01-01; the commitment of B is older"


def test_the_command_says_it_in_json_too_and_whoever_is_called_a(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("bob.safetensors", "bob", "alice", "--json") == DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["dates"]) == ("B", None)
    assert found["parties"]["B"]["in_the_others_original"]["proven"]
    assert not found["parties"]["A"]["in_the_others_original"]["proven"]
    assert found["parties"]["A"]["claim"]["message_recovered"]


def test_a_claim_without_commitment_is_left_undecided(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bob" / "bob.commitment.json").unlink()
    assert _run("bob.safetensors", "alice", "bob") == NO
    out = capsys.readouterr().out
    assert "claim of B, bob: not proven: no prior commitment" in out
    assert out.splitlines()[-1] == "undecided: the claim of B is not proven on the suspect; that of A is"


def _poison(folder: Path) -> None:
    state = {name: weight.clone() for name, weight in _host(1).items()}
    state["body.weight"][0, 0] = float("nan")
    save_file(state, folder / "bob" / "original.safetensors")


def _harness(folder: Path) -> None:
    key = folder / "bob" / "secret.key"
    key.unlink()
    Key.for_harness(seed=1).save(key)


def _anothers_key(folder: Path) -> None:
    shutil.copy(folder / "alice" / "secret.key", folder / "bob" / "secret.key")


def _copied(name: str, new: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(folder / "bob" / name, folder / "bob" / new)


def _gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "bob" / name).unlink()


def _swapped(folder: Path) -> None:
    shutil.copy(folder / "alice" / "original.safetensors", folder / "bob" / "original.safetensors")


#: by what is wrong: how it comes about, further arguments, part of the one line
BAD: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "one mark twice": (
        lambda folder: shutil.rmtree(folder / "bob") or shutil.copytree(folder / "alice", folder / "bob"),
        (),
        "both parties show the same mark",
    ),
    "no folder": (lambda folder: shutil.rmtree(folder / "bob"), (), "party B: bob is no folder"),
    "no key": (_gone("secret.key"), (), "party B: bob holds no *.key"),
    "no mark": (_gone("bob.mark.json"), (), "party B: bob holds no *.mark.json: put the mark"),
    "no message": (_gone("message.txt"), (), "party B: bob holds no message.*"),
    "no original": (_gone("original.safetensors"), (), "party B: bob holds no original.*"),
    "two marks": (_copied("bob.mark.json", "x.mark.json"), (), "party B: bob holds 2 files *.mark.json: leave one"),
    "two commitments": (_copied("bob.commitment.json", "x.commitment.json"), (), "2 files *.commitment.json"),
    "two messages": (_copied("message.txt", "message.hex"), (), "2 files message.*"),
    "a message elsewhere": (
        lambda folder: os.rename(folder / "bob" / "message.txt", folder / "bob" / "message.md"),
        (),
        "neither message.txt nor message.hex",
    ),
    "a benchmark's key": (_harness, (), "party B: bob/secret.key is a benchmark's key"),
    "another key": (_anothers_key, (), "party B: wrong key"),
    "another original": (_swapped, (), "party B: the original is another model"),
    "NaN original": (_poison, (), "tensor body.weight of the original of party B holds NaN"),
    "no date": (lambda folder: None, ("--date-a", "yesterday"), "yesterday"),
    "no rate": (lambda folder: None, ("--fpr", "1"), "between 0 and 1"),
}


@pytest.mark.parametrize(("spoil", "more", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(
    folder: Path,
    spoil: Callable[[Path], object],
    more: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(folder)
    assert _run("bob.safetensors", "alice", "bob", *more) == BAD_INPUT
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
