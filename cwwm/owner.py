"""What an owner does with files: mark a checkpoint, read a suspect, verify a claim, settle a dispute."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cwwm.alignment import Alignment
from cwwm.codes import Bits
from cwwm.commitment import Commitment
from cwwm.design import CARRIERS, Targets, design
from cwwm.design.spread import CARRIER, planned_gain
from cwwm.ownership.dispute import Dispute, Party, dispute, naming
from cwwm.ownership.evidence import PROOF_RATE, Tried
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark, load_mark, save_mark, tensors_path
from cwwm.ownership.party_folder import PartyFolder
from cwwm.ownership.sightings import Sighting, sightings
from cwwm.ownership.verification import (
    Exhibits,
    Look,
    Verification,
    copy_digest,
    missing_layers,
    verify,
)
from cwwm.readers import Blind
from cwwm.schemes import Claim, EmbedContext, Extraction, Scheme, embed, scheme_of
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.support.errors import BadInput
from cwwm.support.publication import appearing_together, undo_unfinished
from cwwm.weights.carrier import Layer, left_out, require_provable
from cwwm.weights.checkpoint import open_weights, rewriting
from cwwm.weights.companions import companions
from cwwm.weights.copies import chosen_copy
from cwwm.weights.shard_files import INDEX, ShardFiles, checkpoint_folder, is_sharded
from cwwm.weights.view import Weights, all_finite


def mark_path(model: Path) -> Path:
    """Return where the mark of a checkpoint lies by default: beside the file or folder, ending in .mark.json."""
    return _beside(model, ".mark.json")


def commitment_path(model: Path) -> Path:
    """Return where the commitment of a marked checkpoint is written."""
    return _beside(model, ".commitment.json")


def _beside(model: Path, ending: str) -> Path:
    """Return a name beside a checkpoint; a folder's has no suffix, whatever dots are in it."""
    folder = checkpoint_folder(model)
    return model.with_suffix(ending) if folder is None else folder.with_name(folder.name + ending)


def load_owner_key(path: Path) -> Key:
    """Read a key; BadInput for a benchmark's key, which anyone can derive again."""
    key = Key.load(path)
    if key.origin != "owner":
        raise BadInput(f"{path} is a benchmark's key, derived from a public seed; make your own: cwwm keygen")
    return key


def open_host(source: Path, copy: str | None = None) -> Weights:
    """Return the weights of a checkpoint that is to be marked, or of that copy of them which `copy` names.

    Raises:
        BadInput: as `open_weights`; if it holds several copies and none is named, or none of that name.
    """
    return chosen_copy(open_weights(source), copy, str(source))


@dataclass(frozen=True)
class Marked:
    """The outcome of `embed_file`.

    Attributes:
        scheme, mark: of the copy.
        files: written: the copy, mark and commitment.
        tensors_left_out: that the carrier's rule left out, by name, with what they are.
        copied, files_left_out: files beside the shards of a folder, at any depth, that went along and that did not.
    """

    scheme: Scheme
    mark: Mark
    files: tuple[Path, Path, Path]
    tensors_left_out: Mapping[str, str]
    copied: Sequence[str] = ()
    files_left_out: Sequence[str] = ()


