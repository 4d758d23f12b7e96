"""What a deployed file still shows of a mark, blind and with the original beside it: networks, ways and schemes.

Run it with ``python -m bench.studies.deployed -o results/deployed.md`` (about fifteen minutes of one core). Killed
and started again it goes on where it was; what it has measured lies in ``build/deployed.jsonl``.
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
from tabulate import tabulate
from torch import Tensor, nn

from bench.attacks import AttackContext, make_attack
from bench.attacks.deploy.folding import foldable
from bench.studies.output import Output, measured_on, publish
from bench.studies.symmetry import attacker, randomised
from bench.support.environment import choose_device, prepare
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.readers import READERS, view_of
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.support.console import DONE, run_app
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.weights.view import as_weights

SIZE, PAYLOAD = 32, 256
NETWORKS = ("test_resnet", "resnet18", "mobilenetv2_100", "repvgg_a0")
FLIPPED = "test_resnet, turned"
NEGATIVE, DEAD = 0.3, 0.05  # shares of factors of the case that is turned by hand
FILES = ("fold", "onnx-legacy", "onnx")  # ways by which every mark is read
EXACT = (*FILES, "export", "reparametrise")
SCHEMES: dict[str, dict[str, Any]] = {
    "protected-cwc": {"carrier": "all", "survive": 0.995},
    "spread-spectrum": {"carrier": "all"},
    "cwc": {"carrier": "all", "survive": 0.95},
    "sign": {"carrier": "all"},
    "sign-repetition": {"carrier": "all"},
    "sign-erasure": {"carrier": "all"},
    "dm-qim": {"carrier": "all"},
    "fixed-weights": {},
}
READINGS = ("blind", "copy")
UNMARKED = "no mark"  # of a network whose answers are compared, and nothing is read
OFTEN, SEEDS = ("protected-cwc", "spread-spectrum"), 5  # these in so many seeds, the others in one
#: factors gamma / sqrt(variance + eps) of an ImageNet MobileNetV2, by their quantiles
IN_WEIGHTS = 1 / 8  # of a factor's logarithm: weights before a small factor are somewhat larger
SHARES, FACTORS = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0), (0.1, 0.19, 0.33, 2.9, 12.0, 68.0, 100.0)


@dataclass(frozen=True)
class Case:
    """One mark, and one way to deploy it."""

    network: str
    scheme: str
    seed: int
    way: str


@dataclass(frozen=True)
class Outcome:
    """What was read of a case: by each reading whether the message is recovered, and log10 p; or why there is none.

    Attributes:
        blind: of the file alone. copy: aligned to the marked copy.
        original: aligned to the unmarked original, in some cases only.
    """

    case: Case
    difference: float = 0.0
    blind: tuple[bool, float] = (False, 0.0)
    copy: tuple[bool, float] = (False, 0.0)
    original: tuple[bool, float] | None = None
    note: str = ""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Outcome":
        """Read what `asdict` wrote."""
        read = {name: tuple(value[name]) for name in ("blind", "copy", "original") if value[name] is not None}
        return cls(**{**value, **read, "case": Case(**value["case"])})


def cases() -> Iterator[Case]:
    """Yield all cases, those of the schemes with several seeds first."""
    networks = (*NETWORKS, FLIPPED)
    for seed in range(SEEDS):
        for network in networks:
            ways = (*FILES, "reparametrise") if network.startswith("repvgg") else FILES
            for scheme in OFTEN:
                yield from (Case(network, scheme, seed, way) for way in ways)
    for network in networks:
        for scheme in SCHEMES:
            if scheme not in OFTEN:
                yield from (Case(network, scheme, 0, way) for way in FILES[:2])
        yield from (Case(network, UNMARKED, 0, way) for way in EXACT)


def shipped(name: str, images: Tensor) -> nn.Module:
    """Return an untrained network that folds as a trained one does.

    Each batch norm gets the statistics of what it reads for these images, and factors drawn from the quantiles
    above, an eighth of their logarithms in the weights before it and the rest in gamma. Offsets are Gaussian of
    deviation 0.3. In the case that is turned, 30 % of the gammas are negative and 5 % are zero.
    """
    import timm

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
            reading: ``"blind"``, or what it is aligned to: ``"copy"`` or ``"original"``.
        """
        reader = READERS["blind" if reading == "blind" else "aligned"]
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
    model = shipped(FLIPPED, images) if case.network == FLIPPED else randomised(case.network)
    attack = make_attack({"name": "deploy", "way": case.way}, "study")
    return Outcome(case, next(attack.curve([model], [1.0], context)).achieved["difference"])


def _outcome(case: Case, owned: Owned, context: AttackContext) -> Outcome:
    attack = make_attack({"name": "deploy", "way": case.way}, "study")
    item = next(attack.curve([owned.model], [1.0], context))
    asked = [*READINGS, *(["original"] if case.way == "fold" and case.seed == 0 and case.scheme in OFTEN else [])]
    readings = {reading: owned.read(item.model, reading) for reading in asked}
    return Outcome(case, item.achieved["difference"], readings["blind"], readings["copy"], readings.get("original"))


