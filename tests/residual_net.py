"""A small residual network for the tests of attacks that take whole blocks."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """x + conv(relu(norm(conv(x)))): gives the shape that it takes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor(self.conv2(torch.relu(self.norm(self.conv1(x)))))


class ResidualNet(nn.Module):
    """A stem, two stages of two blocks with a strided convolution between, and a classifier; 3-channel inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.stages = nn.ModuleList(
            [nn.Sequential(Block(8), Block(8)), nn.Conv2d(8, 16, 3, stride=2), nn.Sequential(Block(16), Block(16))]
        )
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return torch.as_tensor(self.fc(x.mean((2, 3))))


def residual_net(seed: int = 0) -> nn.Module:
    """Return an untrained network from a seed; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualNet()
