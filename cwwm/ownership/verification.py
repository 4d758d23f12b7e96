"""How a judge decides a claim: what the suspect says, and what speaks against the claim whatever it says."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cwwm.alignment import Alignment
from cwwm.alignment.sources import names_by_content
from cwwm.commitment import Commitment
from cwwm.ownership.evidence import PROOF_RATE, Evidence, Tried, Verdict, judge
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.ownership.sightings import Sighting, Sightings, in_their_places, same_model, sightings
from cwwm.readers import READERS, Aligned, Blind, Informed, PerChannel, Reader, reads_originals, view_of
from cwwm.schemes import Claim, Extraction, Scheme, scheme_of
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.support.errors import BadInput
from cwwm.support.progress import begin
from cwwm.weights.carrier import (
    host_digest,
    host_digests,
    prunable,
    require_provable,
    weights_digests,
)
from cwwm.weights.view import Weights
from cwwm.weights.weight_kind import weight_kind

SUSPECT = "the suspect"  # where no name is known
INNOCENT = -2.0  # log10 of the p-value above which a claim has nothing to do with a model
_SAME_CHANNEL = 0.9  # least cosine of a filter of the marked copy with the original's in its place


@dataclass(frozen=True)
class One:
    """What one copy of a model says under one naming.

    Attributes:
        sighting: the copy and its names.
        extraction: what was read.
        alignment: to what is owned, if one was made.
        confirmed: whether the mark's salt follows from the message that was read: then it is the one written.
    """

    sighting: Sighting
    extraction: Extraction
    alignment: Alignment | None
    confirmed: bool


@dataclass(frozen=True)
class Readings:
    """All that was read of one model; at least one."""

    seen: Sightings
    all: Sequence[One]

    @property
    def best(self) -> One:
        """Return the first with the message that the mark was made for, else the first that gives any."""
        found = self.all
        return min(found, key=lambda one: (not one.confirmed, not one.extraction.ok, not one.extraction.applicable))

    def strongest(self, scheme: Scheme, claim: Claim) -> tuple[One, Evidence]:
        """Return the one that speaks most for a claim, with its evidence."""
        found = [(one, scheme.evidence(one.extraction, claim)) for one in self.all]
        return min(found, key=lambda pair: (pair[1].combined, not pair[0].extraction.ok))

    def of_copies(self, scheme: Scheme, claim: Claim) -> dict[str, float]:
        """Return log10 p of a claim on each copy, by its label; empty where the model has one."""
        if len(self.all) == 1:
            return {}
        return {one.sighting.label: scheme.evidence(one.extraction, claim).combined for one in self.all}


@dataclass(frozen=True)
class Look:
    """How models are read: the reader, and what the owner has beside them."""

    reader: Reader
    owned: Weights | None = None

    @classmethod
    def at(
        cls,
        scheme: Scheme,
        *,
        reference: Weights | None = None,
        original: Weights | None = None,
        per_channel: bool = False,
    ) -> "Look":
        """Return how an owner who has these reads: aligned, against the original, per channel, or blind.

        Raises:
            BadInput: for a reading per channel beside another network, which undoes the scales of channels too.
        """
        if per_channel and (reference is not None or original is not None):
            raise BadInput(
                "--reference and --original undo the scales of channels too: give one of them or --per-channel"
            )
        if reference is not None:
            return cls(READERS[Aligned.name], reference)
        if original is not None and reads_originals(scheme):
            return cls(READERS[Informed.name], original)
        return cls(READERS[PerChannel.name if per_channel else Blind.name])

    @classmethod
    def of_owner(
        cls,
        scheme: Scheme,
        mark: Mark,
        reference: Weights | None,
        original: Weights | None,
        *,
        per_channel: bool,
        names: tuple[str, str] = ("the reference", "the original"),
    ) -> "Look":
        """Return the same for an owner who extracts; `names` are those of the two networks in what is refused.

        Raises:
            BadInput: for a reference or an original that the mark does not name, or as `Look.at`.
        """
        if reference is not None:
            reference = known_reference(reference, mark, names[0])
        if original is not None:
            original = known_original(original, mark, names[1])
        return cls.at(scheme, reference=reference, original=original, per_channel=per_channel)

    def read(self, scheme: Scheme, sighting: Sighting, key: Key, mark: Mark) -> "One":
        """Return what one copy of a suspect says to a key and a mark."""
        view = view_of(self.reader, scheme, sighting.weights, key, mark, self.owned)
        if (
            view.alignment is not None
            and self.owned is not None
            and len(view.alignment.layers) < len(view.alignment.sources)
        ):
            hidden = {} if self.reader.takes_original else hidden_hosts(key, mark, scheme.hosts)
            names = names_by_content(self.owned, sighting.weights, hidden)
            if names:
                sighting = in_their_places(sighting, names)
                view = view_of(self.reader, scheme, sighting.weights, key, mark, self.owned)
        found = view.extraction(scheme, key, mark)
        confirmed = found.ok and scheme.written(mark).follows_from(key, found.bits)
        return One(sighting, found, view.alignment, confirmed)

    def read_all(self, scheme: Scheme, suspect: Weights, key: Key, mark: Mark, called: str = SUSPECT) -> "Readings":
        """Return what each copy of a suspect says, under the names that fit; see `cwwm.ownership.sightings`.

        `called` is what progress is told of.
        """
        seen, found = sightings(suspect, mark), list[One]()
        for number, sighting in enumerate(seen.found, 1):
            several = f", {sighting.label} ({number} of {len(seen.found)})" if len(seen.found) > 1 else ""
            begin(called + several)
            found.append(self.read(scheme, sighting, key, mark))
        return Readings(seen, found)

    def counted(self, tried: Tried) -> Tried:
        """Return what was tried, with the choice of this look: blind, and without an alignment, were the others."""
        if self.owned is not None:
            tried = replace(tried, alignments=2 * tried.alignments)
        if self.reader.name in (PerChannel.name, Informed.name):
            tried = replace(tried, readers=2 * tried.readers)
        return tried


@dataclass(frozen=True, kw_only=True)
class Exhibits:
    """What lies before the judge beside suspect and claim.

    Attributes:
        commitment: that the claimant published, dated before the suspect; None if there is none.
        original: the unmarked host that the mark's salt binds; without a reference, models are read against it
            where the scheme can be (`cwwm.residual`).
        reference: to undo what was done to the suspect's channels: the marked copy, or the original itself.
        per_channel: without a reference, whether models are read without the scales of their channels.
        innocents: models, by name, that cannot carry the mark: a public base, other networks of the architecture.
    """

    commitment: Commitment | None = None
    original: Weights | None = None
    reference: Weights | None = None
    per_channel: bool = False
    innocents: Mapping[str, Weights] = field(default_factory=dict)

    def known(self, mark: Mark) -> "Exhibits":
        """Return these under the mark's names; BadInput for networks that are not what the mark names."""
        original = None if self.original is None else known_original(self.original, mark, "the original")
        reference = None if self.reference is None else known_reference(self.reference, mark, "the reference")
        return replace(self, original=original, reference=reference)

    def look(self, scheme: Scheme) -> Look:
        """Return how models are read; BadInput as `Look.at`."""
        return Look.at(scheme, reference=self.reference, original=self.original, per_channel=self.per_channel)


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        evidence: of the claim on the suspect.
        verdict: on the claim.
        recovered: whether the claimed message was recovered.
        extraction: what was read.
        alignment: to the reference, if one was given.
        innocents: log10 p of the claim on each innocent model, by name.
        plugin: module of a scheme that is not of this package, else empty: the judge answers for its code.
        reader: how the suspect was read, by the name in `cwwm.readers`.
        sighting: the copy and the names of the suspect that speak most for the claim.
        copies: log10 p of the claim on each copy of the weights in the suspect, by label; empty if there is one.
        tries: how many copies and namings of the suspect were looked at; p counts them.
        missing: why layers of the mark were not read; see `missing_layers`.
    """

    evidence: Evidence
    verdict: Verdict
    recovered: bool
    extraction: Extraction
    alignment: Alignment | None
    innocents: Mapping[str, float]
    plugin: str
    reader: str
    sighting: Sighting
    copies: Mapping[str, float]
    tries: int
    missing: list[str]


def verify(
    suspect: Weights,
    claim: Claim,
    exhibits: Exhibits,
    *,
    rate: float = PROOF_RATE,
    tried: Tried | None = None,
    called: str = SUSPECT,
) -> Verification:
    """Judge the claim that `suspect` carries its message.

    With a reference the p-value counts two alignments: this one, and none; read per channel, two readers; against
    the original, both.

    Args:
        suspect: the model in question.
        claim: key, mark and message of the claimant.
        exhibits: what else is shown, and what the judge holds against it.
        rate: false-positive rate that a proof may have, in (0, 1).
        tried: all else that the claimant tried.
        called: what the suspect is called where progress is told.

    Raises:
        BadInput: for a rate outside (0, 1), a message of another length, a key that did not make the mark, a mark
            in norms, biases or running statistics, exhibits that are not what the mark names, or an innocent model
            that is the suspect itself or has no place for the mark.
    """
    exhibits = _sound(claim, exhibits, rate)
    scheme, tried = scheme_of(claim.mark), tried or Tried()
    look = exhibits.look(scheme)
    readings = look.read_all(scheme, suspect, claim.key, claim.mark, called)
    read, evidence = readings.strongest(scheme, claim)
    innocents = dict(_on_innocents(look, scheme, suspect, claim, exhibits.innocents))
    objections = [*_objections(scheme, claim, exhibits), *_fits(innocents)]
    tried = readings.seen.counted(look.counted(tried))
    verdict = judge(evidence, tried=tried, rate=rate, objection="; ".join(objections) or None)
    return Verification(
        evidence=evidence,
        verdict=verdict,
        recovered=read.extraction.ok and bool((read.extraction.bits == claim.message).all()),
        extraction=read.extraction,
        alignment=read.alignment,
        innocents=innocents,
        plugin=_plugin(scheme),
        reader=look.reader.name,
        sighting=read.sighting,
        copies=readings.of_copies(scheme, claim),
        tries=readings.seen.tries,
        missing=missing_layers(read.sighting, claim.mark, read.alignment),
    )


def _plugin(scheme: Scheme) -> str:
    """Return the module of a scheme that is not of this package, else nothing."""
    module = type(scheme).__module__
    return "" if module.partition(".")[0] == __name__.partition(".")[0] else module


def missing_layers(sighting: Sighting, mark: Mark, alignment: Alignment | None) -> list[str]:
    """Return which layers of a mark a suspect lacks, each in a few words; none where an alignment finds them."""
    if mark.carrier is None or sighting.weights.exported or alignment is not None:
        return []
    return list(mark.carrier.missing(sighting.weights).values())


def copy_digest(weights: Weights) -> str:
    """Return what identifies a marked copy: SHA-256 of all its convolution and linear weights, by all their names.

    A file of safetensors holds each name's own copy of a tied tensor, and is the same copy.
    """
    return next(copy_digests(weights))


def copy_digests(weights: Weights) -> Iterator[str]:
    """Yield the same, and of large copies also what version 0.1.0 bound."""
    return weights_digests(weights, [n for n in weights.all_names() if weight_kind(n, weights.shape(n))])


def is_original(weights: Weights, mark: Mark) -> bool:
    """Say whether these are the tensors of the unmarked host that the mark's salt binds."""
    return mark.original in host_digests(weights)


