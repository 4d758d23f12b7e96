"""Scheme `riga`: a learned extractor reads the message, a discriminator keeps the weight histogram natural.

After Wang and Kerschbaum, "RIGA: Covert and Robust White-Box Watermarking of Deep Neural Networks", WWW 2021:
host loss E_0 + lambda_1 * d(F(w), m) + lambda_2 * (loss of looking unmarked to the discriminator), while the
extractor F learns m on the marked weights and an unrelated message on unmarked ones, and the discriminator
learns to tell sorted marked weights from sorted unmarked ones. The trained extractor is part of the key.

The extractor is learned when key and message are fixed, and could as well be taught to read any message in any
public network: its answer is a statistic, not a proof, whatever was committed to.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import EmbedContext
from cwwm.schemes.common.projected import LayerEmbedding, LayerScheme, bit_loss, keyed_gaussian
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import Batch
from cwwm.weights.view import Weights

NOISE = 0.1  # of the unmarked weights that the discriminator sees, in standard deviations of the host
DISTANCES = torch.logspace(-1, 1, 16)  # of the extractor's unmarked vectors from the host's, likewise
STRANGERS = 48  # unmarked vectors a step that have nothing to do with the host
SORTED = 1024  # host weights that the discriminator sees at a step
JUDGE_HIDDEN = 64
JUDGE_LR = 1e-3
EXTRACTOR_LR = 0.01  # peak, whatever the host's: the extractor starts from nothing
EXTRACTOR = ("inner", "inner_bias", "outer", "outer_bias")  # its tensors in the mark


@dataclass(frozen=True, kw_only=True)
class Riga(LayerScheme):
    """Learned extractor with a discriminator.

    Choices of ours. The extractor reads the filter-averaged vector, standardised, through one hidden tanh layer,
    so a scaled model reads the same; equal or zero weights read nothing. No other models are trained to show it
    unmarked weights: it sees the host's initial vector, the same with Gaussian noise of 0.1 to 10 standard
    deviations, and pure Gaussian vectors, and learns one keyed message on all of them. A short fine-tuning does
    not suffice for that (the extractor then reads the whole message in unrelated networks), so it learns on when
    the host is final; the report's `stranger_match` is the largest share of the message read in 64 fresh
    Gaussian vectors. The cross-entropy is summed over the bits. Extractor and discriminator start from keyed
    streams.

    Attributes:
        strength: lambda_1 of the paper, which the host feels; the extractor learns at full strength.
        covertness: lambda_2 of the paper; 0 leaves the discriminator out.
        layer: name of the host weight; empty chooses the longest vector.
        hidden: units of the extractor's hidden layer.
        settling: steps that the extractor learns on alone when the host is final.
    """

    name: ClassVar[str] = "riga"
    unproven: ClassVar[str] = "its extractor was learned after the key, and could be taught to read this anywhere"

    covertness: float = 0.1
    hidden: int = 128
    settling: int = 500

    def __post_init__(self) -> None:
        """Refuse an extractor or a discriminator that cannot learn."""
        super().__post_init__()
        if not 0 <= self.covertness < math.inf or self.hidden < 1 or self.settling < 0:
            raise BadInput("riga needs a finite covertness >= 0, hidden >= 1 and settling >= 0")

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "RigaEmbedding":
        """Choose the layer, keep its unmarked weights, and start extractor and discriminator."""
        return RigaEmbedding(self, weights, message, key, context)

    def logits(self, vector: Tensor, key: Key, mark: Mark) -> Tensor:
        """Return what the mark's extractor reads."""
        missing = [name for name in EXTRACTOR if name not in mark.learned]
        if missing:
            raise BadInput(f"the mark is damaged: it lacks its extractor's tensors {', '.join(missing)}")
        found = [tuple(mark.learned[name].shape) for name in EXTRACTOR]
        if found != [
            (self.hidden, len(vector)),
            (self.hidden,),
            (self.payload_bits, self.hidden),
            (self.payload_bits,),
        ]:
            raise BadInput("the mark is damaged: its extractor does not fit its layer and its payload")
        if vector.std() <= 1e-6 * vector.abs().max():  # constant but for rounding: nothing to standardise
            return vector.new_zeros(self.payload_bits)
        return _mlp(_standard(vector), *(mark.learned[name].to(vector) for name in EXTRACTOR))


