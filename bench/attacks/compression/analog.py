"""Attack `analog`: deploys the model on analog in-memory hardware whose cells were measured on real chips."""

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import apply_masks, prunable_tensors
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.support.seeds import derive_seed

_LIBRARY, _OLDEST = "aihwkit", "1.0"  # the oldest that has all devices
_WAN_G_MAX = 40.0  # of the fit, in microsiemens; at its default, 25, the library does not rescale the polynomials


@dataclass(frozen=True)
class Fit:
    """Where the library keeps a noise model that was fitted to measured devices.

    Attributes:
        module: inside ``aihwkit.inference.noise``.
        model: name of the class.
        g_max: largest conductance in microsiemens where the library's default is not the fit's, else None.
        earliest: seconds from programming below which the fit says nothing, except at exactly 0.
    """

    module: str
    model: str
    g_max: float | None = None
    earliest: float = 0.0


DEVICES = {
    "pcm": Fit("pcm", "PCMLikeNoiseModel"),
    "pcm-hermes": Fit("hermes", "HermesNoiseModel"),
    "reram-wan": Fit("reram", "ReRamWan2022NoiseModel", g_max=_WAN_G_MAX),
    "reram-cmo": Fit("reram", "ReRamCMONoiseModel", earliest=1.0),  # linear in ln t: conductances grow below 1 s
}


