"""Laws of carriers and ingrain: labels under a random key, the binomial threshold, images, black-box reading."""

import copy
import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cwwm.ownership.evidence import log10_match_tail
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import FORWARD, Claim, EmbedContext
from cwwm.schemes.carriers import Carriers, CarriersEmbedding
from cwwm.schemes.common.trigger_images import KINDS, TriggerSet, answers_to
from cwwm.schemes.ingrain import Ingrain, fresh_copy, soft_loss
from cwwm.support.errors import BadInput
from cwwm.training import Batch, Recipe, train
from cwwm.weights.view import as_weights
from tests.plain_data import digits

K = 64
NONCE = bytes(range(16))
KEY = Key.for_harness(seed=0)
MESSAGE = np.random.default_rng(5).permutation(np.arange(K) % 2).astype(np.uint8)
SCHEME = Carriers(payload_bits=K, strength=1.0)
EPOCHS = {"abstract": 15, "noise": 60, "content": 60}  # images of the task with other labels are learnt slowly


DATA = digits(400)


def net(width: int = 24, classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * width, classes),
    )  # fmt: skip


def context() -> EmbedContext:
    return EmbedContext(data=DATA, classes=10, seed=1, nonce=NONCE)


def _streams(**parts: int) -> Streams:
    return Key.for_harness(seed=0, **parts).choices(NONCE)


def begin(scheme: Carriers, model: nn.Module, key: Key = KEY) -> CarriersEmbedding:
    return scheme.begin(as_weights(model), MESSAGE, key, context())


@cache
def marked(kind: str) -> tuple[Carriers, nn.Module, Mark]:
    """Return a scheme, the model trained with it from scratch, and the mark; tests must not change the model."""
    scheme, model = replace(SCHEME, kind=kind), net()
    embedding = begin(scheme, model)
    train(model, DATA, Recipe(epochs=EPOCHS[kind], batch_size=64, lr=3e-3), seed=1, embedding=embedding)
    return scheme, model, embedding.finish()


def test_twenty_of_sixty_carriers_are_the_first_proof_at_one_in_a_million() -> None:
    assert 10 ** log10_match_tail(20, 60, 0.1) == pytest.approx(7.8e-7, rel=0.01)
    assert 10 ** log10_match_tail(19, 60, 0.1) > 1e-6


@pytest.mark.parametrize("target_classes", [0, 3])
@pytest.mark.parametrize("suspect", ["one class", "all in turn"])
def test_under_a_random_key_matches_are_as_rare_as_evidence_says(target_classes: int, suspect: str) -> None:
    """Whatever a suspect answers: 1 in 10 classes over all keys, and no heavier tail than Binomial(60, 1/C)."""
    scheme = replace(SCHEME, payload_bits=8, target_classes=target_classes)
    labels = np.array([scheme.labels(MESSAGE[:8], _streams(law=i), 10) for i in range(400)])
    used = target_classes or 10
    assert max(len(set(row)) for row in labels.tolist()) == used
    matches = (labels == (np.full(60, 4) if suspect == "one class" else np.arange(60) % 10)).sum(1)
    assert abs(matches.mean() - 6) < 4.5 * matches.std() / np.sqrt(400)
    for many in range(60):
        expected = 10 ** log10_match_tail(many, 60, 1 / used)
        assert np.mean(matches >= many) <= expected + 4.5 * np.sqrt(expected / 400) + 1 / 400


def test_labels_are_uniform_and_follow_message_and_streams() -> None:
    labels = np.concatenate([SCHEME.labels(MESSAGE, _streams(law=i), 10) for i in range(200)])
    counts = np.bincount(labels, minlength=10)
    assert np.abs(counts - 1200).max() < 4.5 * np.sqrt(12000 * 0.09)
    first = SCHEME.labels(MESSAGE, _streams(), 10)
    assert np.array_equal(first, SCHEME.labels(MESSAGE, _streams(), 10))
    for other in (
        SCHEME.labels(MESSAGE ^ 1, _streams(), 10),
        SCHEME.labels(MESSAGE, _streams(other=1), 10),
    ):
        assert np.sum(first == other) < 20


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_learnt_and_made_again_from_key_and_mark(kind: str) -> None:
    scheme, model, mark = marked(kind)
    found = scheme.extract(as_weights(model), KEY, mark)
    claim = Claim(KEY, mark, MESSAGE)
    assert found.ok
    assert np.array_equal(found.bits, MESSAGE)
    assert scheme.overlap(found, claim) >= 0.95
    assert mark.report["right"] == np.sum(found.symbols == scheme.labels(MESSAGE, mark.streams(KEY), 10))
    assert set(mark.tensors) == (set() if kind == "abstract" else {"bases"})
    again = Mark.from_json(json.loads(json.dumps(mark.to_json())), packed=mark.packed())
    images = scheme.images(KEY, again)
    assert images.shape == (60, 1, 8, 8)
    assert torch.equal(images, begin(scheme, net()).images)
    assert not torch.equal(images, scheme.images(Key.for_harness(other=1), again))