def plan_scheme(
    weights: Weights,
    name: str,
    targets: Targets,
    carrier: str | None,
    given: Mapping[str, Any],
    sensitivity: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return the parameters of a scheme for a checkpoint: `given` ones first, the rest planned.

    Args:
        weights: of the checkpoint. name: of the scheme.
        targets: that constant-weight codes on magnitudes are planned for.
        carrier: rule of host layers; None takes the scheme's own.
        given: parameters that are not to be planned.
        sensitivity: how much the answers feel each layer; a spread mark takes its gain from it.

    Raises:
        BadInput: if a plan is needed and the targets cannot be met; it names the nearest that can.
    """
    parameters: dict[str, Any] = {"payload_bits": targets.payload_bits}
    if name == "spread-cwc":
        rule = carrier or str(given.get("carrier", CARRIER))
        parameters["carrier"] = rule
        if "gain" not in given:
            parameters["gain"] = planned_gain(weights, rule, sensitivity)
        return parameters | dict(given)
    if name == "protected-cwc" and not {"blocks", "block_length", "block_weight"} & given.keys():
        carriers = [carrier] if carrier else CARRIERS
        return parameters | design(weights, carriers, targets)[0].parameters | dict(given)
    if carrier:
        parameters["carrier"] = carrier
    if name == "cwc":
        parameters["survive"] = targets.magnitude
    return parameters | dict(given)


def embed_file(
    source: Path,
    target: Path,
    scheme: Scheme | Callable[[Weights], Scheme],
    message: Bits,
    key: Key,
    *,
    sensitivity: Mapping[str, float] | None = None,
    copy: str | None = None,
    force: bool = False,
) -> Marked:
    """Mark a checkpoint in one shot and write model, mark and commitment: all appear together, or none does.

    Args:
        source: the checkpoint. target: to be written, .safetensors, or a folder for a folder or its index.
        scheme: of the mark, or what plans it for the weights, while they are copied.
        message, key: of the mark.
        sensitivity: how much the answers feel each layer, by name; None if nobody measured it.
        copy: of the weights in the checkpoint to mark, where it holds several.
        force: replace files that exist.

    Raises:
        BadInput: if `target` or its mark exists and `force` is not given, or is a folder with other files, if the
            source cannot be read or carry the message, if the folder cannot be written, or another process wrote to
            these names meanwhile.
    """
    files = _outputs(source, target)
    names = [tensors_path(files[1]), *files[1:], files[0]]
    undo_unfinished(names)
    _require_free(files, force=force)
    with appearing_together(names) as folder:
        with rewriting(source, folder / files[0].name, copy) as weights:
            made = scheme if isinstance(scheme, Scheme) else scheme(weights)
            if made.unproven:
                raise BadInput(f"a mark of scheme {made.name} proves nothing: {made.unproven}")
            _, mark = embed(made, weights, message, key, EmbedContext(sensitivity=sensitivity))
            if mark.carrier is not None:
                require_provable(mark.carrier)
            lost = {} if mark.carrier is None else left_out(weights, mark.carrier.rule)
            mark = replace(mark, copy=copy_digest(weights))
        save_mark(mark, folder / files[1].name)
        Commitment.to(Claim(key, mark, message)).save(folder / files[2].name)
        _require_nothing_lost(files[0], folder / files[0].name)
    return Marked(made, mark, files, lost, *(companions(ShardFiles.of(source)) if is_sharded(source) else ()))


def _outputs(source: Path, target: Path) -> tuple[Path, Path, Path]:
    """Return where model, mark and commitment go; BadInput for a file where a folder is needed, or the reverse."""
    if not is_sharded(source):
        if target.suffix != ".safetensors":
            if not os.path.lexists(source):
                raise BadInput(f"no checkpoint at {source}; a model of a hub is downloaded first: give its folder")
            raise BadInput(f"the output is safetensors; name it {target.with_suffix('.safetensors')}")
        return target, mark_path(target), commitment_path(target)
    target = target if target.name not in ("", "..") else target.resolve()
    if target.suffix == ".safetensors" or target.name.endswith(INDEX):
        raise BadInput(
            f"the shards of {source} become a folder; name one with -o, such as {target.with_suffix('')}"
        )
    if target.resolve() == checkpoint_folder(source):
        raise BadInput(
            f"{source} cannot be marked where it lies: keep it as it is, and name another folder with -o"
        )
    return target, target.with_name(f"{target.name}.mark.json"), target.with_name(f"{target.name}.commitment.json")


def _require_free(files: Sequence[Path], *, force: bool) -> None:
    existing = [path for path in files if os.path.lexists(path)]
    if existing and not force:
        raise BadInput(f"{existing[0]} exists; choose another -o, or --force to replace it (its mark is lost then)")


def _require_nothing_lost(old: Path, new: Path) -> None:
    """Raise BadInput where a folder that is to be replaced holds what the new one does not."""
    lost = sorted(_files_in(old) - _files_in(new)) if old.is_dir() else []
    if lost:
        raise BadInput(f"{old} holds {lost[0]}, which embed did not write; it is not replaced: choose another -o")


def _files_in(folder: Path) -> set[str]:
    """Return all that lies in a folder, at any depth, by its name below it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@dataclass(frozen=True)
class Reading:
    """A suspect as one key and mark read it.

    Attributes:
        alignment: to the reference or original, where one was made.
        reader: by the name in `cwwm.readers`.
        sighting: the copy and the names of the suspect that were read.
        copies: whether the mark's message was read in each copy of the weights, by label; empty if there is one.
        tries: how many copies and namings were looked at.
    """

    mark: Mark
    extraction: Extraction
    alignment: Alignment | None
    reader: str
    sighting: Sighting
    copies: Mapping[str, bool]
    tries: int

    @property
    def missing(self) -> list[str]:
        """Say which layers of the mark are not there; see `missing_layers`."""
        return missing_layers(self.sighting, self.mark, self.alignment)


def read_file(
    suspect: Path,
    key: Key,
    mark_file: Path,
    *,
    reference: Path | None = None,
    original: Path | None = None,
    per_channel: bool = False,
) -> Reading:
    """Extract from a checkpoint.

    Args:
        suspect: to read.
        key: the owner's.
        mark_file: that `embed_file` wrote.
        reference: the marked copy, or the original, to undo what was done to the suspect's channels.
        original: the unmarked model, to read the suspect against; schemes that cannot be are read blind.
        per_channel: without either, whether to read without the scales of channels.

    Raises:
        BadInput: for a wrong key, a damaged file, a reference or an original that the mark does not name, or a
            suspect with non-finite weights in the carrier.
    """
    mark = load_mark(mark_file)
    mark.require_key(key)
    scheme = scheme_of(mark)
    copy, unmarked = (None if path is None else open_weights(path) for path in (reference, original))
    names = str(reference), str(original)
    look = Look.of_owner(scheme, mark, copy, unmarked, per_channel=per_channel, names=names)
    blind = None if look.reader.name != Blind.name else key
    readings = look.read_all(scheme, _suspect(suspect, mark, blind=blind), key, mark)
    best, several = readings.best, len(readings.all) > 1
    copies = {one.sighting.label: one.confirmed for one in readings.all} if several else {}
    return Reading(
        mark, best.extraction, best.alignment, look.reader.name, best.sighting, copies, readings.seen.tries
    )


_LARGE_POOL = 1 << 28  # weights of a carrier
_MOST_ABSENT = 1000  # times as many weights as the suspect has of a large carrier


def _suspect(path: Path, mark: Mark, what: str = "the suspect", *, blind: Key | None = None) -> Weights:
    """Return the weights of a suspect; BadInput for NaN or infinite ones where the mark is read.

    Args:
        path, what: of the suspect, and what it is called.
        mark: to be read.
        blind: the key, where nothing but key and mark is used: of a mark in single weights no others are read then.
    """
    weights = open_weights(path)
    layers = mark.carrier.layers if mark.carrier else ()
    stated = sum(layer.size for layer in layers)
    there = [(one.weights, _places(layers, one.weights)) for one in sightings(weights, mark).found]
    most = max(sum(math.prod(copy.shape(name)) for name in names) for copy, names in there)
    if stated > _LARGE_POOL and stated > _MOST_ABSENT * most:  # what reading takes would follow from the mark alone
        raise BadInput(
            f"the mark was made in {stated:,} weights, and {path} has {most:,} of them; it cannot be read"
        )
    read = _reads(mark, blind)
    for copy, names in there:
        for name in names:
            if not all_finite(read(copy, name)):
                raise BadInput(f"tensor {name} of {what} holds NaN or infinite weights; it cannot be read")
    return weights


def _reads(mark: Mark, blind: Key | None) -> Callable[[Weights, str], Tensor]:
    """Return what takes of a suspect's tensor those weights that are read: all, or its hosts in their place."""
    scheme = scheme_of(mark)
    if blind is None or mark.carrier is None or not scheme.hosts:
        return lambda weights, name: weights.tensor(name)
    shapes = {layer.name: layer.shape for layer in mark.carrier.layers}
    hosts = cache(lambda: hidden_hosts(blind, mark, scheme.hosts))  # none are drawn for a suspect without layers

    def read(weights: Weights, name: str) -> Tensor:
        if weights.shape(name) != shapes[name] or name not in hosts():
            return torch.zeros(0)
        return weights.entries(name, hosts()[name])

    return read


def _places(layers: Sequence[Layer], weights: Weights) -> list[str]:
    """Return the tensors of a suspect in which a mark may be: by name, or by shape where an exporter named them."""
    if not weights.exported:
        return [layer.name for layer in layers if layer.name in weights]
    shapes = {tuple(sorted(layer.shape)) for layer in layers}
    return [name for name in weights.names() if tuple(sorted(weights.shape(name))) in shapes]


@dataclass(frozen=True, kw_only=True)
class ExhibitFiles:
    """The files of `Exhibits`; all may be missing."""

    commitment: Path | None = None
    original: Path | None = None
    reference: Path | None = None
    per_channel: bool = False
    innocents: Sequence[Path] = ()

    def opened(self) -> Exhibits:
        """Return what they hold; BadInput for one that cannot be read."""
        return Exhibits(
            commitment=None if self.commitment is None else Commitment.load(self.commitment),
            original=None if self.original is None else open_weights(self.original),
            reference=None if self.reference is None else open_weights(self.reference),
            per_channel=self.per_channel,
            innocents={str(path): open_weights(path) for path in self.innocents},
        )


def verify_file(
    suspect: Path,
    key: Key,
    mark_file: Path,
    message: Bits,
    files: ExhibitFiles,
    *,
    rate: float = PROOF_RATE,
    tried: Tried | None = None,
) -> Verification:
    """Judge the claim that the checkpoint `suspect` carries `message`; see `cwwm.ownership.verification.verify`.

    Raises:
        BadInput: as `read_file` and `verify`; for a damaged commitment.
    """
    mark = load_mark(mark_file)
    mark.require_key(key)
    claim = Claim(key, mark, message)
    exhibits = files.opened()
    blind = None if exhibits.look(scheme_of(mark)).reader.name != Blind.name else key
    return verify(_suspect(suspect, mark, blind=blind), claim, exhibits, rate=rate, tried=tried)


def dispute_files(
    suspect: Path,
    folders: tuple[Path, Path],
    *,
    committed: tuple[date | None, date | None] = (None, None),
    rate: float = PROOF_RATE,
    tried: Tried | None = None,
) -> Dispute:
    """Say who of two parties marked `suspect` first; see `cwwm.ownership.dispute` and, for folders, `PartyFolder`.

    Raises:
        BadInput: as `cwwm.ownership.dispute.dispute`; for a folder that lacks a file, a benchmark's key, or weights
            that are not finite where a mark is read.
    """
    shown = PartyFolder(folders[0]), PartyFolder(folders[1])
    a, b = _party("A", shown[0], committed[0]), _party("B", shown[1], committed[1])
    _suspect(shown[1].original, a.claim.mark, "the original of party B")
    _suspect(shown[0].original, b.claim.mark, "the original of party A")
    _suspect(suspect, a.claim.mark)
    return dispute(_suspect(suspect, b.claim.mark), a, b, rate=rate, tried=tried)


def _party(name: str, files: PartyFolder, committed: date | None) -> Party:
    with naming(name):
        mark, key = load_mark(files.mark), load_owner_key(files.key)
        mark.require_key(key)
        message, original = files.message(mark.payload_bits), open_weights(files.original)
        return Party.of(key, mark, message, original, files.commitment(), committed)
