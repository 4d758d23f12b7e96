"""The classifier: the layer that timm, torchvision and Hugging Face mean, whatever the order of a file."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from bench.models.timm_names import timm_with_ours
from bench.studies.classifiers import Answering, page
from cwwm.ownership.keys import Key
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, classifier, classifiers
from cwwm.weights.heads import heads
from cwwm.weights.view import as_weights
from cwwm.weights.weight_kind import weight_kind
from tests.cwwm.owner_commands import EMBED, as_json, said

TIMM = [  # one for each way in which timm's configurations name a classifier, and what misled a rule before
    "caformer_s18", "cpubone_nano", "crossvit_9_240", "deit_tiny_distilled_patch16_224", "efficientvim_m1",
    "efficientvim_m1_dist", "efficientvit_b0", "ese_vovnet19b_slim_dw", "inception_next_atto", "iformer_t",
    "legacy_seresnet18", "lenet300_100", "levit_128s", "levit_512_s8", "mobilenetv4_hybrid_medium", "pit_ti_224",
    "qwen3_vit_88m", "repvit_m1", "resnet10t", "resnet50_clip", "selecsls42b", "shvit_s1", "test_efficientnet",
    "test_mambaout", "test_vit", "vgg11", "vgg6_bn", "volo_d1_224", "xcit_nano_12_p16_224",
]  # fmt: skip
TORCHVISION = [
    "alexnet", "densenet121", "efficientnet_b0", "convnext_tiny", "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "mvit_v1_b", "r3d_18", "resnet18", "s3d",
    "shufflenet_v2_x0_5", "squeezenet1_0", "swin_t", "vgg11_bn", "vit_b_16",
]  # fmt: skip
FORGOTTEN = {"levit_384_s8", "levit_conv_384_s8"}  # of two heads, timm's configuration names one

_BERT = {f"bert.encoder.layer.{i}.output.dense.weight": (64, 256) for i in range(12)}
_VIT = {f"vit.encoder.layer.{i}.{part}.weight": (96, 96) for i in range(12) for part in ("output.dense", "fc")}
FACES: dict[str, tuple[dict[str, tuple[int, ...]], list[str]]] = {
    "ViT": (_VIT | {"classifier.weight": (10, 96)}, ["classifier"]),
    "DeiT, two heads": (
        _VIT | {"cls_classifier.weight": (10, 96), "distillation_classifier.weight": (10, 96)},
        ["cls_classifier", "distillation_classifier"],
    ),
    "BERT": (_BERT | {"bert.pooler.dense.weight": (64, 64), "classifier.weight": (2, 64)}, ["classifier"]),
    "BERT, masked": (
        _BERT | {"cls.predictions.transform.dense.weight": (64, 64), "cls.predictions.decoder.weight": (999, 64),
                 "cls.seq_relationship.weight": (2, 64)},
        ["cls.predictions.decoder"],
    ),
    "BERT, masked and tied": (_BERT | {"cls.predictions.transform.dense.weight": (64, 64)}, []),
    "BERT without a head": (
        {name.removeprefix("bert."): shape for name, shape in _BERT.items()} | {"pooler.dense.weight": (64, 64)}, []
    ),
    "RoBERTa": (
        _BERT | {"classifier.dense.weight": (64, 64), "classifier.out_proj.weight": (64, 64)},
        ["classifier.out_proj"],
    ),
    "RoBERTa, masked": (
        _BERT | {"lm_head.dense.weight": (64, 64), "lm_head.decoder.weight": (999, 64)}, ["lm_head.decoder"]
    ),
    "RoBERTa, masked and tied": (_BERT | {"lm_head.dense.weight": (64, 64)}, []),
    "DistilBERT": (
        {"distilbert.transformer.layer.5.ffn.lin2.weight": (64, 256), "pre_classifier.weight": (64, 64),
         "classifier.weight": (2, 64)},
        ["classifier"],
    ),
    "GPT-2": ({"transformer.h.0.mlp.c_fc.weight": (64, 256), "lm_head.weight": (999, 64)}, ["lm_head"]),
    "GPT-2, classes": ({"transformer.h.0.mlp.c_fc.weight": (64, 256), "score.weight": (3, 64)}, ["score"]),
    "GPT-2, tied": ({"transformer.h.0.mlp.c_fc.weight": (64, 256), "transformer.wte.weight": (999, 64)}, []),
    "Llama": ({"model.layers.31.mlp.down_proj.weight": (64, 256), "lm_head.weight": (999, 64)}, ["lm_head"]),
    "ConvNeXT": ({"convnext.encoder.stages.0.layers.0.pwconv1.weight": (96, 24), "classifier.weight": (10, 24)},
                 ["classifier"]),
    "ResNet": ({"resnet.encoder.stages.3.layers.0.layer.2.convolution.weight": (64, 64, 3, 3),
                "classifier.1.weight": (10, 64)}, ["classifier.1"]),
    "Swin": ({"swin.encoder.layers.0.blocks.0.output.dense.weight": (24, 96), "classifier.weight": (10, 24)},
             ["classifier"]),
    "CLIP without a head": (
        {"vision_model.encoder.layers.0.mlp.fc1.weight": (96, 24),
         "text_model.encoder.layers.0.mlp.fc2.weight": (24, 96),
         "visual_projection.weight": (32, 24), "text_projection.weight": (32, 24)}, []
    ),
    "BART": ({"model.decoder.layers.5.fc2.weight": (64, 256), "classification_head.dense.weight": (64, 64),
              "classification_head.out_proj.weight": (2, 64)}, ["classification_head.out_proj"]),
    "features, then classes": ({"conv1.weight": (8, 3, 3, 3), "fc.weight": (32, 64), "classifier.weight": (9, 32)},
                               ["classifier"]),
}  # fmt: skip


def answering(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the layers that are chosen of these tensors."""
    prunable = {name: shape for name, shape in shapes.items() if weight_kind(name, shape)}
    return [name.removesuffix(".weight") for name in heads(prunable)]


