"""What a record of an untrained model is, field by field, where it differs from others."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.records.fields import Amount, Count, Digest, Name, Number, Share
from bench.records.schema import Achieved, Found, HostPart, Part, RecipePart, RecordHead, Report, RowKey


class UntrainedKey(RowKey):
    """What the cell is, by the names that tables show."""

    weights: Literal["initial", "perturbed"] = Field(description="how the weights begin")


class UntrainedHost(HostPart):
    """What identifies the host."""

    weights: Literal["initial", "perturbed"] = Field(description="how the weights begin")


class UntrainedRecipe(RecipePart):
    """All that the cell is made from; its identity is a digest of this."""

    host: UntrainedHost = Field(description="the host")


class UntrainedModel(Part):
    """How large the network and the mark's pool are."""

    family: Name = Field(description="for tables")
    size: Count = Field(description="pixels a side of the input")
    weights: Count = Field(description="all of them")
    carrier_weights: Count | None = Field(description="of the mark's pool")
    pool_tensors: Count | None = Field(description="that the pool has")
    tied: Count = Field(description="names that share another's parameter")
    classifier: Name | None = Field(description="the tensor that is taken for it")


class MarkedFound(Found):
    """The marked model before any attack."""

    finite: bool = Field(description="every logit is a finite number")
    digest: Digest = Field(description="SHA-256 of its state")
    report: Report = Field(description="what embedding did")


class Reloaded(Found):
    """The same read from a network that loaded the state."""

    unloaded: Found = Field(description="read from the state itself, without a network")
    same_answers: bool = Field(description="it answers random images as before, bit by bit")

    @property
    def whole(self) -> bool:
        """Say whether the message was recovered from both and the answers are the same."""
        return self.recovered and self.unloaded.recovered and self.same_answers


class UntrainedRow(Found):
    """One strength of the attack."""

    strength: Number = Field(description="as asked for; see strength_means")
    achieved: Achieved = Field(description="what was measured")
    finite: bool = Field(description="every logit is a finite number")
    law: Share | None = Field(
        description="predicted probability that the message is recovered, where a law is known"
    )
    timing: dict[Name, Amount] = Field(description="seconds of the attack's own work")


class StepTiming(Part):
    """Wall times of the steps, in milliseconds."""

    build_ms: Amount = Field(description="building the network")
    answer_ms: Amount = Field(description="answering images")
    embed_ms: Amount = Field(description="embedding")
    extract_ms: Amount = Field(description="an extraction")
    reload_ms: Amount = Field(description="both reloads")
    attack_ms: Amount = Field(description="all strengths")


class UntrainedRecord(RecordHead):
    """One cell of a suite of untrained models."""

    kind: Literal["compatibility"] = Field(description="tells it from others")
    key: UntrainedKey = Field(description="what tables call it")
    recipe: UntrainedRecipe = Field(description="what it is made from")
    model: UntrainedModel | None = Field(None, description="if ok")
    marked: MarkedFound | None = Field(None, description="the marked model, if ok")
    reloads: dict[Name, Reloaded] | None = Field(None, description="by the way it took, if ok")
    rows: list[UntrainedRow] | None = Field(None, description="one a strength, if ok", max_length=1000)
    timing: StepTiming | None = Field(None, description="of each step, if ok")

    measured = ("model", "marked", "reloads", "rows", "timing")


class UntrainedResult(UntrainedRecord):
    """A record whose status is ok: it has all that was measured."""

    if TYPE_CHECKING:
        model: UntrainedModel
        marked: MarkedFound
        reloads: dict[str, Reloaded]
        rows: list[UntrainedRow]
        timing: StepTiming
