"""Carriers that leave dead weights out: the pool is what is alive, the mark says so, lying about it is harmless."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cwwm import embed, verify
from cwwm.commitment import Commitment
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark, load_mark, save_mark
from cwwm.schemes import Claim, EmbedContext, make_scheme
from cwwm.schemes import embed as embed_weights
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, Layer
from cwwm.weights.checkpoint import open_weights
from cwwm.weights.dead import Dead
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.view import as_weights
from tests.fuzz.make_corpus import CORPUS
from tests.fuzz.make_corpus import KEY as OLD_KEY
from tests.fuzz.make_corpus import MESSAGE as OLD_MESSAGE

KEY = Key.for_harness(test="dead weights")
BITS = 32
MESSAGE = (np.arange(BITS) % 2).astype(np.uint8)
SCHEMES: dict[str, dict[str, Any]] = {
    "cwc": {"survive": 0.9},
    "protected-cwc": {"blocks": 40, "block_length": 64},
    "sign-repetition": {"repetition": 5},
    "sign-erasure": {"survive": 0.5},
    "dm-qim": {"repetition": 3},
    "fixed-weights": {},
    "spread-spectrum": {"ratio": 10.0},
}


def masks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return which weights live: no second kernel place, no first input channels, no last outputs of the others."""
    alive = {name: torch.ones(state[name].shape, dtype=torch.bool) for name in ("stem.weight", "block.weight")}
    alive["stem.weight"][:, :, 1, 2] = False
    alive["stem.weight"][:, 4:9] = False
    alive["block.weight"][100:] = False
    alive["block.weight"][7] = False
    alive["block.weight"][0, 0] = False  # alone, so that no row or column is dead for it
    return alive


def lost(state: dict[str, Tensor]) -> dict[str, Dead]:
    return {name: Dead.of(mask) for name, mask in masks(state).items()}


