"""What an owner does with files: mark a checkpoint, read a suspect, verify a claim."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cwwm.alignment import Alignment
from cwwm.carrier import prunable, weights_digest
from cwwm.checkpoint import open_weights, rewriting
from cwwm.codes import Bits
from cwwm.commitment import Commitment
from cwwm.design import CARRIERS, Targets, design
from cwwm.errors import BadInput
from cwwm.evidence import Evidence, Tried, Verdict, judge
from cwwm.keys import Key
from cwwm.mark import Mark, load_mark, save_mark, tensors_path
from cwwm.schemes import Claim, EmbedContext, Extraction, Scheme, embed, scheme_of
from cwwm.schemes.aligned import read_aligned
from cwwm.weights import Weights, all_finite

_COPY = "copy"  # in a mark's state: digest of the marked weights, which the commitment binds


def copy_digest(weights: Weights) -> str:
    """Return what identifies a marked copy: SHA-256 of all its convolution and linear weights."""
    return weights_digest(weights, prunable(weights))


def mark_path(model: Path) -> Path:
    """Return where the mark of a checkpoint lies by default: beside it, ending in .mark.json."""
    return model.with_suffix(".mark.json")


def commitment_path(model: Path) -> Path:
    """Return where the commitment of a marked checkpoint is written."""
    return model.with_suffix(".commitment.json")


def load_owner_key(path: Path) -> Key:
    """Read a key; BadInput for a benchmark's key, which anyone can derive again."""
    key = Key.load(path)
    if key.origin != "owner":
        raise BadInput(f"{path} is a benchmark's key, derived from a public seed; make your own: cwwm keygen")
    return key


@dataclass(frozen=True)
class Marked:
    """The outcome of `embed_file`: the mark, and the files written."""

    mark: Mark
    files: tuple[Path, Path, Path]


def plan_scheme(
    source: Path, name: str, targets: Targets, carrier: str | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of a scheme for a checkpoint: `given` ones first, the rest planned for the targets.

    Raises:
        BadInput: if a plan is needed and the targets cannot be met; it names the nearest that can.
    """
    parameters: dict[str, Any] = {"payload_bits": targets.payload_bits}
    if name == "protected-cwc" and not {"blocks", "block_length", "block_weight"} & given.keys():
        carriers = [carrier] if carrier else CARRIERS
        return parameters | design(open_weights(source), carriers, targets)[0].parameters | dict(given)
    if carrier:
        parameters["carrier"] = carrier
    if name == "cwc":
        parameters["survive"] = targets.magnitude
    return parameters | dict(given)


def embed_file(
    source: Path, target: Path, scheme: Scheme, message: Bits, key: Key, *, force: bool = False
) -> Marked:
    """Mark a checkpoint in one shot and write model, mark and commitment; on an error nothing is written.

    Raises:
        BadInput: if `target` or its mark exists and `force` is not given, if the source cannot be read or
            carry the message, or the folder cannot be written.
    """
    files = (target, mark_path(target), commitment_path(target))
    existing = [path for path in files if path.exists()]
    if existing and not force:
        raise BadInput(f"{existing[0]} exists; choose another -o, or --force to replace it (its mark is lost then)")
    if target.suffix != ".safetensors":
        raise BadInput(f"the output is safetensors; name it {target.with_suffix('.safetensors')}")
    made = [path for path in (*files[1:], tensors_path(files[1])) if not path.exists()]
    try:
        with rewriting(source, target) as weights:
            _, mark = embed(scheme, weights, message, key, EmbedContext())
            mark = replace(mark, state={**mark.state, _COPY: copy_digest(weights)})
            save_mark(mark, files[1])
            Commitment.to(Claim(key, mark, message)).save(files[2])
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):  # the folder may be what could not be written
                path.unlink(missing_ok=True)
        raise
    return Marked(mark, files)


@dataclass(frozen=True)
class Reading:
    """A suspect as one key and mark read it; `alignment` if the owner's copy was asked."""

    mark: Mark
    scheme: Scheme
    extraction: Extraction
    alignment: Alignment | None = None


def read_file(suspect: Path, key: Key, mark_file: Path, reference: Path | None = None) -> Reading:
    """Extract from a checkpoint.

    Args:
        suspect: to read.
        key: the owner's.
        mark_file: that `embed_file` wrote.
        reference: the marked copy, to undo what was done to the suspect's channels.

    Raises:
        BadInput: for a wrong key, a damaged file, a reference that the mark was not made in, or a suspect with
            non-finite weights in the carrier.
    """
    mark = load_mark(mark_file)
    mark.require_key(key)
    scheme = scheme_of(mark)
    weights = open_weights(suspect)
    _require_finite(weights, mark)
    if reference is None:
        return Reading(mark, scheme, scheme.extract(weights, key, mark))
    owner = open_weights(reference)
    _require_copy(owner, mark, reference)
    return Reading(mark, scheme, *read_aligned(scheme, weights, owner, key, mark))


def _require_copy(weights: Weights, mark: Mark, path: Path) -> None:
    """Raise BadInput for another reference than the marked copy: one could be fitted to the suspect."""
    if mark.state.get(_COPY) != copy_digest(weights):
        raise BadInput(f"{path} is not the copy that the mark was made in; give the file that cwwm embed wrote")


def _require_finite(weights: Weights, mark: Mark) -> None:
    for layer in mark.carrier.layers if mark.carrier else ():
        if layer.name in weights and not all_finite(weights.tensor(layer.name)):
            raise BadInput(f"tensor {layer.name} of the suspect holds NaN or infinite weights; it cannot be read")


@dataclass(frozen=True)
class Verification:
    """What `verify_file` found: statistics, verdict, and whether the message came back whole."""

    evidence: Evidence
    verdict: Verdict
    whole: bool
    extraction: Extraction
    alignment: Alignment | None


def verify_file(
    suspect: Path,
    key: Key,
    mark_file: Path,
    message: Bits,
    *,
    commitment_file: Path | None,
    rate: float,
    tried: Tried,
    reference: Path | None = None,
) -> Verification:
    """Judge the claim that `suspect` carries `message`.

    With a reference the p-value counts two alignments: this one, and none.

    Raises:
        BadInput: as `read_file`; for a damaged commitment, a claim of wrong length, or a rate outside (0, 1).
    """
    if not 0 < rate < 1:
        raise BadInput(f"--fpr is between 0 and 1, not {rate:g}")
    reading = read_file(suspect, key, mark_file, reference)
    claim = Claim(key, reading.mark, message)
    if len(message) != reading.mark.payload_bits:
        raise BadInput(f"the claimed message has {len(message)} bits, the mark {reading.mark.payload_bits}")
    evidence = reading.scheme.evidence(reading.extraction, claim)
    extraction = reading.extraction
    whole = extraction.ok and bool((extraction.bits == message).all())
    if reference is not None:
        tried = replace(tried, alignments=2 * tried.alignments)
    verdict = judge(evidence, tried=tried, rate=rate, objection=_objection(claim, commitment_file))
    return Verification(evidence, verdict, whole, extraction, reading.alignment)


def _objection(claim: Claim, commitment_file: Path | None) -> str | None:
    if commitment_file is None:
        return "no prior commitment"
    if not Commitment.load(commitment_file).binds(claim):
        return "the commitment binds another key, message or mark than the one claimed"
    return None
