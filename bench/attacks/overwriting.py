"""Overwriting: the attacker knows the encoding and embeds other marks on top of the owner's."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from torch import nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.means import Means, check_budget, means
from bench.attacks.pruning import apply_masks, prunable_tensors
from bench.metrics.dead_weights import PASSES, left_out
from bench.metrics.tiers import Tier
from cwwm.codes import Bits
from cwwm.ownership.keys import NONCE_BYTES, Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import train
from cwwm.weights.dead import Dead
from cwwm.weights.view import as_weights


def attacker_secret(seed: int, number: int, payload_bits: int) -> tuple[Key, bytes, Bits]:
    """Return key, nonce and message, uint8 (payload_bits,), of the attacker's mark `number`, 0 for the first."""
    key = Key.for_harness(thief=seed, mark=number)
    nonce = derive_seed(thief_nonce=seed, mark=number).to_bytes(NONCE_BYTES, "little")
    return key, nonce, key.choices(nonce).stream("thief's message").bits(payload_bits)


@dataclass(frozen=True, kw_only=True)
class Overwriting(Attack):
    """Embeds further marks, of the same encoding or another, each under a key and a message of the attacker's own.

    The encoding and its parameters are public (Kerckhoffs' principle); key and positions of the owner are
    not, so the attacker's marks fall on its hosts by chance. One shot where the scheme can mark a finished model
    (`Scheme.one_shot`), else through the training loop with the host's marking recipe on the task's data.
    The marks of a stronger attack include those of a weaker one, in the same order.

    Attributes:
        scheme: registered name of the attacker's encoding; None takes the owner's with all of its parameters.
        parameters: of the attacker's encoding, over the owner's where `scheme` is None. The payload is the owner's
            unless given here.
        factor: how much stronger than that the attacker's marks are, at least 1: it multiplies the parameter that
            the scheme itself calls the amplitude of its mark (`Scheme.strength_parameter`: lift of constant-weight
            ones, strength of signs and of trained losses, step of lattices, spread of fixed weights, ratio or
            gain of spread spectrum). A scheme without one, or with one of 0 (plain signs), embeds that many marks
            for each mark asked for; the factor must then be an integer.
    """

    name: ClassVar[str] = "overwrite"
    strength: ClassVar[str] = "number of further marks"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    scheme: str | None = None
    parameters: Mapping[str, Any] | None = None
    factor: float = 1.0
    budget: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an unknown scheme, parameters that make none, a factor below 1, or what is no budget."""
        check_budget(self.name, self.budget)
        if self.scheme is not None:
            least = {"payload_bits": 1}  # the owner's is not known yet
            make_scheme(self.scheme, least | dict(self.parameters or {}), "overwrite")
        if not 1 <= self.factor < math.inf:
            raise BadInput(f"overwrite: factor is a number of at least 1, not {self.factor:g}")

    @property
    def own_tier(self) -> Tier:
        """Return 2: where the scheme marks a finished model, nothing is trained, whatever the budget."""
        return 2

    def check_strength(self, strength: float) -> None:
        """Refuse what is no number of marks."""
        _mark_count(strength)

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        """Yield the overwritten model at each number of marks; a growing list embeds each mark once.

        `achieved` says how many of the attacker's marks are recovered at the end: they overwrite each other.

        Raises:
            BadInput: for a strength that is no integer of at least 1, a context without a scheme where none is
                given, a scheme that cannot be that much stronger, or as the scheme refuses the host.
        """
        scheme, times = self._strengthened(self._attackers_scheme(context))
        counts = [times * _mark_count(strength) for strength in strengths]
        before = {name: tensor.clone() for name, tensor in prunable_tensors(targets[0]).items()}
        model, claims, cost = targets[0], list[Claim](), Cost()
        for strength, count in zip(strengths, counts, strict=True):
            if not claims or count < len(claims):
                model, claims, cost = copy.deepcopy(targets[0]), [], Cost()
            for number in range(len(claims), count):
                model, claim, spent = _overwrite(model, scheme, number, context, self.budget)
                claims, cost = [*claims, claim], cost + spent
            achieved = {
                "marks": count,
                "readable": sum(_reads_back(scheme, model, claim) for claim in claims),
                **measure_change(before, prunable_tensors(model)),
            }
            yield Attacked(model, strength, achieved, context.masks, cost)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Overwrite a copy of `model` with one number of marks."""
        return next(self.curve([model], [strength], context))

    def _attackers_scheme(self, context: AttackContext) -> Scheme:
        """Return the encoding of the attacker's marks, as strong as its parameters say."""
        owners, given = context.scheme, dict(self.parameters or {})
        if self.scheme is not None:
            payload = {"payload_bits": owners.payload_bits} if owners else {}
            return make_scheme(self.scheme, {**payload, **given}, "overwrite")
        if owners is None:
            raise BadInput("overwrite needs to know the encoding; give AttackContext its scheme")
        return make_scheme(owners.name, {**owners.parameters, **given}, "overwrite") if given else owners

    def _strengthened(self, scheme: Scheme) -> tuple[Scheme, int]:
        """Return the encoding at `factor` times its strength, and how many marks stand for one."""
        parameter = scheme.strength_parameter
        if parameter and (value := getattr(scheme, parameter)):
            return replace(scheme, **{parameter: self.factor * value}), 1
        if not float(self.factor).is_integer():
            raise BadInput(
                f"overwrite: {scheme.name} has no strength to raise; factor is an integer number of marks"
            )
        return scheme, int(self.factor)


