"""Marks a finished model without training."""

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import EmbedContext, Scheme
from cwwm.support.errors import BadInput
from cwwm.weights.view import Weights


def embed(
    scheme: Scheme,
    weights: Weights,
    message: Bits,
    key: Key,
    context: EmbedContext,
) -> tuple[Weights, Mark]:
    """Mark a finished model in one shot; return the marked weights (usually the same object) and the mark.

    Raises:
        BadInput: if the scheme needs training, or the host cannot carry the message.
    """
    if not scheme.one_shot:
        raise BadInput(f"scheme '{scheme.name}' marks only while training; use it through the training loop")
    embedding = scheme.begin(weights, message, key, context)
    mark = embedding.finish()
    return embedding.weights, mark