def _is_copy(weights: Weights, mark: Mark) -> bool:
    return any(digest == mark.copy for digest in copy_digests(weights))


def known_reference(weights: Weights, mark: Mark, name: str) -> Weights:
    """Return a marked copy or an original under the mark's names: a prefix before all names changes no tensor.

    Raises:
        BadInput: for another reference, which could be fitted to a suspect.
    """
    found = same_model(weights, mark, lambda w: _is_copy(w, mark) or is_original(w, mark))
    if found is None:
        raise BadInput(
            f"{name} is neither the copy that the mark was made in nor the original; give the file that cwwm embed "
            "wrote, or the one that it read"
        )
    return found


def known_original(weights: Weights, mark: Mark, name: str) -> Weights:
    """Return the unmarked host under the mark's names: a prefix before all names changes no tensor.

    Raises:
        BadInput: for another model, against which anything could be read, and for one without the mark's layers.
    """
    found = same_model(weights, mark, lambda w: is_original(w, mark))
    if found is None:
        raise BadInput(
            f"{name} is another model than the one that the mark was made from: its digest differs; give what cwwm "
            "embed read, as it was: no cast, trained or marked copy"
        )
    for reason in mark.carrier.missing(found).values() if mark.carrier else ():
        raise BadInput(f"the mark is damaged: {name} has not the layers that it names, for {reason}")
    return found


