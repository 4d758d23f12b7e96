"""Alignment undoes permuted, scaled, removed and added channels, refuses strangers, and ignores the mark."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cwwm.alignment import AlignedWeights, Alignment, ChannelMap, align
from cwwm.alignment.scales import fit_scales
from cwwm.alignment.signs import signs
from cwwm.alignment.similarity import LayerPair, assign, dense, row_cosines
from cwwm.alignment.sources import Source, find_sources
from cwwm.alignment.transforms import ChannelTransform, Factors, bring_back
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.readers import find_reader, view_of
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import prunable
from cwwm.weights.view import as_weights

State = dict[str, Tensor]
MESSAGE = (np.arange(64) % 2).astype(np.uint8)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _network(seed: int = 0) -> State:
    """Return a network with a residual stream, grouped and depthwise layers, fused values and a flattened map."""
    shapes = {
        "stem.weight": (32, 3, 3, 3),
        "block1.conv1.weight": (48, 32, 3, 3),
        "block1.conv2.weight": (32, 48, 3, 3),
        "block2.conv1.weight": (64, 32, 1, 1),
        "block2.depthwise.weight": (64, 1, 5, 5),
        "block2.grouped.weight": (64, 16, 3, 3),
        "block2.conv2.weight": (32, 64, 1, 1),
        "attention.qkv.weight": (96, 32),
        "attention.proj.weight": (32, 32),
        "joined.conv.weight": (40, 64, 1, 1),
        "hidden.weight": (120, 40 * 9),
        "head.weight": (10, 120),
    }
    generator = _generator(seed)
    return {name: torch.randn(*shape, generator=generator) * 0.05 for name, shape in shapes.items()}


def _orders(generator: torch.Generator, keep: float = 1.0) -> dict[str, Tensor]:
    """Return which channels of each site an attacker keeps, in what order; groups stay together."""
    sizes = {"stream": 32, "inner1": 48, "inner2": 64, "joined": 40, "hidden": 120}
    kept = {site: torch.randperm(n, generator=generator)[: round(keep * n)] for site, n in sizes.items()}
    groups = torch.randperm(4, generator=generator)
    kept["inner2"] = torch.cat([16 * group + torch.randperm(16, generator=generator) for group in groups])
    kept["grouped"] = torch.cat([16 * group + torch.randperm(16, generator=generator) for group in groups])
    parts = [torch.randperm(32, generator=generator)] * 2 + [torch.randperm(32, generator=generator)]
    kept["qkv"] = torch.cat([32 * number + order for number, order in enumerate(parts)])
    return kept


def _rearranged(state: State, kept: dict[str, Tensor]) -> State:
    stream, inner1, inner2, values = kept["stream"], kept["inner1"], kept["inner2"], kept["qkv"][64:] - 64
    flat = (kept["joined"][:, None] * 9 + torch.arange(9)).reshape(-1)
    within = kept["inner2"].view(4, 16)
    blocks = torch.stack([within[out // 16] % 16 for out in range(64)])
    moved = state["block2.grouped.weight"][kept["grouped"]]
    both = torch.cat([stream, 32 + stream])
    return {
        "stem.weight": state["stem.weight"][stream],
        "block1.conv1.weight": state["block1.conv1.weight"][inner1][:, stream],
        "block1.conv2.weight": state["block1.conv2.weight"][stream][:, inner1],
        "block2.conv1.weight": state["block2.conv1.weight"][inner2][:, stream],
        "block2.depthwise.weight": state["block2.depthwise.weight"][inner2],
        "block2.grouped.weight": torch.stack([moved[out][blocks[out]] for out in range(64)]),
        "block2.conv2.weight": state["block2.conv2.weight"][stream][:, kept["grouped"]],
        "attention.qkv.weight": state["attention.qkv.weight"][kept["qkv"]][:, stream],
        "attention.proj.weight": state["attention.proj.weight"][stream][:, values],
        "joined.conv.weight": state["joined.conv.weight"][kept["joined"]][:, both],
        "hidden.weight": state["hidden.weight"][kept["hidden"]][:, flat],
        "head.weight": state["head.weight"][:, kept["hidden"]],
    }


def _scaled(state: State, factor: float, generator: torch.Generator) -> State:
    """Return each tensor with its outputs and inputs scaled by factors up to `factor` and down to its inverse."""

    def factors(size: int, extent: float) -> Tensor:
        logs: Tensor = torch.empty(size).uniform_(-1, 1, generator=generator) * float(np.log(extent))
        return logs.exp()

    scaled = {}
    for name, tensor in state.items():
        outputs = factors(len(tensor), factor)
        inputs = factors(tensor.shape[1], factor if tensor.shape[1] > 3 else 1.0)  # an image stays as it is
        axes = (1,) * (tensor.ndim - 2)
        scaled[name] = tensor * outputs.view(-1, 1, *axes) * inputs.view(1, -1, *axes)
    return scaled


def _pruned(state: State, rate: float) -> State:
    every = torch.cat([t.flatten() for t in state.values()]).abs()
    least = every.kthvalue(int(rate * len(every))).values
    return {name: t * (t.abs() > least) for name, t in state.items()}


def _noisy(state: State, deviations: float) -> State:
    generator = _generator(9)
    return {name: t + deviations * t.std() * torch.randn(t.shape, generator=generator) for name, t in state.items()}


def _factors(change: ChannelTransform) -> Tensor:
    assert isinstance(change, Factors)
    return change.values


def _brought_back(owner: State, suspect: State) -> tuple[Alignment, State]:
    alignment = align(as_weights(owner), as_weights(suspect))
    view = AlignedWeights(as_weights(owner), as_weights(suspect), alignment)
    return alignment, {name: view.tensor(name) for name in view.names()}


@pytest.mark.parametrize("seed", range(3))
def test_a_rearranged_network_comes_back_exactly(seed: int) -> None:
    owner = _network(seed)
    suspect = _rearranged(owner, _orders(_generator(seed)))
    alignment, found = _brought_back(owner, suspect)
    assert alignment.accepted
    assert alignment.score > 0.95
    assert alignment.channels["removed"] == alignment.channels["added"] == 0
    assert found.keys() == owner.keys()
    for name, tensor in owner.items():
        assert torch.equal(found[name], tensor), name


def test_an_untouched_network_is_itself() -> None:
    owner = _network()
    alignment, found = _brought_back(owner, owner)
    assert alignment.channels["moved"] == 0
    assert all(torch.equal(found[name], tensor) for name, tensor in owner.items())


def test_scaled_channels_come_back() -> None:
    owner = _network()
    suspect = _scaled(_rearranged(owner, _orders(_generator(1))), 4.0, _generator(2))
    alignment, found = _brought_back(owner, suspect)
    assert alignment.score > 0.95
    assert all(torch.allclose(found[name], tensor, rtol=1e-4, atol=1e-6) for name, tensor in owner.items())


def test_pruned_after_permutation_and_scaling_the_survivors_come_back() -> None:
    owner = _network()
    suspect = _pruned(_scaled(_rearranged(owner, _orders(_generator(1))), 2.0, _generator(2)), 0.9)
    alignment, found = _brought_back(owner, suspect)
    assert alignment.score > 0.5
    survivors = sum(int((tensor != 0).sum()) for tensor in suspect.values())
    right = sum(
        int((torch.isclose(found[name], owner[name], rtol=1e-2) & (found[name] != 0)).sum()) for name in found
    )
    assert right > 0.7 * survivors  # layers of 32 inputs, three of which are left, cannot be told


def test_fine_tuning_is_not_taken_for_scaling() -> None:
    owner = _network()
    suspect = _noisy(_rearranged(owner, _orders(_generator(1))), 0.2)
    alignment, _ = _brought_back(owner, suspect)
    assert alignment.score > 0.9
    scales = torch.cat([_factors(layer.output_change) for layer in alignment.layers.values()])
    assert float((scales == 1).float().mean()) > 0.9


def test_removed_channels_are_zeros_and_all_others_stay() -> None:
    owner, kept = _network(), _orders(_generator(3), keep=0.6)
    suspect = _rearranged(owner, kept)
    alignment, found = _brought_back(owner, suspect)
    assert alignment.score > 0.5
    stays = torch.zeros(48, dtype=torch.bool)
    stays[kept["inner1"]] = True
    tensor = found["block1.conv1.weight"]
    assert torch.equal(tensor.abs().sum((1, 2, 3)) > 0, stays)
    kept_rows, kept_columns = kept["inner1"], kept["stream"]
    both = owner["block1.conv1.weight"][kept_rows][:, kept_columns]
    assert torch.equal(tensor[kept_rows][:, kept_columns], both)


def test_a_matching_that_is_half_right_is_not_taken_for_the_right_one() -> None:
    """The inner channels of a block lose the same first ones as the stream: under their matching rows stand out."""
    generator = _generator(6)
    shapes = {"stem.weight": (64, 3, 3, 3), "conv1.weight": (64, 64, 3, 3), "conv2.weight": (64, 64, 3, 3),
              "next.weight": (96, 64, 3, 3)}  # fmt: skip
    owner = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    first, last = torch.arange(2, 32), torch.arange(32, 64)
    stream, inner = torch.cat([first, last[::2]]), torch.cat([first, last[1::2]])
    suspect = {
        "stem.weight": owner["stem.weight"][stream],
        "conv1.weight": owner["conv1.weight"][inner][:, stream],
        "conv2.weight": owner["conv2.weight"][stream][:, inner],
        "next.weight": owner["next.weight"][:, stream],
    }
    alignment, found = _brought_back(owner, suspect)
    assert alignment.score == 1
    assert torch.equal(found["next.weight"][:, stream], owner["next.weight"][:, stream])


def test_added_channels_are_dropped() -> None:
    owner = _network()
    suspect = dict(owner)
    extra = 0.05 * torch.randn(6, 32, 3, 3, generator=_generator(4))
    suspect["block1.conv1.weight"] = torch.cat([extra[:3], owner["block1.conv1.weight"], extra[3:]])
    zeros = torch.zeros(32, 3, 3, 3)
    suspect["block1.conv2.weight"] = torch.cat([zeros, owner["block1.conv2.weight"], zeros], 1)
    alignment, found = _brought_back(owner, suspect)
    assert alignment.channels["added"] == 6
    assert all(torch.equal(found[name], tensor) for name, tensor in owner.items())


def test_a_stranger_of_the_same_shapes_is_refused() -> None:
    alignment = align(as_weights(_network(0)), as_weights(_network(1)))
    assert not alignment.accepted
    assert alignment.score < 0.1


def test_a_suspect_of_zeros_or_without_a_number_is_no_match() -> None:
    owner = _network()
    for value in (0.0, float("nan")):
        assert not align(
            as_weights(owner), as_weights({n: torch.full_like(t, value) for n, t in owner.items()})
        ).accepted


def test_the_search_does_not_see_hidden_weights() -> None:
    """Whatever the hidden weights of the owner's copy are, the same channels are found."""
    owner = _network()
    suspect = _noisy(_rearranged(owner, _orders(_generator(5))), 0.5)
    hidden = {
        name: torch.randperm(t.numel(), generator=_generator(6))[: t.numel() // 10] for name, t in owner.items()
    }
    other = copy.deepcopy(owner)
    for name, index in hidden.items():
        other[name].view(-1)[index] = 7.0
    one, two = (align(as_weights(x), as_weights(suspect), hidden) for x in (owner, other))
    for name, layer in one.layers.items():
        assert np.array_equal(layer.outputs.partner, two.layers[name].outputs.partner)
        assert torch.equal(_factors(layer.output_change), _factors(two.layers[name].output_change))


def _marked(name: str = "protected-cwc") -> tuple[State, Key, Mark]:
    parameters = {"blocks": 60, "block_length": 64, "survive": 0.99, "low": 0.9} if name == "protected-cwc" else {}
    state, key = _network(), Key.for_harness(seed=0)
    scheme = make_scheme(name, {"payload_bits": 64, **parameters})
    _, mark = embed(scheme, as_weights(state), MESSAGE, key, EmbedContext(nonce=bytes(16)))
    return state, key, mark


def _evidence(owner: State, suspect: State, key: Key, mark: Mark) -> tuple[bool, Evidence]:
    scheme = make_scheme(mark.scheme, mark.parameters)
    view = view_of(find_reader("aligned"), scheme, as_weights(suspect), key, mark, as_weights(owner))
    found = view.extraction(scheme, key, mark)
    whole = found.ok and np.array_equal(found.bits, MESSAGE)
    return whole, scheme.evidence(found, Claim(key, mark, MESSAGE))


@pytest.mark.parametrize(
    "attack",
    [
        lambda state: _rearranged(state, _orders(_generator(1))),
        lambda state: _scaled(_rearranged(state, _orders(_generator(1))), 3.0, _generator(2)),
        lambda state: _pruned(_rearranged(state, _orders(_generator(1))), 0.9),
        lambda state: _noisy(_rearranged(state, _orders(_generator(1))), 0.1),
    ],
    ids=["permuted", "scaled", "pruned", "fine-tuned"],
)
def test_a_mark_is_read_through_the_alignment(attack: Callable[[State], State]) -> None:
    owner, key, mark = _marked()
    suspect = attack(owner)
    plain = make_scheme(mark.scheme, mark.parameters).extract(as_weights(suspect), key, mark)
    assert not plain.ok
    whole, evidence = _evidence(owner, suspect, key, mark)
    assert whole
    assert evidence.combined < -20


def test_the_alignment_reads_no_mark_into_an_unmarked_relative() -> None:
    """A network that derives from the same host, but not from the marked copy, gives no evidence."""
    owner, key, mark = _marked()
    p_values = []
    for seed in range(12):
        relative = _noisy(_rearranged(_network(), _orders(_generator(seed))), 0.3)
        whole, evidence = _evidence(owner, relative, key, mark)
        assert not whole
        assert evidence.log10_p  # it is recognised, and read
        p_values.append(evidence.log10_p["blocks"])
    assert min(p_values) > -3


def test_the_hidden_hosts_are_where_the_mark_is() -> None:
    owner, key, mark = _marked()
    host = _network()
    hidden = hidden_hosts(key, mark, make_scheme(mark.scheme, mark.parameters).hosts)
    for name in prunable(as_weights(owner)):
        changed = (owner[name] != host[name]).view(-1).nonzero().view(-1)
        assert set(changed.tolist()) <= set(hidden[name].tolist())


def test_schemes_that_read_no_weights_are_not_aligned() -> None:
    with pytest.raises(BadInput, match="deepsigns reads no weights"):
        find_reader("aligned").require(make_scheme("deepsigns", {}))


def test_bring_back_of_a_grouped_layer_agrees_with_its_dense_form() -> None:
    generator = _generator(0)
    tensor = torch.randn(12, 4, 3, generator=generator)
    outputs = ChannelMap(torch.cat([torch.arange(4, 8), torch.arange(4), torch.arange(8, 12)]).numpy(), 12)
    inputs = ChannelMap(torch.cat([torch.arange(4, 8), torch.arange(4), torch.arange(8, 12)]).numpy(), 12)
    found = dense(bring_back(tensor, (12, 4, 3), outputs, inputs), 3)
    assert torch.equal(
        found, dense(tensor, 3)[torch.from_numpy(outputs.partner)][:, torch.from_numpy(inputs.partner)]
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 10**6))
def test_scales_are_found_whatever_is_missing(rows: int, columns: int, seed: int) -> None:
    generator = _generator(seed)
    owner = torch.randn(rows, columns, 4, generator=generator)
    a = torch.empty(rows).uniform_(0.2, 5, generator=generator)
    b = torch.empty(columns).uniform_(0.2, 5, generator=generator)
    left = torch.rand(owner.shape, generator=generator) < 0.9
    found = fit_scales(owner * left, owner * a[:, None, None] * b[:, None])
    wanted, got = a[:, None] * b, found[0][:, None] * found[1]
    assert torch.allclose(got, wanted, rtol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 40), st.integers(0, 8), st.integers(0, 8), st.integers(0, 10**6))