class RigaEmbedding(LayerEmbedding):
    """Trains host, extractor and discriminator together."""

    def __init__(self, scheme: Riga, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> None:
        """Start both networks from keyed streams, the noise from the context's seed."""
        super().__init__(scheme, weights, message, key, context)
        self.scheme = scheme
        self._unmarked = self.host.detach().float().clone()
        self._vector = self.vector().detach()
        bits, length = scheme.payload_bits, len(self._vector)
        self._extractor = self._network("extractor", length, scheme.hidden, bits)
        decoy = self.streams.stream("decoy").bits(bits)
        self._decoy = torch.from_numpy(decoy).float().to(self.device)
        self._distances = DISTANCES.to(self.device)
        self._judge = self._network("discriminator", min(SORTED, self.host.numel()), JUDGE_HIDDEN, 1)
        self._judge_optimizer = torch.optim.Adam(self._judge, lr=JUDGE_LR)
        seed = derive_seed(seed=context.seed, purpose="riga")
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def parameters(self) -> list[dict[str, Any]]:
        """Return the extractor's parameters; the discriminator has an optimiser of its own."""
        return [{"params": self._extractor, "lr": EXTRACTOR_LR, "weight_decay": 0.0}]

    def loss(self, batch: Batch) -> Tensor:
        """Return reading on marked and unmarked weights, and the host's loss of looking unmarked."""
        vector = self.vector()
        # the value of `vector`, with strength times its gradient for the host and all of it for the extractor
        scaled = vector.detach() + self.scheme.strength * (vector - vector.detach())
        loss = self._reading(scaled)
        return loss + self.scheme.covertness * self._hide() if self.scheme.covertness else loss

    def finish(self) -> Mark:
        """Return the mark with the extractor as it is now."""
        self._settle()
        report = {**self.facts(), "stranger_match": self._stranger_match()}
        return self.reported(report)

    def embedded(self) -> bool:
        """Read with the extractor as it would settle, and let it go on from where it is."""
        extractor = [weight.detach().clone() for weight in self._extractor]
        state = self._generator.get_state()
        self._settle()
        embedded = super().embedded()
        with torch.no_grad():
            for weight, before in zip(self._extractor, extractor, strict=True):
                weight.copy_(before)
        self._generator.set_state(state)
        return embedded

    def learned(self) -> Mapping[str, Tensor]:
        """Return the extractor."""
        return dict(zip(EXTRACTOR, self._extractor, strict=True))

    def _reading(self, vector: Tensor) -> Tensor:
        """Return the extractor's loss: the message in this vector, the keyed other one in unmarked vectors."""
        marked = bit_loss(_mlp(_standard(vector), *self._extractor), self.target)
        others = _mlp(_standard(self._unmarked_vectors()), *self._extractor)
        decoy = bit_loss(others, self._decoy.expand_as(others)) / len(others)
        # the unmarked host counts as much as all others: an unmoved host cannot pass for a marked one
        return marked + decoy + bit_loss(_mlp(_standard(self._vector), *self._extractor), self._decoy)

    def _settle(self) -> None:
        """Train the extractor alone, at a rate that falls to zero, until it reads unmarked vectors as such."""
        vector, steps = self.vector().detach(), self.scheme.settling
        optimizer = torch.optim.Adam(self._extractor, lr=EXTRACTOR_LR)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = EXTRACTOR_LR * (1 - step / steps)
            optimizer.zero_grad(set_to_none=True)
            self._reading(vector).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    @torch.no_grad()
    def _stranger_match(self) -> float:
        """Return the largest share of the message read in vectors that never saw it."""
        read = _mlp(_standard(self._noise(64, len(self._vector))), *self._extractor) > 0
        return float((read == self.target.bool()).float().mean(1).max())

    def _unmarked_vectors(self) -> Tensor:
        """Return the host's initial vector at each of the distances, then strangers, float32 (n, M)."""
        spread = self._distances[:, None] * self._vector.std()
        near = self._vector + spread * self._noise(len(spread), len(self._vector))
        return torch.cat([near, self._noise(STRANGERS, len(self._vector))])

    def _hide(self) -> Tensor:
        """Train the discriminator one step; return how far the host is from passing as unmarked, a scalar."""
        count = min(SORTED, self.host.numel())
        unmarked = self._sorted(self._unmarked, count) + NOISE * self._noise(count)
        marked = self._sorted(self.host.float(), count)
        natural, found = _mlp(unmarked.sort().values, *self._judge), _mlp(marked.detach(), *self._judge)
        self._judge_optimizer.zero_grad(set_to_none=True)
        judged = functional.softplus(-natural) + functional.softplus(found)
        judged.sum().backward()  # type: ignore[no-untyped-call]
        self._judge_optimizer.step()
        frozen = [weight.detach() for weight in self._judge]
        return functional.softplus(-_mlp(marked, *frozen)).sum()

    def _sorted(self, weight: Tensor, count: int) -> Tensor:
        """Return a random `count` of the weights in ascending order, in units of the unmarked layer."""
        chosen = torch.randint(weight.numel(), (count,), generator=self._generator, device=self.device)
        spread = self._unmarked.std().clamp(min=torch.finfo(torch.float32).tiny)
        standard = (weight.reshape(-1)[chosen] - self._unmarked.mean()) / spread
        return standard.sort().values

    def _noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self.device)

    def _network(self, purpose: str, inputs: int, hidden: int, outputs: int) -> list[nn.Parameter]:
        stream = self.streams.stream(purpose)
        inner = keyed_gaussian(stream, hidden, inputs) / math.sqrt(inputs)
        outer = keyed_gaussian(stream, outputs, hidden) / math.sqrt(hidden)
        weights = (inner, torch.zeros(hidden), outer, torch.zeros(outputs))
        return [nn.Parameter(weight.to(self.device)) for weight in weights]


def _mlp(x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor) -> Tensor:
    """Return one tanh layer, (..., outputs), of inputs (..., inputs)."""
    return torch.tanh(x @ inner.T + inner_bias) @ outer.T + outer_bias


def _standard(vectors: Tensor) -> Tensor:
    """Return vectors (..., M) at mean 0 and standard deviation 1."""
    centred = vectors - vectors.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp(min=torch.finfo(vectors.dtype).tiny)
