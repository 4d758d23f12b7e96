"""Laws of commitments: they bind everything a claim names, reveal nothing, and without one nothing is proven."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import Tensor

from cwwm.codes import Bits
from cwwm.commitment import Commitment
from cwwm.owner import ExhibitFiles, embed_file, read_file, verify_file
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import load_mark, save_mark
from cwwm.ownership.verification import Verification
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights

K = 64
MESSAGE = np.random.default_rng(0).integers(0, 2, K).astype(np.uint8)


@pytest.fixture
def claim(state: dict[str, Tensor], harness_key: Key, nonce: bytes) -> Claim:
    scheme = make_scheme("cwc", {"payload_bits": K})
    _, mark = embed(scheme, as_weights(state), MESSAGE, harness_key, EmbedContext(nonce=nonce))
    return Claim(harness_key, mark, MESSAGE)


def _changed_mark(claim: Claim, **changes: Any) -> Claim:  # noqa: ANN401 (any field of a mark)
    return replace(claim, mark=replace(claim.mark, **changes))


def _changes(claim: Claim) -> dict[str, Claim]:
    flipped = MESSAGE.copy()
    flipped[0] ^= 1
    assert claim.mark.carrier is not None
    fewer = replace(claim.mark.carrier, layers=claim.mark.carrier.layers[:-1])
    return {
        "key": replace(claim, key=Key.for_harness(another=True)),
        "message": replace(claim, message=flipped),
        "length": replace(claim, message=np.append(MESSAGE, np.uint8(0))),
        "salt": _changed_mark(claim, salt=bytes(32)),
        "scheme": _changed_mark(claim, scheme="sign-repetition"),
        "parameters": _changed_mark(claim, parameters={**claim.mark.parameters, "survive": 0.91}),
        "payload": _changed_mark(claim, payload_bits=K - 1),
        "carrier": _changed_mark(claim, carrier=fewer),
        "state": _changed_mark(claim, state={"width": 1}),
    }


def test_it_binds_the_claim_it_was_made_for(claim: Claim) -> None:
    commitment = Commitment.to(claim)
    assert commitment.binds(claim)
    assert Commitment.to(claim) == commitment
    assert commitment.binds(_changed_mark(claim, report={"note": "reports are for the reader"}))


@pytest.mark.parametrize(
    "part", ["key", "message", "length", "salt", "scheme", "parameters", "payload", "carrier", "state"]
)
def test_it_binds_no_other_claim(claim: Claim, part: str) -> None:
    assert not Commitment.to(claim).binds(_changes(claim)[part])


def test_it_still_binds_a_mark_read_back_from_its_file(claim: Claim, tmp_path: Path) -> None:
    save_mark(claim.mark, tmp_path / "m.mark.json")
    Commitment.to(claim).save(tmp_path / "c.json")
    loaded = Claim(claim.key, load_mark(tmp_path / "m.mark.json"), MESSAGE)
    assert Commitment.load(tmp_path / "c.json").binds(loaded)


def test_the_file_reveals_neither_key_nor_message(claim: Claim, tmp_path: Path) -> None:
    Commitment.to(claim).save(tmp_path / "c.json")
    text = (tmp_path / "c.json").read_text()
    secrets = ["".join(map(str, MESSAGE)), np.packbits(MESSAGE).tobytes().hex(), claim.key.digest[:12]]
    assert not any(secret in text for secret in [*secrets, claim.mark.salt.hex()])
    assert len(text) < 400


def test_equal_messages_under_two_keys_or_salts_do_not_look_equal(claim: Claim) -> None:
    others = [_changes(claim)["key"], _changes(claim)["salt"]]
    digests = {Commitment.to(other).digest for other in [claim, *others]}
    assert len(digests) == 3


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "cwwm-mark v1"}', '{"format": "cwwm-commitment v1"}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(BadInput, match="commitment file"):
        Commitment.load(tmp_path / "c.json")
    with pytest.raises(BadInput, match="absent"):
        Commitment.load(tmp_path / "absent.json")


@pytest.fixture
def owner(state: dict[str, Tensor], tmp_path: Path) -> Key:
    """Mark `state` into marked.safetensors under a key of the owner, and return the key."""
    key = Key(bytes(range(32)))
    save_file(state, tmp_path / "model.safetensors")
    scheme = make_scheme("cwc", {"payload_bits": K})
    embed_file(tmp_path / "model.safetensors", tmp_path / "marked.safetensors", scheme, MESSAGE, key)
    return key


def _verify(folder: Path, key: Key, message: Bits, commitment: str | None, mark: str = "marked") -> Verification:
    return verify_file(
        folder / "marked.safetensors",
        key,
        folder / f"{mark}.mark.json",
        message,
        ExhibitFiles(commitment=folder / commitment if commitment else None),
    )


def test_the_owner_proves_with_the_commitment_and_not_without(owner: Key, tmp_path: Path) -> None:
    found = _verify(tmp_path, owner, MESSAGE, "marked.commitment.json")
    assert found.verdict.proven
    assert found.recovered
    without = _verify(tmp_path, owner, MESSAGE, None)
    assert not without.verdict.proven
    assert without.recovered
    assert without.verdict.log10_p == found.verdict.log10_p < -12
    assert without.verdict.reason == "not proven: no prior commitment"


def test_a_commitment_to_another_message_proves_nothing(owner: Key, tmp_path: Path) -> None:
    found = _verify(tmp_path, owner, 1 - MESSAGE, "marked.commitment.json")
    assert not found.verdict.proven
    assert "binds another key, message or mark" in found.verdict.reason


def test_extract_then_claim_proves_nothing(owner: Key, tmp_path: Path) -> None:
    attacker = Key(bytes(32))
    mark = replace(load_mark(tmp_path / "marked.mark.json"), key_digest=attacker.digest)
    message = MESSAGE
    for salt in range(100):  # an attacker tries salts until something comes out
        mark = replace(mark, salt=salt.to_bytes(32, "big"))
        save_mark(mark, tmp_path / "attacker.mark.json")
        reading = read_file(tmp_path / "marked.safetensors", attacker, tmp_path / "attacker.mark.json")
        message = reading.extraction.bits
        if reading.extraction.ok:
            break
    found = _verify(tmp_path, attacker, message, None, mark="attacker")
    assert found.verdict.log10_p < -12  # the statistics alone would have been believed
    assert not found.verdict.proven
    stolen = _verify(tmp_path, attacker, message, "marked.commitment.json", mark="attacker")
    assert not stolen.verdict.proven
