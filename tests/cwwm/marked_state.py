"""A small state dict with a mark that is read blind, and the claim on it: for tests of names and copies."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cwwm.commitment import Commitment
from cwwm.ownership.evidence import Tried
from cwwm.ownership.keys import Key
from cwwm.ownership.message import text_to_bits
from cwwm.ownership.verification import Exhibits, Verification, copy_digest, verify
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.weights.view import Weights, as_weights

State = dict[str, Tensor]
SHAPES = {"body.0.fc1.weight": (96, 64), "body.1.fc1.weight": (96, 64), "head.weight": (40, 96)}
LAYERS = tuple(SHAPES)


def network(seed: int) -> State:
    """Return three layers and a norm, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return {**state, "norm.weight": torch.ones(96), "norm.running_mean": torch.zeros(96)}


@dataclass(frozen=True)
class Owner:
    """What an owner has."""

    original: State
    marked: State
    claim: Claim

    def judges(self, suspect: Weights, tried: Tried | None = None, **shown: object) -> Verification:
        """Return the verdict on a suspect, with a commitment and what else is shown."""
        exhibits = Exhibits(commitment=Commitment.to(self.claim), **shown)  # type: ignore[arg-type]
        return verify(suspect, self.claim, exhibits, tried=tried)


@cache
def owner(scheme: str = "sign-repetition") -> Owner:
    """Return the owner of a marked `network(0)`; of spread-cwc the mark is too weak to be read blind."""
    from dataclasses import replace

    original = network(0)
    marked = {name: tensor.clone() for name, tensor in original.items()}
    settings = {"repetition": 5} if scheme == "sign-repetition" else {"gain": 0.05, "carrier": "all"}
    made, key = make_scheme(scheme, {"payload_bits": 64, **settings}), Key.for_harness(names=1)
    message = text_to_bits("mine", 64)
    weights, mark = embed(made, as_weights(marked), message, key, EmbedContext(nonce=bytes(16)))
    return Owner(original, marked, Claim(key, replace(mark, copy=copy_digest(weights)), message))