@pytest.mark.parametrize("name", TIMM)
def test_it_is_what_timm_says(name: str) -> None:
    found = Answering.of(name)
    assert found.chosen == found.configured


@pytest.mark.parametrize("name", sorted(FORGOTTEN))
def test_where_timm_forgets_a_head_it_is_what_the_network_says(name: str) -> None:
    found = Answering.of(name)
    assert found.chosen == found.own == ("head.linear", "head_dist.linear")
    assert not found.agrees


@pytest.mark.slow
def test_it_is_what_timm_says_for_every_network() -> None:
    differing = {name for name in timm_with_ours().list_models() if not Answering.of(name).agrees}
    assert differing == FORGOTTEN


@pytest.mark.parametrize("name", TORCHVISION)
def test_it_is_the_last_layer_of_torchvisions_networks(name: str) -> None:
    import torchvision  # after bench, which lets it import beside a CPU build of torch

    plain = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None, **plain)
    last = [
        path for path, module in network.named_modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    ]
    assert classifiers(as_weights(network)) == [f"{last[-1]}.weight"]


@pytest.mark.parametrize("face", FACES)
def test_it_is_the_head_of_transformers(face: str) -> None:
    shapes, expected = FACES[face]
    assert answering(shapes) == expected


@given(
    face=st.sampled_from(sorted(FACES)),
    front=st.sampled_from(["", "module.", "1.", "_orig_mod.net."]),
    data=st.data(),
)
def test_neither_the_order_nor_what_all_names_begin_with_counts(face: str, front: str, data: st.DataObject) -> None:
    shapes, expected = FACES[face]
    names = data.draw(st.permutations(list(shapes)))
    found = answering({front + name: shapes[name] for name in names})
    assert found == [front + name for name in expected]


@pytest.mark.parametrize("name", ["selecsls42b", "efficientvim_m1_dist", "resnet50_clip"])
def test_the_order_of_a_whole_network_does_not_count(name: str) -> None:
    with torch.device("meta"):
        network = timm_with_ours().create_model(name)
    shapes = {tensor: tuple(weight.shape) for tensor, weight in network.named_parameters()}
    for names in (sorted(shapes), sorted(shapes, reverse=True), list(reversed(shapes))):
        assert answering({tensor: shapes[tensor] for tensor in names}) == answering(shapes)


@pytest.mark.parametrize("classes", [2, 64, 256, 4096])
def test_as_many_classes_as_channels_change_nothing(classes: int) -> None:
    vgg = {
        "classifier.0.weight": (256, 64),
        "classifier.3.weight": (256, 256),
        "classifier.6.weight": (classes, 256),
    }
    assert answering(vgg) == ["classifier.6"]
    mlp = {"head.fc1.weight": (256, 64), "head.fc2.weight": (classes, 256)}
    assert answering(mlp) == ["head.fc2"]
    pooled = {f"head.{part}.weight": (64, 64) for part in "qkv"} | {"head.proj.weight": (classes, 64)}
    assert answering(pooled) == ["head.proj"]


