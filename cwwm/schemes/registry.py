"""The schemes that come with this package."""

from collections.abc import Mapping

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

BUILT_IN: Mapping[str, type[Scheme]] = {
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
        Structural,
        Carriers,
        Ingrain,
        Unmarked,
        WrongKey,
    )
}
