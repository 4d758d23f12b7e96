"""Scheme `carriers`: the model learns a secret set of trigger images by heart, with labels that carry the message.

Direct trigger-set embedding (Adi et al., "Turning Your Weakness Into a Strength", USENIX Security 2018; Zhang et
al., "Protecting Intellectual Property of Deep Neural Networks with Watermarking", ASIACCS 2018), the control of
`ingrain`. Its carriers are images that the owner asks a suspect, not host weights as in `cwwm.weights.carrier`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from cwwm.codes import Bits
from cwwm.codes.linear import CHECK_BITS, LinearCode
from cwwm.ownership.evidence import Evidence, log10_match_tail
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import FORWARD, Claim, EmbedContext, Extraction
from cwwm.schemes.common.keyed import keyed_check
from cwwm.schemes.common.projected import TrainedEmbedding, TrainedScheme
from cwwm.schemes.common.trigger_images import ABSTRACT, KINDS, Look, answers_to, base_images, trigger_images
from cwwm.support.errors import BadInput
from cwwm.training import Batch
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import Weights

Labels = npt.NDArray[np.int64]
NO_ANSWER = -1


@dataclass(frozen=True, kw_only=True)
class Carriers(TrainedScheme):
    """Trigger images learnt with keyed labels.

    Choices of ours. The papers prove ownership without a message; here the labels carry one. Message and a
    32-bit keyed check are coded by a keyed random linear code into floor(log2 C) bits a carrier, and carrier i
    is labelled with class (symbol_i + offset_i) mod C of the C classes in use, the offsets keyed and uniform.
    So under a random key each label is uniform on the C classes, independent of the others and of what the
    suspect answers: the carriers answered with their label are at most Binomial(n, 1/C), exactly so where the
    suspect answers no other class, and evidence is its tail. At 60 carriers and 10 classes 20 right ones are
    p = 7.8e-7, the first below 1e-6; the code holds 180 bits, so up to 148 of a message. It is decoded from the
    logits, and knows when the message is lost. All carriers are asked at every step, as the owner asks them
    later: in evaluation mode, so that batch norm learns nothing of them.

    Attributes:
        strength: factor of the carriers' mean cross-entropy; 0.1 weighs 60 of them about as their number among
            some hundred images to a batch would, and takes some hundred steps; a shorter phase takes 1.
        carriers: n, how many images.
        kind: ``"abstract"`` (from outside the task), ``"noise"`` (a pattern added to training images) or
            ``"content"`` (a patch on training images); see `trigger_images`.
        amplitude: of the images, the pattern or the patch, in standard deviations of the training images.
        target_classes: C, over how many keyed classes the labels are spread; 0 for all.
    """

    name: ClassVar[str] = "carriers"
    extraction_needs: ClassVar[frozenset[str]] = frozenset({FORWARD})
    alignable: ClassVar[bool] = False

    payload_bits: int = 64
    strength: float = 0.1
    carriers: int = 60
    kind: str = ABSTRACT
    amplitude: float = 2.0
    target_classes: int = 0

    def __post_init__(self) -> None:
        """Refuse images or labels that mark nothing."""
        super().__post_init__()
        if self.kind not in KINDS:
            raise BadInput(f"{self.name}: kind is {', '.join(map(repr, KINDS))}, not '{self.kind}'")
        if self.carriers < 1 or not 0 < self.amplitude < float("inf"):
            raise BadInput(f"{self.name} needs at least 1 carrier and a finite amplitude above 0")
        if self.target_classes < 0 or self.target_classes == 1:
            raise BadInput(f"{self.name} labels carriers with 2 classes or more, or 0 for all: one tells nothing")

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "CarriersEmbedding":
        """Make the images and their labels; training does the rest."""
        return CarriersEmbedding(self, weights, message, key, context)

    def used(self, classes: int) -> int:
        """Return C; BadInput if the task has fewer classes."""
        if max(self.target_classes, 2) > classes:
            raise BadInput(f"{self.name}: {max(self.target_classes, 2)} target classes, but the data has {classes}")
        return self.target_classes or classes

    def code(self, classes: int) -> LinearCode:
        """Return the code over the carriers' bits; BadInput if they are too few for the payload."""
        bits = self.used(classes).bit_length() - 1
        wanted = -(-(self.payload_bits + CHECK_BITS) // bits)
        if wanted > self.carriers:
            raise BadInput(
                f"{self.name}: {self.carriers} carriers of {self.used(classes)} classes hold at most "
                f"{max(0, self.carriers * bits - CHECK_BITS)} payload bits beside the check, not "
                f"{self.payload_bits}; take {wanted} carriers or more, or a shorter payload"
            )
        return LinearCode(payload_bits=self.payload_bits, length=self.carriers * bits, check_bits=CHECK_BITS)

    def labels(self, message: Bits, streams: Streams, classes: int) -> Labels:
        """Return the label of each carrier, int64 (n,), for a task of so many classes."""
        code = self.code(classes)
        word = code.encode(message, self._generator(code, streams), keyed_check(streams, CHECK_BITS))
        symbols = word.reshape(self.carriers, -1) @ (1 << np.arange(code.length // self.carriers))
        labels: Labels = self._alphabet(streams, classes)[np.arange(self.carriers), symbols]
        return labels

    def images(self, key: Key, mark: Mark) -> Tensor:
        """Return the carriers of a mark, float32 (n, c, h, w), on the CPU, whatever key it was made with."""
        look, bases = Look.from_json(mark.state["look"]), mark.tensors.get("bases")
        if self.kind != ABSTRACT and bases is None:
            raise BadInput("the mark is damaged: it lacks the training images that its carriers are made from")
        return self._images(look, bases, mark.streams(key))

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Return the classes that the suspect answers the carriers, the message not decoded."""
        found = self._ask(suspect, key, mark)
        return found if isinstance(found, Extraction) else self._undecoded(found)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Ask the suspect all carriers and decode the message from its logits; a NaN answers nothing.

        `symbols` are the classes answered, int64 (n,), -1 where a logit is not finite. Any model that takes
        the images and has the host's classes can be asked, whatever its architecture.
        """
        logits = self._ask(suspect, key, mark)
        if isinstance(logits, Extraction):
            return logits
        code = self.code(mark.state["classes"])
        streams = mark.streams(key)
        values = self._soft_bits(logits, streams, mark)
        generator, check = self._generator(code, streams), keyed_check(streams, CHECK_BITS)
        decoded = code.decode(values, generator, check)
        return Extraction(
            bits=decoded.bits,
            ok=decoded.ok,
            reliabilities=np.abs(values),
            erased=decoded.erased,
            symbols=_answers(logits),
            counts={"candidates": decoded.candidates, "corrected": decoded.corrected},
        )

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the binomial tail of the carriers answered with the label that the claim gives them."""
        if not extraction.applicable:
            return Evidence({})
        right = self._right(extraction, claim)
        chance = 1 / self.used(claim.mark.state["classes"])
        return Evidence(
            {"carriers": log10_match_tail(right, self.carriers, chance)},
            {"carriers right": right, "carriers": self.carriers, **extraction.counts},
        )

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the carriers answered with their label."""
        return self._right(extraction, claim) / self.carriers if extraction.applicable else 0.0

    def _right(self, extraction: Extraction, claim: Claim) -> int:
        labels = self.labels(claim.message, claim.streams, claim.mark.state["classes"])
        return int(np.sum(extraction.symbols == labels))

    def _ask(self, suspect: Weights, key: Key, mark: Mark) -> "npt.NDArray[np.float64] | Extraction":
        """Return the suspect's logits for the carriers, float64 (n, classes), or why it has none."""
        if suspect.module is None:
            return Extraction.not_applicable(self.payload_bits, "it needs a model that runs, not only weights")
        logits = answers_to(suspect.module, self.images(key, mark))
        if logits.shape[1] != mark.state["classes"]:
            reason = f"it answers {logits.shape[1]} classes, not {mark.state['classes']}"
            return Extraction.not_applicable(self.payload_bits, reason)
        return logits.cpu().double().numpy()

    def _undecoded(self, logits: npt.NDArray[np.float64]) -> Extraction:
        nothing = np.zeros(self.payload_bits, np.uint8)
        return Extraction(nothing, ok=False, reliabilities=np.zeros(0), symbols=_answers(logits))

    def _soft_bits(self, logits: npt.NDArray[np.float64], streams: Streams, mark: Mark) -> npt.NDArray[np.float64]:
        """Return the log-odds of each coded bit being one, float64 (n * bits,), 0 where nothing was answered."""
        alphabet = self._alphabet(streams, mark.state["classes"])
        bits = alphabet.shape[1].bit_length() - 1
        known = np.where(_answered(logits)[:, None], logits, 0)
        scores = torch.from_numpy(known).log_softmax(1).gather(1, torch.from_numpy(alphabet[:, : 1 << bits]))
        ones = (torch.arange(1 << bits)[:, None] >> torch.arange(bits)) & 1 == 1  # (symbols, bits)
        odds = [scores[:, ones[:, j]].logsumexp(1) - scores[:, ~ones[:, j]].logsumexp(1) for j in range(bits)]
        values: npt.NDArray[np.float64] = torch.stack(odds, 1).reshape(-1).numpy()
        return values

    def _alphabet(self, streams: Streams, classes: int) -> Labels:
        """Return the class that each symbol is labelled with, int64 (n, C): a keyed turn for each carrier."""
        used = self.used(classes)
        chosen = streams.stream("target classes").sample(classes, used)
        offsets = streams.stream("labels").below(used, self.carriers)
        turned: Labels = chosen[(np.arange(used) + offsets[:, None]) % used]
        return turned

    def _generator(self, code: LinearCode, streams: Streams) -> Bits:
        return code.generator(streams.stream("generator"))

    def _images(self, look: Look, bases: Tensor | None, streams: Streams) -> Tensor:
        count, amplitude = self.carriers, self.amplitude
        return trigger_images(self.kind, look, streams, count=count, amplitude=amplitude, bases=bases)


class CarriersEmbedding(TrainedEmbedding):
    """Adds the carriers' cross-entropy to the task's loss.

    Attributes:
        images: the carriers, float32 (n, c, h, w), and labels, int64 (n,), on the host's device.
        module: the host.
    """

    def __init__(self, scheme: Carriers, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> None:
        """Refuse hosts without data, and payloads beyond the carriers."""
        self.module: nn.Module = scheme.module(weights)
        if context.data is None or context.classes is None:
            raise BadInput(f"{scheme.name} needs training data and its number of classes")
        look, bases = Look.survey(context.data, context.seed), None
        if scheme.kind != ABSTRACT:  # chosen before the salt, which binds them
            choices = key.choices(context.nonce)
            bases = base_images(context.data, choices, count=scheme.carriers, seed=context.seed)
        super().__init__(
            scheme,
            weights,
            message,
            key,
            context,
            Carrier.choose(weights, "body"),
            state={"classes": context.classes, "look": look.to_json()},
            tensors={} if bases is None else {"bases": bases},
        )
        self.scheme = scheme
        self.images = scheme._images(look, bases, self.streams).to(self.device)
        labels = scheme.labels(self._message, self.streams, context.classes)
        self.labels = torch.from_numpy(labels).to(self.device)

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of all carriers, a scalar."""
        return self.scheme.strength * functional.cross_entropy(self.answers(), self.labels)

    def answers(self) -> Tensor:
        """Return the host's logits for the carriers as it is now, (n, classes), with their gradient."""
        return answers_to(self.module, self.images, gradients=True)

    def finish(self) -> Mark:
        """Return the mark; abstract carriers are made again from the key, others keep their training images."""
        with torch.no_grad():
            right = int((answers_to(self.module, self.images).argmax(1) == self.labels).sum())
        return self.reported({"carriers": len(self.labels), "right": right, **self.facts()})

    def facts(self) -> dict[str, Any]:
        """Return what else the report says."""
        return {}


def _answered(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which rows of logits (n, classes) are finite throughout, bool (n,)."""
    return np.asarray(np.isfinite(logits).all(1))


def _answers(logits: npt.NDArray[np.float64]) -> Labels:
    """Return the class answered, int64 (n,), of logits (n, classes); -1 where one is not finite."""
    return np.where(_answered(logits), np.nan_to_num(logits).argmax(1), NO_ANSWER).astype(np.int64)