def test_a_partial_matching_is_found(size: int, removed: int, added: int, seed: int) -> None:
    generator = _generator(seed)
    owner = torch.randn(size, 64, 1, generator=generator)
    order = torch.randperm(size, generator=generator)[: size - min(removed, size - 4)]
    suspect = torch.cat([owner[order], torch.randn(added, 64, 1, generator=generator)])
    match = assign(row_cosines(LayerPair("x", owner, suspect), ChannelMap.identity(64)))
    partner = np.full(size, -1)
    partner[order.numpy()] = np.arange(len(order))
    kept = partner >= 0
    assert np.array_equal(match.map.partner[kept], partner[kept])


def test_maps_compose() -> None:
    known = ChannelMap(np.array([2, -1, 0]), 4)
    assert known.expanded(2).partner.tolist() == [4, 5, -1, -1, 0, 1]
    assert known.then(known).partner.tolist() == [2, -1, 0, 6, -1, 4]
    assert known.then(known).width == 8
    part = known.then(known).chunk(1, 2)
    assert part is not None
    assert part.partner.tolist() == known.partner.tolist()
    assert ChannelMap(np.array([3, 1, 0, 2]), 4).chunk(0, 2) is None  # torn
    assert known.agreement(ChannelMap(np.array([2, 3, 1]), 4)) == pytest.approx(1 / 3)


