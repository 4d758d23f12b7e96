"""The one registry of schemes."""

from collections.abc import Mapping
from typing import Any

from cwwm.errors import BadInput
from cwwm.mark import Mark
from cwwm.registry import build
from cwwm.schemes.aligned import Aligned
from cwwm.schemes.base import Scheme
from cwwm.schemes.carriers import Carriers
from cwwm.schemes.constant_weight import ConstantWeight
from cwwm.schemes.deepsigns import DeepSigns
from cwwm.schemes.dm_qim import DitherModulation
from cwwm.schemes.fixed_weights import FixedWeights
from cwwm.schemes.ingrain import Ingrain
from cwwm.schemes.protected_cwc import ProtectedConstantWeight
from cwwm.schemes.riga import Riga
from cwwm.schemes.sign import Sign
from cwwm.schemes.sign_erasure import SignErasure
from cwwm.schemes.sign_repetition import SignRepetition
from cwwm.schemes.spread_spectrum import SpreadSpectrum
from cwwm.schemes.st_dm import SpreadTransformDither
from cwwm.schemes.structural import Structural
from cwwm.schemes.uchida import Uchida
from cwwm.schemes.unmarked import Unmarked
from cwwm.schemes.wrong_key import WrongKey

SCHEMES: dict[str, type[Scheme]] = {
    scheme.name: scheme
    for scheme in (
        ProtectedConstantWeight,
        ConstantWeight,
        Sign,
        SignRepetition,
        SignErasure,
        DitherModulation,
        FixedWeights,
        SpreadSpectrum,
        Uchida,
        SpreadTransformDither,
        DeepSigns,
        Riga,
        Aligned,
        Structural,
        Carriers,
        Ingrain,
        Unmarked,
        WrongKey,
    )
}


def make_scheme(name: str, parameters: Mapping[str, Any], where: str = "") -> Scheme:
    """Return the scheme of that name with these parameters; BadInput names the nearest valid ones."""
    return build("scheme", SCHEMES, name, parameters, where)


def scheme_of(mark: Mark) -> Scheme:
    """Return the scheme that made a mark; BadInput if the mark contradicts itself."""
    scheme = make_scheme(mark.scheme, mark.parameters, "mark")
    if scheme.payload_bits != mark.payload_bits:
        raise BadInput(
            f"the mark is damaged: its payload has {mark.payload_bits} bits, its scheme's {scheme.payload_bits}"
        )
    return scheme
