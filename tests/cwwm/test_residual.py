"""Reading against the original: the law it follows, what it is blind to, and every scheme that can be read so."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.readers import Informed, find_reader, reads_originals, view_of
from cwwm.residual import Expected, Steps, coefficients
from cwwm.schemes import SCHEMES, Claim, EmbedContext, Extraction, Scheme, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Layer
from cwwm.weights.sensitivity import layer_gains, measure_sensitivity
from cwwm.weights.view import TensorWeights, as_weights
from tests.conftest import TinyNet

State = dict[str, Tensor]
NONCE = bytes(range(16))
SHAPES = {"a.weight": (64, 96, 3, 3), "b.weight": (150, 400), "c.weight": (40, 300)}
LN10 = math.log(10)


def _random(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


def _original() -> State:
    draw = _random(0)
    return {
        name: draw(*shape) * 0.05 * (draw(shape[0], *[1] * (len(shape) - 1)) / 3).exp()
        for name, shape in SHAPES.items()
    }


def _message(scheme: Scheme) -> Bits:
    return np.random.default_rng(0).integers(0, 2, scheme.payload_bits).astype(np.uint8)


def _key(number: int = 0) -> Key:
    return Key.for_harness(residual=number)


def _marked(scheme: Scheme) -> tuple[State, Mark]:
    state = _original()
    return state, embed(scheme, as_weights(state), _message(scheme), _key(), EmbedContext(nonce=NONCE))[1]


def _read(scheme: Scheme, suspect: State, mark: Mark, reader: str = "informed") -> tuple[Extraction, float]:
    owned = TensorWeights(_original()) if reader == "informed" else None
    view = view_of(find_reader(reader), scheme, TensorWeights(suspect), _key(), mark, owned)
    found = view.extraction(scheme, _key(), mark)
    return found, scheme.evidence(found, Claim(_key(), mark, _message(scheme))).combined


def _snr2(log10_p: float) -> float:
    return -2 * LN10 * log10_p


def _recovered(scheme: Scheme, found: Extraction) -> bool:
    return found.ok and np.array_equal(found.bits, _message(scheme))


READ = {
    "spread-cwc": {"gain": 0.1},
    "spread-spectrum": {"outer": "polar", "per": "channel", "gain": 0.1},
    "protected-cwc": {"survive": 0.95, "low": 0.5, "lift": 1.0},
    "cwc": {"survive": 0.9},
    "sign": {"outer": "polar"},
    "sign-repetition": {"repetition": 5},
    "sign-erasure": {},
    "fixed-weights": {"spread": 1.0},
    "tattooed": {"ratio": 4.0, "carrier": "all"},
}


def _scheme(name: str) -> Scheme:
    return make_scheme(name, {"payload_bits": 64, **READ[name]})


def test_every_scheme_that_can_be_read_against_the_original_is_in_the_table() -> None:
    assert {name for name in SCHEMES if reads_originals(make_scheme(name, {}))} == set(READ)


@pytest.mark.parametrize("name", READ)
def test_every_scheme_is_recovered_against_the_original_and_proven_better_than_blind(name: str) -> None:
    scheme = _scheme(name)
    state, mark = _marked(scheme)
    noise = _random(1)
    for weight in state.values():
        rms = weight.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (weight.dim() - 1))
        weight += 0.15 * rms * noise(*weight.shape)
    found, informed = _read(scheme, state, mark)
    assert _recovered(scheme, found)
    assert informed <= _read(scheme, state, mark, "blind")[1]


@pytest.mark.parametrize("name", READ)
def test_scales_and_signs_of_channels_are_no_change(name: str) -> None:
    scheme = _scheme(name)
    state, mark = _marked(scheme)
    before, sure = _read(scheme, state, mark)
    draw = _random(2)
    turned = {
        key: weight * (draw(len(weight)).exp() * draw(len(weight)).sign()).view(-1, *[1] * (weight.dim() - 1))
        for key, weight in state.items()
    }
    after, still = _read(scheme, turned, mark)
    assert _recovered(scheme, before)
    assert _recovered(scheme, after)
    assert still == pytest.approx(sure, rel=0.02)


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.6])
def test_the_strength_of_a_pattern_follows_its_law(noise: float) -> None:
    """SNR2 = g^2 N / (E + g^2) for noise of relative energy E: the pattern is part of what is read."""
    scheme = _scheme("spread-cwc")
    state, mark = _marked(scheme)
    draw, original = _random(3), _original()
    for name, weight in state.items():
        rms = original[name].flatten(1).square().mean(1).sqrt().view(-1, *[1] * (weight.dim() - 1))
        weight += noise * rms * draw(*weight.shape)
    law = 0.1**2 * sum(math.prod(shape) for shape in SHAPES.values()) / (noise**2 + 0.1**2)
    assert _snr2(_read(scheme, state, mark)[1]) == pytest.approx(law, rel=0.2)


ATTACKS: dict[str, Callable[[Tensor], Tensor]] = {
    "pruned": lambda w: w.masked_fill(w.abs() <= w.abs().flatten().kthvalue(int(0.9 * w.numel())).values, 0),
    "largest drawn anew": lambda w: torch.where(
        w.abs() > w.abs().flatten().kthvalue(int(0.95 * w.numel())).values, _random(4)(*w.shape) * w.std(), w
    ),
    "3 bits": lambda w: (w / w.abs().max() * 3).round() * w.abs().max() / 3,
    "low-rank drift": lambda w: (
        w + w.std() * (_random(5)(len(w), 4) @ _random(6)(4, w[0].numel())).view(w.shape) / 4
    ),
    "low rank": lambda w: _of_rank(w, 0.5),
    "half of the rows": lambda w: torch.cat([w[: len(w) // 2], torch.zeros_like(w[len(w) // 2 :])]),
    "not finite": lambda w: w.masked_fill(_random(7)(*w.shape) > 2, torch.nan),
}


def _of_rank(weight: Tensor, removed: float) -> Tensor:
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    kept = len(values) - int(removed * len(values))
    return ((left[:, :kept] * values[:kept]) @ right[:kept]).view(weight.shape)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_small_pattern_outlives(attack: str) -> None:
    scheme = make_scheme("spread-cwc", {"payload_bits": 64, "gain": 0.06})
    state, mark = _marked(scheme)
    suspect = {name: ATTACKS[attack](weight) for name, weight in state.items()}
    assert _recovered(scheme, _read(scheme, suspect, mark)[0])


def test_no_step_is_idle() -> None:
    """Each step left out costs a tenth of the strength or more, where it is made for."""
    made_for = {
        "fit": lambda w: w * (1 + 0.3 * _random(8)(len(w)).view(-1, *[1] * (w.dim() - 1))),
        "requantise": lambda w: (w / w.abs().max() * 7).round() * w.abs().max() / 7,
        "whiten": ATTACKS["largest drawn anew"],
        "damp": ATTACKS["low-rank drift"],
    }
    scheme = make_scheme("spread-cwc", {"payload_bits": 64, "gain": 0.03})
    state, mark = _marked(scheme)
    original = TensorWeights(_original())
    claim = Claim(_key(), mark, _message(scheme))
    for step, change in made_for.items():
        suspect = TensorWeights({name: change(weight) for name, weight in state.items()})

        def strength(steps: Steps, suspect: TensorWeights = suspect) -> float:
            view = view_of(Informed(steps), scheme, suspect, _key(), mark, original)
            return _snr2(scheme.evidence(view.reading(scheme, _key(), mark), claim).combined)

        assert strength(Steps(**{step: False})) < 0.9 * strength(Steps()), step


def test_keys_that_did_not_mark_find_nothing() -> None:
    """The statistic of wrong keys is no larger than a normal variable: Hoeffding's bound holds whatever is read."""
    scheme = _scheme("spread-cwc")
    state, mark = _marked(scheme)
    suspect = {name: ATTACKS["largest drawn anew"](weight) for name, weight in state.items()}
    view = view_of(
        find_reader("informed"), scheme, TensorWeights(suspect), _key(), mark, TensorWeights(_original())
    )
    message, found = _message(scheme), []
    for number in range(1, 201):
        wrong = mark.salted(_key(number), message)
        claim = Claim(_key(number), wrong, message)
        found.append(scheme.evidence(scheme.read(view.weights, claim.key, wrong), claim).combined)
    assert sum(log10_p <= -1 for log10_p in found) <= 20
    assert min(found) > -5