def test_a_module_is_aligned_as_its_weights_are(tiny_net: nn.Module) -> None:
    suspect = copy.deepcopy(tiny_net)
    order = torch.randperm(32, generator=_generator(1))
    with torch.no_grad():
        suspect.get_parameter("conv1.weight").copy_(tiny_net.get_parameter("conv1.weight")[order])
        suspect.get_parameter("conv2.weight").copy_(tiny_net.get_parameter("conv2.weight")[:, order])
    alignment = align(as_weights(tiny_net), as_weights(suspect))
    assert alignment.layers["conv1.weight"].outputs.partner.tolist() == order.argsort().tolist()


def _folded(state: State, generator: torch.Generator, *, dead: float = 0.0) -> State:
    """Return each layer as folded batch norms of wide factors leave it, the classifier apart; half are negative."""
    folded = {}
    for name, tensor in state.items():
        factors = torch.empty(len(tensor)).normal_(0, 1.5, generator=generator).exp()
        factors *= torch.randint(2, factors.shape, generator=generator) * 2 - 1
        factors[torch.rand(factors.shape, generator=generator) < dead] = 0
        folded[name] = tensor if name == "head.weight" else tensor * factors.view(-1, *[1] * (tensor.ndim - 1))
    return folded


@pytest.mark.parametrize("seed", range(3))
def test_folded_batch_norms_are_undone_negative_factors_too(seed: int) -> None:
    owner = _network(seed)
    suspect = _folded(_rearranged(owner, _orders(_generator(seed))), _generator(9))
    alignment, found = _brought_back(owner, suspect)
    assert alignment.score > 0.95
    assert alignment.channels["removed"] == 0
    changes = torch.cat([_factors(layer.output_change) for layer in alignment.layers.values()])
    assert 0.35 < float((changes < 0).float().mean()) < 0.65
    for name, tensor in owner.items():
        assert torch.allclose(found[name], tensor, rtol=1e-3, atol=1e-6), name