def test_a_patch_covers_a_quarter_a_side_and_a_pattern_is_the_same_on_all() -> None:
    for kind in ("content", "noise"):
        scheme, _, mark = marked(kind)
        bases = mark.tensors["bases"]
        assert all((DATA.x == base).flatten(1).all(1).any() for base in bases)
        assert len(torch.unique(bases, dim=0)) > 55  # different images, unless the data repeats one
        change = scheme.images(KEY, mark) - bases
        if kind == "noise":
            assert torch.allclose(change, change[:1].expand_as(change), atol=1e-5)
            assert float(change.std()) == pytest.approx(2 * mark.state["look"]["std"][0], rel=0.3)
        else:
            touched = (change != 0).any(0).any(0)
            assert int(touched.sum()) == 4
            assert len(torch.unique(scheme.images(KEY, mark)[:, touched[None]])) <= 2


def test_abstract_images_have_the_datas_mean_and_twice_its_deviation() -> None:
    images = replace(SCHEME, carriers=1000).images(KEY, marked("abstract")[2])
    assert float(images.mean()) == pytest.approx(float(DATA.x.mean()), abs=0.1)
    assert 0.9 < float(images.std() / DATA.x.std()) < 2  # smoothing takes some of the 2


def test_a_mark_without_its_training_images_is_damaged() -> None:
    scheme, model, mark = marked("content")
    with pytest.raises(BadInput, match="lacks the training images"):
        scheme.extract(as_weights(model), KEY, replace(mark, tensors={}))


def test_any_architecture_can_be_asked_but_not_bare_tensors_or_other_classes() -> None:
    scheme, model, mark = marked("abstract")
    assert scheme.extraction_needs == frozenset({FORWARD})
    claim = Claim(KEY, mark, MESSAGE)
    stranger = scheme.extract(as_weights(net(width=8, seed=3)), KEY, mark)
    assert stranger.applicable
    assert scheme.evidence(stranger, claim).combined > -4
    for suspect, reason in ((model.state_dict(), "a model that runs"), (net(classes=4), "4 classes, not 10")):
        found = scheme.extract(as_weights(suspect), KEY, mark)
        assert not found.applicable
        assert reason in found.reason
        assert scheme.evidence(found, claim).combined == 0.0
        assert scheme.overlap(found, claim) == 0.0


def test_reading_is_extraction_without_the_message() -> None:
    scheme, model, mark = marked("abstract")
    claim = Claim(KEY, mark, MESSAGE)
    short, full = scheme.read(as_weights(model), KEY, mark), scheme.extract(as_weights(model), KEY, mark)
    assert np.array_equal(short.symbols, full.symbols)
    assert not short.ok
    assert scheme.evidence(short, claim).log10_p == scheme.evidence(full, claim).log10_p


def test_the_code_repairs_wrong_answers_and_says_when_the_message_is_lost() -> None:
    scheme, model, mark = marked("abstract")
    victim = copy.deepcopy(model)
    noise = torch.Generator().manual_seed(0)
    whole, errors = [], []
    for _ in range(12):
        with torch.no_grad():
            for weight in victim.parameters():
                weight.add_(0.15 * weight.std(correction=0) * torch.randn(weight.shape, generator=noise))
        found = scheme.extract(as_weights(victim), KEY, mark)
        assert found.ok == np.array_equal(found.bits, MESSAGE)
        whole.append(found.ok)
        errors.append(60 * (1 - scheme.overlap(found, Claim(KEY, mark, MESSAGE))))
    assert any(ok and wrong >= 3 for ok, wrong in zip(whole, errors, strict=True))
    assert not whole[-1]


def test_a_model_of_zeros_answers_nothing_that_could_be_decoded() -> None:
    scheme, model, mark = marked("abstract")
    victim = copy.deepcopy(model)
    with torch.no_grad():
        for weight in victim.parameters():
            weight.zero_()
    found = scheme.extract(as_weights(victim), KEY, mark)
    assert found.erased == 180
    assert not found.ok
    with torch.no_grad():
        victim[-1].bias[3] = float("nan")
    found = scheme.extract(as_weights(victim), KEY, mark)
    assert (found.symbols == -1).all()
    assert scheme.evidence(found, Claim(KEY, mark, MESSAGE)).combined == 0.0


def test_carriers_are_asked_as_in_use_and_teach_batch_norm_nothing() -> None:
    model = net().train()
    embedding = begin(SCHEME, model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    loss = embedding.loss(Batch(DATA.x[:4], DATA.y[:4], model(DATA.x[:4]).detach(), 0))
    running = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert not torch.equal(before["1.running_mean"], running["1.running_mean"])  # by the batch alone
    again = embedding.loss(Batch(DATA.x[:4], DATA.y[:4], torch.zeros(4, 10), 0))
    assert all(torch.equal(running[name], buffer) for name, buffer in model.named_buffers())
    assert torch.equal(loss, again)
    model.eval()
    expected = -model(embedding.images).log_softmax(1)[torch.arange(60), embedding.labels].mean()
    assert torch.allclose(loss, expected)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("count", [5, 60])
def test_trigger_images_come_once_an_epoch_alone_and_among_the_data(count: int) -> None:
    x, y = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 1, 8, 8) + 100.0, torch.arange(count)
    for data in (None, DATA):
        triggers = TriggerSet(x, y, data)
        batches = list(triggers.batches(32, seed=3, epoch=1, shift=0, flip=False))
        seen = torch.cat([xs for xs, _ in batches])[:, 0, 0, 0]
        assert sorted(seen[seen >= 100].tolist()) == [100.0 + i for i in range(count)]
        assert sum(len(ys) for _, ys in batches) == len(triggers)
        assert max(len(ys) for _, ys in batches) <= 32
        other = torch.cat([ys for _, ys in triggers.batches(32, seed=3, epoch=2, shift=0, flip=False)])
        assert not torch.equal(torch.cat([ys for _, ys in batches]), other)


