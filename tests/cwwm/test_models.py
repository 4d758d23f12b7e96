"""What an owner does with models in memory is the same as with files: mark, read, prove, refuse."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cwwm
from cwwm import BadInput, Key, embed, extract, make_scheme, verify
from cwwm.owner import ExhibitFiles, commitment_path, embed_file, mark_path, read_file, verify_file
from cwwm.ownership.message import bits_to_text
from cwwm.weights.checkpoint import open_weights, save_tensors

SCHEME = make_scheme("sign-repetition", {"payload_bits": 64, "repetition": 5})


@pytest.fixture(scope="module")
def key() -> Key:
    return Key.generate()


def test_a_module_is_marked_read_and_proven(tiny_net: nn.Module, key: Key) -> None:
    original = copy.deepcopy(tiny_net)
    weights, mark, commitment = embed(SCHEME, tiny_net, "mine", key)
    assert weights.module is tiny_net
    assert bits_to_text(extract(tiny_net, key, mark).bits) == "mine"
    found = verify(
        tiny_net, key, mark, "mine", commitment=commitment, original=original, innocents={"base": original}
    )
    assert found.verdict.proven
    assert found.recovered
    assert found.innocents["base"] > -2
    assert not verify(original, key, mark, "mine", commitment=commitment).verdict.proven
    assert "no prior commitment" in verify(tiny_net, key, mark, "mine").verdict.reason


def test_permuted_channels_are_read_beside_a_reference(state: dict[str, Tensor], key: Key) -> None:
    _, mark, _ = embed(SCHEME, state, "mine", key)
    moved = {name: value.clone() for name, value in state.items()}
    moved["stem.weight"] = moved["stem.weight"].flip(0)
    assert bits_to_text(extract(state, key, mark, reference=state).bits) == "mine"
    with pytest.raises(BadInput, match="neither the copy that the mark was made in nor the original"):
        extract(state, key, mark, reference=moved)


def test_scales_of_channels_are_read_away_without_a_reference(state: dict[str, Tensor], key: Key) -> None:
    scheme = make_scheme("protected-cwc", {"payload_bits": 32, "blocks": 60, "block_length": 24})
    original = {name: value.clone() for name, value in state.items()}
    _, mark, commitment = embed(scheme, state, "mine", key)
    generator = torch.Generator().manual_seed(1)
    folded = {
        name: value * torch.randn((len(value), *[1] * (value.ndim - 1)), generator=generator).mul(1.5).exp()
        if value.ndim > 1
        else value
        for name, value in state.items()
    }
    assert not extract(folded, key, mark).ok
    assert bits_to_text(extract(folded, key, mark, per_channel=True).bits) == "mine"
    exhibits = {"commitment": commitment, "innocents": {"base": original}}
    found = verify(folded, key, mark, "mine", per_channel=True, **exhibits)
    assert found.verdict.proven
    assert found.verdict.log10_p == pytest.approx(found.evidence.combined + math.log10(2))  # two ways to read
    assert found.innocents["base"] > -2
    with pytest.raises(BadInput, match="give one of them or --per-channel"):
        extract(folded, key, mark, reference=original, per_channel=True)


def test_files_and_memory_agree(state: dict[str, Tensor], key: Key, tmp_path: Path) -> None:
    save_tensors(state, tmp_path / "model.safetensors")
    message = torch.randint(2, (64,), generator=torch.Generator().manual_seed(0)).numpy().astype("uint8")
    marked = tmp_path / "marked.safetensors"
    mark = embed_file(tmp_path / "model.safetensors", marked, SCHEME, message, key).mark
    assert (extract(open_weights(marked), key, mark).bits == message).all()
    in_memory = verify(open_weights(marked), key, mark, message, commitment=None)
    files = ExhibitFiles(commitment=commitment_path(marked))
    assert verify_file(marked, key, mark_path(marked), message, files).verdict.proven
    assert in_memory.evidence == verify_file(marked, key, mark_path(marked), message, ExhibitFiles()).evidence
    unscaled = verify(open_weights(marked), key, mark, message, per_channel=True)
    judged = verify_file(marked, key, mark_path(marked), message, ExhibitFiles(per_channel=True))
    assert judged.evidence == unscaled.evidence
    assert judged.verdict.log10_p > verify(open_weights(marked), key, mark, message).verdict.log10_p
    assert read_file(marked, key, mark_path(marked), per_channel=True).extraction.ok


def test_refusals_say_what_is_wrong(state: dict[str, Tensor], key: Key) -> None:
    _, mark, _ = embed(SCHEME, state, "mine", key)
    with pytest.raises(BadInput, match="key"):
        extract(state, Key.generate(), mark)
    with pytest.raises(BadInput, match="key"):
        verify(state, Key.generate(), mark, "mine")
    with pytest.raises(BadInput, match="marks only while training"):
        embed(make_scheme("uchida", {}), state, "mine", key)
    with pytest.raises(BadInput, match="64 bits of 0 and 1"):
        embed(SCHEME, state, mark.nonce, key)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="the payload 64"):
        embed(SCHEME, state, "far too long", key)


def test_the_package_hands_on_what_it_names() -> None:
    assert all(getattr(cwwm, name) is not None for name in cwwm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'embedd'"):
        cwwm.embedd  # noqa: B018
