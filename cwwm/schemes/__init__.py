"""Schemes: one file each; those of this package are known once it is imported, plugins add their own."""

from cwwm.schemes.base import Claim, EmbedContext, Embedding, Extraction, Scheme
from cwwm.schemes.known import SCHEMES, make_scheme, scheme_of
from cwwm.schemes.one_shot import embed
from cwwm.schemes.registry import BUILT_IN

__all__ = [
    "SCHEMES",
    "Claim",
    "EmbedContext",
    "Embedding",
    "Extraction",
    "Scheme",
    "embed",
    "make_scheme",
    "scheme_of",
]

SCHEMES.update(BUILT_IN)
