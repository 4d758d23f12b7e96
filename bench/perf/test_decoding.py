"""Times decoders of soft codes on the device beside the same decoder on NumPy arrays, for many words at once.

A harness reads a mark with hundreds of wrong keys: those are the words that are decoded together.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bench.perf.conftest import BesideFloor, drained
from cwwm.codes import Check
from cwwm.codes.multilevel import MultilevelPolar, default_form
from cwwm.codes.polar import PolarCode
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check

WORDS = {"full": 256, "tiny": 4}
BITS = 256


def binary(words: int, random: np.random.Generator) -> tuple[PolarCode, npt.NDArray[np.float32]]:
    """Return the polar code and what a wrong key reads of so many words."""
    code = PolarCode(payload_bits=BITS, length=2048)
    return code, random.standard_normal((words, code.length), dtype=np.float32)


def multilevel(words: int, random: np.random.Generator) -> tuple[MultilevelPolar, npt.NDArray[np.float32]]:
    """Return the multilevel code and what a wrong key reads of so many words."""
    symbols, rows = default_form(BITS, 10**7)
    code = MultilevelPolar(payload_bits=BITS, symbols=symbols, rows=rows)
    return code, random.standard_normal((words, symbols, rows), dtype=np.float32)


def check_of(bits: int) -> Check:
    """Return the keyed check of so many bits."""
    return keyed_check(Key.for_harness(purpose="perf").choices(bytes(16)), bits)


#: (words, random) -> a code, and float32 (words, ...) to decode
MAKERS: dict[str, Callable[[int, np.random.Generator], tuple[PolarCode | MultilevelPolar, npt.NDArray[Any]]]]
MAKERS = {"polar": binary, "multilevel polar": multilevel}


@pytest.mark.parametrize("name", MAKERS)
def test_decode(name: str, beside_floor: BesideFloor, profile: str, device: torch.device) -> None:
    code, values = MAKERS[name](WORDS[profile], np.random.default_rng(0))
    there, checks = torch.from_numpy(values).to(device), [check_of(code.check_bits)] * len(values)
    beside_floor(
        f"decode {len(values)} words of {BITS} bits, {name}",
        ours=drained(lambda: code.decode_many(there, checks), device),
        floor=lambda: code.decode_many(values, checks),
        beside="NumPy on one core",
    )
