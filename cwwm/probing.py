"""A checkpoint as a network that answers: built by timm, asked about photographs, to measure what it feels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cwwm.support import torchvision_shim
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.weights.carrier import Carrier, classifier
from cwwm.weights.sensitivity import PROBES, measure_sensitivity
from cwwm.weights.view import Weights

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}


def probe(weights: Weights, network: str, images: Path, rule: str) -> dict[str, float]:
    """Return how much the answers of a checkpoint feel each layer of a carrier; see `measure_sensitivity`.

    Args:
        weights: the checkpoint. network: its name in timm. images: a folder of photographs, of which the first
            dozen by name are taken. rule: that chooses the layers.

    Raises:
        BadInput: for a name that timm does not know, a checkpoint of another network, a folder without photographs,
            one that cannot be read, or answers that are not finite. EnvironmentFault: if timm is not installed.
    """
    files = photographs(images)
    model = network_of(weights, network)
    layers = [layer.name for layer in Carrier.choose(weights, rule).layers]
    foreign = [name for name in layers if name not in dict(model.named_parameters())]
    if foreign:
        raise BadInput(f"the checkpoint is not of network '{network}', which has no {foreign[0]}")
    felt = measure_sensitivity(model, _inputs(model, files), layers)
    if not all(map(math.isfinite, felt.values())):
        raise BadInput(f"network '{network}' with these weights gives answers that are not finite")
    return felt


def photographs(folder: Path) -> list[Path]:
    """Return the first dozen photographs of a folder and those below it, by name; BadInput if there are none."""
    if not folder.is_dir():
        raise BadInput(f"--images {folder} is not a folder; give one with a dozen photographs, of anything")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise BadInput(f"--images {folder} holds no photograph ({', '.join(sorted(SUFFIXES))})")
    return found[:PROBES]


def network_of(weights: Weights, name: str) -> nn.Module:
    """Return timm's network of that name with these weights, in evaluation mode."""
    torchvision_shim.install()
    try:
        import timm
    except ImportError as error:
        raise EnvironmentFault("--images takes timm to build the network: pip install 'cwwm[bench]'") from error
    if not timm.is_model(name):
        raise BadInput(f"timm has no network '{name}'; see timm.list_models()")
    state = {tensor: weights.tensor(tensor) for tensor in weights.names()}
    head = classifier(weights)
    answers: dict[str, Any] = {"num_classes": weights.shape(head)[0]} if head else {}
    model: nn.Module = timm.create_model(name, **answers)
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise BadInput(
            f"the checkpoint is not of network '{name}': {str(error).splitlines()[-1].strip()}"
        ) from None
    missing = [own for own in model.state_dict() if own not in state and not own.endswith("num_batches_tracked")]
    if missing:
        raise BadInput(f"the checkpoint is not of network '{name}': it has no {missing[0]}")
    return model.float().eval()


def _inputs(model: nn.Module, files: Sequence[Path]) -> Tensor:
    """Return photographs as the network expects them, float32 (n, c, h, w)."""
    from PIL import Image
    from PIL.Image import DecompressionBombError
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    expected: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    transform = create_transform(**expected, is_training=False)
    found = []
    for path in files:
        try:
            with Image.open(path) as image:
                found.append(transform(image.convert("RGB")))
        except (OSError, SyntaxError, ValueError, DecompressionBombError) as error:  # as broken files raise them
            raise BadInput(f"{path} is not an image that can be read ({error})") from error
    return torch.stack(found)