def test_a_channel_whose_factor_is_zero_is_removed_and_the_rest_comes_back() -> None:
    owner = _network()
    suspect = _folded(owner, _generator(2), dead=0.2)
    _, found = _brought_back(owner, suspect)
    for name, tensor in list(owner.items())[:-1]:  # what reads dead channels alone, the classifier, has ten weights
        alive = suspect[name].flatten(1).abs().sum(1) > 0
        assert torch.allclose(found[name][alive], tensor[alive], rtol=1e-3, atol=1e-6), name
        assert not found[name][~alive].any()


def test_a_mark_is_read_after_folding_with_negative_factors() -> None:
    owner, key, mark = _marked()
    suspect = _folded(owner, _generator(3))
    assert not make_scheme(mark.scheme, mark.parameters).extract(as_weights(suspect), key, mark).ok
    whole, evidence = _evidence(owner, suspect, key, mark)
    assert whole
    assert evidence.combined < -20


def test_folding_reads_no_mark_into_an_unmarked_relative() -> None:
    owner, key, mark = _marked()
    p_values = []
    for seed in range(8):
        whole, evidence = _evidence(owner, _folded(_network(), _generator(seed)), key, mark)
        assert not whole
        p_values.append(evidence.log10_p["blocks"])
    assert min(p_values) > -3


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(8, 300), st.floats(0, 0.98), st.integers(0, 10**6))
def test_no_sign_is_turned_in_what_has_nothing_to_do_with_it(
    n: int, features: int, zeros: float, seed: int
) -> None:
    """The law by which nothing changes where no sign was turned: strangers' rows keep their cosines."""
    generator = _generator(seed)
    owner, suspect = (torch.randn(n, features, 1, generator=generator) for _ in range(2))
    suspect *= torch.rand(suspect.shape, generator=generator) >= zeros
    columns = ChannelMap.identity(features)
    plain, negated = (row_cosines(LayerPair("x", owner, s), columns) for s in (suspect, -suspect))
    assert float((plain + negated).abs().max()) < 1e-6
    assert torch.equal(signs(owner, suspect), torch.ones(n))


