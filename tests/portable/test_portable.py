"""Portable numerics: the digest of a little training and marking is the committed one."""

import json
import warnings

import pytest

from bench.support.numerics import processor_facts
from tests.portable.__main__ import EXPECTED, digests


@pytest.mark.results
def test_portable_digests_are_the_committed_ones() -> None:
    found, expected = digests(), json.loads(EXPECTED.read_text())
    assert (found["numerics"], found["processor"]) == ("portable", "x86-64")
    if found["versions"] != expected["versions"]:
        pytest.skip(f"recorded with {expected['versions']}, here are {found['versions']}")
    here = processor_facts()["processor"]
    if here in expected["held_on"]:
        assert found["digests"] == expected["digests"]
        return
    equal = found["digests"] == expected["digests"]
    warnings.warn(
        f"portable digests are {'equal' if equal else 'OTHERS'} on {here}: note it in {EXPECTED}", stacklevel=1
    )
