"""Claims fitted beforehand to a public base: nothing is embedded, and whoever derives a model from it is accused.

A forger who knows the base chooses what reading uses after the positions are known: the message, a lattice step,
the widths that a network "had", an extractor, trigger samples, the channel order of a reference. Each `Fit` makes
one such choice as well as we know how, keeps the salt of before, and commits to the result. `rebound` is what the
rules leave a forger: the same choice, with the salt that follows from it.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cwwm.channels.graph import traced
from cwwm.channels.groups import ChannelGroup, channel_groups
from cwwm.codes import Bits
from cwwm.ownership.keys import Key, Stream
from cwwm.ownership.mark import Mark
from cwwm.ownership.verification import copy_digest
from cwwm.schemes import Claim, EmbedContext, Extraction, Scheme, make_scheme
from cwwm.schemes.carriers import Carriers
from cwwm.schemes.common.coded import CodedScheme
from cwwm.schemes.common.keyed import keyed_check, pad_bits
from cwwm.schemes.common.projected import bit_loss, filter_mean, keyed_gaussian
from cwwm.schemes.common.trigger_images import answers_to
from cwwm.schemes.deepsigns import DeepSigns, FeatureTap
from cwwm.schemes.protected_cwc import ProtectedConstantWeight
from cwwm.schemes.riga import Riga
from cwwm.schemes.structural import Structural
from cwwm.schemes.tattooed import PREAMBLE, Tattooed
from cwwm.support.seeds import derive_seed
from cwwm.training import Batches
from cwwm.weights.carrier import Carrier, host_digest
from cwwm.weights.view import TensorWeights, Weights, as_weights

MESSAGES = 300  # tried where a keyed check keeps a forger from solving for the message
SWAPS = 6000  # of two channels of the reference
_KEYS = 200  # until one reads something
_STEPS, _RATE = 150, 0.05  # of Adam on trigger images
_ROUNDS = 50  # until the stated widths fit their own number of channels removed
_POOL = 256  # training images that a forger picks triggers from


@dataclass(frozen=True)
class Base:
    """A public model on the CPU, with the data that its forger has.

    Attributes:
        model: that claims are fitted to.
        data: training images and labels.
        classes: of the task.
    """

    model: nn.Module
    data: Batches
    classes: int

    @property
    def weights(self) -> Weights:
        """The model's weights."""
        return as_weights(self.model)


@dataclass(frozen=True)
class Fitted:
    """A claim whose numbers fit the base, with the reference that it is to be read against, if it needs one."""

    claim: Claim
    reference: Weights | None = None


@dataclass(frozen=True)
class Fit:
    """One thing that a forger chooses to fit the base.

    Attributes:
        choice: what is chosen.
        scheme, parameters: of the claim.
        choose: how: of this fit, a base and a seed.
    """

    choice: str
    scheme: str
    choose: Callable[["Fit", Base, int], Fitted]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return what a table calls it."""
        return f"{self.scheme}: {self.choice}"

    def make(self) -> Scheme:
        """Return the scheme."""
        return make_scheme(self.scheme, self.parameters)

    def begun(self, base: Base, key: Key, seed: int) -> Mark:
        """Return an honest mark of zeros for the base under a key; nothing of it is written anywhere."""
        scheme, host = self.make(), as_weights(copy.deepcopy(base.model))
        nonce = derive_seed(nonce=seed, fit=str(self)).to_bytes(16, "little")
        context = EmbedContext(data=base.data, classes=base.classes, seed=seed, nonce=nonce)
        return scheme.begin(host, np.zeros(scheme.payload_bits, np.uint8), key, context).mark

    def keys(self, seed: int) -> Iterator[Key]:
        """Yield the forger's keys."""
        return (Key.for_harness(fit=str(self), seed=seed, attempt=i) for i in range(_KEYS))


def rebound(fitted: Fitted) -> Fitted:
    """Return the claim with the salt that follows from it; a fitted reference becomes the original."""
    claim, mark = fitted.claim, fitted.claim.mark
    if fitted.reference is not None:
        mark = replace(mark, original=host_digest(fitted.reference))
    return replace(fitted, claim=replace(claim, mark=mark.salted(claim.key, claim.message)))


def message(fit: Fit, base: Base, seed: int) -> Fitted:
    """Choose the message that the base shows."""
    scheme = fit.make()
    for key in fit.keys(seed):
        mark = fit.begun(base, key, seed)
        if isinstance(scheme, CodedScheme | Carriers):
            return Fitted(_best_message(scheme, base, key, mark, seed))
        found = scheme.extract(base.weights, key, mark)
        if isinstance(scheme, Tattooed):
            return Fitted(Claim(key, mark, _bits_of_symbols(scheme, found, key, mark)))
        if isinstance(scheme, ProtectedConstantWeight):
            return Fitted(Claim(key, mark, _data_of_blocks(scheme, found, key, mark)))
        if found.ok:
            return Fitted(Claim(key, mark, found.bits))
    raise RuntimeError(f"{fit}: none of {_KEYS} keys reads anything in the base")


