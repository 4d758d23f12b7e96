"""Laws of scheme `structural`: round trip through shapes alone, refusals, insertions, and timm's families."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cwwm.channels.graph import interior_groups
from cwwm.cli.app import app
from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark, save_mark
from cwwm.schemes import Claim, EmbedContext, Extraction, embed, make_scheme
from cwwm.schemes.structural import Structural
from cwwm.support.console import BAD_INPUT, DONE, run_app
from cwwm.support.errors import BadInput
from cwwm.weights.checkpoint import open_weights, save_tensors
from cwwm.weights.view import as_weights
from tests.plain_net import CONVOLUTIONS, answers, insert, plain_net

pytest.importorskip("torch_pruning")

K = 24
KEY = Key.for_harness(seed=0)
NONCE = bytes(range(16))
SCHEME = Structural(payload_bits=K, segment=4, least=0.05, most=0.6)
State = dict[str, Tensor]


def _message(bits: int = K) -> Bits:
    return np.random.default_rng(5).permutation(np.arange(bits) % 2).astype(np.uint8)


def _mark(scheme: Structural, host: nn.Module, key: Key = KEY) -> tuple[nn.Module, Mark]:
    weights, mark = embed(scheme, as_weights(host), _message(scheme.payload_bits), key, EmbedContext(nonce=NONCE))
    assert weights.module is not None
    return weights.module, mark


def _read(suspect: nn.Module | State, mark: Mark, key: Key = KEY, **changed: Any) -> Extraction:  # noqa: ANN401
    return make_scheme(mark.scheme, {**mark.parameters, **changed}).extract(as_weights(suspect), key, mark)


def _whole(found: Extraction) -> bool:
    return found.ok and np.array_equal(found.bits, _message(len(found.bits)))


@pytest.fixture(scope="module")
def marked() -> tuple[nn.Module, Mark]:
    """Return the marked network; tests must not change it."""
    return _mark(SCHEME, plain_net())


def test_round_trip_through_module_state_and_file(marked: tuple[nn.Module, Mark], tmp_path: Path) -> None:
    model, mark = marked
    state = model.state_dict()
    save_tensors(state, tmp_path / "model.safetensors")
    claim = Claim(KEY, mark, _message())
    for suspect in (as_weights(model), as_weights(state), open_weights(tmp_path / "model.safetensors")):
        found = SCHEME.extract(suspect, KEY, mark)
        assert _whole(found)
        assert SCHEME.overlap(found, claim) == 1.0
        assert SCHEME.evidence(found, claim).combined == pytest.approx(-K * np.log10(2))
    assert answers(model).isfinite().all()


def test_shapes_alone_are_read(marked: tuple[nn.Module, Mark]) -> None:
    model, mark = marked
    for bad in (float("nan"), 0.0):
        assert _whole(_read({n: torch.full_like(t, bad) for n, t in model.state_dict().items() if t.ndim}, mark))


def test_the_host_stays_as_it_was() -> None:
    host = plain_net()
    host[4].train()
    before, generator = copy.deepcopy(host.state_dict()), torch.get_rng_state()
    model, mark = _mark(SCHEME, host)
    assert all(torch.equal(before[n], t) for n, t in host.state_dict().items())
    assert (host[4].training, host[1].training, model[4].training) == (True, False, True)  # type: ignore[index]
    assert torch.equal(generator, torch.get_rng_state())
    report = mark.report
    assert report["parameters_before"] == sum(p.numel() for p in host.parameters())
    assert report["parameters"] == sum(p.numel() for p in model.parameters()) < report["parameters_before"]
    assert report["channels_removed"] == sum(mark.state["widths"].values()) - sum(mark.report["left"].values())


def test_the_least_important_filters_go_and_the_others_keep_their_order(marked: tuple[nn.Module, Mark]) -> None:
    model, mark = marked
    host = plain_net()
    gain = host[0].weight.abs().flatten(1).sum(1) * host[1].weight.abs() / (host[1].running_var + 1e-5).sqrt()
    left = mark.report["left"]["0.weight"]
    kept = gain.argsort(descending=True)[:left].sort().values
    assert torch.equal(model.get_parameter("0.weight"), host[0].weight[kept])
    assert torch.equal(model.get_buffer("1.running_mean"), host[1].running_mean[kept])
    assert model.get_parameter("3.weight").shape[1] == left


def test_ties_are_keyed() -> None:
    host = plain_net()
    with torch.no_grad():
        host[0].weight.copy_(host[0].weight.sign())
        for name, tensor in host[1].state_dict().items():
            if name != "num_batches_tracked":
                tensor.fill_(1.0)
    first, again, other = (_mark(SCHEME, host, key)[0] for key in (KEY, KEY, Key.for_harness(seed=1)))
    assert torch.equal(first.get_parameter("0.weight"), again.get_parameter("0.weight"))
    kept = [model.get_parameter("0.weight")[:16].sum((1, 2, 3)).tolist() for model in (first, other)]
    assert kept[0] != kept[1]


def test_a_wrong_key_or_salt_reads_noise(marked: tuple[nn.Module, Mark]) -> None:
    model, mark = marked
    wrong = [_read(model, mark, Key.for_harness(wrong=i)) for i in range(100)]
    error = np.mean([found.bits != _message() for found in wrong])
    assert abs(error - 0.5) < 4.5 * 0.5 / np.sqrt(100 * K)
    assert not any(_whole(found) for found in wrong)


def test_an_unmarked_network_proves_nothing(marked: tuple[nn.Module, Mark]) -> None:
    _, mark = marked
    found = _read(plain_net(), mark)
    assert found.applicable
    assert SCHEME.evidence(found, Claim(KEY, mark, _message())).combined > -4


def test_missing_layers_are_erased_and_none_is_not_applicable(marked: tuple[nn.Module, Mark]) -> None:
    model, mark = marked
    state = model.state_dict()
    found = _read({n: t for n, t in state.items() if n != "7.weight"}, mark)
    assert (found.ok, found.erased, found.applicable) == (False, 1, True)
    assert np.sum(found.bits != _message()) <= 4
    nothing = _read({"other.weight": torch.ones(3, 3), "0.weight": torch.ones(3)}, mark)
    assert not nothing.applicable
    assert nothing.reason == "it has no tensor 0.weight"
    assert SCHEME.evidence(nothing, Claim(KEY, mark, _message())).combined == 0.0


def test_parity_outlives_a_changed_layer_and_check_bits_notice_more() -> None:
    scheme = Structural(payload_bits=8, check_bits=4, segment=3, parity=2, least=0.1, most=0.5)
    model, mark = _mark(scheme, plain_net())
    used = list(mark.report["left"])
    assert len(used) == 6
    for damaged, whole in ((1, True), (2, False)):
        state = model.state_dict()
        for name in used[:damaged]:
            state[name] = torch.zeros(len(state[name]) - 3, *state[name].shape[1:])
        found = _read(state, mark)
        assert _whole(found) == whole
        assert found.ok == whole


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_inserted_channels_flip_the_message_and_canonicalising_restores_it(
    count: int, marked: tuple[nn.Module, Mark]
) -> None:
    """The scheme's known weakness: dummy channels, which cost no accuracy."""
    model, mark = copy.deepcopy(marked[0]), marked[1]
    before = answers(model)
    assert isinstance(model, nn.Sequential)
    for place in CONVOLUTIONS:
        insert(model, place, "unread", count, seed=place)
    assert torch.allclose(answers(model), before, atol=1e-4 * float(before.abs().max()))
    found = _read(model, mark)
    assert not _whole(found)
    assert np.mean(found.bits != _message()) >= 0.25
    assert _whole(_read(model, mark, canonicalise=True))
    assert not _whole(_read(model.state_dict(), mark, canonicalise=True))  # a state cannot be followed