def _sound(claim: Claim, exhibits: Exhibits, rate: float) -> Exhibits:
    """Return exhibits under the mark's names; BadInput for what no verdict can be given on."""
    if not 0 < rate < 1:
        raise BadInput(f"the false-positive rate of a proof (--fpr) is between 0 and 1, not {rate:g}")
    if len(claim.message) != claim.mark.payload_bits:
        raise BadInput(f"the claimed message has {len(claim.message)} bits, the mark {claim.mark.payload_bits}")
    claim.mark.require_key(claim.key)
    if claim.mark.carrier is not None:
        require_provable(claim.mark.carrier)
    return exhibits.known(claim.mark)


def _objections(scheme: Scheme, claim: Claim, exhibits: Exhibits) -> Iterator[str]:
    """Yield why no p-value of this claim is a proof."""
    if not scheme.written(claim.mark).follows_from(claim.key, claim.message):
        yield (
            "the mark's salt does not follow from this key, message and mark: it was made for another message, or "
            "something was chosen after the positions"
        )
    if exhibits.commitment is None:
        yield "no prior commitment"
    elif not exhibits.commitment.binds(claim):
        yield "the commitment binds another key, message or mark than the one claimed"
    if scheme.unproven:
        yield f"statistics only, {scheme.unproven}"
    if exhibits.reference is not None and not is_original(exhibits.reference, claim.mark):
        if exhibits.original is None:
            yield (
                "statistics only, the marked copy was made after the positions, and its channels could be in any "
                "order; give --original too"
            )
        elif not same_channels(
            exhibits.original, exhibits.reference, hidden_hosts(claim.key, claim.mark, scheme.hosts)
        ):
            yield "statistics only, the channels of the marked copy are not in the order of the original"