def _data_of_blocks(scheme: ProtectedConstantWeight, found: Extraction, key: Key, mark: Mark) -> Bits:
    """Return the message whose data symbols are those that the base's blocks show; the check spoils the last."""
    code, bits = scheme.code, []
    for number in range(code.codewords):
        symbols = found.symbols[number :: code.codewords][: code.data_symbols]
        shown = (symbols[:, None] >> np.arange(code.symbol_bits)) & 1
        size = scheme.payload_bits // code.codewords + (number < scheme.payload_bits % code.codewords)
        bits.append(shown.reshape(-1)[:size])
    return pad_bits(np.concatenate(bits).astype(np.uint8), mark.streams(key))


def _bits_of_symbols(scheme: Tattooed, found: Extraction, key: Key, mark: Mark) -> Bits:
    """Return the message whose bits, which stand in the words, the base shows; the checks do not hold."""
    words = found.symbols[PREAMBLE:].reshape(scheme.words, -1) > 0
    return pad_bits(scheme.code.systematic(words).reshape(-1), mark.streams(key))[: scheme.payload_bits]


def _best_message(scheme: Scheme, base: Base, key: Key, mark: Mark, seed: int) -> Claim:
    """Return the best claim of many random messages: a keyed check leaves no other way."""
    found = scheme.read(base.weights, key, mark)
    drawn = Stream(derive_seed(messages=seed).to_bytes(32, "little"))
    claims = [Claim(key, mark, drawn.bits(scheme.payload_bits)) for _ in range(MESSAGES)]
    return min(claims, key=lambda claim: scheme.evidence(found, claim).combined)


def step(fit: Fit, base: Base, seed: int) -> Fitted:
    """Choose a lattice so coarse that the keyed dither alone says what is read, in any network."""
    key = next(fit.keys(seed))
    mark = replace(fit.begun(base, key, seed), state={"step": 1e6})
    return Fitted(Claim(key, mark, fit.make().extract(base.weights, key, mark).bits))


def widths(fit: Fit, base: Base, seed: int) -> Fitted:
    """State that the network had as many more channels as zeros ask for, of networks that had so many."""
    key, scheme = next(fit.keys(seed)), fit.make()
    assert isinstance(scheme, Structural)
    mark = fit.begun(base, key, seed)
    nothing, streams = np.zeros(scheme.payload_bits, np.uint8), mark.streams(key)
    now: dict[str, int] = mark.state["widths"]
    names = [sorted(now)[i] for i in streams.stream("groups").sample(len(now), len(now))]
    had, bits, check = dict(now), pad_bits(nothing, streams), keyed_check(streams, scheme.check_bits)
    for _ in range(_ROUNDS):  # how many channels leave depends on how many there were
        removed = scheme.code.encode(bits, [had[name] for name in names], check)
        had = {name: now[name] + count for name, count in zip(names, removed, strict=True)}
    return Fitted(Claim(key, replace(mark, state={**mark.state, "widths": had}), nothing))


def extractor(fit: Fit, base: Base, seed: int) -> Fitted:
    """Choose the extractor that reads zeros in the base's vector: its output layer is solved for in one step."""
    key, scheme = next(fit.keys(seed)), fit.make()
    assert isinstance(scheme, Riga)
    mark = fit.begun(base, key, seed)
    assert mark.carrier is not None
    vector = filter_mean(base.weights.tensor(mark.carrier.layers[0].name).double())
    standard = (vector - vector.mean()) / vector.std(unbiased=False)
    inner = keyed_gaussian(mark.streams(key).stream("forger"), scheme.hidden, len(vector)) / len(vector) ** 0.5
    hidden = torch.tanh(inner.double() @ standard)
    target = torch.from_numpy(2.0 * pad_bits(np.zeros(scheme.payload_bits, np.uint8), mark.streams(key)) - 1)
    outer = torch.outer(target, hidden / hidden.square().sum())
    learned = {
        "inner": inner,
        "inner_bias": torch.zeros(scheme.hidden),
        "outer": outer.float(),
        "outer_bias": torch.zeros(scheme.payload_bits),
    }
    return Fitted(Claim(key, replace(mark, learned=learned), np.zeros(scheme.payload_bits, np.uint8)))


