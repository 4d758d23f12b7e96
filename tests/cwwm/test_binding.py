"""What a mark's salt binds: all that reading uses, so that nothing can be chosen once the positions are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.testing.subject import TwoConvolutions
from cwwm.ownership.keys import HARNESS_STRETCH, OWNER_STRETCH, Key, Stretch
from cwwm.ownership.mark import Mark, load_mark, save_mark
from cwwm.ownership.message import text_to_bits
from cwwm.schemes import SCHEMES, EmbedContext, Scheme, make_scheme
from cwwm.schemes.base import Embedding
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, host_digest
from cwwm.weights.checkpoint import open_weights
from cwwm.weights.view import as_weights
from tests.plain_data import digits
from tests.plain_net import plain_net

KEY = Key.for_harness(seed=0)
PARAMETERS: dict[str, dict[str, Any]] = {
    "cwc": {"payload_bits": 64},
    "protected-cwc": {"payload_bits": 64, "blocks": 40, "block_length": 64},
    "spread-spectrum": {"payload_bits": 32},
    "tattooed": {"payload_bits": 32, "ratio": 6.0, "word": 48},
    "neuralmark": {"payload_bits": 16, "columns": 16, "rounds": 1},
    "sign-erasure": {"payload_bits": 32, "survive": 0.5},
    "structural": {"payload_bits": 8},
    "carriers": {"payload_bits": 32, "kind": "content"},
    "ingrain": {"payload_bits": 32, "kind": "content", "ingrainer_steps": 1},
    "wrong-key": {"payload_bits": 32},
}
GREY, COLOUR = digits(400), digits(400, channels=3)


def _scheme(name: str) -> Scheme:
    return make_scheme(name, PARAMETERS.get(name, {"payload_bits": 32}))


def _message(scheme: Scheme) -> np.ndarray:
    return (np.arange(scheme.payload_bits) % 2).astype(np.uint8)


def _begin(name: str) -> tuple[Scheme, Embedding]:
    """Start to mark a network that the scheme can read: one with a classifier's name for class means."""
    host: nn.Module = TwoConvolutions() if name == "deepsigns" else plain_net()
    context = EmbedContext(data=COLOUR if name == "deepsigns" else GREY, classes=10, nonce=bytes(16))
    scheme = _scheme(name)
    return scheme, scheme.begin(as_weights(host), _message(scheme), KEY, context)


def _begun(name: str) -> tuple[Scheme, Mark]:
    scheme, embedding = _begin(name)
    return scheme, embedding.mark


@pytest.mark.parametrize("name", SCHEMES)
def test_every_mark_is_bound_before_a_weight_changes(name: str) -> None:
    scheme, embedding = _begin(name)
    begun, mark = embedding.mark, embedding.finish()
    assert name == "deepsigns" or mark.original == host_digest(as_weights(plain_net()))
    assert scheme.written(mark).salt == begun.salt
    assert scheme.written(mark).form == begun.form
    assert scheme.written(mark).follows_from(KEY, _message(scheme))


def _layers_turned(mark: Mark) -> Mark:
    assert mark.carrier is not None
    return replace(mark, carrier=replace(mark.carrier, layers=mark.carrier.layers[::-1]))