def test_turned_rows_have_the_cosines_of_upright_ones() -> None:
    generator = _generator(4)
    owner = torch.randn(24, 50, 1, generator=generator)
    suspect = owner + 0.3 * torch.randn(owner.shape, generator=generator)
    turned = suspect.clone()
    turned[::3] *= -1
    plain, found = (row_cosines(LayerPair("x", owner, s), ChannelMap.identity(50)) for s in (suspect, turned))
    assert torch.allclose(plain, found)
    assert torch.equal(signs(owner, turned) < 0, torch.arange(24) % 3 == 0)


def _renamed(state: State, generator: torch.Generator, transposed: tuple[str, ...] = ()) -> State:
    names = list(state)
    order = torch.randperm(len(names), generator=generator).tolist()
    return {f"onnx::{i}": state[names[i]].T if names[i] in transposed else state[names[i]] for i in order}


def test_renamed_and_transposed_tensors_are_found_by_shape_and_content() -> None:
    owner = _network() | {name: torch.randn(32, 32, generator=_generator(8)) for name in ("a.weight",)}
    turned = ("attention.qkv.weight", "attention.proj.weight", "a.weight", "head.weight")
    suspect = _renamed(_folded(owner, _generator(1)), _generator(2), turned)
    alignment, found = _brought_back(owner, suspect)
    assert alignment.tensors == {"matched": 13, "absent": 0, "renamed": 13, "transposed": 4}
    for number, name in enumerate(owner):
        assert alignment.sources[name] == Source(f"onnx::{number}", name in turned)
    assert all(torch.allclose(found[name], owner[name], rtol=1e-3, atol=1e-6) for name in _network())