def test_of_several_heads_body_leaves_out_all_and_the_main_one_is_the_classifier() -> None:
    shapes = {"head_dist.weight": (10, 64), "blocks.0.fc.weight": (64, 64), "head.weight": (10, 64)}
    weights = as_weights({name: torch.ones(shape) for name, shape in shapes.items()})
    chosen = {
        rule: [layer.name for layer in Carrier.choose(weights, rule).layers] for rule in ("body", "classifier")
    }
    assert chosen == {"body": ["blocks.0.fc.weight"], "classifier": ["head_dist.weight", "head.weight"]}
    assert classifier(weights) == "head.weight"


@pytest.mark.parametrize("blocks", [("blocks.0", "blocks.1"), ("stem.se", "exit.se")])
def test_a_network_without_a_head_has_a_body_and_no_classifier(blocks: tuple[str, str]) -> None:
    weights = as_weights({f"{block}.fc.weight": torch.ones(64, 64) for block in blocks})
    assert classifier(weights) is None
    assert len(Carrier.choose(weights, "body").layers) == 2
    with pytest.raises(BadInput, match="carrier 'classifier' matches no weight"):
        Carrier.choose(weights, "classifier")


def test_many_layers_named_like_heads_take_no_square_of_their_number() -> None:
    many = {f"head.{i}.weight": (3, 7) for i in range(20_000)}
    nested = {f"{'head.' * i}weight": (3, 7) for i in range(1, 200)}
    beside = {f"task{i}_classifier.weight": (3, i) for i in range(4, 20_000)}
    circle = {f"task{i}_classifier.weight": (i + 1, i) for i in range(4, 20_000)} | {
        "classifier.weight": (4, 20_000)
    }
    assert len(answering(many)) == 20_000
    assert len(answering(nested)) == 1
    assert len(answering(beside)) == 19_996
    assert answering(circle) == ["classifier"]


def test_the_page_counts_and_names_what_differs() -> None:
    same, other = Answering("a", ("fc",), ("fc",), ("fc",)), Answering("b", ("head",), ("fc", "head"), ())
    text = page([same, other, Answering("c", (), (), ())])
    assert "2 of 3 agree" in text
    (differing,) = [line for line in text.splitlines() if line.startswith("| b ")]
    assert [cell.strip() for cell in differing.strip("|").split("|")] == ["b", "head", "fc, head", "none"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with an owner's key and a transformer, whose names are sorted in one of its two files."""
    monkeypatch.chdir(tmp_path)
    Key(bytes(range(32))).save(tmp_path / "owner.key")
    torch.manual_seed(0)
    blocks = {f"vit.layer.{i}.output.dense.weight": torch.randn(64, 64) * 0.05 for i in range(12)}
    state = blocks | {"classifier.weight": torch.randn(100, 64) * 0.05}
    save_file(state, "model.safetensors")
    torch.save(state, "model.bin")
    return tmp_path


@pytest.mark.parametrize("model", ["model.safetensors", "model.bin"])
def test_embed_and_inspect_tell_the_classifier(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    embed = ("embed", model, *EMBED[2:], "--payload-bits", "88")
    assert "layers: classifier.weight\n" in said(capsys, *embed, "--carrier", "classifier")
    tensors, _ = said(capsys, "inspect", model).split("\n\n")
    assert [line.split()[0] for line in tensors.splitlines() if line.endswith("classifier")] == [
        "classifier.weight"
    ]
    assert as_json(capsys, "inspect", model)["classifier"] == ["classifier.weight"]


def test_of_many_layers_embed_tells_the_first_and_the_last_and_all_as_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed = (*EMBED, "--carrier", "body", "--force", "--payload-bits", "88")
    first, last = "vit.layer.0.output.dense.weight", "vit.layer.9.output.dense.weight"
    assert f"layers: 12, {first} ... {last}\n" in said(capsys, *embed)
    layers = as_json(capsys, *embed)["layers"]
    assert len(layers) == 12
    assert (layers[0], layers[-1]) == (first, last)
