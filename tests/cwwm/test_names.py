"""A mark is found under a common prefix of names, in suspects and in what lies beside them; each counts."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from cwwm.alignment.sources import names_by_content
from cwwm.commitment import Commitment
from cwwm.ownership.dispute import Party, dispute
from cwwm.ownership.evidence import Tried
from cwwm.ownership.keys import Key
from cwwm.ownership.message import text_to_bits
from cwwm.ownership.sightings import sightings
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.checkpoint import open_weights
from cwwm.weights.naming import PLAIN, Naming, find_naming
from cwwm.weights.view import TensorWeights, Weights, as_weights
from tests.cwwm.marked_state import LAYERS, SHAPES, State, network, owner

_PART = st.text("abcdefg_0123456789", min_size=1, max_size=6)
_PREFIX = st.lists(_PART, min_size=1, max_size=3).map(lambda parts: "".join(part + "." for part in parts))


def _under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _file(folder: Path, state: State, suffix: str = "safetensors") -> Weights:
    path = folder / f"m.{suffix}"
    if suffix == "safetensors":
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return open_weights(path)


@settings(max_examples=60, deadline=None)
@given(_PREFIX)
def test_any_prefix_is_found_added_and_removed(prefix: str) -> None:
    longer = {prefix + name: shape for name, shape in SHAPES.items()}
    assert find_naming(SHAPES, longer) == Naming(added=prefix)
    assert find_naming(longer, SHAPES) == Naming(removed=prefix)
    assert find_naming(SHAPES, SHAPES) == PLAIN
    assert find_naming(longer, {"other." + name: shape for name, shape in SHAPES.items()}) in (
        Naming("other.", prefix),
        PLAIN if prefix == "other." else None,
    )


PREFIXES = ("module.", "_orig_mod.", "model.", "module.module.", "_orig_mod.module.", "backbone.", "student.")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_mark_under_a_prefix_is_proven_and_one_more_try_counts(prefix: str, suffix: str, tmp_path: Path) -> None:
    plain = owner().judges(TensorWeights(owner().marked))
    found = owner().judges(_file(tmp_path, _under(prefix, owner().marked), suffix))
    assert (plain.tries, found.tries) == (1, 2)
    assert found.verdict.proven
    assert found.recovered
    assert found.evidence == plain.evidence
    assert found.sighting.naming == Naming(added=prefix)
    assert found.verdict.log10_p == pytest.approx(plain.verdict.log10_p + math.log10(2))


FOUND: dict[str, tuple[Callable[[State], State], Naming]] = {
    "plain": (lambda s: s, PLAIN),
    "another head": (lambda s: _under("module.", {**s, "head.weight": torch.ones(7, 96)}), Naming("module.")),
    "no head": (lambda s: _under("m.", {n: t for n, t in s.items() if n != "head.weight"}), Naming("m.")),
    "beside a teacher of other widths": (
        lambda s: {**_under("student.", s), **_under("teacher.", {n: t[:8].clone() for n, t in s.items()})},
        Naming("student."),
    ),
    "plain beside another prefix": (lambda s: {**s, **_under("teacher.", network(3))}, PLAIN),
    "pruned channels": (lambda s: _under("module.", {n: t[:30].clone() for n, t in s.items()}), Naming("module.")),
    "a stranger with some such names": (
        lambda s: {f"layer{i}.{n}": torch.ones(5, 5) for i in range(9) for n in ("head.weight", "x.weight")},
        PLAIN,
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_the_prefix_is_that_under_which_most_layers_fit(case: str, tmp_path: Path) -> None:
    change, naming = FOUND[case]
    seen = sightings(_file(tmp_path, change(owner().marked)), owner().claim.mark)
    assert [one.naming for one in seen.found] == [naming]
    assert seen.tries == (1 if naming == PLAIN else 2)
    assert [name in seen.found[0].weights for name in LAYERS[:2]] == [not case.startswith("a stranger")] * 2


def test_plain_names_are_read_as_they_are() -> None:
    """No view stands between: what fits plainly costs nothing."""
    weights = TensorWeights(owner().marked)
    assert sightings(weights, owner().claim.mark).found[0].weights is weights


def test_two_prefixes_that_fit_alike_are_named_and_nothing_is_read(tmp_path: Path) -> None:
    both = {**_under("student.", owner().marked), **_under("teacher.", network(3))}
    with pytest.raises(BadInput, match=r"'student\.' added.*'teacher\.' added"):
        owner().judges(_file(tmp_path, both))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.model."])
@pytest.mark.parametrize("scheme", ["sign-repetition", "spread-cwc"])
def test_what_is_shown_beside_the_suspect_may_have_a_prefix_too(prefix: str, scheme: str, tmp_path: Path) -> None:
    made = owner(scheme)
    original = _file(tmp_path, _under(prefix, made.original))
    plain = made.judges(TensorWeights(made.marked), original=TensorWeights(made.original))
    found = made.judges(TensorWeights(made.marked), original=original)
    assert found.verdict == plain.verdict
    assert found.verdict.proven
    both = made.judges(TensorWeights(_under("x.", made.marked)), original=original, reference=original)
    assert both.verdict.proven
    assert both.sighting.naming == Naming("x.")


def test_another_original_under_a_prefix_is_refused(tmp_path: Path) -> None:
    changed = {**owner().original, "norm.weight": torch.zeros(96)}
    with pytest.raises(BadInput, match="its digest differs"):
        owner().judges(TensorWeights(owner().marked), original=_file(tmp_path, _under("module.", changed)))


def test_the_suspect_under_a_prefix_is_no_innocent_and_a_stranger_is(tmp_path: Path) -> None:
    stranger = TensorWeights(_under("module.", network(9)))
    found = owner().judges(TensorWeights(owner().marked), innocents={"stranger": stranger})
    assert found.verdict.proven
    assert found.innocents["stranger"] > -2
    same = _file(tmp_path, _under("module.", owner().marked))
    with pytest.raises(BadInput, match="copy is the suspect itself"):
        owner().judges(TensorWeights(owner().marked), innocents={"copy": same})


def test_tries_multiply_what_was_tried_otherwise() -> None:
    suspect, tried = TensorWeights(_under("module.", owner().marked)), Tried(suspects=10, prefixes=3)
    found = owner().judges(suspect, tried)
    assert found.verdict.log10_p == pytest.approx(found.evidence.combined + math.log10(2 * 30))


@pytest.mark.parametrize("exported", ["by number", "swapped"])
def test_renamed_tensors_are_matched_by_content_against_the_original(exported: str, tmp_path: Path) -> None:
    """Two layers have one shape: content tells which is which. The alignment is the try that counts."""
    made = owner("spread-cwc")
    names = ["t2.weight", "t0.weight", "t1.weight", "t3", "t4"]
    if exported == "swapped":
        names = [LAYERS[1], LAYERS[0], *list(made.marked)[2:]]
    suspect = dict(zip(names, made.marked.values(), strict=True))
    found = made.judges(_file(tmp_path, suspect), original=TensorWeights(made.original))
    assert found.verdict.proven
    assert found.recovered
    renamed = found.alignment.tensors["renamed"] if found.alignment else 0
    assert (renamed, found.sighting.exchanged) == ((3, 0) if exported == "by number" else (0, 2))
    assert found.tries == 1


def test_a_stranger_s_layers_of_transposed_shapes_are_not_compared() -> None:
    """Both matrices of an MLP have one shape in either order; a stranger's are like neither."""
    shapes = {"up.weight": (96, 24), "down.weight": (24, 96), "up2.weight": (96, 24), "down2.weight": (24, 96)}
    draw = torch.Generator().manual_seed(0)
    mine, theirs = ({name: torch.randn(shape, generator=draw) for name, shape in shapes.items()} for _ in range(2))
    assert names_by_content(TensorWeights(mine), TensorWeights(theirs), {}) == {}
    changed = {**theirs, "up.weight": mine["up2.weight"], "up2.weight": mine["up.weight"]}
    assert names_by_content(TensorWeights(mine), TensorWeights(changed), {}) == {
        "up.weight": "up2.weight", "up2.weight": "up.weight"
    }  # fmt: skip


def test_a_dispute_sees_through_prefixes(tmp_path: Path) -> None:
    """The thief marked the owner's marked copy; suspect and both originals have prefixes of their own."""
    made = owner("spread-cwc")
    stolen = {name: tensor.clone() for name, tensor in made.marked.items()}
    key, message = Key.for_harness(names=2), text_to_bits("theirs", 64)
    scheme = make_scheme("spread-cwc", {"payload_bits": 64, "gain": 0.05, "carrier": "all"})
    _, mark = embed(scheme, as_weights(stolen), message, key, EmbedContext(nonce=bytes(16)))
    theirs = Claim(key, mark, message)
    parties = [
        Party(claim, TensorWeights(_under(prefix, original)), Commitment.to(claim))
        for claim, prefix, original in ((made.claim, "module.", made.original), (theirs, "model.", made.marked))
    ]
    found = dispute(_file(tmp_path, _under("_orig_mod.", stolen)), *parties)
    assert found.first == "A"
    assert found.a.claim.sighting.label == "prefix '_orig_mod.' added"
    assert found.a.elsewhere.sighting.label == "prefix 'model.' added"
