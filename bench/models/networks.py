"""Networks that timm lacks: LeNet-5 and LeNet-300-100 of the compression papers, and small plain convnets."""

from itertools import pairwise
from typing import Any, TypeVar

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

M = TypeVar("M", bound=nn.Module)
Size = int | tuple[int, int]


class LeNet(nn.Module):
    """What these networks share, by timm's conventions: features, then a head whose last layer is ``fc``.

    The papers on LeNets call that last layer fc2 (LeNet-5) or fc3 (LeNet-300-100); here it has the name by which
    timm, `cwwm.weights.carrier.classifier` and the carrier ``body`` know a classifier.

    Attributes:
        num_classes: outputs; 0 if `reset_classifier` took the classifier away.
        num_features: channels of `forward_features`; head_hidden_size: inputs of ``fc``.
    """

    num_features: int
    head_hidden_size: int

    def __init__(self, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.drop_rate = drop_rate

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a fresh one, or by nothing for 0 classes; there is no pooling to choose."""
        self.num_classes = num_classes
        self.fc: nn.Module = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features of images."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (n, classes) of features, or what the last layer would get."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, float (n, classes), of images, float (n, in_chans, height, width)."""
        return self.forward_head(self.forward_features(x))

    def _answer(self, hidden: Tensor, pre_logits: bool) -> Tensor:
        """Return what dropout and the last layer make of the last hidden layer, (n, head_hidden_size)."""
        hidden = functional.dropout(hidden, self.drop_rate, self.training)
        logits: Tensor = hidden if pre_logits else self.fc(hidden)
        return logits


class LeNet5(LeNet):
    """LeNet-5 as compression papers use it (Caffe's): conv 20 of 5x5, conv 50 of 5x5, fc 500, fc classes.

    Convolutions have no padding and are followed by 2x2 max pooling; we put a ReLU after every layer but the
    last. 430,500 weights and 580 biases for grey images of 28x28 and 10 classes (arXiv 1510.00149, Table 3).

    Args:
        num_classes: outputs. in_chans: channels of the images. img_size: their pixels, a side or both.
        drop_rate: dropout before the last layer, 0.5 in the release code of arXiv 1804.03294.
    """

    num_features = 50
    head_hidden_size = 500

    def __init__(
        self, num_classes: int = 10, in_chans: int = 1, img_size: Size = 28, drop_rate: float = 0.0
    ) -> None:
        super().__init__(num_classes, drop_rate)
        height, width = (((side - 4) // 2 - 4) // 2 for side in _sides(img_size))
        self.conv1 = nn.Conv2d(in_chans, 20, 5)
        self.conv2 = nn.Conv2d(20, self.num_features, 5)
        self.fc1 = nn.Linear(self.num_features * height * width, self.head_hidden_size)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features after both poolings, (n, 50, 4, 4) of 28x28 images."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        return functional.max_pool2d(functional.relu(self.conv2(x)), 2)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (n, classes) of features, or the 500 activations of fc1."""
        return self._answer(functional.relu(self.fc1(x.flatten(1))), pre_logits)


class LeNet300(LeNet):
    """LeNet-300-100: two hidden layers of 300 and 100 neurons with ReLU, 266,200 weights for 28x28 grey images.

    Args:
        num_classes: outputs. in_chans: channels of the images. img_size: their pixels, a side or both.
        drop_rate: dropout before the last layer.
    """

    num_features = 300
    head_hidden_size = 100

    def __init__(
        self, num_classes: int = 10, in_chans: int = 1, img_size: Size = 28, drop_rate: float = 0.0
    ) -> None:
        super().__init__(num_classes, drop_rate)
        height, width = _sides(img_size)
        self.fc1 = nn.Linear(in_chans * height * width, self.num_features)
        self.fc2 = nn.Linear(self.num_features, self.head_hidden_size)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the activations of fc1, (n, 300)."""
        return functional.relu(self.fc1(x.flatten(1)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (n, classes) of features, or the 100 activations of fc2."""
        return self._answer(functional.relu(self.fc2(x)), pre_logits)


class SmallConvNet(LeNet):
    """Two convolutions of 3x3, each with ReLU and 2x2 max pooling, and a linear layer; no norm.

    As in the trial of distillation that `bench.studies.distillation` repeats: teacher of 16 and 32 channels
    (9,872 weights for grey 16x16 images and 10 classes), student of 12 and 24.

    Args:
        widths: channels of both convolutions.
        num_classes: outputs. in_chans: channels of the images. img_size: their pixels, a side or both.
        drop_rate: dropout before the last layer.
    """

    def __init__(
        self,
        widths: tuple[int, int] = (16, 32),
        num_classes: int = 10,
        in_chans: int = 1,
        img_size: Size = 16,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, drop_rate)
        height, width = (side // 4 for side in _sides(img_size))
        self.num_features = widths[1]
        self.head_hidden_size = widths[1] * height * width
        self.conv1 = nn.Conv2d(in_chans, widths[0], 3, padding=1)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, padding=1)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features after both poolings, (n, 32, 4, 4) of 16x16 images."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        return functional.max_pool2d(functional.relu(self.conv2(x)), 2)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (n, classes) of features, or the features in a row."""
        return self._answer(x.flatten(1), pre_logits)


class SmallVgg(LeNet):
    """A VGG for small images: six convolutions of 3x3 with batch norm and ReLU, the mean over positions, fc.

    Channels 64, 64, 128, 128, 256, 256, with 2x2 max pooling after every second one: 1,147,072 weights for colour
    images and 10 classes, about a fourteenth of VGG-11's convolutions and no hidden linear layers.

    Args:
        num_classes: outputs. in_chans: channels of the images. img_size: any. drop_rate: before the last layer.
    """

    num_features = head_hidden_size = 256
    widths = (64, 64, 128, 128, 256, 256)

    def __init__(
        self, num_classes: int = 10, in_chans: int = 3, img_size: Size = 32, drop_rate: float = 0.0
    ) -> None:
        super().__init__(num_classes, drop_rate)
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise((in_chans, *self.widths))):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if index % 2 else []
        self.features = nn.Sequential(*layers)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features, (n, 256, 4, 4) of 32x32 images."""
        features: Tensor = self.features(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (n, classes) of features, or their means over positions."""
        return self._answer(x.mean((2, 3)), pre_logits)


def _sides(img_size: Size) -> tuple[int, int]:
    return (img_size, img_size) if isinstance(img_size, int) else img_size


def _configuration(first: str, size: int = 28, channels: int = 1) -> dict[str, Any]:
    """Return what timm wants to know of a network without weights: images of `size` pixels, 10 classes."""
    return {
        "num_classes": 10,
        "input_size": (channels, size, size),
        "fixed_input_size": True,
        "mean": (0.1307,),  # of MNIST's training images, as its deviation
        "std": (0.3081,),
        "first_conv": first,
        "classifier": "fc",
    }


default_cfgs = generate_default_cfgs(
    {
        "lenet5.untrained": _configuration("conv1"),
        "lenet300_100.untrained": _configuration("fc1"),
        "convnet16_32.untrained": _configuration("conv1", 16),
        "convnet12_24.untrained": _configuration("conv1", 16),
        "vgg6_bn.untrained": _configuration("features.0", 32, 3),
    }
)


def _create(network: type[M], name: str, pretrained: bool, arguments: dict[str, Any]) -> M:
    model: M = build_model_with_cfg(network, name, pretrained, **arguments)
    return model


@register_model
def lenet5(pretrained: bool = False, **kwargs: Any) -> LeNet5:  # noqa: ANN401 (timm's convention)
    """Return LeNet-5; timm refuses `pretrained`, for there are no weights."""
    return _create(LeNet5, "lenet5", pretrained, kwargs)


@register_model
def lenet300_100(pretrained: bool = False, **kwargs: Any) -> LeNet300:  # noqa: ANN401 (timm's convention)
    """Return LeNet-300-100; timm refuses `pretrained`, for there are no weights."""
    return _create(LeNet300, "lenet300_100", pretrained, kwargs)


@register_model
def convnet16_32(pretrained: bool = False, **kwargs: Any) -> SmallConvNet:  # noqa: ANN401 (timm's convention)
    """Return the small convnet of 16 and 32 channels; timm refuses `pretrained`, for there are no weights."""
    return _create(SmallConvNet, "convnet16_32", pretrained, {"widths": (16, 32), **kwargs})


@register_model
def convnet12_24(pretrained: bool = False, **kwargs: Any) -> SmallConvNet:  # noqa: ANN401 (timm's convention)
    """Return the small convnet of 12 and 24 channels; timm refuses `pretrained`, for there are no weights."""
    return _create(SmallConvNet, "convnet12_24", pretrained, {"widths": (12, 24), **kwargs})


@register_model
def vgg6_bn(pretrained: bool = False, **kwargs: Any) -> SmallVgg:  # noqa: ANN401 (timm's convention)
    """Return the small VGG; timm refuses `pretrained`, for there are no weights."""
    return _create(SmallVgg, "vgg6_bn", pretrained, kwargs)