def _mark_count(strength: float) -> int:
    if not (strength >= 1 and float(strength).is_integer()):
        raise BadInput(f"overwrite: the number of marks is an integer of at least 1, not {strength:g}")
    return int(strength)


def _overwrite(
    model: nn.Module, scheme: Scheme, number: int, context: AttackContext, budget: float
) -> tuple[nn.Module, Claim, Cost]:
    """Embed the attacker's mark `number` in place; return the model, what the attacker can claim, and the cost.

    Weights that a mask holds at zero are zero again at the end, whatever the mark wanted of them.
    """
    key, nonce, message = attacker_secret(context.seed, number, scheme.payload_bits)
    given = means(context, 1.0, None, budget)
    seed = derive_seed(overwriting=context.seed, mark=number)
    with timed(context.device) as watch:
        dead, cost = _dead(scheme, model, given, context)
        embedding_context = EmbedContext(given.data, context.data.classes, seed, context.device, nonce, dead)
        if scheme.one_shot:
            weights, mark = embed(scheme, as_weights(model), message, key, embedding_context)
            model = weights.module or model
        else:
            model, mark, trained = _train_in(model, scheme, key, message, embedding_context, given, context)
            cost += trained
        apply_masks(model, dict(context.masks))
    return model, Claim(key, mark, message), replace(cost, seconds=watch.seconds)


def _dead(
    scheme: Scheme, model: nn.Module, given: Means, context: AttackContext
) -> tuple[dict[str, Dead] | None, Cost]:
    """Return what the attacker's carrier leaves out of the model, and what it takes to know."""
    found = left_out(scheme, model, given.data, context.recipe.mark)
    seen = 0 if found is None else PASSES * len(given.data)
    return found, Cost(samples=seen, data_fraction=given.share if seen else 0.0, passes=seen)


def _train_in(
    model: nn.Module,
    scheme: Scheme,
    key: Key,
    message: Bits,
    embedding_context: EmbedContext,
    given: Means,
    context: AttackContext,
) -> tuple[nn.Module, Mark, Cost]:
    embedding = scheme.begin(as_weights(model), message, key, embedding_context)
    report = train(
        embedding.weights.module or model,
        given.data,
        context.recipe.mark,
        seed=embedding_context.seed,
        embedding=embedding,
        masks=context.masks,
    )
    mark = embedding.finish()
    return embedding.weights.module or model, mark, Cost.of(report, given.share)


def _reads_back(scheme: Scheme, model: nn.Module, claim: Claim) -> bool:
    read = scheme.extract(as_weights(model), claim.key, claim.mark)
    return read.ok and bool(np.array_equal(read.bits, claim.message))
