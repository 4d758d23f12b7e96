"""The study of pretrained networks: the strongest mark within its price, and what its table says."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from bench.studies.pretrained_survival import KEPT, STEPS, Entry, Outcome, Owned, page, strongest
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.view import TensorWeights, as_weights

ENTRY = Entry("lattice", "dm-qim", {"carrier": "all"}, "step", 0.01, 10)
PRICE = 0.05  # most of the weights' norm that a mark may change, in place of answers


@pytest.fixture(scope="module")
def host() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 10))


def _marked(host: nn.Module, strength: float, least: float = 0.0) -> Owned:
    if strength < least:
        raise BadInput("too weak to be embedded")
    model, key = copy.deepcopy(host), Key.for_harness(study="test")
    scheme = make_scheme(ENTRY.scheme, {"payload_bits": 64, **ENTRY.parameters, ENTRY.strength: strength})
    bits = np.zeros(64, np.uint8)
    _, mark = embed(scheme, as_weights(model), bits, key, EmbedContext(nonce=bytes(16)))
    return Owned(model, scheme, key, mark, bits, TensorWeights(dict(model.state_dict())))


def _changed(host: nn.Module, model: nn.Module) -> float:
    before, after = (torch.cat([w.flatten() for w in net.state_dict().values()]) for net in (host, model))
    return float((after - before).norm() / before.norm())


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_the_strongest_mark_within_its_price_is_found(host: nn.Module, least: float) -> None:
    """Also where weak ones are refused; as near as halving the range on a log scale comes."""
    owned, setting = strongest(
        lambda strength: _marked(host, strength, least),
        lambda model: 1.0 if _changed(host, model) <= PRICE else 0.0,
        ENTRY,
    )
    found = float(setting.removeprefix("step "))
    nearest = math.exp(math.log(ENTRY.high / ENTRY.low) / 2**STEPS)
    assert _changed(host, owned.model) <= PRICE < _changed(host, _marked(host, 1.01 * found * nearest).model)


def test_what_never_keeps_the_answers_is_said_not_to_be_embedded(host: nn.Module) -> None:
    with pytest.raises(BadInput, match=f"not embedded with {KEPT:.0%}"):
        strongest(lambda strength: _marked(host, strength), lambda _: 0.0, ENTRY)


def test_the_table_counts_what_each_reading_brings_back() -> None:
    read = {
        "permute 1": {"blind": [False, -0.1], "aligned": [True, -80.0]},
        "magnitude 0.3": {"blind": [True, -80.0], "aligned": [True, -80.0]},
        "noise 0.05": {"blind": [False, -0.1], "aligned": [False, -0.2]},
    }
    network = "tf_efficientnet_lite0"
    outcomes = [
        Outcome(network, "cwwm embed", "gain 0.0045", "", 1e-5, 0.98, (0.97, 1.0, 0.97), read),
        Outcome(network, "sign", "strength 1", "", 1e-3, 0.984, (), read),
        Outcome(network, "cwc", refusal="not embedded with 98% of the answers kept"),
    ]
    rows = [line for line in page(outcomes, 250, torch.device("cpu")).splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows[1:]]
    assert cells[0][:4] == ["cwwm embed", "gain 0.0045", "1.0e-05", "98.0% (97.0% to 100.0%)"]
    assert cells[1] == [
        "sign", "strength 1", "1.0e-03", "98.4%", "1 of 3", "2 of 3 (aligned)", "noise 0.05",
    ]  # fmt: skip
    assert cells[2] == ["cwc", "not embedded with 98% of the answers kept", "-", "-", "-", "-", "-"]
