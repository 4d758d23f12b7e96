"""What others see in a marked model, measured beside its results: what wrong keys read, and what shows without one.

Nothing else depends on it, so it has a digest of its own in a record, and is measured anew alone when that changes.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from bench.execution.model_factory import Marked, Subjects
from bench.execution.owner import OwnersReading
from bench.execution.unmarked_models import Say
from bench.metrics.detectability import detectability_facts
from bench.metrics.false_positives import affordable_trials, null_facts, null_log10_p
from bench.suite.cell import MarkSpec
from bench.suite.sources import detection_source
from bench.support.artifact_store import Artefact, ArtefactStore, state_of
from cwwm.ownership.mark import Mark
from cwwm.readers import Asked, View
from cwwm.schemes import Scheme
from cwwm.schemes.base import FORWARD
from cwwm.support.seeds import derive_seed, identity
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import Weights, as_weights

_LAYERS = 12  # of a carrier whose statistics go into a record, the largest ones
_DIGITS = 4  # significant ones of these statistics


def detection(spec: MarkSpec, subjects: Subjects, store: ArtefactStore, say: Say) -> dict[str, Any]:
    """Return what others see in a marked model, as JSON values for its record.

    Args:
        spec: of the mark.
        subjects: the marked model and its control.
        store: which keeps what was found: making it takes longer than marking a small model.
        say: told when it is made.

    Returns:
        ``null``: what wrong keys find there and in its control (`null_facts`); ``covertness``: what shows
        without a key (`detectability_facts`) in the largest layers, None where the control has no such carrier.
    """
    name = identity(kind="detection", detection=detection_source(), reader=spec.scheme.reader, **spec.recipe)

    def make() -> Artefact:
        say("reading the mark with wrong keys")
        return _detect(spec, subjects)

    artefact = store.get(name, make)
    null = null_facts({suspect: values.numpy() for suspect, values in artefact.tensors.items()})
    carrier = subjects.marked.mark.carrier
    return {"null": null, "covertness": _largest_layers(artefact.facts["covertness"], carrier)}


def _detect(spec: MarkSpec, subjects: Subjects) -> Artefact:
    marked, control = subjects.marked, subjects.control.model
    scheme, mark = marked.scheme, marked.mark
    suspects = _suspects(marked, control, spec.scheme.reader)
    trials = affordable_trials(scheme, mark, suspects["marked"].weights)
    readable = {name: view.weights for name, view in suspects.items() if not view.refusal}
    seed = derive_seed(wrong_keys_of=spec.derive("key"))
    nothing = {name: np.empty(0) for name in suspects}  # where a reader finds nothing to read, no key is tried
    null = nothing | null_log10_p(scheme, mark, readable, seed=seed, trials=trials)
    carrier = shared_carrier(mark, control)
    covertness = detectability_facts(marked.model, control, carrier) if carrier else None
    return Artefact({k: torch.from_numpy(v) for k, v in null.items()}, {"covertness": covertness})


def _suspects(marked: Marked, control: nn.Module, reader: str) -> dict[str, View]:
    """Return both models as thousands of keys read them: through one view each, made without any key.

    A wrong key's own view would hide other weights and else find the same channels.
    """
    owner = OwnersReading.of(marked, reader)
    asked = Asked(marked.scheme, marked.key, marked.mark, any_key=True)
    models = {"unmarked": control, "marked": marked.model}
    return {
        name: owner.reader.view(_suspect(model, marked.scheme), owner.owned, asked)
        for name, model in models.items()
    }


def shared_carrier(mark: Mark, control: nn.Module) -> Carrier | None:
    """Return the carrier of a mark; None if it has none, or one of other shapes than the control's."""
    if mark.carrier is None or mark.carrier.missing(as_weights(control)):
        return None
    return mark.carrier


def _suspect(model: nn.Module, scheme: Scheme) -> Weights:
    """Return a model as thousands of extractions read it: its tensors on the CPU, unless they run it forward."""
    return as_weights(model if FORWARD in scheme.extraction_needs else state_of(model))


def _largest_layers(facts: dict[str, Any] | None, carrier: Carrier | None) -> dict[str, Any] | None:
    """Return detectability facts small enough for the record of every cell: few layers, few digits."""
    if facts is None or carrier is None:
        return None
    sizes = [layer.size for layer in carrier.layers]
    chosen = sorted(range(len(sizes)), key=lambda index: -sizes[index])[:_LAYERS]
    layers = {
        kind: [[_rounded(value) for value in facts[kind][index]] for index in chosen]
        for kind in ("marked_layers", "control_layers")
    }
    return {
        **facts,
        "ks_statistic": _rounded(facts["ks_statistic"]),
        "log10_p": _rounded(facts["log10_p"]),
        **layers,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
