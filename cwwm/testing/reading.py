"""Rules of a scheme that any host can show: form, round trip, keys, marks as files, evidence, refusals."""

import json
from dataclasses import is_dataclass, replace

import numpy as np
import torch

from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Extraction
from cwwm.support.errors import BadInput
from cwwm.testing.rules import BrokenRule, Rule, require, require_refusal
from cwwm.testing.subject import KEY, Subject
from cwwm.weights.view import as_weights

_KEYS = 50  # wrong keys that are tried
_RATES = np.linspace(0, 0.99, 12)


def _form(subject: Subject) -> None:
    kind = type(subject.scheme)
    require(isinstance(vars(kind).get("name"), str), f"{kind.__name__} has no name of its own")
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    require("__dataclass_fields__" in vars(kind) and frozen, "it is no @dataclass(frozen=True, kw_only=True)")


def _rebuilt(subject: Subject) -> None:
    scheme = subject.scheme
    again = type(scheme)(**json.loads(json.dumps(scheme.parameters)))
    require(again == scheme, f"its parameters, through JSON, give {again!r}")
    spoken = eval(repr(scheme), {type(scheme).__name__: type(scheme)})
    require(spoken == scheme, f"its repr gives {spoken!r}")


def _messages(subject: Subject) -> None:
    size = subject.scheme.payload_bits
    for bad in (np.zeros(size - 1, np.uint8), np.full(size, 2), np.zeros((1, size))):
        host = as_weights(subject.host())
        begin = lambda bad=bad, host=host: subject.scheme.begin(host, bad, KEY, subject.context())  # noqa: E731
        require_refusal(
            begin, f"a message of shape {bad.shape}, values up to {bad.max():g}", f"{size} bits of 0 and 1"
        )


def _round_trip(subject: Subject) -> None:
    marked = subject.marked
    found = marked.read()
    require(marked.is_recovered(found), f"{_errors(subject, found)} bits are wrong, ok is {found.ok}")
    overlap = marked.scheme.overlap(found, marked.claim())
    require(overlap == 1.0, f"the overlap of the codeword is {overlap}, not 1")
    require(bool(np.isfinite(found.reliabilities).all()), "a reliability is not finite")
    require(found.bits.dtype == np.uint8, f"bits are {found.bits.dtype}, not uint8")


def _errors(subject: Subject, found: Extraction) -> int:
    return int(np.sum(found.bits != subject.message))


def _wrong_key(subject: Subject) -> None:
    marked, size = subject.marked, subject.scheme.payload_bits
    found = [marked.read(Key.for_harness(wrong=number)) for number in range(_KEYS)]
    require(not any(map(marked.is_recovered, found)), "a wrong key reads the message")
    error = float(np.mean([one.bits != subject.message for one in found]))
    limit = 4.5 * 0.5 / np.sqrt(_KEYS * size)
    require(abs(error - 0.5) < limit, f"{error:.4f} of the bits of wrong keys are wrong, not 0.5 +- {limit:.4f}")


def _no_evidence(subject: Subject) -> None:
    marked = subject.marked
    for number in range(_KEYS):
        key = Key.for_harness(wrong=number)
        value = marked.log10_p(marked.read(key), key)
        require(-5 < value <= 0, f"a wrong key has log10 p = {value:.1f}")


def _right_claim(subject: Subject) -> None:
    marked = subject.marked
    proven = marked.log10_p(marked.read())
    least = -0.15 * subject.scheme.payload_bits  # half of what as many fair coins give
    require(np.isfinite(proven), f"log10 p is {proven}")
    require(proven < least, f"a recovered message has log10 p = {proven:.1f}, not below {least:.1f}")


def _salt(subject: Subject) -> None:
    marked = subject.marked
    other = marked.read(mark=replace(marked.mark, salt=bytes(32)))
    require(
        not marked.is_recovered(other), "the message is recovered under another salt, so the salt binds no position"
    )