@pytest.mark.parametrize("settings", [{}, {"domain": "data"}, {"hard": False}, {"temp_power": 2.0}])
def test_the_loss_of_ingrain_is_the_formula(settings: dict[str, Any]) -> None:
    scheme = Ingrain(payload_bits=K, ingrainer_steps=5, **settings)
    model = net().eval()
    embedding = scheme.begin(as_weights(model), MESSAGE, KEY, context())
    x, y = DATA.x[:20], DATA.y[:20]
    loss = embedding.loss(Batch(x, y, model(x), 0))
    g, soft = embedding._ingrainer, torch.cat([x, embedding.images]) if scheme.domain == "data+carriers" else x
    with torch.no_grad():
        p = torch.exp(g(soft) / 15) / torch.exp(g(soft) / 15).sum(1, keepdim=True)
        q = torch.exp(model(soft) / 15) / torch.exp(model(soft) / 15).sum(1, keepdim=True)
        expected = 0.5 * 15**scheme.temp_power * -(p * q.log()).sum(1).mean()
        if scheme.hard:
            rows = model(embedding.images).log_softmax(1)
            expected = expected - 0.1 * rows[torch.arange(60), embedding.labels].mean()
    assert torch.allclose(loss, expected, rtol=1e-4)
    with pytest.raises(RuntimeError, match="does not require grad"):
        embedding._ingrainer(x).sum().backward()  # frozen


def test_the_soft_gradient_falls_as_one_over_t_at_power_one_and_stays_at_two() -> None:
    taught = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    sizes: dict[float, list[float]] = {1.0: [], 2.0: []}
    for power, found in sizes.items():
        for temperature in (50.0, 100.0):
            logits = torch.zeros(8, 10, requires_grad=True)
            soft_loss(logits, taught, temperature, power).backward()
            assert logits.grad is not None
            found.append(float(logits.grad.norm()))
    assert sizes[1.0][1] / sizes[1.0][0] == pytest.approx(0.5, rel=0.05)
    assert sizes[2.0][1] / sizes[2.0][0] == pytest.approx(1.0, rel=0.05)


def test_the_ingrainer_knows_its_carriers_and_nothing_of_the_host() -> None:
    hosts = [net(seed=0), net(seed=1)]
    train(hosts[1], DATA, Recipe(epochs=2, batch_size=64), seed=0)
    scheme = Ingrain(payload_bits=K)
    embeddings = [scheme.begin(as_weights(host), MESSAGE, KEY, context()) for host in hosts]
    embeddings[1].images, embeddings[1].labels = embeddings[0].images, embeddings[0].labels
    first, second = embeddings[0]._ingrainer.state_dict(), embeddings[1]._trained(context()).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)  # whatever the host's weights are
    right = (answers_to(embeddings[0]._ingrainer, embeddings[0].images).argmax(1) == embeddings[0].labels).sum()
    assert int(right) >= 57
    assert embeddings[0].finish().report["ingrainer_right"] == int(right)
    accuracy = float((answers_to(embeddings[0]._ingrainer, DATA.x).argmax(1) == DATA.y).float().mean())
    assert accuracy < 0.4
    informed = replace(scheme, ingrainer_data="data+carriers").begin(as_weights(hosts[0]), MESSAGE, KEY, context())
    assert float((answers_to(informed._ingrainer, DATA.x).argmax(1) == DATA.y).float().mean()) > 0.8


class Tokens(nn.Module):
    """A position table beside layers that initialise themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.full((1, 4, 8), 7.0))
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(8, 3)


def test_a_fresh_copy_keeps_no_weight_and_no_statistics() -> None:
    model = Tokens()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)
    fresh = fresh_copy(model)
    assert not any((tensor == 7).any() for tensor in fresh.state_dict().values())
    assert float(fresh.pos_embed.detach().std()) < 0.1
    assert all((tensor == 7).all() for tensor in model.state_dict().values())


def test_data_with_its_classes_and_images_are_needed() -> None:
    for lacking in ({"data": None}, {"classes": None}):
        with pytest.raises(BadInput, match="carriers needs training data and its number of classes"):
            SCHEME.begin(as_weights(net()), MESSAGE, KEY, replace(context(), **lacking))


def test_a_reconstruction_says_so() -> None:
    assert Ingrain.reconstruction
    assert not Carriers.reconstruction
    assert "reconstruction" in (Ingrain.__doc__ or "")
