"""Laws of every scheme, driven by one table: the contract of `check_scheme`, and what holds of ours alone."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import SCHEMES, Claim, EmbedContext, Extraction, Scheme, embed, make_scheme, scheme_of
from cwwm.schemes.sign_repetition import SignRepetition
from cwwm.support.errors import BadInput
from cwwm.testing import SCHEME_RULES, BrokenRule, Rule, Subject, check_scheme, scheme_rules
from cwwm.weights.view import Weights, as_weights
from tests.plain_net import plain_net

K = 64
CASES: list[tuple[str, dict[str, Any]]] = [
    ("cwc", {}),
    ("cwc", {"covert": True}),
    ("cwc", {"projection": "end", "density": 0.25}),
    ("cwc", {"lift": 1.5, "covert": True}),
    ("cwc", {"length": 400, "weight": 20, "survive": 0.97}),
    ("protected-cwc", {"block_length": 128, "survive": 0.99}),
    ("protected-cwc", {"blocks": 60, "block_length": 32, "block_weight": 2, "survive": 0.95, "low": 0.8}),
    ("protected-cwc", {"block_length": 64, "survive": 0.99, "covert": True}),
    ("sign-repetition", {}),
    ("sign-repetition", {"repetition": 1, "floor": 0.3}),
    ("sign", {}),
    ("sign", {"strength": 2.0}),
    ("sign-repetition", {"repetition": 3, "outer": "linear"}),
    ("sign-erasure", {"survive": 0.5}),
    ("sign-erasure", {"survive": 0.5, "outer": "polar"}),
    ("dm-qim", {}),
    ("dm-qim", {"repetition": 5, "step": 1.0}),
    ("dm-qim", {"outer": "polar"}),
    ("fixed-weights", {}),
    ("fixed-weights", {"repetition": 2, "outer": "polar", "length": 256}),
    ("spread-spectrum", {}),
    ("spread-spectrum", {"outer": "polar"}),
    ("spread-cwc", {"carrier": "all", "gain": 0.2}),
    ("spread-cwc", {"carrier": "all", "gain": 0.2, "blocks": 32, "rows": 64}),
    ("tattooed", {"carrier": "all", "ratio": 6.0}),
    ("tattooed", {"carrier": "all", "gain": 4e-3, "share": 0.5, "row_weight": 4, "word": 96}),
    ("none", {}),
    ("wrong-key", {"scheme": "cwc"}),
]
TRAINED: dict[str, dict[str, Any]] = {
    "uchida": {"strength": 1.0},
    "st-dm": {},
    "deepsigns": {},
    "riga": {},
    "carriers": {"strength": 1.0},
    "ingrain": {"strength": 1.0, "ingrainer_steps": 100},
    "neuralmark": {"strength": 4.0, "columns": 128, "rounds": 3},
}  # see test_trained_schemes.py, too
WIDTHS = {"structural"}  # carried by no weight, and needs a module: see test_structural.py
CONTROLS = {"none", "wrong-key"}  # read nothing back, by intention
SCALE = "a common positive scale does not matter"
WITHOUT = {"dm-qim": {SCALE}}  # a lattice of fixed step does not read a rescaled model
LAWLESS = {"tattooed", "spread-cwc"}  # decoded in rounds, of which no law is known; a law that takes the pool

encodings = pytest.mark.parametrize(("name", "parameters"), [case for case in CASES if case[0] not in CONTROLS])
State = dict[str, Tensor]


def _scheme(name: str, parameters: dict[str, Any], **more: Any) -> Scheme:  # noqa: ANN401 (any parameter)
    return make_scheme(name, {"payload_bits": K, **parameters, **more})


def _contract() -> list[Any]:
    """Return every rule of every case, to be run one at a time."""
    found = []
    for number, (name, parameters) in enumerate(CASES):
        subject = Subject.of(_scheme(name, parameters))
        for rule in scheme_rules(subject, control=name in CONTROLS, without=WITHOUT.get(name, ())):
            found.append(pytest.param(subject, rule, id=f"{name}{number}-{rule.says}"))
    return found


@pytest.mark.parametrize(("subject", "rule"), _contract())
def test_a_scheme_keeps_its_contract(subject: Subject, rule: Rule[Subject]) -> None:
    rule.check(subject)


@pytest.mark.parametrize("name", TRAINED)
def test_a_scheme_that_trains_keeps_its_contract(name: str) -> None:
    check_scheme(_scheme(name, TRAINED[name]))


def test_a_scheme_of_widths_keeps_its_contract() -> None:
    pytest.importorskip("torch_pruning")
    parameters = {"payload_bits": 24, "segment": 4, "least": 0.05, "most": 0.6}
    check_scheme(make_scheme("structural", parameters), host=plain_net)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_rule_that_is_left_out_is_broken(name: str) -> None:
    with pytest.raises(BrokenRule, match=f"breaks the rule '{SCALE}': the message is lost"):
        check_scheme(SCHEMES[name])


def _message(bits: int = K) -> Bits:
    """Return a message with as many ones as zeros."""
    return np.random.default_rng(5).permutation(np.arange(bits) % 2).astype(np.uint8)


def _embed(scheme: Scheme, host: State | nn.Module, key: Key, nonce: bytes) -> Mark:
    return embed(scheme, as_weights(host), _message(scheme.payload_bits), key, EmbedContext(nonce=nonce))[1]


def _extract(host: State | nn.Module, key: Key, mark: Mark) -> Extraction:
    return scheme_of(mark).extract(as_weights(host), key, mark)


def _whole(found: Extraction) -> bool:
    return found.ok and np.array_equal(found.bits, _message(len(found.bits)))


def test_the_table_covers_every_scheme() -> None:
    assert {name for name, _ in CASES} | TRAINED.keys() | WIDTHS == set(SCHEMES)
    assert {name for name, scheme in SCHEMES.items() if not scheme.one_shot} == TRAINED.keys()


@encodings
def test_round_trip_on_a_module_through_its_state_dict(
    name: str, parameters: dict[str, Any], tiny_net: nn.Module, harness_key: Key, nonce: bytes
) -> None:
    mark = _embed(_scheme(name, parameters), tiny_net, harness_key, nonce)
    assert _whole(_extract(tiny_net, harness_key, mark))
    assert _whole(_extract(tiny_net.state_dict(), harness_key, mark))
    assert tiny_net(torch.zeros(2, 3, 8, 8)).isfinite().all()


@encodings
def test_a_payload_too_large_for_the_pool_is_refused(
    name: str, parameters: dict[str, Any], state: State, harness_key: Key, nonce: bytes
) -> None:
    short = {key: value for key, value in parameters.items() if key not in ("length", "weight", "blocks", "rows")}
    scheme = _scheme(name, short, payload_bits=4000 if name == "spread-cwc" else 6400, carrier="classifier")
    with pytest.raises(BadInput, match=r"carrier 'classifier'.* 5,200 weights.*; choose"):
        _embed(scheme, state, harness_key, nonce)


@encodings
@pytest.mark.parametrize("attack", ["magnitude", "random"])
def test_our_encodings_know_their_law_under_pruning(name: str, parameters: dict[str, Any], attack: str) -> None:
    law = [_scheme(name, parameters).survival(attack, rate) for rate in np.linspace(0, 0.99, 12)]
    assert law == [None] * 12 if name in LAWLESS else None not in law


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("cwc", {"payload_bits": 0}, "payload_bits is from 1 to"),
        ("cwc", {"survive": 1.0}, "low < survive < 1"),
        ("cwc", {"low": 0.95}, "low < survive < 1"),
        ("cwc", {"projection": "never"}, "'step' or 'end'"),
        ("cwc", {"interval": 0}, "interval"),
        ("cwc", {"lift": 0.9}, "lift"),
        ("cwc", {"length": 20, "weight": 10}, "carries 17 bits, not 64"),
        ("cwc", {"lenght": 20}, "did you mean length"),
        ("cwc", {"density": "much"}, "scheme 'cwc'"),
        ("sign-repetition", {"repetition": 0}, "repetition >= 1"),
        ("sign-repetition", {"floor": 0.0}, "floor"),
        ("dm-qim", {"outer": "poler"}, "did you mean polar"),
        ("dm-qim", {"length": 256}, "dm-qim has a length only under an outer code"),
        ("spread-spectrum", {"outer": "none"}, "outer code"),
        ("spread-spectrum", {"outer": "polar", "length": 1000}, "power of two"),
        ("cwx", {}, "did you mean cwc"),
    ],
)
def test_impossible_parameters_are_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _scheme(name, parameters)


@dataclass(frozen=True, kw_only=True)
class Broken(SignRepetition):
    """A scheme that works, for others to break."""

    name: ClassVar[str] = "broken"


@dataclass(frozen=True, kw_only=True)
class Nameless(SignRepetition):
    """Has the name of what it derives from."""


@dataclass(frozen=True, kw_only=True)
class Forgetful(Broken):
    """Its parameters do not hold all of it."""

    name: ClassVar[str] = "forgetful"
    extra: int = 1

    @property
    def parameters(self) -> dict[str, Any]:
        return {"payload_bits": self.payload_bits, "extra": 2}


@dataclass(frozen=True, kw_only=True)
class Keyless(Broken):
    """Reads with a key that everybody has."""

    name: ClassVar[str] = "keyless"

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> Any:  # noqa: ANN401
        return super().begin(weights, message, EVERYBODYS, context)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        return super().extract(suspect, EVERYBODYS, mark)


EVERYBODYS = Key.for_harness(of="everybody")


@dataclass(frozen=True, kw_only=True)
class Boastful(Broken):
    """Gives every claim a strong p-value."""

    name: ClassVar[str] = "boastful"

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        return Evidence({"matches": -40.0})


@dataclass(frozen=True, kw_only=True)
class Silent(Broken):
    """Never gives evidence."""

    name: ClassVar[str] = "silent"

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        return Evidence({"matches": 0.0})


@dataclass(frozen=True, kw_only=True)
class Loose(Broken):
    """Reads the signs of weights and is confused by one more in the last bit."""

    name: ClassVar[str] = "loose"

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        found = super().extract(suspect, key, mark)
        return replace(found, bits=np.concatenate([found.bits[:-1], 1 - found.bits[-1:]])) if found.ok else found


@dataclass(frozen=True, kw_only=True)
class Vandal(Broken):
    """Writes where no weight of a layer is."""

    name: ClassVar[str] = "vandal"

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> Any:  # noqa: ANN401
        embedding = super().begin(weights, message, key, context)
        if "norm.weight" in weights:
            weights.tensor("norm.weight").fill_(2.0)
        return embedding


@dataclass(frozen=True, kw_only=True)
class Hopeful(Broken):
    """Has a law that rises."""

    name: ClassVar[str] = "hopeful"

    def survival(self, attack: str, strength: float) -> float | None:
        return None if attack == "unheard of" else 1.0 - 0.5 * (0 < strength < 0.5)


@dataclass(frozen=True, kw_only=True)
class Crash(Broken):
    """Cannot read suspects that lack its layers."""

    name: ClassVar[str] = "crash"

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        suspect.tensor("stem.weight")
        return super().extract(suspect, key, mark)


@pytest.mark.parametrize(
    ("scheme", "says"),
    [
        (Nameless, "frozen dataclass with a name of its own': Nameless has no name"),
        (Forgetful, "parameters and repr rebuild it'"),
        (Keyless, "a wrong key reads noise': a wrong key reads the message"),
        (Boastful, "a wrong key is no evidence': a wrong key has log10 p = -40"),
        (Silent, "a recovered message is evidence': a recovered message has log10 p = 0"),
        (Loose, "the message is recovered from the marked host': 1 bits are wrong"),
        (Vandal, "only host weights change, as the report says'"),
        (Hopeful, "survival is a probability that falls with the rate, or unknown': the law under magnitude rises"),
        (Crash, "without any of its layers is not applicable': it raised KeyError"),
    ],
)
def test_a_scheme_that_breaks_a_rule_is_told_which(scheme: type[Scheme], says: str) -> None:
    with pytest.raises(BrokenRule, match=says) as broken:
        check_scheme(scheme)
    assert f"scheme {scheme.__name__}(payload_bits=64" in str(broken.value)


def test_a_scheme_that_keeps_all_rules_passes_and_a_rule_is_named_right() -> None:
    check_scheme(Broken)
    check_scheme(Silent, without={"a recovered message is evidence"})
    with pytest.raises(
        BadInput, match="unknown rule 'a wrong key reads nose'; did you mean a wrong key reads noise"
    ):
        check_scheme(Broken, without={"a wrong key reads nose"})
    assert len({rule.says for rule in SCHEME_RULES}) == len(SCHEME_RULES)
