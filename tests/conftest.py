"""What tests of both packages share: one torch thread, a harness key, a small network and its weights."""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

# pytest's default import mode puts this folder on the path, where the folders cwwm and bench hide the packages
sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]

from cwwm.ownership.keys import Key  # noqa: E402

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with tests marked `first`; the others stay in order."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


class TinyNet(nn.Module):
    """Two convolutions with batch norm, a position table and a classifier: 18,000 weights, 3x8x8 inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 48, 3, padding=1, stride=2)
        self.pos_embed = nn.Parameter(torch.randn(1, 48, 4, 4) * 0.02)
        self.head = nn.Linear(48 * 4, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x)) + self.pos_embed
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))
        return logits


@pytest.fixture
def accelerator() -> torch.device:
    """Return the CUDA device; DEVICE=cpu rehearses tests marked `cuda` on the CPU, where all of it is trivial."""
    if os.environ.get("DEVICE") == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device (DEVICE=cpu rehearses this on the CPU)")
    return torch.device("cuda")


@pytest.fixture
def harness_key() -> Key:
    return Key.for_harness(seed=0)


@pytest.fixture
def nonce() -> bytes:
    return bytes(range(16))


@pytest.fixture
def tiny_net() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet()


@pytest.fixture
def state() -> dict[str, Tensor]:
    """Return a state dict of 60,000 Gaussian weights in three layers of different scales, a norm and biases."""
    generator = torch.Generator().manual_seed(0)
    return {
        "stem.weight": torch.randn(32, 16, 5, 5, generator=generator) * 0.1,
        "norm.weight": torch.ones(32),
        "block.weight": torch.randn(140, 300, generator=generator) * 0.02,
        "block.bias": torch.zeros(140),
        "head.weight": torch.randn(52, 100, generator=generator) * 0.3,
        "head.bias": torch.zeros(52),
    }
