"""Schemes: one file each, one registry."""

from cwwm.schemes.base import Claim, EmbedContext, Embedding, Extraction, Scheme, embed
from cwwm.schemes.registry import SCHEMES, make_scheme, scheme_of

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
