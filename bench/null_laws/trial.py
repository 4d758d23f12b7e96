"""A form to try: its mark on a small real network, and suspects that do not carry the claims that are drawn."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.null_laws.forms import Form
from bench.null_laws.suspects import (
    CLASSES,
    LEAST,
    blank,
    convolutional,
    derived,
    digits,
    foreign,
    narrowed,
    sparse,
    square,
    trained,
)
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, Scheme, scheme_of
from cwwm.support.seeds import derive_seed
from cwwm.training import Recipe, train
from cwwm.weights.view import Weights, as_weights

NONCE = b"null laws' nonce"
MARKING = Recipe(epochs=4, batch_size=128, lr=3e-3)
ROOM = 1.1  # weights of the pool for each host
LEAST_POOL = 2000
_SYMBOLS = 10  # weights that carry for each symbol that is added to all of them: fewer disturb each other too much
WRITING: Mapping[str, Mapping[str, Any]] = {  # what only embedding uses: mild enough for a small pool
    "cwc": {"survive": 0.5, "low": 0.4},
    "protected-cwc": {"survive": 0.5, "low": 0.4},
    "riga": {"settling": 20},
    "carriers": {"strength": 1.0},
    "ingrain": {"strength": 1.0, "ingrainer_steps": 20},
    "tattooed": {"ratio": 6.0},
}


@dataclass(frozen=True)
class Trial:
    """A form, the public part of a mark of it, and suspects by kind: none carries a claim under a fresh key."""

    form: Form
    scheme: Scheme
    mark: Mark
    suspects: Mapping[str, Weights]


def make_trial(form: Form) -> Trial:
    """Return the trial of a form: a network as small as it allows, marked under a key of its own.

    Suspects: ``unmarked``; ``marked`` (under another key than any claim's); ``derived`` (the unmarked one
    fine-tuned, pruned and noised, of other widths for `structural`); where more than shapes is read, ``sparse``
    (97 % exact zeros, the rest on eight levels) and ``blank`` (zeros alone); where keyed weights of many layers are
    read, ``foreign`` (in bfloat16, with another classifier).
    """
    host = _host(form)
    scheme = form.build(**WRITING.get(form.scheme, {}))
    marked, mark = _marked(scheme, copy.deepcopy(host))
    models = {"unmarked": host, "marked": marked}
    if form.scheme == "structural":
        models["derived"] = narrowed(host)
    else:
        models |= {"derived": derived(host), "sparse": sparse(host), "blank": blank(host)}
    suspects = {kind: as_weights(model.eval()) for kind, model in models.items()}
    if scheme.one_shot and mark.carrier is not None:
        suspects["foreign"] = foreign(host)
    return Trial(form, scheme_of(mark), mark, suspects)


def _host(form: Form) -> nn.Module:
    if form.scheme == "structural":
        return convolutional()
    scheme = form.build()
    if not scheme.one_shot:  # a vector of as many weights as bits, and as many class means
        bits = form.payload_bits
        classes = (form.parameters.get("marked_classes") or CLASSES) - 1
        side = math.isqrt(getattr(scheme, "least", 0)) + 1
        return trained(max(LEAST, bits, side), max(LEAST, -(-bits // classes), side))
    length: int = scheme.hosts or getattr(getattr(scheme, "code", None), "length", form.payload_bits)
    length = max(length, _SYMBOLS * getattr(scheme, "least", 0))
    neurons = square(max(LEAST_POOL, int(ROOM * length)))
    return trained(neurons, neurons)


def _marked(scheme: Scheme, model: nn.Module) -> tuple[nn.Module, Mark]:
    key = Key.for_harness(study="null laws", owner=0)
    message = key.choices(NONCE).stream("message").bits(scheme.payload_bits)
    seed = derive_seed(study="null laws", marking=repr(scheme))
    context = EmbedContext(digits().train, CLASSES, seed, torch.device("cpu"), NONCE)
    embedding = scheme.begin(as_weights(model), np.asarray(message), key, context)
    if not scheme.one_shot:
        train(model, digits().train, MARKING, seed=seed, embedding=embedding)
    mark = embedding.finish()
    return embedding.weights.module or model, mark
