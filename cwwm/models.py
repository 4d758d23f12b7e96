"""What an owner does with models in memory: mark a module or its tensors, read a suspect, prove a claim.

`cwwm.owner` has the same for files.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.commitment import Commitment
from cwwm.ownership.dispute import Dispute, Party
from cwwm.ownership.dispute import dispute as judge_dispute
from cwwm.ownership.evidence import PROOF_RATE, Tried
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.ownership.message import text_to_bits
from cwwm.ownership.verification import (
    Exhibits,
    Look,
    Verification,
    copy_digest,
)
from cwwm.ownership.verification import verify as judge_claim
from cwwm.schemes import Claim, EmbedContext, Extraction, Scheme, scheme_of
from cwwm.schemes import embed as embed_weights
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import require_provable
from cwwm.weights.dead import Dead
from cwwm.weights.view import Weights, as_weights

Model = nn.Module | Mapping[str, Tensor] | Weights


class Embedded(NamedTuple):
    """A marked model and what its owner keeps.

    Attributes:
        weights: the marked host; ``weights.module`` is the module, if one was given: usually the same object.
        mark: to keep; `extract` and `verify` take it. It holds neither key nor message.
        commitment: to publish, with a trusted date, before the model.
    """

    weights: Weights
    mark: Mark
    commitment: Commitment


def embed(
    scheme: Scheme, model: Model, message: Bits | str, key: Key, *, dead: Mapping[str, Dead] | None = None
) -> Embedded:
    """Mark a finished model in place, in one shot.

    Args:
        scheme: from `make_scheme`.
        model: a module, or its tensors by name; its convolution and linear weights are the host.
        message: uint8 (payload_bits,) of zeros and ones, or a text, which is filled up with zeros.
        key: the owner's.
        dead: by tensor, rows and columns that a carrier ``alive:...`` leaves out: see `Dead.of`.

    Raises:
        BadInput: if the scheme needs training, or marks that it makes prove nothing; if the model cannot carry the
            message; for a message of another length or other values.
    """
    if scheme.unproven:
        raise BadInput(f"a mark of scheme {scheme.name} proves nothing: {scheme.unproven}")
    bits = _bits(message, scheme.payload_bits)
    weights, mark = embed_weights(scheme, as_weights(model), bits, key, EmbedContext(dead=dead))
    if mark.carrier is not None:
        require_provable(mark.carrier)
    mark = replace(mark, copy=copy_digest(weights))
    return Embedded(weights, mark, Commitment.to(Claim(key, mark, bits)))


def extract(
    suspect: Model,
    key: Key,
    mark: Mark,
    *,
    reference: Model | None = None,
    original: Model | None = None,
    per_channel: bool = False,
) -> Extraction:
    """Return what a suspect says to a key and a mark; `bits` is the message, uint8 (payload_bits,).

    Args:
        suspect: a module, or its tensors by name.
        key, mark: of the owner.
        reference: the marked copy or the unmarked original, to undo what was done to the suspect's channels.
        original: the unmarked model, to read the suspect against where the scheme can be (`cwwm.residual`).
        per_channel: without either, whether to read without the scales of channels.

    Raises:
        BadInput: for a key that did not make the mark, a reference or an original that the mark does not name, or
            one of them together with `per_channel`.
    """
    mark.require_key(key)
    scheme = scheme_of(mark)
    copy, unmarked = (None if model is None else as_weights(model) for model in (reference, original))
    look = Look.of_owner(scheme, mark, copy, unmarked, per_channel=per_channel)
    return look.read_all(scheme, as_weights(suspect), key, mark).best.extraction


def verify(
    suspect: Model,
    key: Key,
    mark: Mark,
    message: Bits | str,
    *,
    commitment: Commitment | None = None,
    original: Model | None = None,
    reference: Model | None = None,
    per_channel: bool = False,
    innocents: Mapping[str, Model] | None = None,
    rate: float = PROOF_RATE,
    tried: Tried | None = None,
) -> Verification:
    """Judge the claim that a suspect carries a message; see `cwwm.ownership.verification`.

    Args:
        suspect: the model in question.
        key, mark, message: of the claimant.
        commitment: that was published before the suspect was there; without it nothing is proven.
        original, reference, per_channel: as of `extract`.
        innocents: models, by name, that cannot carry the mark.
        rate: false-positive rate that a proof may have, in (0, 1).
        tried: all else that the claimant tried.

    Raises:
        BadInput: as `cwwm.ownership.verification.verify`.
    """
    claim = Claim(key, mark, _bits(message, mark.payload_bits))
    exhibits = Exhibits(
        commitment=commitment,
        original=None if original is None else as_weights(original),
        reference=None if reference is None else as_weights(reference),
        per_channel=per_channel,
        innocents={name: as_weights(model) for name, model in (innocents or {}).items()},
    )
    return judge_claim(as_weights(suspect), claim, exhibits, rate=rate, tried=tried)


def dispute(suspect: Model, a: Party, b: Party, *, rate: float = PROOF_RATE, tried: Tried | None = None) -> Dispute:
    """Say who of two parties marked a suspect first; see `cwwm.ownership.dispute`.

    Args:
        suspect: the model in question.
        a, b: from `Party.of`: key, mark, message, unmarked original and commitment of each.
        rate, tried: as of `verify`.

    Raises:
        BadInput: as `cwwm.ownership.dispute.dispute`.
    """
    return judge_dispute(as_weights(suspect), a, b, rate=rate, tried=tried)


def _bits(message: Bits | str, payload_bits: int) -> Bits:
    return text_to_bits(message, payload_bits) if isinstance(message, str) else message