def test_where_content_says_nothing_tensors_are_found_in_their_order() -> None:
    names = [f"layer{n}.weight" for n in range(5)]
    owner = {name: torch.randn(16, 16, 3, 3, generator=_generator(n)) for n, name in enumerate(names)}
    strange = {f"t{n}": torch.randn(16, 16, 3, 3, generator=_generator(50 + n)) for n in range(5)}
    found = find_sources(as_weights(owner), as_weights(strange), {})
    assert [found[name] for name in names] == [Source(f"t{n}") for n in range(5)]


def test_a_square_matrix_under_its_own_name_may_be_transposed() -> None:
    owner = {"a.weight": torch.randn(24, 24, generator=_generator(0))}
    for transposed in (False, True):
        tensor = owner["a.weight"].T if transposed else owner["a.weight"]
        found = find_sources(as_weights(owner), as_weights({"a.weight": tensor}), {})
        assert found == {"a.weight": Source("a.weight", transposed)}


def test_names_of_hidden_weights_tell_nothing() -> None:
    """Where all of a layer is hidden, its tensor is found by order: content is no hint."""
    owner = {f"{n}.weight": torch.randn(8, 8, 3, 3, generator=_generator(n)) for n in range(3)}
    suspect = {f"t{n}": owner[f"{2 - n}.weight"] for n in range(3)}
    hidden = {name: torch.arange(t.numel()) for name, t in owner.items()}
    found = find_sources(as_weights(owner), as_weights(suspect), hidden)
    assert [source.name for source in found.values()] == ["t0", "t1", "t2"]


def test_tensors_of_other_kinds_and_too_few_axes_are_no_layers() -> None:
    owner = {"a.weight": torch.randn(6, 4, generator=_generator(0)), "b.weight": torch.randn(5, 3)}
    suspect = {"a.weight": torch.zeros(6), "c": torch.zeros(4, 6, dtype=torch.int64), "d": torch.zeros(3)}
    alignment = align(as_weights(owner), as_weights(suspect))
    assert alignment.tensors["matched"] == 0
    assert not alignment.accepted