def excluded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return which weights lie in dead rows or columns."""
    found = {name: ~mask for name, mask in masks(state).items()}
    found["block.weight"][0, 0] = False
    return found


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
@settings(max_examples=150, deadline=None)
def test_the_pool_is_what_is_left_in_order(shape: list[int], data: st.DataObject) -> None:
    tensor = torch.arange(int(np.prod(shape))).view(shape).float()
    matrix = tensor.view(shape[0], -1)
    rows, columns = (torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n))) for n in matrix.shape)
    alive = rows[:, None] & columns
    dead = Dead.of(alive.view(shape))
    layer = Layer("w", tuple(shape), "float32", dead)
    assert layer.size == int(alive.sum())
    if layer.size:
        assert torch.equal(layer.living(tensor), matrix[alive])
        assert torch.equal(tensor.view(-1)[layer.places(torch.arange(layer.size))], matrix[alive])
        assert Layer.from_json(json.loads(json.dumps(layer.to_json()))) == layer


def test_other_rules_take_no_notice(state: dict[str, Tensor]) -> None:
    weights, dead = as_weights(state), lost(state)
    assert Carrier.choose(weights, "all", dead) == Carrier.choose(weights, "all")
    whole, left = Carrier.choose(weights, "all"), Carrier.choose(weights, "alive:all", dead)
    assert whole.size - left.size == sum(int(mask.sum()) for mask in excluded(state).values()) > 10_000
    assert Carrier.from_json(left.to_json()) == left
    assert carrier_deviation(weights, left) == pytest.approx(
        float(torch.cat([layer.living(state[layer.name]) for layer in left.layers]).square().mean().sqrt())
    )


def test_a_layer_without_a_living_weight_is_no_part(state: dict[str, Tensor]) -> None:
    dead = {"stem.weight": Dead.of(torch.zeros(32, 16, 5, 5, dtype=torch.bool))}
    carrier = Carrier.choose(as_weights(state), "alive:all", dead)
    assert [layer.name for layer in carrier.layers] == ["block.weight", "head.weight"]
    with pytest.raises(BadInput, match="matches no weight"):
        Carrier.choose(as_weights(state), "alive:conv", dead)


def test_whoever_asks_for_living_weights_has_to_say_which(state: dict[str, Tensor]) -> None:
    with pytest.raises(BadInput, match=r"'alive:all' leaves out dead weights, and nobody said which"):
        Carrier.choose(as_weights(state), "alive:all")


@pytest.mark.parametrize("name", SCHEMES)
def test_no_mark_lies_in_dead_weights_and_it_is_read_without_data(
    name: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    scheme = make_scheme(name, {"payload_bits": BITS, "carrier": "alive:all", **SCHEMES[name]})
    before = {key: tensor.clone() for key, tensor in state.items()}
    context = EmbedContext(nonce=bytes(16), dead=lost(state))
    _, mark = embed_weights(scheme, as_weights(state), MESSAGE, KEY, context)
    changed = {key: state[key] != before[key] for key in state}
    assert sum(int(mask.sum()) for mask in changed.values()) >= BITS
    for layer, mask in excluded(state).items():
        assert not (changed[layer] & mask).any()
        assert (changed[layer] & ~mask).any()
        state[layer][mask] = 1e6 * torch.randn(int(mask.sum()))  # whatever a suspect holds there
    save_mark(mark, tmp_path / "m.mark.json")
    read = scheme.extract(as_weights(state), KEY, load_mark(tmp_path / "m.mark.json"))
    assert read.ok
    assert np.array_equal(read.bits, MESSAGE)


def marked(state: dict[str, Tensor]) -> tuple[Mark, Commitment]:
    scheme = make_scheme("sign-repetition", {"payload_bits": BITS, "carrier": "alive:all", "repetition": 5})
    found = embed(scheme, state, MESSAGE, KEY, dead=lost(state))
    return found.mark, found.commitment


def with_dead(mark: Mark, dead: Dead) -> Mark:
    assert mark.carrier is not None
    first, *rest = mark.carrier.layers
    return replace(mark, carrier=replace(mark.carrier, layers=(replace(first, dead=dead), *rest)))


LISTS = {"none": Dead(), "others": Dead(((0, 3),), ((7, 9),)), "one column less": Dead((), ((7, 8),))}


@pytest.mark.parametrize("change", LISTS)
def test_the_salt_binds_what_is_left_out(change: str, state: dict[str, Tensor]) -> None:
    mark, commitment = marked(state)
    assert mark.follows_from(KEY, MESSAGE)
    forged = with_dead(mark, LISTS[change])
    assert not forged.follows_from(KEY, MESSAGE)
    said = verify(state, KEY, forged, MESSAGE, commitment=commitment)
    assert not said.verdict.proven


def test_a_list_made_to_fit_a_suspect_proves_nothing(state: dict[str, Tensor]) -> None:
    """Whoever leaves out all rows but the most one-sided ones meets positions that the salt draws after it."""
    signs = (state["block.weight"] > 0).double().mean(1)
    fitted = Dead.of((signs >= signs.sort().values[-20])[:, None].expand(140, 300))
    carrier = Carrier.choose(as_weights(state), "alive:block", {"block.weight": fitted})
    scheme = make_scheme("sign", {"payload_bits": BITS, "carrier": "alive:block"})
    logs = []
    for number in range(300):
        key = Key.for_harness(test="fitted", number=number)
        mark = scheme.bind(as_weights(state), MESSAGE, key, EmbedContext(nonce=bytes(16)), carrier=carrier)
        found = scheme.evidence(scheme.extract(as_weights(state), key, mark), Claim(key, mark, MESSAGE))
        logs.append(found.combined)
    assert -5 < min(logs) < -1
    assert np.mean(np.array(logs) <= np.log10(0.05)) <= 0.09


@pytest.mark.parametrize("name", ["cwc", "protected-cwc", "sign", "dm-qim", "spread-spectrum"])
def test_marks_from_before_are_read_as_before(name: str) -> None:
    path = CORPUS / f"{name}.mark.json"
    mark = load_mark(path)
    assert mark.to_json() == json.loads(path.read_text())
    assert mark.follows_from(OLD_KEY, OLD_MESSAGE)


def test_a_message_from_before_is_recovered() -> None:
    mark = load_mark(CORPUS / "protected-cwc.mark.json")
    scheme = make_scheme(mark.scheme, mark.parameters)
    read = scheme.extract(open_weights(CORPUS / "protected-cwc.safetensors"), OLD_KEY, mark)
    assert read.ok
    assert np.array_equal(read.bits, OLD_MESSAGE)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], [], "lists none"),
        ([[0, 4]], [], "not dead as a whole"),
        ([], [[0, 6]], "not dead as a whole"),
        ([[1, 1]], [], "ascend"),
        ([[2, 3], [0, 1]], [], "ascend"),
        ([[0, 1], [1, 2]], [], "with a gap"),
        ([[-1, 1]], [], "whole number"),
        ([[0, 5]], [], "whole number"),
        ([[0, 1.0]], [], "whole number"),
        ([], [[0, 1 << 60]], "whole number"),
    ],
)
def test_damaged_lists_are_refused(rows: list[Any], columns: list[Any], message: str) -> None:
    value = {"name": "w", "shape": [4, 2, 3], "dtype": "float32", "dead": {"rows": rows, "columns": columns}}
    with pytest.raises(BadInput, match=message):
        Layer.from_json(value)


def test_a_list_of_a_huge_layer_takes_no_memory() -> None:
    value = {"name": "w", "shape": [1 << 24, 1 << 23], "dtype": "float32"}
    layer = Layer.from_json({**value, "dead": {"rows": [[1, (1 << 24) - 1]], "columns": [[1, (1 << 23) - 1]]}})
    assert layer.size == 4
    assert layer.places(torch.arange(4)).tolist() == [0, (1 << 23) - 1, ((1 << 24) - 1) << 23, (1 << 47) - 1]
