"""Plans against what embedding really does: predicted energy, ordering, and honest refusals."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from cwwm.codes import ConstantWeightCode
from cwwm.design import Option, Pool, plan
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed
from cwwm.schemes.constant_weight import ConstantWeight
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import as_weights

State = dict[str, Tensor]
PAYLOAD = 2048  # hundreds of ones: the energy of one draw is then within a few per cent of its mean


def _state(kind: str) -> State:
    rng = np.random.default_rng(4)
    draw: dict[str, Callable[[tuple[int, ...]], npt.NDArray[np.float64]]] = {
        "gaussian": lambda shape: rng.standard_normal(shape) * 0.05,
        "scales": rng.standard_normal,
        "laplace": lambda shape: rng.laplace(size=shape) * 0.01,
        "heavy": lambda shape: rng.standard_t(5, shape) * 0.3,
    }
    shapes = {"a.weight": (64, 32, 3, 3), "b.weight": (250, 280), "c.weight": (200, 300)}
    scales = {"a.weight": 0.2, "b.weight": 1.0, "c.weight": 5.0} if kind == "scales" else dict.fromkeys(shapes, 1.0)
    return {
        name: torch.from_numpy(draw[kind](shape).astype(np.float32)) * scales[name]
        for name, shape in shapes.items()
    }


def _spent(
    state: State, option: Option, survive: float, low: float, key: Key, nonce: bytes, payload: int = PAYLOAD
) -> float:
    """Return the energy that embedding a random message really costs."""
    power = sum(float(tensor.double().square().sum()) for tensor in state.values())
    scheme = ConstantWeight(
        payload_bits=payload, length=option.length, weight=option.weight, survive=survive, low=low
    )
    message = np.random.default_rng(1).integers(0, 2, payload).astype(np.uint8)
    _, mark = embed(scheme, as_weights(state), message, key, EmbedContext(nonce=nonce))
    return float(mark.report["squared_change"]) / power


@pytest.mark.parametrize(("survive", "low"), [(0.7, 0.5), (0.9, 0.5), (0.9, 0.2), (0.97, 0.5)])
@pytest.mark.parametrize("kind", ["gaussian", "laplace", "heavy", "scales"])
def test_predicted_energy_is_spent(kind: str, survive: float, low: float, harness_key: Key, nonce: bytes) -> None:
    state = _state(kind)
    weights = as_weights(state)
    options = plan(
        weights, Carrier.choose(weights, "all"), PAYLOAD, survive=survive, low=low, densities=(0.05, 0.15, 0.3)
    )
    for option in options:
        spent = []
        for place in range(4):  # the prediction is a mean over positions
            copy = {name: tensor.clone() for name, tensor in state.items()}
            spent.append(_spent(copy, option, survive, low, harness_key, bytes([place]) + nonce[1:]))
        assert np.mean(spent) == pytest.approx(option.energy, rel=0.15)


def test_energy_of_a_gaussian_pool_is_the_closed_form() -> None:
    weights = as_weights({"w.weight": torch.randn(1000, 600, generator=torch.Generator().manual_seed(0))})
    pool = Pool.measure(weights, Carrier.choose(weights, "all"), survive=[0.9], low=[0.5])

    def cdf(x: float) -> float:
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    t = 1.6448536269514722  # quantile 0.9 of |w|; watermark theory, energy per symbol
    one = (t * t + 1) * (2 * cdf(t) - 1) - 4 * t * density(0) + 2 * t * density(t)
    s = 0.6744897501960817  # quantile 0.5
    zero = 2 * ((1 + s * s) * (1 - cdf(s)) - s * density(s))
    assert [pool.t0[0.5], pool.t1[0.9]] == pytest.approx([s, t], rel=0.01)
    assert pool.one[0.9] == pytest.approx([one], rel=0.02)
    assert pool.zero[0.5] == pytest.approx([zero], rel=0.02)
    assert pool.power == pytest.approx(1.0, rel=0.01)


def test_options_are_sorted_fit_and_carry_the_payload() -> None:
    weights = as_weights(_state("gaussian"))
    options = plan(weights, Carrier.choose(weights, "all"), 256, survive=0.9)
    assert [option.energy for option in options] == sorted(option.energy for option in options)
    for option in options:
        code = ConstantWeightCode(length=option.length, weight=option.weight)
        assert code.payload_bits >= 256
        assert option.share == option.length / 148_432
        assert option.survive_random_1 == 0.99**option.weight > option.survive_random_5
        assert 0 < option.proof_overlap <= option.weight
        assert option.to_json()["length"] == option.length


def test_only_codes_that_leave_room_below_the_ones_are_offered(harness_key: Key, nonce: bytes) -> None:
    state = {"w.weight": torch.randn(30, 40, generator=torch.Generator().manual_seed(0))}
    weights = as_weights(state)
    options = plan(weights, Carrier.choose(weights, "all"), 256, survive=0.9)
    assert max(option.weight for option in options) <= 120
    for option in options:
        copy = {name: tensor.clone() for name, tensor in state.items()}
        assert _spent(copy, option, 0.9, 0.5, harness_key, nonce, 256) > 0


@pytest.mark.parametrize(
    ("payload", "survive", "low", "message"),
    [
        (256, 0.9, 0.95, "0 < low < survive < 1"),
        (256, 1.0, 0.5, "0 < low < survive < 1"),
        (5000, 0.9, 0.5, "no code for 5000 bits at survival 0.9 fits the 1,200 weights of carrier 'all'"),
        (256, 0.99, 0.5, "take a larger carrier or fewer bits"),
        (0, 0.9, 0.5, "payload_bits is 0"),
    ],
)
def test_impossible_plans_are_refused(payload: int, survive: float, low: float, message: str) -> None:
    weights = as_weights({"w.weight": torch.randn(30, 40, generator=torch.Generator().manual_seed(0))})
    with pytest.raises(BadInput, match=message):
        plan(weights, Carrier.choose(weights, "all"), payload, survive=survive, low=low)


@pytest.mark.parametrize(("spoil", "message"), [(float("nan"), "NaN or infinite"), (0.0, "sparse already")])
def test_pools_that_cannot_be_measured_are_refused(spoil: float, message: str) -> None:
    weight = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    weight[:20] = spoil
    weights = as_weights({"w.weight": weight})
    with pytest.raises(BadInput, match=message):
        plan(weights, Carrier.choose(weights, "all"), 64, survive=0.9)
