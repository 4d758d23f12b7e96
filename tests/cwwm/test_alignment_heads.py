"""Alignment undoes an invertible matrix inside each attention head, and finds heads that moved or are gone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks import make_attack
from bench.studies.symmetry import attacker, randomised
from cwwm.alignment.channel_map import ChannelMap
from cwwm.alignment.heads import Attention, Heads, Mixture, align_heads, fit
from cwwm.ownership.keys import Key, Stream
from cwwm.ownership.mark import Mark
from cwwm.readers import find_reader, view_of
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.weights.view import as_weights

CPU = torch.device("cpu")
CHANNELS, HEADS, SIZE = 96, 3, 16
STREAM = [ChannelMap.identity(CHANNELS)]
SCHEMES: dict[str, dict[str, Any]] = {
    "protected-cwc": {"payload_bits": 64, "blocks": 120, "block_length": 64},
    "spread-spectrum": {"payload_bits": 64},
}
FLOAT32 = 1e4  # largest condition of a mixing that float32 undoes to three digits and more
VITS = {"test_vit": {"img_size": 32, "patch_size": 16}, "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 16}}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def module(seed: int) -> Attention:
    inner = HEADS * SIZE
    return Attention(drawn(seed, 3 * inner, CHANNELS), drawn(seed + 1, inner, CHANNELS))


def mixing(seed: int, heads: int) -> Tensor:
    """Return a matrix for each of the four parts of each head."""
    return drawn(seed, heads, 4, SIZE, SIZE)


def mixed(module: Attention, seed: int, order: list[int]) -> Attention:
    """Return the module with its heads in another order, each part of a head times a matrix of its own."""
    rows = module.rows(SIZE)[order]
    rows = (mixing(seed, len(order)) @ rows).transpose(0, 1).reshape(-1, CHANNELS)
    inner = len(order) * SIZE
    return Attention(rows[: 3 * inner], rows[3 * inner :])


def brought_back(found: Heads, suspect: Attention) -> Attention:
    """Return the suspect's weights as the owner has them; heads that are gone are zero."""
    given = torch.from_numpy(found.given.partner)
    read = torch.from_numpy(found.read.partner)
    rows, columns = suspect.given[given.clamp(min=0)], suspect.read[read.clamp(min=0)]
    return Attention(found.mixed.off_outputs(rows[..., None])[..., 0], found.unmixed.off_outputs(columns))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(HEADS)))
