"""Laws of carriers: one pool from module, state dict and file; exact reading and writing of its weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import bench  # noqa: F401 (repairs torchvision's import)
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import RULES, Carrier, classifier, host_digest, left_out, prunable
from cwwm.weights.checkpoint import open_weights
from cwwm.weights.view import TensorWeights, Weights, as_weights
from cwwm.weights.weight_kind import weight_kind

MODELS = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_byobnet", "test_maxvit"]


def _timm(name: str) -> nn.Module:
    import timm  # after bench, which lets it import beside a CPU build of torch

    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=10)
    return model


def _expected_kinds(model: nn.Module) -> dict[str, str]:
    """Return what PyTorch's own classes say: the weights of convolutions and linear layers."""
    kinds = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            kinds[f"{name}.weight"] = "conv" if isinstance(module, nn.Conv2d) else "linear"
    return kinds


@pytest.mark.parametrize("name", MODELS)
def test_kinds_on_real_models_are_those_of_the_layer_classes(name: str) -> None:
    model = _timm(name)
    weights = as_weights(model)
    found = {n: weight_kind(n, weights.shape(n)) for n in weights.names()}
    assert {n: kind for n, kind in found.items() if kind} == _expected_kinds(model)


@pytest.mark.parametrize("name", MODELS)
def test_classifier_is_the_models_own(name: str) -> None:
    model = _timm(name)
    last = classifier(as_weights(model))
    assert last is not None
    assert model.get_parameter(last) is model.get_classifier().weight  # type: ignore[operator]


@pytest.mark.parametrize("name", MODELS)
def test_body_and_classifier_are_all(name: str) -> None:
    weights = as_weights(_timm(name))
    body, last, everything = (Carrier.choose(weights, rule) for rule in ("body", "classifier", "all"))
    assert len(last.layers) == 1
    assert set(body.layers) | set(last.layers) == set(everything.layers)
    assert body.size + last.size == everything.size


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("conv.weight", (8, 3, 3, 3), "conv"),
        ("conv1d.weight", (8, 3, 3), "conv"),
        ("dw.weight", (8, 1, 3, 3), "conv"),
        ("fc.weight", (10, 8), "linear"),
        ("encoder.in_proj_weight", (24, 8), "linear"),
        ("fc.bias", (10,), None),
        ("bn.weight", (8,), None),
        ("norm.weight", (1, 8, 1, 1), None),
        ("pos_embed", (1, 16, 8), None),
        ("embed_tokens.weight", (100, 8), None),
        ("transformer.wte.weight", (100, 8), None),
        ("model.embeddings.weight", (100, 8), None),
        ("attn.relative_position_bias_table", (49, 4), None),
        ("patch_embed.proj.weight", (8, 3, 4, 4), "conv"),
        ("layer_scale.gamma", (8,), None),
        ("bn.running_mean", (8,), None),
        ("bn.num_batches_tracked", (), None),
    ],
)
def test_kind_by_name_and_shape(name: str, shape: tuple[int, ...], kind: str | None) -> None:
    assert weight_kind(name, shape) == kind


def _three_views(model: nn.Module, folder: Path) -> list[Weights]:
    save_file(model.state_dict(), folder / "model.safetensors")
    return [as_weights(model), TensorWeights(model.state_dict()), open_weights(folder / "model.safetensors")]


@pytest.mark.parametrize("rule", [*RULES, "blocks.*weight"])
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_module_state_dict_and_file_give_one_pool(name: str, rule: str, tmp_path: Path) -> None:
    views = _three_views(_timm(name), tmp_path)
    carriers = [Carrier.choose(view, rule) for view in views]
    layers = [sorted(carrier.layers, key=lambda layer: layer.name) for carrier in carriers]
    assert layers[0] == layers[1] == layers[2]
    assert len({carriers[0].digest(view) for view in views}) == 1
    positions = np.arange(0, carriers[0].size, 97)
    gathered = [carriers[0].at(positions).gather(view) for view in views]
    assert torch.equal(gathered[0], gathered[1])
    assert torch.equal(gathered[0], gathered[2])


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(20, 20)
        self.b = nn.Linear(20, 20)
        self.b.weight = self.a.weight


