"""The classic networks of the compression papers, which timm lacks: LeNet-5 and LeNet-300-100."""

from typing import Any, TypeVar

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

M = TypeVar("M", bound=nn.Module)
Size = int | tuple[int, int]


class LeNet(nn.Module):
    """What both networks share, by timm's conventions: features, then a head whose last layer is ``fc``.

    The papers call that last layer fc2 (LeNet-5) or fc3 (LeNet-300-100); here it has the name by which
    timm, `cwwm.carrier.classifier` and the carrier ``body`` know a classifier.

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


def _sides(img_size: Size) -> tuple[int, int]:
    return (img_size, img_size) if isinstance(img_size, int) else img_size


def _configuration(first: str) -> dict[str, Any]:
    """Return what timm wants to know of a network without weights: 28x28 grey images, 10 classes."""
    return {
        "num_classes": 10,
        "input_size": (1, 28, 28),
        "fixed_input_size": True,
        "mean": (0.1307,),  # of MNIST's training images, as its deviation
        "std": (0.3081,),
        "first_conv": first,
        "classifier": "fc",
    }


default_cfgs = generate_default_cfgs(
    {"lenet5.untrained": _configuration("conv1"), "lenet300_100.untrained": _configuration("fc1")}
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
