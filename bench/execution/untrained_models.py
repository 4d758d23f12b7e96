"""Makes networks that nobody trains, and marks them in one shot; each is soon made, so nothing is stored."""

import json

import torch
from torch import nn

from bench.data import Dataset, Split
from bench.execution.model_factory import Marked
from bench.models.registry import build_model
from bench.suite.cell import HostSpec, MarkSpec
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, embed
from cwwm.support.seeds import derive_seed
from cwwm.weights.view import as_weights

CLASSES = 10
IMAGES = 2
NOISE, NOISE_OF_ZERO = 0.3, 0.02  # see `bench.suite.untrained.WEIGHTS`


class UntrainedModels:
    """Makes the models of cells without training, on a device."""

    def __init__(self, device: torch.device) -> None:
        """Work on `device`."""
        self.device = device

    def host(self, spec: HostSpec) -> nn.Module:
        """Return the network in evaluation mode, with the weights that the spec asks for."""
        model = self._built(spec, spec.derive("host")).eval()
        if spec.weights == "perturbed":
            perturb(model, derive_seed(perturbation_of=spec.derive("host")))
        return model

    def another(self, spec: HostSpec) -> nn.Module:
        """Return the same architecture with other weights, for a state to be loaded into."""
        return self._built(spec, derive_seed(another=spec.derive("host")))

    def images(self, spec: HostSpec) -> Dataset:
        """Return a few images of noise, float32 (n, channels, size, size), to be answered; labels mean nothing."""
        generator = torch.Generator().manual_seed(derive_seed(images_of=spec.derive("host")))
        shape = (IMAGES, spec.model.channels, spec.model.size, spec.model.size)
        split = Split(torch.randn(shape, generator=generator), torch.arange(IMAGES)).to(self.device)
        return Dataset("random images", CLASSES, split, split, split, identity="", labelled=False)

    def marked(self, spec: MarkSpec, model: nn.Module) -> Marked:
        """Mark a finished model in one shot; the mark is what its owner reads back from a file.

        Raises:
            BadInput: if the scheme refuses this host.
        """
        scheme, secret = spec.build(), spec.secret()
        context = EmbedContext(seed=spec.host.derive("second phase"), device=self.device, nonce=secret.nonce)
        weights, mark = embed(scheme, as_weights(model), secret.message, secret.key, context)
        stored = Mark.from_json(json.loads(json.dumps(mark.to_json())), packed=mark.packed())
        return Marked(
            weights.module or model, scheme, stored, secret.key, secret.message, {}, lambda: self.host(spec.host)
        )

    def _built(self, spec: HostSpec, seed: int) -> nn.Module:
        return build_model(spec.model, CLASSES, seed).to(self.device)


@torch.no_grad()
def perturb(model: nn.Module, seed: int) -> None:
    """Add noise to every parameter in place: none is then zero or one throughout, as gates and norms begin."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        spread = float(parameter.double().square().mean().sqrt()) * NOISE or NOISE_OF_ZERO
        noise = torch.randn(parameter.shape, generator=generator) * spread
        parameter.add_(noise.to(parameter.device, parameter.dtype))