def triggers(fit: Fit, base: Base, seed: int) -> Fitted:
    """Choose trigger inputs whose activations in the base say zeros, by gradient."""
    key, scheme = next(fit.keys(seed)), fit.make()
    assert isinstance(scheme, DeepSigns)
    mark = fit.begun(base, key, seed)
    groups, inputs = mark.tensors["groups"], mark.tensors["triggers"].clone().requires_grad_(True)
    count = int(groups.max()) + 1
    members = (groups == torch.arange(count)[:, None]).float()
    members = members / members.sum(1, keepdim=True)
    streams, host = mark.streams(key), copy.deepcopy(base.model).eval()
    matrix = scheme.matrix(streams, count, mark.state["features"])
    target = torch.from_numpy(pad_bits(np.zeros(scheme.payload_bits, np.uint8), streams)).float()
    optimizer = torch.optim.Adam([inputs], lr=_RATE)
    with FeatureTap(host, mark.state["classifier"]) as tap:
        for _ in range(_STEPS):
            host(inputs)
            optimizer.zero_grad(set_to_none=True)
            bit_loss(scheme.logits(members @ tap.features, matrix), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    tensors = {**mark.tensors, "triggers": inputs.detach()}
    return Fitted(Claim(key, replace(mark, tensors=tensors), np.zeros(scheme.payload_bits, np.uint8)))


def bases(fit: Fit, base: Base, seed: int) -> Fitted:
    """Choose for each trigger image a training image that the base answers with the wanted label."""
    key, scheme = next(fit.keys(seed)), fit.make()
    assert isinstance(scheme, Carriers)
    mark = fit.begun(base, key, seed)
    nothing = np.zeros(scheme.payload_bits, np.uint8)
    wanted = scheme.labels(nothing, mark.streams(key), base.classes)
    pool, _ = next(iter(base.data.batches(_POOL, seed=seed, epoch=0, shift=0, flip=False)))
    marked = replace(scheme, carriers=len(pool)).images(key, replace(mark, tensors={"bases": pool.cpu()}))
    with torch.no_grad():
        answers = answers_to(base.model, marked)
    chosen = pool.cpu()[answers[:, torch.from_numpy(wanted)].argmax(0).cpu()]
    return Fitted(Claim(key, replace(mark, tensors={"bases": chosen}), nothing))


def order(fit: Fit, base: Base, seed: int) -> Fitted:
    """Choose the channel order of the marked copy, pair by pair, so that aligned suspects show zeros."""
    key, scheme = next(fit.keys(seed)), fit.make()
    mark = fit.begun(base, key, seed)
    nothing = np.zeros(scheme.payload_bits, np.uint8)
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    images, _ = next(iter(base.data.batches(2, seed=seed, epoch=0, shift=0, flip=False)))
    host = copy.deepcopy(base.model)
    groups = [group for group in channel_groups(host, traced(host, images.cpu())) if group.movable]
    _climb(state, groups, lambda: _matched(scheme, state, key, mark, nothing), seed)
    reference = TensorWeights(state)
    return Fitted(Claim(key, replace(mark, copy=copy_digest(reference)), nothing), reference)


def _matched(scheme: Scheme, state: Mapping[str, Tensor], key: Key, mark: Mark, wanted: Bits) -> int:
    return int(np.sum(scheme.extract(TensorWeights(state), key, mark).bits == wanted))


def _climb(state: dict[str, Tensor], groups: list[ChannelGroup], score: Callable[[], int], seed: int) -> None:
    """Swap channels of one group, in place, and keep what does not lower the score."""
    draw, best = np.random.default_rng(seed), score()
    for _ in range(SWAPS):
        group = groups[draw.integers(len(groups))]
        one = int(draw.integers(group.width))
        fellows = (group.cells == group.cells[one]).nonzero().view(-1).tolist()
        other = fellows[draw.integers(len(fellows))]
        swapped = torch.arange(group.width)
        swapped[[one, other]] = swapped[[other, one]]
        group.permute(state, swapped)
        if (now := score()) >= best:
            best = now
        else:
            group.permute(state, swapped)


def statistics(fit: Fit, base: Base, seed: int) -> Fitted:
    """Choose a carrier of running variances, all positive in every network, and the message that they show."""
    key, scheme = next(fit.keys(seed)), fit.make()
    nothing = np.zeros(scheme.payload_bits, np.uint8)
    host = TensorWeights(base.model.state_dict())
    nonce = derive_seed(nonce=seed, fit=str(fit)).to_bytes(16, "little")
    carrier = Carrier.choose(host, str(fit.parameters["carrier"]))
    mark = scheme.bind(host, nothing, key, EmbedContext(nonce=nonce), carrier=carrier)
    return Fitted(Claim(key, mark, scheme.extract(host, key, mark).bits))


FITS = (
    *(
        Fit("message", name, message, parameters)
        for name, parameters in (
            ("protected-cwc", {"carrier": "body"}),
            ("cwc", {}),
            ("sign", {}),
            ("sign-repetition", {}),
            ("sign-erasure", {}),
            ("dm-qim", {}),
            ("fixed-weights", {}),
            ("spread-spectrum", {}),
            ("spread-cwc", {"carrier": "all"}),
            ("tattooed", {"share": 0.1}),
            ("neuralmark", {}),
            ("uchida", {}),
            ("st-dm", {}),
            ("deepsigns", {}),
            ("structural", {"payload_bits": 16}),
            ("carriers", {}),
            ("ingrain", {}),
        )
    ),
    Fit("lattice step", "dm-qim", step),
    Fit("widths", "structural", widths, {"payload_bits": 16}),
    Fit("learned extractor", "riga", extractor),
    Fit("trigger inputs", "deepsigns", triggers),
    Fit("bases of trigger images", "carriers", bases, {"kind": "content"}),
    Fit("bases of trigger images", "ingrain", bases, {"kind": "content"}),
    Fit("channel order of the reference", "sign", order),
    Fit("running variances", "sign", statistics, {"carrier": "running_var", "payload_bits": 256}),
)