def test_a_payload_too_large_is_refused_with_the_capacity() -> None:
    with pytest.raises(BadInput, match=r"payload of 25 bits is too large: 6 of 6 layers .* at most 24 bits"):
        _mark(Structural(payload_bits=25, segment=4, least=0.05, most=0.6), plain_net())


def test_other_hosts_and_messages_are_refused() -> None:
    host = plain_net()
    context = EmbedContext(nonce=NONCE)
    with pytest.raises(BadInput, match="a file holds tensors only"):
        SCHEME.begin(as_weights(host.state_dict()), _message(), KEY, context)
    with pytest.raises(BadInput, match="24 bits of 0 and 1"):
        SCHEME.begin(as_weights(host), _message(K - 1), KEY, context)
    with pytest.raises(BadInput, match="give it training data"):
        SCHEME.begin(as_weights(nn.Sequential(*host)), _message(), KEY, context)
    with torch.no_grad():
        host[7].weight[3, 4] = float("nan")
    with pytest.raises(BadInput, match=r"7\.weight holds NaN or infinite"):
        SCHEME.begin(as_weights(host), _message(), KEY, context)


def test_a_fresh_host_is_rebuilt_in_the_marked_shape(marked: tuple[nn.Module, Mark]) -> None:
    model, mark = marked
    rebuilt = SCHEME.rebuild(plain_net(seed=9), Mark.from_json(json.loads(json.dumps(mark.to_json()))))
    rebuilt.load_state_dict(model.state_dict())
    assert torch.equal(answers(rebuilt), answers(model))
    with pytest.raises(BadInput, match="not of the marked architecture"):
        SCHEME.rebuild(copy.deepcopy(model), mark)