def test_mixed_heads_are_brought_back_wherever_they_went(seed: int, order: list[int]) -> None:
    assume(float(torch.linalg.cond(mixing(seed + 7, HEADS)).max()) < FLOAT32)  # else rounding alone undoes it
    owner = module(seed)
    suspect = mixed(owner, seed + 7, order)
    found = align_heads(owner, suspect, STREAM)
    assert found is not None
    assert found.mixed.matrices.shape == (3 * HEADS, SIZE, SIZE)
    assert found.shares == pytest.approx((1, 1), abs=1e-3)
    back = brought_back(found, suspect)
    torch.testing.assert_close(back.given, owner.given, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(back.read, owner.read, rtol=1e-2, atol=1e-2)


def test_a_head_that_is_gone_has_no_partner() -> None:
    owner = module(0)
    suspect = mixed(owner, 5, [2, 0])
    found = align_heads(owner, suspect, STREAM)
    assert found is not None
    heads = found.read.partner.reshape(HEADS, SIZE)
    assert heads[:, 0].tolist() == [SIZE, -1, 0]
    assert found.given.width == 3 * 2 * SIZE
    assert found.shares == pytest.approx((2 / 3, 2 / 3), abs=1e-3)
    assert torch.count_nonzero(found.mixed.matrices.view(3, HEADS, SIZE, SIZE)[:, 1]) == 0


def test_the_stream_is_found_among_other_orders() -> None:
    owner = module(0)
    suspect = mixed(owner, 5, [1, 2, 0])
    order = torch.randperm(CHANNELS, generator=torch.Generator().manual_seed(3))
    moved = Attention(suspect.given[:, order], suspect.read[:, order])
    right = ChannelMap(np.argsort(order.numpy()), CHANNELS)
    found = align_heads(owner, moved, [ChannelMap.identity(7), *STREAM, right])
    assert found is not None
    assert found.stream is right
    assert found.shares == pytest.approx((1, 1), abs=1e-3)


def test_strangers_are_not_explained_beyond_chance() -> None:
    shares = []
    for seed in range(20):
        found = align_heads(module(seed), module(1000 + seed), STREAM)
        assert found is not None
        shares += found.shares
    assert max(shares) < 0.1


def test_too_few_channels_tell_nothing() -> None:
    narrow = Attention(drawn(0, 3 * 16, 12), drawn(1, 16, 12))
    assert align_heads(narrow, narrow, [ChannelMap.identity(12)]) is None
    assert Attention.of(drawn(0, 40, 12, 1), drawn(1, 12, 16, 1)) is None
    assert Attention.of(drawn(0, 48, 12, 1), drawn(1, 12, 16, 1)) is not None


def test_a_mixture_is_off_outputs_and_inputs() -> None:
    matrices, weights = drawn(0, 4, 5, 5), drawn(1, 20, 9, 1)
    mixture, undone = Mixture(matrices), Mixture(torch.linalg.inv(matrices))
    torch.testing.assert_close(undone.off_outputs(mixture.off_outputs(weights)), weights, rtol=1e-3, atol=1e-3)
    turned = weights.transpose(0, 1)
    torch.testing.assert_close(mixture.off_inputs(turned).transpose(0, 1), mixture.off_outputs(weights))


def test_hidden_weights_are_neither_compared_nor_fitted() -> None:
    owner, suspect = drawn(0, SIZE, CHANNELS), drawn(1, SIZE, CHANNELS)
    suspect = drawn(2, SIZE, SIZE) @ owner + 0.1 * suspect
    hidden = drawn(3, SIZE, CHANNELS) > 1
    true = owner.clone()
    owner[hidden] = 0
    matrix, share = fit(owner, suspect)
    assert 0.9 < share <= 1
    read, wanted = (matrix @ suspect)[hidden], true[hidden]
    assert float(torch.corrcoef(torch.stack([read, wanted]))[0, 1]) > 0.9
    owner[0, : CHANNELS - SIZE] = 0
    assert torch.count_nonzero(fit(owner, suspect)[0][0]) == 0  # a row with too few weights left to compare


def rotated(model: nn.Module, seed: int) -> nn.Module:
    attack, context = make_attack({"name": "rotate"}, "test"), replace(attacker(32, CPU), seed=seed)
    return next(attack.curve([model], [4.0], context)).model


def marked(model: nn.Module, name: str, seed: int) -> tuple[Scheme, Key, Mark, np.ndarray]:
    scheme, key = make_scheme(name, SCHEMES[name]), Key.for_harness(seed=seed)
    message = Stream(seed.to_bytes(32, "little")).bits(64)
    _, mark = embed(scheme, as_weights(model), message, key, EmbedContext(nonce=bytes(16)))
    return scheme, key, mark, message


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize(
    ("network", "seeds"),
    [("test_vit", 1), *(pytest.param(network, 5, marks=pytest.mark.slow) for network in VITS)],
)
def test_marks_of_rotated_transformers_are_recovered_with_a_reference(network: str, seeds: int, name: str) -> None:
    for seed in range(seeds):
        model = randomised(network, **VITS[network])
        scheme, key, mark, message = marked(model, name, seed)
        suspect = as_weights(rotated(model, seed))
        found = view_of(find_reader("aligned"), scheme, suspect, key, mark, as_weights(model)).extraction(
            scheme, key, mark
        )
        assert found.ok
        assert np.array_equal(found.bits, message)
        assert scheme.evidence(found, Claim(key, mark, message)).combined < -12