@dataclass(frozen=True, kw_only=True)
class Analog(Attack):
    """Programs every convolution and linear weight into pairs of analog cells, and reads it back after a while.

    Cells and their noise are those of aihwkit's inference models, which were fitted to measured chips. A layer's
    largest magnitude becomes the largest conductance; a weight's magnitude goes to one cell of a pair, by sign, and
    the other stays at g_min. Both are programmed, drift, and are read with the model's read noise, and their
    difference goes back into the model in its own dtype. The model has the values that the hardware computes with,
    and every extractor can read it.

    The cells of a pair are followed one by one. (The library's tile drifts the difference that programming left,
    mapped anew, one cell of which is at exactly g_min again.) An exact zero is a pair at g_min, which has noise
    too: it is zero afterwards only where noise would take both cells below g_min, where the library clamps them,
    or where the attacker holds a mask, whose cells are switched off.

    One programming, one drift coefficient a cell and one draw of read noise serve all strengths, by the context's
    seed and the layer's name: a curve differs by time alone. Noise is drawn on the CPU, by the library from
    torch's global generator, which is left as it was; results are the same on every device.

    Attributes:
        device: whose cells. ``"pcm"``, phase-change memory (Nandakumar et al., ICECS 2019), and ``"pcm-hermes"``,
            that of the HERMES chip with two devices a cell (Le Gallo et al., Nature Electronics 2023), drift by
            power laws and have 1/f read noise; the library counts their seconds from the fit's first read, 20 and
            300 s after programming.
            ``"reram-wan"`` (Wan et al., Nature 2022) has fits at 1 s, 1 day and 2 days only, each the whole
            deviation from the target, g_max 40 microsiemens as measured. ``"reram-cmo"``, CMO/HfOx ReRAM
            programmed to within 0.2 %, relaxes with the logarithm of time: 0 (as programmed) or at least 1 s. The
            library gives a CMO weight one cell; here it has a pair as all others do, of which relaxation lowers
            the loaded cell: no cell falls below g_min.
        compensate: multiply a layer by one number so that its mean magnitude is again what it was right after
            programming: global drift compensation (Joshi et al., Nature Communications 11:2473, 2020), as the
            library does it on one-hot inputs; a layer is one tile.
    """

    name: ClassVar[str] = "analog"
    strength: ClassVar[str] = "seconds from programming to reading"

    device: str = "pcm"
    compensate: bool = True

    def __post_init__(self) -> None:
        """Refuse an unknown device."""
        if self.device not in DEVICES:
            known = ", ".join(f"'{name}'" for name in DEVICES)
            raise BadInput(f"{self.name}: device is one of {known}, not '{self.device}'")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Program, drift and read back in place; weights that a mask holds at zero stay zero.

        `achieved` names device and library, and gives the relative error (root of ``change``) and each layer's
        compensation, 1 without.

        Raises:
            BadInput: for a time without a fit, or if aihwkit is missing or too old.
        """
        chip = self._chip(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        factors = {}
        with timed(context.device) as watch:
            for name, tensor in tensors.items():
                kept = context.masks.get(name, torch.ones_like(tensor, dtype=torch.bool)).cpu()
                with _seeded(derive_seed(part="analog", seed=context.seed, layer=name)):
                    values, factors[name] = chip.deploy(tensor.cpu().float(), kept, strength)
                tensor.copy_(values)
            apply_masks(model, dict(context.masks))
        change = measure_change(before, tensors)
        achieved = {
            "device": self.device,
            "library": chip.library,
            "relative_error": None if change["change"] is None else math.sqrt(change["change"]),
            "compensation": factors,
            **change,
        }
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def check_strength(self, strength: float) -> None:
        """Refuse a time before the first that the device has a fit for."""
        fit = DEVICES[self.device]
        if not (strength == 0 or fit.earliest <= strength < math.inf):
            least = f"0 or at least {fit.earliest:g}" if fit.earliest else "0 or more"
            raise BadInput(f"{self.name}: '{self.device}' is read {least} seconds later, not {strength:g}")

    def _chip(self, seconds: float) -> "Chip":
        """Return the chip, if its noise model has a fit at this time."""
        self.check_strength(seconds)
        fit = DEVICES[self.device]
        chip = _load(fit, self.compensate)
        times = getattr(chip.noise, "coeff_dic", None)  # the model that is fitted at single times only
        if times is not None and seconds not in times:
            known = ", ".join(f"{time:g}" for time in times)
            raise BadInput(f"{self.name}: '{self.device}' is fitted at {known} seconds only, not at {seconds:g}")
        return chip


@dataclass(frozen=True)
class Chip:
    """The library's objects that stand for a chip.

    Attributes:
        library: name and version.
        noise: a noise model.
        converter: of weights to pairs of conductances in microsiemens, and back.
        compensation: global drift compensation, or None.
    """

    library: str
    noise: Any
    converter: Any
    compensation: Any

    def deploy(self, weights: Tensor, kept: Tensor, seconds: float) -> tuple[Tensor, float]:
        """Return the weights (float32, on the CPU) as read back after `seconds`, and what compensated them.

        Cells where `kept` is False do not count in the compensation; they read as all others.
        Everything is programmed before anything drifts, and what is drawn first does not depend on the time: under
        one seed all times share the programming and the coefficients.
        """
        targets, scale = self.converter.convert_to_conductances(weights)
        programmed = [self.noise.apply_programming_noise_to_conductance(cells) for cells in targets]
        drifts = [self.noise.generate_drift_coefficients(cells) for cells in targets]
        read = [
            self.noise.apply_drift_noise_to_conductance(cells, drift, seconds)
            for cells, drift in zip(programmed, drifts, strict=True)
        ]
        factor = self._factor(programmed, read, kept)
        return self.converter.convert_back_to_weights(read, scale) * factor, factor

    def _factor(self, programmed: list[Tensor], read: list[Tensor], kept: Tensor) -> float:
        """Return mean magnitude after programming over that at the reading; both of differences of conductances."""
        if self.compensation is None:
            return 1.0
        reference = self.compensation.readout((programmed[0] - programmed[1]) * kept)
        return float(self.compensation.apply((read[0] - read[1]) * kept, reference))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator, which is all that the library draws from, and put it back afterwards.

    (`torch.manual_seed` would seed the generators of accelerators as well.)
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _load(fit: Fit, compensate: bool) -> Chip:
    """Return a chip; only modules of the library that need none of its compiled code are used."""
    try:
        library = importlib.import_module(_LIBRARY)
        noise_model = getattr(importlib.import_module(f"{_LIBRARY}.inference.noise.{fit.module}"), fit.model)
        converters = importlib.import_module(f"{_LIBRARY}.inference.converter.conductance")
        compensations = importlib.import_module(f"{_LIBRARY}.inference.compensation.drift")
    except (ImportError, AttributeError) as error:
        raise EnvironmentFault(
            f"analog needs {_LIBRARY}: pip install '{_LIBRARY}>={_OLDEST}' (where no wheel fits, the index has a "
            "source archive, which needs a C++ compiler and CMake)"
        ) from error
    noise = noise_model() if fit.g_max is None else noise_model(g_max=fit.g_max)
    pairs = converters.SinglePairConductanceConverter(g_max=noise.g_max, g_min=getattr(noise, "g_min", 0.0))
    compensation = compensations.GlobalDriftCompensation() if compensate else None
    return Chip(f"{_LIBRARY} {library.__version__}", noise, pairs, compensation)