def test_an_original_made_of_the_suspect_and_a_pattern_of_ones_own_proves_nothing() -> None:
    """Whoever subtracts a pattern from a suspect has an original to read it against, but of another digest."""
    scheme = _scheme("spread-cwc")
    stranger = _original()
    made_up = {name: weight.clone() for name, weight in stranger.items()}
    first = embed(scheme, as_weights(made_up), _message(scheme), _key(9), EmbedContext(nonce=NONCE))[1]
    fabricated = {name: 2 * stranger[name] - made_up[name] for name in stranger}  # the stranger less the pattern
    bound = scheme.bind(
        TensorWeights(fabricated), _message(scheme), _key(9), EmbedContext(nonce=NONCE), carrier=first.carrier,
        state=first.state,
    )  # fmt: skip
    for mark, forged in ((first, True), (bound, False)):
        owned = TensorWeights(fabricated)
        view = view_of(find_reader("informed"), scheme, TensorWeights(stranger), _key(9), mark, owned)
        claim = Claim(_key(9), mark, _message(scheme))
        log10_p = scheme.evidence(view.reading(scheme, _key(9), mark), claim).combined
        assert (log10_p < -100) is forged
    assert bound.salt != first.salt


def test_nothing_is_said_where_nothing_is_left() -> None:
    original = _original()["b.weight"]
    expected = Expected(torch.full(original.shape, 0.01))
    assert not coefficients(torch.zeros_like(original), original, expected).any()
    assert not coefficients(torch.full_like(original, torch.nan), original, expected).any()
    assert torch.allclose(coefficients(original, original, expected), torch.zeros(()), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_reading_changes_nothing_that_it_reads(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    half = torch.full((32, 64), 2e-3)
    original = (0.05 * torch.randn(32, 64, generator=draw)).to(dtype)
    suspect = original + (half + 0.01 * torch.randn(32, 64, generator=draw)).to(dtype)
    given = suspect, original, half
    before = [tensor.clone() for tensor in given]
    for steps in (Steps(), Steps(fit=False), Steps(whiten=False), Steps(damp=False)):
        assert coefficients(suspect, original, Expected(half), steps).any()
        assert all(torch.equal(now, was) for now, was in zip(given, before, strict=True))


def test_a_scheme_that_neither_sums_nor_ranks_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="dm-qim says not what it makes of an original"):
        find_reader("informed").require(make_scheme("dm-qim", {}))


def test_gains_follow_weights_a_unit_of_felt_change_and_keep_the_energy() -> None:
    layers = [Layer(name, shape, "float32") for name, shape in SHAPES.items()]
    felt = {"a.weight": 1.0, "b.weight": 100.0, "c.weight": 1e-6}
    gains = layer_gains(layers, felt)
    sizes = {layer.name: layer.size for layer in layers}
    assert sum(gains[n] ** 2 * sizes[n] for n in sizes) == pytest.approx(sum(sizes.values()))
    assert gains["b.weight"] < gains["a.weight"]
    assert max(g**2 for g in gains.values()) <= 3 * (1 + 1e-6)
    assert layer_gains(layers, None)["a.weight"] ** 2 / layer_gains(layers, None)["b.weight"] ** 2 == pytest.approx(
        sizes["a.weight"] / sizes["b.weight"]
    )


def test_sensitivity_is_the_change_of_answers_a_unit_of_energy(tiny_net: TinyNet) -> None:
    """Of the last layer it is known: signs of size g r_o on a row change logit o by g^2 r_o^2 |h|^2 on average."""
    tiny_net.train()
    before = {name: p.detach().clone() for name, p in tiny_net.named_parameters()}
    images, seen = _random(0)(12, 3, 8, 8), list[Tensor]()
    hook = tiny_net.head.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    found = measure_sensitivity(tiny_net, images, ["head.weight", "conv1.weight"])
    hook.remove()
    weight, bias = tiny_net.head.weight.detach(), tiny_net.head.bias.detach()
    logits = seen[0] @ weight.T + bias
    spread = (logits - logits.mean(1, keepdim=True)).square().mean()
    law = seen[0].square().sum(1).mean() * weight.square().mean(1).mean() * (1 - 1 / 16) / spread
    assert found["head.weight"] == pytest.approx(float(law), rel=0.3)
    assert found["conv1.weight"] > 0
    assert tiny_net.training
    assert all(torch.equal(p, before[name]) for name, p in tiny_net.named_parameters())


@pytest.mark.parametrize(
    ("channel", "strength"), [("random", 0.9), ("noise", 0.3), ("quantise", 3), ("average", 8)]
)
def test_a_pattern_knows_its_law_against_the_original(channel: str, strength: float) -> None:
    """Certain where SNR2 is many times what the message needs, hopeless where it is a fraction of it."""
    strong, weak = (make_scheme("spread-cwc", {"payload_bits": 64, "gain": gain}) for gain in (0.2, 0.001))
    original = TensorWeights(_original())
    for scheme, least, most in ((strong, 0.99, 1.0), (weak, 0.0, 0.01)):
        law = scheme.survival_against(original, _marked(scheme)[1], channel, strength)
        exact = channel in ("random", "average")  # nothing but the weights that are left counts there
        assert law is not None
        assert least <= law <= most or (exact and law > 0.99)
    assert strong.survival_against(original, _marked(strong)[1], "unheard of", 1) is None