def _files(subject: Subject) -> None:
    marked = subject.marked
    text, packed = json.dumps(marked.mark.to_json()), marked.mark.packed()
    loaded = Mark.from_json(json.loads(text), packed=packed)
    require(loaded.to_json() == marked.mark.to_json(), "the mark is another one after JSON")
    require(marked.is_recovered(marked.read(mark=loaded)), "the mark no longer reads the message after JSON")
    message = subject.message
    spellings = ["".join(map(str, message)), ", ".join(map(str, message)), bytes(range(32)).hex()]
    spellings += [np.packbits(message, bitorder=order).tobytes().hex() for order in ("big", "little")]
    require(not any(spelling in text for spelling in spellings), "the mark spells the key or the message")


def _repeats(subject: Subject) -> None:
    first, other = (subject.mark(subject.host(), nonce=bytes([n]) * 16, epochs=1) for n in (0, 1))
    again = subject.mark(subject.host(), nonce=bytes(16), epochs=1, scheme=first.scheme)
    require(first.mark.to_json() == again.mark.to_json(), "the same key, message and nonce give two marks")
    require(_same(first.state, again.state), "the same key, message and nonce give two sets of weights")
    require(not _same(first.state, other.state), "another nonce gives the same weights")


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(
        tensor.shape == other[name].shape and torch.equal(tensor, other[name]) for name, tensor in one.items()
    )


def _law(subject: Subject) -> None:
    require(subject.scheme.survival("unheard of", 0.5) is None, "it knows a law for an attack that is none")
    for attack in ("magnitude", "random"):
        law = [subject.scheme.survival(attack, float(rate)) for rate in _RATES]
        values = [value for value in law if value is not None]
        if not values:
            continue
        require(len(values) == len(law), f"the law under {attack} is known at some rates only")
        require(values[0] == 1.0, f"the law under {attack} is {values[0]} where nothing is pruned")
        require(values == sorted(values, reverse=True), f"the law under {attack} rises with the rate")
        require(values[-1] >= 0.0, f"the law under {attack} goes down to {values[-1]}")


def _strangers(subject: Subject) -> None:
    marked = subject.marked
    found = marked.read(suspect={"other.weight": torch.ones(3, 3)})
    require(not found.applicable and not found.ok, "a suspect that has none of its tensors counts as read")
    require(found.reason, "a suspect that has none of its tensors is not applicable without a reason")
    require(marked.log10_p(found) == 0.0, "a suspect that has none of its tensors is evidence")
    require(marked.scheme.overlap(found, marked.claim()) == 0.0, "and has an overlap with the codeword")


def _refused_hosts(subject: Subject) -> None:
    for bad in (float("nan"), float("inf"), -float("inf")):
        host = subject.host()
        state = host if isinstance(host, dict) else host.state_dict()
        names = ["head.weight"] if subject.on_tensors else [name for name, t in state.items() if t.ndim > 1]
        for name in names:
            state[name].flatten()[7] = bad
        before = {name: tensor.clone() for name, tensor in state.items()}
        try:
            subject.scheme.begin(as_weights(host), subject.message, KEY, subject.context())
        except BadInput as error:
            require(
                "holds NaN or infinite" in str(error), f"the refusal does not say which tensor holds it: {error}"
            )
            require(any(name in str(error) for name in names), f"the refusal does not name the tensor: {error}")
        else:
            raise BrokenRule(f"a host with {bad} in {names[0]} is not refused")
        same = all(torch.equal(state[n].nan_to_num(), before[n].nan_to_num()) for n in state)
        require(same, "a host that is refused was changed")


ANY_HOST = (
    Rule("it is a frozen dataclass with a name of its own", _form, True, True),
    Rule("parameters and repr rebuild it", _rebuilt, True, True),
    Rule("a message of another length or other values is refused", _messages, True, True),
    Rule("the message is recovered from the marked host", _round_trip, False, True),
    Rule("a wrong key reads noise", _wrong_key, True, True),
    Rule("a wrong key is no evidence", _no_evidence, True, True),
    Rule("a recovered message is evidence", _right_claim, False, True),
    Rule("another salt reads noise", _salt, False, True),
    Rule("the mark survives JSON and holds neither key nor message", _files, False, True),
    Rule("equal key, message and nonce give equal weights, another nonce others", _repeats, False, True),
    Rule("survival is a probability that falls with the rate, or unknown", _law, False, True),
    Rule("a suspect without any of its layers is not applicable", _strangers, True, True),
    Rule("a host with NaN or infinite weights is refused and left alone", _refused_hosts, True, True),
)