def page(outcomes: Sequence[Outcome], device: torch.device) -> str:
    """Return the tables as Markdown."""
    done, total = len(outcomes), len(list(cases()))
    return f"""\
# What a deployed file still shows of a mark

Networks are untrained, for {SIZE} pixels, and fold as a trained one does: batch norms have the statistics of 64
digits, and factors gamma / sqrt(variance + eps) drawn from the quantiles of an ImageNet MobileNetV2 (1, 10, 50, 90
and 99 %: 0.19, 0.33, 2.9, 12, 68), an eighth of their logarithms in the weights and the rest in gamma; of the
largest tenth of the weights 22 to 42 % are so after folding (15 % in that MobileNetV2, which is harder). In
*{FLIPPED}* 30 % of all gammas are negative by hand and 5 % zero: a channel of zeros is gone, and what has no code
to correct errors loses bits with it. A mark has {PAYLOAD} bits in all convolution and linear weights; its owner
reads it blind, then aligned to the marked copy. *fold*: batch norms folded along the graph of torch.fx;
*onnx-legacy* and *onnx*: ONNX files of both of torch's exporters, which fold, too, and of which the first renames
what it folds; *reparametrise*: timm's branches merged, which adds the 1x1 branch and the identity to the middle of
each kernel.
{measured_on(device)}; {done} of {total} cases measured.

## Messages recovered, of so many marks

{_recovered(outcomes)}

## log10 p, the median over the marks

{_proofs(outcomes)}

## Aligned to the unmarked original instead

Of one folded mark each. The search sees no weight that carries `protected-cwc`; `spread-spectrum` is in all of
them: seen from the original it is noise, which drowns layers of small weights.

{_by_original(outcomes)}

## Exactness: the largest difference of a logit, relative to the largest logit

In float32, on two digits and two images of noise; without marks. Norms are drawn as in [symmetry.md](symmetry.md),
those of *{FLIPPED}* as above: with the wide factors above, an untrained mobilenetv2_100 moves its logits by some
percent for a relative change of 1e-7 of an image. In float64 folding moves those by 1e-9.

{_differences(outcomes)}
{_notes(outcomes)}"""


def _groups(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    groups = dict[tuple[str, str], list[Outcome]]()
    for outcome in (outcome for outcome in outcomes if outcome.case.scheme != UNMARKED):
        groups.setdefault((outcome.case.network, outcome.case.scheme), []).append(outcome)
    return dict(sorted(groups.items(), key=lambda item: _place(*item[0])))


def _place(network: str, scheme: str) -> tuple[int, int]:
    return [*NETWORKS, FLIPPED].index(network), list(SCHEMES).index(scheme)


def _table(outcomes: Sequence[Outcome], cell: Any) -> str:  # noqa: ANN401 (how some outcomes of a way are shown)
    ways = (*FILES, "reparametrise")
    readers = [(way, reader) for way in ways for reader in READINGS]
    rows = []
    for (network, scheme), group in _groups(outcomes).items():
        by_way = {way: [x for x in group if x.case.way == way and not x.note] for way in ways}
        changing = network.startswith("repvgg")  # there is nothing to merge elsewhere
        shown = [cell(by_way[w], r) if by_way[w] and (w != ways[-1] or changing) else "" for w, r in readers]
        rows.append((network, scheme, *shown))
    headers = (
        "network",
        "scheme",
        *(f"{way}, {'blind' if r == 'blind' else 'aligned'}" for way, r in readers),
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _recovered(outcomes: Sequence[Outcome]) -> str:
    return _table(outcomes, lambda found, reader: f"{sum(getattr(x, reader)[0] for x in found)}/{len(found)}")


def _proofs(outcomes: Sequence[Outcome]) -> str:
    return _table(outcomes, lambda found, reader: f"{np.median([getattr(x, reader)[1] for x in found]):.1f}")


def _by_original(outcomes: Sequence[Outcome]) -> str:
    asked = [(x.case, x.original) for x in outcomes if x.original is not None]
    rows = [(case.network, case.scheme, "yes" if found[0] else "no", f"{found[1]:.1f}") for case, found in asked]
    return tabulate(rows, ("network", "scheme", "recovered", "log10 p"), tablefmt="github", disable_numparse=True)


def _differences(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for network in (*NETWORKS, FLIPPED):
        found = {
            x.case.way: f"{x.difference:.1e}"
            for x in outcomes
            if (x.case.network, x.case.scheme) == (network, UNMARKED)
        }
        rows.append((network, *(found.get(way, "") for way in EXACT)))
    return tabulate(rows, ("network", *EXACT), tablefmt="github", disable_numparse=True)


def _notes(outcomes: Sequence[Outcome]) -> str:
    notes = dict.fromkeys(f"- {x.case.network}, {x.case.scheme}: {x.note}" for x in outcomes if x.note)
    return "\n## Not measured\n\n" + "\n".join(notes) + "\n" if notes else ""


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
    lines = kept.read_text().splitlines() if kept.exists() else []
    asked = list(cases())
    outcomes = [outcome for line in lines if (outcome := Outcome.from_json(json.loads(line))).case in asked]
    known = {outcome.case for outcome in outcomes}
    for outcome in measure([case for case in asked if case not in known], attacker(SIZE, where)):
        print(*asdict(outcome.case).values(), outcome.blind, outcome.copy, file=sys.stderr, flush=True)
        outcomes.append(outcome)
        with kept.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
    publish(page(outcomes, where), output)
    return DONE


if __name__ == "__main__":
    sys.exit(run_app(app, "bench.studies.deployed"))