CHANGES: dict[str, Callable[[Mark], Mark]] = {
    "scheme": lambda mark: replace(mark, scheme="sign-repetition"),
    "parameter": lambda mark: replace(mark, parameters={**mark.parameters, "payload_bits": 31}),
    "payload": lambda mark: replace(mark, payload_bits=mark.payload_bits + 1),
    "carrier rule": lambda mark: replace(mark, carrier=mark.carrier and replace(mark.carrier, rule="x")),
    "carrier layers": _layers_turned,
    "nonce": lambda mark: replace(mark, nonce=bytes(15) + b"1"),
    "original": lambda mark: replace(mark, original="0" * 64),
    "stretch": lambda mark: replace(mark, stretch=Stretch(4, 1, 1)),
    "state": lambda mark: replace(mark, state={**mark.state, "more": 1}),
    "tensors": lambda mark: replace(mark, tensors={**mark.tensors, "more": torch.zeros(1)}),
    "salt": lambda mark: replace(mark, salt=bytes(32)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["sign", "deepsigns", "carriers", "dm-qim"])
def test_no_salt_follows_from_another_choice(name: str, change: str) -> None:
    scheme, mark = _begun(name)
    assert mark.follows_from(KEY, _message(scheme))
    assert not CHANGES[change](mark).follows_from(KEY, _message(scheme))


def test_no_salt_follows_from_another_key_or_message() -> None:
    scheme, mark = _begun("sign")
    assert not mark.follows_from(Key.for_harness(seed=1), _message(scheme))
    assert not mark.follows_from(KEY, 1 - _message(scheme))
    assert not mark.follows_from(KEY, np.append(_message(scheme), np.uint8(0)))


@pytest.mark.parametrize("name", ["deepsigns", "carriers", "ingrain"])
def test_other_trigger_inputs_are_another_mark(name: str) -> None:
    scheme, mark = _begun(name)
    for kept, tensor in mark.tensors.items():
        changed = tensor.clone()
        changed.view(-1)[0] += 1
        other = replace(mark, tensors={**mark.tensors, kept: changed})
        assert not other.follows_from(KEY, _message(scheme))


def test_what_is_learned_after_the_salt_is_named_as_such() -> None:
    unproven = {name for name in SCHEMES if _scheme(name).unproven}
    assert unproven == {"riga"}
    _, mark = _begun("riga")
    assert not mark.tensors


def test_the_order_of_names_in_a_file_changes_nothing(tmp_path: Path) -> None:
    scheme, mark = _begun("structural")
    widths = dict(reversed(mark.state["widths"].items()))
    turned = replace(mark, state={**mark.state, "widths": widths})
    assert list(turned.state["widths"]) != list(mark.state["widths"])
    suspect = as_weights(plain_net())
    assert np.array_equal(scheme.extract(suspect, KEY, turned).bits, scheme.extract(suspect, KEY, mark).bits)
    assert turned.follows_from(KEY, _message(scheme))
    save_mark(turned, tmp_path / "m.mark.json")
    assert load_mark(tmp_path / "m.mark.json").follows_from(KEY, _message(scheme))


def test_a_module_its_state_and_its_file_are_one_original(tmp_path: Path) -> None:
    host = plain_net()
    save_file(host.state_dict(), tmp_path / "host.safetensors")
    digests = {
        host_digest(as_weights(host)),
        host_digest(as_weights(host.state_dict())),
        host_digest(open_weights(tmp_path / "host.safetensors")),
    }
    assert len(digests) == 1
    host[1].running_var[0] += 1  # buffers count
    assert host_digest(as_weights(host)) not in digests


def test_two_marks_of_one_message_have_nothing_in_common(state: dict[str, Tensor]) -> None:
    scheme, bits = make_scheme("sign", {"payload_bits": 64}), np.zeros(64, np.uint8)
    carrier = Carrier.choose(as_weights(state), "all")
    marks = [scheme.bind(as_weights(state), bits, KEY, EmbedContext(), carrier=carrier) for _ in range(2)]
    streams = [mark.streams(KEY).stream("positions").sample(carrier.size, 64) for mark in marks]
    assert marks[0].salt != marks[1].salt
    assert len(np.intersect1d(*streams)) < 8


def test_an_owners_mark_is_stretched_and_a_benchmarks_is_cheap(state: dict[str, Tensor]) -> None:
    scheme, bits = make_scheme("sign", {"payload_bits": 8}), np.zeros(8, np.uint8)
    carrier = Carrier.choose(as_weights(state), "all")
    for key, stretch in ((Key(bytes(32)), OWNER_STRETCH), (KEY, HARNESS_STRETCH)):
        mark = scheme.bind(as_weights(state), bits, key, EmbedContext(), carrier=carrier)
        assert mark.stretch == stretch
    cheap = replace(mark, key_origin="owner").salted(Key(bytes(32)), bits)
    with pytest.raises(BadInput, match="cheaper than"):
        scheme.extract(as_weights(state), Key(bytes(32)), cheap)


def test_a_text_is_bound_in_one_normal_form() -> None:
    composed, decomposed = "Zürich", "Zu\u0308rich"
    assert composed != decomposed
    assert np.array_equal(text_to_bits(composed, 64), text_to_bits(decomposed, 64))
