"""Weights that are stored in parts are read as the product that PyTorch computes with."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from cwwm.weights.checkpoint import open_weights
from cwwm.weights.derived import DerivedWeights, derived
from cwwm.weights.view import TensorWeights
from tests.cwwm.marked_state import LAYERS, State, network, owner


def _pruned(layer: nn.Module) -> None:
    prune.L1Unstructured.apply(layer, "weight", amount=0.3)  # type: ignore[no-untyped-call]


def _pruned_twice(layer: nn.Module) -> None:
    _pruned(layer)
    prune.RandomUnstructured.apply(layer, "bias", amount=2)  # type: ignore[no-untyped-call]


class _Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


FORMS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "pruned": (_pruned, "pruning mask"),
    "pruned, with the bias": (_pruned_twice, "pruning mask"),
    "weight norm": (parametrizations.weight_norm, "weight norm"),
    "weight norm of all": (lambda m: parametrizations.weight_norm(m, dim=None), "weight norm"),  # type: ignore[arg-type]
    "weight norm of inputs": (lambda m: parametrizations.weight_norm(m, dim=1), "weight norm"),
    "old weight norm": (nn.utils.weight_norm, "weight norm"),
    "spectral norm": (parametrizations.spectral_norm, "spectral norm"),
    "old spectral norm": (nn.utils.spectral_norm, "spectral norm"),
}
LAYER: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 5),
    "conv": lambda: nn.Conv2d(4, 6, 3),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("layer", LAYER)
@pytest.mark.parametrize("form", FORMS)
def test_products_are_what_the_layer_computes_with(form: str, layer: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = LAYER[layer]()
    change, name = FORMS[form]
    change(module)
    module.eval()(torch.ones(1, 6) if layer == "linear" else torch.ones(1, 4, 5, 5))
    torch.save(nn.Sequential(module).state_dict(), tmp_path / "m.pt")
    stored = open_weights(tmp_path / "m.pt")
    found = derived(stored)
    assert isinstance(found, DerivedWeights)
    assert name in found.forms
    assert sorted(found.names()) == ["0.bias", "0.weight"]
    computed = getattr(module, "weight").detach()  # noqa: B009 (a product, no parameter)
    assert found.shape("0.weight") == tuple(computed.shape)
    assert found.dtype("0.weight") == "float32"
    torch.testing.assert_close(found.tensor("0.weight"), computed)


def test_another_parametrisation_is_read_as_it_is_stored() -> None:
    model = nn.Sequential(nn.Linear(6, 5))
    parametrize.register_parametrization(model[0], "weight", _Halved())
    found = derived(TensorWeights(model.state_dict()))
    assert isinstance(found, DerivedWeights)
    assert found.forms == {"parametrisation read as it is stored": 1}
    torch.testing.assert_close(found.tensor("0.weight"), 2 * getattr(model[0], "weight").detach())  # noqa: B009


NONE: dict[str, State] = {
    "plain": network(0),
    "a mask of another shape": {"a.weight_orig": torch.ones(3, 4), "a.weight_mask": torch.ones(4)},
    "a mask alone": {"a.weight_mask": torch.ones(3, 4)},
    "beside a weight of that name": {
        "a.weight": torch.ones(3, 4),
        "a.weight_orig": torch.ones(3, 4),
        "a.weight_mask": torch.ones(3, 4),
    },
}


@pytest.mark.parametrize("case", NONE)
def test_what_has_no_product_is_left_as_it_is(case: str) -> None:
    weights = TensorWeights(NONE[case])
    assert derived(weights) is weights


def _masked(state: State) -> State:
    stored = dict(state)
    for name in LAYERS:
        weight = stored.pop(name)
        keep = (weight.abs() > weight.abs().median()).float()
        stored |= {f"{name}_orig": weight, f"{name}_mask": keep}
    return stored


def _normed(state: State) -> State:
    stored = dict(state)
    for name in LAYERS:
        module, weight = name.removesuffix("weight"), stored.pop(name)
        norms = weight.norm(dim=1, keepdim=True)
        stored |= {f"{module}parametrizations.weight.original0": norms}
        stored |= {f"{module}parametrizations.weight.original1": weight * 3}
    return stored


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", [_masked, _normed])
def test_a_mark_is_proven_in_products(form: Callable[[State], State], prefix: str) -> None:
    stored = {prefix + name: tensor for name, tensor in form(owner().marked).items()}
    found = owner().judges(TensorWeights(stored))
    assert found.verdict.proven
    assert dict(found.sighting.products) == {"pruning mask" if form is _masked else "weight norm": 3}
    assert found.verdict.log10_p == pytest.approx(found.evidence.combined + (math.log10(2) if prefix else 0))