def test_tied_tensors_count_once() -> None:
    model = _Tied()
    for view in (as_weights(model), as_weights(model.state_dict())):
        carrier = Carrier.choose(view, "all")
        assert [layer.name for layer in carrier.layers] == ["a.weight"]
        assert carrier.size == 400


def _converted(name: str, dtype: torch.dtype, channels_last: bool) -> nn.Module:
    model = _timm(name).to(dtype)
    return model.to(memory_format=torch.channels_last) if channels_last else model  # type: ignore[call-overload]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gather_reads_what_scatter_wrote_and_nothing_else_moves(dtype: torch.dtype, channels_last: bool) -> None:
    model = _converted("test_resnet", dtype, channels_last)
    weights = as_weights(model)
    carrier = Carrier.choose(weights, "all")
    positions = np.random.default_rng(0).choice(carrier.size, 5000, replace=False)
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0)).to(dtype).float()
    expected = torch.cat([model.get_parameter(n).detach().flatten() for n in prunable(weights)]).float()
    expected[positions] = values
    carrier.at(positions).scatter(weights, values)
    after = torch.cat([model.get_parameter(n).detach().flatten() for n in prunable(weights)]).float()
    assert torch.equal(after, expected)
    assert torch.equal(carrier.at(positions).gather(weights), values)


def test_gather_skips_missing_layers(state: dict[str, Tensor]) -> None:
    carrier = Carrier.choose(as_weights(state), "all")
    placement = carrier.at(np.arange(0, carrier.size, 7))
    del state["block.weight"]
    weights = as_weights(state)
    values = placement.gather(weights, carrier.missing(weights))
    assert not values[placement.layer == 1].any()
    assert values[placement.layer != 1].all()
    assert not placement.gather(weights, {0, 1, 2}).any()


def test_missing_says_what_is_wrong(state: dict[str, Tensor]) -> None:
    carrier = Carrier.choose(as_weights(state), "all")
    state["head.weight"] = torch.zeros(10, 100)
    del state["stem.weight"]
    reasons = carrier.missing(as_weights(state))
    assert reasons == {0: "it has no tensor stem.weight", 2: "head.weight has shape [10, 100], not [52, 100]"}


def test_rules_by_kind_and_size(state: dict[str, Tensor]) -> None:
    def names(rule: str) -> list[str]:
        return [layer.name for layer in Carrier.choose(as_weights(state), rule).layers]

    assert names("all") == ["stem.weight", "block.weight", "head.weight"]
    assert names("conv") == ["stem.weight"]
    assert names("linear") == ["block.weight", "head.weight"]
    assert names("large") == ["stem.weight", "block.weight"]
    assert names("^(stem|norm)\\.") == ["stem.weight", "norm.weight"]


@pytest.mark.parametrize(
    ("rule", "message"), [("(", "nor a regular expression"), ("nothing_like_it", "matches no weight")]
)
def test_bad_rules_are_refused(state: dict[str, Tensor], rule: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Carrier.choose(as_weights(state), rule)


@pytest.mark.parametrize(
    ("dtype", "rule", "reason"),
    [
        (torch.float64, "all", "float64"),
        (torch.float8_e4m3fn, "all", "float8_e4m3fn"),
        (torch.float8_e5m2, "block", "float8_e5m2"),
        (torch.int8, "block", "int8"),
        (torch.complex64, "block", "of complex numbers"),
    ],
)
def test_a_dtype_that_cannot_carry_is_refused(
    state: dict[str, Tensor], dtype: torch.dtype, rule: str, reason: str
) -> None:
    state["block.weight"] = state["block.weight"].to(dtype)
    with pytest.raises(BadInput, match=rf"block\.weight is {reason}; carriers are float32"):
        Carrier.choose(as_weights(state), rule)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.complex64])
