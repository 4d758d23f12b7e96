"""Attack `memristor`: structured ADMM onto crossbars, few levels, differential pairs, and what devices add."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext, Cost
from bench.attacks.compression.admm import Projections
from bench.attacks.compression.allocation import compressible, group_counts
from bench.attacks.compression.crossbar import Crossbar, cost_report, gemm_shape
from bench.attacks.compression.devices import Device, program, read_back
from bench.attacks.compression.levels import LEVEL_BITS, best_interval, nearest_level
from bench.attacks.compression.projections import Groups
from bench.attacks.compression.pruning import AdmmStructured, Masks, held_masks
from bench.attacks.compression.snapping import parametrised
from bench.attacks.means import attacker_recipe
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import train

_BITS = LEVEL_BITS[1:]  # one of them is the sign


@dataclass(frozen=True, kw_only=True)
class Memristor(AdmmStructured):
    """Deploys the model on memristor crossbars and reads it back (Yuan et al., arXiv 1908.11691).

    Structured ADMM pruning, masked retraining, quantisation to levels without zero, mapping to differential
    pairs of 4-bit cells, device effects, read back as a dense model. The device effects are ours: the paper
    simulates the level grid only.

    Attributes:
        rows, columns: of a crossbar, inputs and filters.
        whole_tiles: round what is kept up to whole crossbars, which costs none.
        bits: signed bits of a weight.
        state_offset, sigma, stuck, column_gain: see `Device`.
        noise_epochs: of further retraining with lognormal variation of `sigma` in the forward pass, before the
            mapping.
    """

    name: ClassVar[str] = "memristor"

    rows: int = 128
    columns: int = 64
    whole_tiles: bool = False
    bits: int = 5
    state_offset: float = 0.0
    sigma: float = 0.0
    stuck: float = 0.0
    column_gain: float = 0.0
    noise_epochs: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible crossbars and devices."""
        super().__post_init__()
        if self.bits not in _BITS or self.noise_epochs < 0:
            raise BadInput(
                f"{self.name}: bits are an integer from {_BITS[0]} to {_BITS[-1]}, and noise_epochs at least 0"
            )
        self.crossbar()
        self.device()

    def crossbar(self) -> Crossbar:
        """Return the size of a crossbar."""
        return Crossbar(self.rows, self.columns)

    def device(self) -> Device:
        """Return what the cells are like."""
        return Device(
            state_offset=self.state_offset, sigma=self.sigma, stuck=self.stuck, column_gain=self.column_gain
        )

    def projections(self, model: nn.Module, ratio: float, masks: Masks) -> Projections:
        """Return the group set of each layer, in whole crossbars if so asked."""
        tensors = compressible(model)
        widen = self._widen if self.whole_tiles else lambda tensor, groups: groups
        return dict(group_counts(model, tensors, self.groups, self.layout, ratio, widen))

    def _widen(self, tensor: Tensor, groups: Groups) -> Groups:
        filters, inputs = gemm_shape(tensor.shape)
        kept = (groups.filters or filters, groups.shapes or inputs)
        wide = self.crossbar().whole_tiles(kept, tensor.shape)
        return replace(groups, filters=wide[0], shapes=wide[1])

    def compress(
        self, model: nn.Module, ratio: float, context: AttackContext
    ) -> tuple[dict[str, Any], Masks, Cost]:
        """Prune to a ratio, retrain, quantise, map and read back, in place."""
        shapes = {name: tensor.shape for name, tensor in compressible(model).items()}
        log, masks, cost = super().compress(model, ratio, context)
        log["pruned_accuracy"] = accuracy(model, context.data.test).percent
        cost += self._retrain_with_noise(model, masks, context)
        intervals = self.snap(model, masks)
        log["quantised_accuracy"] = accuracy(model, context.data.test).percent
        report = cost_report(compressible(model), self.crossbar(), self.bits, shapes)
        self.deploy(model, intervals, derive_seed(part="device", seed=context.seed))
        return {**log, "crossbar": report.to_json()}, masks, cost

    def _retrain_with_noise(self, model: nn.Module, masks: Mapping[str, Tensor], context: AttackContext) -> Cost:
        if not self.noise_epochs:
            return Cost()
        recipe = attacker_recipe(context, self.retrain_lr, self.noise_epochs)
        with parametrised(model, {name: Varied(self.sigma) for name in compressible(model)}) as names:
            held = {names.get(name, name): mask for name, mask in held_masks(model, masks, context).items()}
            seed = derive_seed(part="noise", seed=context.seed)
            report = train(model, context.data.train, recipe, seed=seed, masks=held)
            model.eval()  # leaves the weights as they are, not as varied
        return Cost.of(report)

    @torch.no_grad()
    def snap(self, model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, float]:
        """Round the survivors to +-i q, i = 1..2^(bits-1), in place; return q of each layer."""
        intervals = {}
        for name, tensor in compressible(model).items():
            q = intervals[name] = best_interval(tensor[masks[name]], self.bits)
            tensor.copy_(nearest_level(tensor.float(), q, self.bits, masks[name]))
        return intervals

    @torch.no_grad()
    def deploy(self, model: nn.Module, intervals: Mapping[str, float], seed: int) -> None:
        """Program each layer's codes into cells and read the weights back, in place."""
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in compressible(model).items():
            codes = (tensor.float() / intervals[name]).round().int()
            cells = program(codes, self.bits, self.device(), generator)
            tensor.copy_(read_back(cells) * intervals[name])


class Varied(nn.Module):
    """A weight that varies lognormally in every training step, after Device.sigma."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as one programming would leave it; in evaluation, as it is."""
        return weight * torch.exp(self.sigma * torch.randn_like(weight)) if self.training else weight
