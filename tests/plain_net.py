"""Small plain networks for the tests, and channels that an attacker inserts without changing their answers."""

import torch
from torch import Tensor, nn

WIDTHS = (32, 32, 64, 64, 64, 64)
CONVOLUTIONS = (0, 3, 7, 10, 14, 17)


class PlainNet(nn.Sequential):
    """Six convolutions with batch norm and two poolings, and a classifier: 140,000 weights, 1x16x16 inputs."""

    pretrained_cfg = {"input_size": (1, 16, 16)}  # noqa: RUF012 (timm's convention)

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        layers: list[nn.Module] = []
        channels = 1
        for index, width in enumerate(widths):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if index in (1, 3) else []
            channels = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def plain_net(seed: int = 0) -> PlainNet:
    """Return an untrained network whose norms are not all alike."""
    torch.manual_seed(seed)
    model = PlainNet()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model.eval()


def answers(model: nn.Module) -> Tensor:
    """Return logits of eight random images, (8, 10)."""
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        return torch.as_tensor(model.eval()(images))


@torch.no_grad()
def insert(model: nn.Sequential, place: int, kind: str, count: int, seed: int = 0) -> None:
    """Widen the convolution at `place` by `count` channels that change no answer, at random indices.

    Args:
        model: changed in place.
        place: index of a convolution of `CONVOLUTIONS`.
        kind: ``"unread"`` (random filters that nobody weighs), ``"unfed"`` (zero filters, random readers),
            ``"split"`` (a copy of a channel, which shares its readers' weights at random shares) or ``"clique"``
            (`count` >= 2 equal random channels, whose readers' weights cancel).
        count: channels.
        seed: of all that is random.
    """
    draw = torch.Generator().manual_seed(seed)
    source, norm = model[place], model[place + 1]
    reader = next(layer for layer in list(model)[place + 2 :] if isinstance(layer, (nn.Conv2d, nn.Linear)))
    width = len(source.weight)
    rows = {
        name: torch.rand(count, generator=draw) + 0.5 for name in ("weight", "bias", "running_mean", "running_var")
    }
    filters = torch.randn(count, *source.weight.shape[1:], generator=draw)
    columns = torch.randn(len(reader.weight), count, *reader.weight.shape[2:], generator=draw)
    if kind == "unread":
        columns.zero_()
    elif kind == "unfed":
        filters.zero_()
        rows["bias"].zero_()
        rows["running_mean"].zero_()
    elif kind == "split":
        chosen = torch.randperm(width, generator=draw)[:count]
        filters = source.weight[chosen].clone()
        rows = {name: getattr(norm, name)[chosen].clone() for name in rows}
        shares = torch.rand(columns.shape, generator=draw)
        columns = shares * reader.weight[:, chosen]
        reader.weight[:, chosen] -= columns
    else:
        filters[:] = filters[0].clone()
        rows = {name: row[:1].expand(count).clone() for name, row in rows.items()}
        columns[:, -1] = -columns[:, :-1].sum(1)
    order = torch.randperm(width + count, generator=draw)
    source.weight = nn.Parameter(torch.cat([source.weight, filters])[order])
    for name, row in rows.items():
        widened = torch.cat([getattr(norm, name), row])[order]
        setattr(norm, name, nn.Parameter(widened) if name in ("weight", "bias") else widened)
    reader.weight = nn.Parameter(torch.cat([reader.weight, columns], dim=1)[:, order])
    source.out_channels = norm.num_features = width + count
    setattr(reader, "in_channels" if isinstance(reader, nn.Conv2d) else "in_features", width + count)