def same_channels(original: Weights, copy: Weights, hosts: Mapping[str, Tensor]) -> bool:
    """Say whether every filter of a copy is still that of the original in its place, by cosine.

    Args:
        original, copy: the unmarked host and the marked one.
        hosts: flat indices, int64, of weights that the mark may have changed, by tensor: they are left out.
    """
    return all(
        name in copy
        and copy.shape(name) == original.shape(name)
        and _same_filters(*(_without(weights.tensor(name), hosts.get(name)) for weights in (original, copy)))
        for name in prunable(original)
    )


def _without(weight: Tensor, hosts: Tensor | None) -> Tensor:
    """Return a weight as filters, float32 (filters, M), zero at the hosts."""
    flat = weight.detach().float().reshape(-1).clone()
    if hosts is not None:
        flat[hosts.to(flat.device)] = 0
    return flat.view(len(weight), -1)


def _same_filters(before: Tensor, after: Tensor) -> bool:
    norms = before.norm(dim=1) * after.norm(dim=1)
    alike = (before * after).sum(1) >= _SAME_CHANNEL * norms
    both_empty = (before == 0).all(1) == (after == 0).all(1)
    return bool(torch.all(alike & both_empty))


def _on_innocents(
    look: Look, scheme: Scheme, suspect: Weights, claim: Claim, innocents: Mapping[str, Weights]
) -> Iterator[tuple[str, float]]:
    """Yield the log10 p-value of the claim on each innocent model; 0 for one that no alignment recognises."""
    digests = _digests(suspect, claim.mark, "the suspect") if innocents else set[str]()
    for name, model in innocents.items():
        if digests & _digests(model, claim.mark, name):
            raise BadInput(f"{name} is the suspect itself; an innocent model is one that cannot carry the mark")
        readings = look.read_all(scheme, model, claim.key, claim.mark, name)
        read, evidence = readings.strongest(scheme, claim)
        if all(one.alignment is None and not one.extraction.applicable for one in readings.all):
            reason = read.extraction.reason
            raise BadInput(f"{name} has no place for the mark ({reason}): it tells nothing of the claim")
        yield name, min(0.0, evidence.combined + math.log10(readings.seen.tries))


def _digests(model: Weights, mark: Mark, name: str) -> set[str]:
    """Return what identifies a model's copies, each under the mark's names; `name` leads what is refused."""
    try:
        return {host_digest(one.weights) for one in sightings(model, mark).found}
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from error


def _fits(innocents: Mapping[str, float]) -> Iterator[str]:
    for name, log10_p in innocents.items():
        if log10_p <= INNOCENT:
            yield f"the claim fits {name} as well, at p = 1e{log10_p:.1f}: what it reads is there without the mark"