def test_rules_leave_out_what_is_no_float_and_say_so(state: dict[str, Tensor], dtype: torch.dtype) -> None:
    whole = Carrier.choose(as_weights(state), "all")
    state["block.weight"] = state["block.weight"].to(dtype)
    weights, name = as_weights(state), str(dtype).removeprefix("torch.")
    assert Carrier.choose(weights, "all").layers == tuple(x for x in whole.layers if x.name != "block.weight")
    assert left_out(weights, "all") == left_out(weights, "alive:large") == {"block.weight": name}
    assert not left_out(weights, "conv")
    assert not left_out(weights, "block")
    del state["head.weight"]
    with pytest.raises(
        BadInput, match=rf"no weight of this model that can carry; left out: block\.weight \({name}\)"
    ):
        Carrier.choose(as_weights(state), "linear")


@pytest.mark.parametrize("name", ["decoder.weight", "a.weight", "word_embeddings.weight"])
def test_one_name_of_a_tied_tensor_counts_whatever_the_order(name: str) -> None:
    """An embedding stays one under all its names; of weights the name that sorts first counts."""
    shared = torch.randn(20, 20)
    forth = {"b.weight": shared, name: shared, "other.weight": torch.randn(20, 20)}
    back = dict(reversed(list(forth.items())))
    expected = name if name != "decoder.weight" else "b.weight"
    for state in (forth, back):
        weights = as_weights(state)
        assert set(weights.names()) == {expected, "other.weight"}
        assert dict(weights.tied) == {({"b.weight", name} - {expected}).pop(): expected}
        assert name in weights
        assert torch.equal(weights.tensor("b.weight"), weights.tensor(name))
        pool = {layer.name for layer in Carrier.choose(weights, "all").layers}
        assert pool == ({"other.weight"} if "embeddings" in name else {expected, "other.weight"})
        assert [layer.name for layer in Carrier.choose(weights, "^b").layers] == [expected]
    assert host_digest(as_weights(forth)) == host_digest(as_weights(back))


def test_a_square_matrix_and_its_transpose_are_not_tied() -> None:
    square = torch.randn(20, 20)
    assert list(as_weights({"a.weight": square, "b.weight": square.T}).names()) == ["a.weight", "b.weight"]


def test_writing_a_tensor_that_is_not_contiguous_is_refused(state: dict[str, Tensor]) -> None:
    state["block.weight"] = state["block.weight"].t()
    weights = as_weights(state)
    with pytest.raises(BadInput, match="contiguous"):
        Carrier.choose(weights, "linear").at(np.arange(5)).scatter(weights, torch.zeros(5))


def test_digest_follows_every_weight_of_the_pool_and_nothing_else(state: dict[str, Tensor]) -> None:
    weights = as_weights(state)
    carrier = Carrier.choose(weights, "all")
    before = carrier.digest(weights)
    state["head.bias"][0] = 1.0
    assert carrier.digest(weights) == before
    state["head.weight"][51, 99] *= 1.0001
    assert carrier.digest(weights) != before


def test_json_round_trip(state: dict[str, Tensor]) -> None:
    carrier = Carrier.choose(as_weights(state), "all")
    assert Carrier.from_json(carrier.to_json()) == carrier
    assert carrier.size == 60_000
    assert carrier.offsets.tolist() == [0, 12_800, 54_800, 60_000]


def test_digest_does_not_depend_on_the_memory_format() -> None:
    plain, channels_last = _timm("test_resnet"), _converted("test_resnet", torch.float32, channels_last=True)
    carrier = Carrier.choose(as_weights(plain), "all")
    assert carrier.digest(as_weights(channels_last)) == carrier.digest(as_weights(plain))
