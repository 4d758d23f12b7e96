"""How the channels of two networks answer the same images: what tells them apart where few weights are left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d

from cwwm.alignment.similarity import FEATURES, LayerPair, recognise, unit
from cwwm.channels.graph import evaluating
from cwwm.weights.carrier import prunable
from cwwm.weights.view import as_weights

_BATCH = 64
_PLACES = 16  # of a feature map or of tokens, at most: stretches of neighbours, averaged
_STILL = 1e-5  # of a channel's norm: less is no change
_RIDGE = 0.1  # of a channel's variance: directions of less are as good as noise


def record_responses(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return what each convolution and linear layer gives for the images, by the name of its weight.

    Runs the model in evaluation mode, without gradients, and leaves it as it was.

    Args:
        model: the owner's copy, or a suspect.
        images: (n, ...), the same for both; some hundreds of the training set are enough.

    Returns:
        Float32 (channels, features), on the CPU: a feature is an image at one of 16 places at most, of fewer
        where that makes more than 4096. A layer that never runs, or not for each image, is missing.
    """
    places = max(1, min(_PLACES, FEATURES // len(images)))
    recorders = {name: _Recorder(layer, places) for name, layer in _layers(model).items()}
    device = next(model.parameters()).device
    try:
        with evaluating(model):
            for batch in torch.split(images, _BATCH):
                for recorder in recorders.values():
                    recorder.images = len(batch)
                model(batch.to(device))
    finally:
        for recorder in recorders.values():
            recorder.handle.remove()
    return {name: torch.cat(recorder.parts, 1) for name, recorder in recorders.items() if recorder.parts}


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the convolution and linear layers, by the names of their weights."""
    owners = {name: model.get_submodule(name.rpartition(".")[0]) for name in prunable(as_weights(model))}
    return {
        name: layer
        for name, layer in owners.items()
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))
    }


class _Recorder:
    """Keeps what one layer gives.

    Attributes:
        images: of the batch that the model is about to see.
        parts: of each call, float32 (channels, features).
        handle: of the hook.
    """

    def __init__(self, layer: nn.Module, places: int) -> None:
        self.images, self.parts = 0, list[Tensor]()
        self._places = places
        self.handle = layer.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if not isinstance(layer, nn.Linear):
            output = output.movedim(1, -1)
        if output.numel() % (self.images * output.shape[-1]):
            return  # it answers something else than images, such as a table of positions
        answers = output.detach().float().reshape(self.images, -1, output.shape[-1]).transpose(1, 2)
        pooled = adaptive_avg_pool1d(answers, min(self._places, answers.shape[2]))
        self.parts.append(torch.nan_to_num(pooled.transpose(0, 1).flatten(1), 0.0, 0.0, 0.0).cpu())


@dataclass(frozen=True, eq=False)
class Responses:
    """What `record_responses` gives of the owner's copy and of a suspect, for the same images."""

    owner: Mapping[str, Tensor]
    suspect: Mapping[str, Tensor]

    def correlations(self, name: str) -> Tensor | None:
        """Return how alike the outputs of one layer answer, (owner's channels, suspect's channels).

        The cosine of centred answers, whatever they are scaled or shifted by. Channels of one network resemble
        each other more than a channel and its image after fine-tuning do, so each network's are decorrelated
        first, in a way that their order does not change (ZCA: G^(-1/2) with G their correlations).

        Returns:
            None where either was not recorded, or not at as many features.
        """
        owner, suspect = self.owner.get(name), self.suspect.get(name)
        if owner is None or suspect is None or owner.shape[1] != suspect.shape[1]:
            return None
        return _decorrelated(owner) @ _decorrelated(suspect).T


def weighted_answers(pairs: Sequence[LayerPair], responses: Responses) -> dict[str, Tensor]:
    """Return the correlations of each layer's outputs, each times the number of weights that they are worth.

    That is the number of independent features whose cosines would spread as much, one over their variance, by the
    share of channels that stand out: of a model that pruning has ruined, and whose answers mean nothing, none do.
    """
    found = {}
    for pair in pairs:
        correlations = responses.correlations(pair.name)
        if correlations is None or correlations.shape != (len(pair.owner), len(pair.suspect)):
            continue
        share = recognise(correlations, len(pair.owner)).share
        if share > 0:
            found[pair.name] = correlations * share / correlations.var()
    return found


def _decorrelated(answers: Tensor) -> Tensor:
    """Return each channel's part that the others do not share, of unit norm; zero for one that never changes."""
    centred = answers - answers.mean(1, keepdim=True)
    alive = (centred.norm(dim=1) > _STILL * answers.norm(dim=1))[:, None]  # else rounding is all that is left
    centred = unit(centred * alive)
    values, vectors = torch.linalg.eigh((centred @ centred.T).double())  # of low rank, on which float32 fails
    whitening = vectors / (values.clamp(min=0) + _RIDGE).sqrt() @ vectors.T
    distinct: Tensor = unit(whitening.float() @ centred) * alive
    return distinct