def test_the_mark_survives_json_and_holds_neither_key_nor_message(marked: tuple[nn.Module, Mark]) -> None:
    mark = marked[1]
    text = json.dumps(mark.to_json())
    assert Mark.from_json(json.loads(text)) == mark
    spellings = [
        "".join(map(str, _message())),
        ", ".join(map(str, _message())),
        np.packbits(_message()).tobytes().hex(),
    ]
    assert not any(spelling in text for spelling in spellings)
    other = SCHEME.begin(as_weights(plain_net()), 1 - _message(), KEY, EmbedContext(nonce=NONCE)).finish()
    assert other.state["widths"] == mark.state["widths"]


def test_parameters_and_repr_rebuild_the_scheme_and_the_law_is_one() -> None:
    assert make_scheme("structural", json.loads(json.dumps(SCHEME.parameters))) == SCHEME
    assert eval(repr(SCHEME), {"Structural": Structural}) == SCHEME
    assert [SCHEME.survival(attack, 0.99) for attack in ("magnitude", "random", "noise")] == [1.0] * 3
    assert SCHEME.survival("unheard of", 0.1) is None
    assert Structural.reconstruction


def test_the_command_line_reads_a_file_and_refuses_to_mark_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = Key(bytes(range(32)))
    owner.save(tmp_path / "owner.key")
    model, mark = _mark(SCHEME, plain_net(), owner)
    save_tensors(model.state_dict(), tmp_path / "model.safetensors")
    save_mark(mark, tmp_path / "model.mark.json")
    key, file = ("--key", str(tmp_path / "owner.key")), str(tmp_path / "model.safetensors")
    assert run_app(app, "cwwm", ["extract", file, *key, "--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    assert found["hex"] == np.packbits(_message(), bitorder="little").tobytes().hex()
    out = str(tmp_path / "out.safetensors")
    arguments = ["embed", file, *key, "--hex", "ab", "--payload-bits", "8", "--scheme", "structural", "-o", out]
    assert run_app(app, "cwwm", arguments) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path(out).exists()


TIMM = {  # interior groups, and bits they carry at steps of 1 and 4 channels
    "resnet18": (8, 44, 28),
    "mobilenetv2_100": (17, 106, 72),
    "vit_tiny_patch16_224": (12, 84, 60),
    "resnet50": (32, 178, 114),
    "vgg16_bn": (12, 71, 47),
}
SLOW = ("resnet50", "vgg16_bn")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in TIMM])
def test_timm_families_are_marked_run_and_are_rebuilt(name: str) -> None:
    import bench  # noqa: F401 (makes timm importable where torchvision is broken)

    timm = pytest.importorskip("timm")
    host, fresh = (timm.create_model(name, num_classes=10) for _ in range(2))
    images = torch.zeros(2, 3, 224, 224)
    widths = [group.width for group in interior_groups(host, images)]
    found = tuple(Structural(step=step).code.capacity(widths) for step in (1, 4))
    assert (len(widths), *found) == TIMM[name]
    model, mark = _mark(Structural(payload_bits=found[0]), host)
    assert _whole(_read(model.state_dict(), mark))
    assert mark.report["groups_used"] == len(widths)
    share = mark.report["channels_removed"] / mark.report["channels"]
    assert 0.2 < share < 0.4
    rebuilt = Structural(payload_bits=found[0]).rebuild(fresh, mark)
    rebuilt.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert rebuilt.eval()(images[:1]).shape == (1, 10)
