"""Accuracy of a model on resident data, with its interval."""

from dataclasses import asdict, dataclass

import torch
from torch import nn

from bench.data import Dataset, Split
from cwwm.support.errors import BadInput


@dataclass(frozen=True)
class Accuracy:
    """Correct answers among `total`."""

    correct: int
    total: int

    @property
    def percent(self) -> float:
        """Return the accuracy in percent."""
        return 100.0 * self.correct / self.total


def accuracy(model: nn.Module, split: Split, *, batch_size: int = 512) -> Accuracy:
    """Return how many samples the model answers right, in evaluation mode; a NaN answers nothing."""
    correct = sum(int((answers(model, x) == y).sum()) for x, y in _chunks(split, batch_size))
    return Accuracy(correct, len(split))


def accuracies(model: nn.Module, data: Dataset) -> dict[str, dict[str, int] | None]:
    """Return ``accuracy``, on the test split, and ``validation``, None if that split is empty, as JSON values."""
    validation = asdict(accuracy(model, data.validation)) if len(data.validation) else None
    return {"accuracy": asdict(accuracy(model, data.test)), "validation": validation}


@torch.inference_mode()
def answers(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the classes, int64 (n,), that the model answers; -1 where a logit is not finite."""
    model.eval()
    logits = model(x)
    return torch.where(torch.isfinite(logits).all(1), logits.argmax(1), -1)


def equal_answers(model: nn.Module, other: nn.Module, split: Split, *, batch_size: int = 512) -> dict[str, int]:
    """Return on how many images two models answer alike, ``equal``, of ``total``; a NaN is equal to nothing."""
    pairs = ((answers(model, x), answers(other, x)) for x, _ in _chunks(split, batch_size))
    return {"equal": sum(int(((one == two) & (one >= 0)).sum()) for one, two in pairs), "total": len(split)}


def answers_changed(model: nn.Module, other: nn.Module, split: Split, *, batch_size: int = 512) -> float:
    """Return the share of answers that two models give differently, in [0, 1], counted softly.

    It is the mean over images of the total variation distance between the two softmax outputs: half the sum of
    their absolute differences. That is the least probability, over all ways to couple them, that two networks that
    draw each answer from their softmax answer differently; 1 minus it is the expected share of equal answers. Of
    networks that are certain of every answer it is the share of images that they answer differently. A few hundred
    images resolve it far below one image, which a count of answers does not. An image on which a logit of either
    model is not finite counts as changed.

    Raises:
        BadInput: if the two answer among different classes, or there are no images.
    """
    if not len(split):
        raise BadInput("answers are compared on images, and this split has none")
    return sum(float(_distances(model, other, x).sum()) for x, _ in _chunks(split, batch_size)) / len(split)


@torch.inference_mode()
def _distances(model: nn.Module, other: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the total variation distance of two models' answers to each image, float64 (n,)."""
    logits = [network.eval()(x).double() for network in (model, other)]
    if logits[0].shape != logits[1].shape:
        shapes = " and ".join(str(tuple(found.shape[1:])) for found in logits)
        raise BadInput(f"answers of different shapes cannot be compared: {shapes}")
    one, two = (found.softmax(1) for found in logits)
    finite = torch.isfinite(torch.cat(logits, 1)).all(1)
    return torch.where(finite, (one - two).abs().sum(1) / 2, 1.0).clamp(max=1.0)


def _chunks(split: Split, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(torch.split(split.x, size), torch.split(split.y, size), strict=True))


def rate_interval(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) interval of a rate; (0, 1) where nothing was counted."""
    from scipy.stats import beta  # takes most of a second to load

    if total == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, total - hits)) if hits < total else 1.0
    return low, high
