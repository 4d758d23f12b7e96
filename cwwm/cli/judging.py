"""cwwm extract, verify and dispute: what a suspect says, whether it proves, and who marked first."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwwm.cli.message import message_of
from cwwm.cli.options import (
    Fpr,
    Hex,
    Json,
    KeyFile,
    Original,
    PerChannel,
    Plugins,
    Reference,
    Suspect,
    Text,
    TextFile,
    TriedText,
)
from cwwm.cli.reading import (
    alignment_json,
    all_finite,
    finite,
    names_json,
    print_alignment,
    print_missing,
    print_names,
    print_reader,
)
from cwwm.cli.status_line import status_line
from cwwm.ownership.message import bits_to_hex, bits_to_text
from cwwm.support.console import DONE, NO, print_json, say
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.ownership.verification import Verification


def extract(
    suspect: Suspect,
    key: KeyFile,
    mark: Annotated[Path | None, typer.Option(help="Mark file; default SUSPECT with .mark.json.")] = None,
    reference: Reference = None,
    original: Original = None,
    per_channel: PerChannel = False,
    plugin: Plugins = None,
    json: Json = False,
) -> int:
    """Read the message from a suspect checkpoint. It is no proof: see verify."""
    from cwwm.owner import load_owner_key, read_file
    from cwwm.plugins import load_plugins

    load_plugins(plugin or ())
    mark = mark or _beside(reference or suspect)
    secret = load_owner_key(key)
    with status_line():
        reading = read_file(suspect, secret, mark, reference=reference, original=original, per_channel=per_channel)
    found = reading.extraction
    if json:
        print_json({"ok": found.ok, "hex": bits_to_hex(found.bits), "text": bits_to_text(found.bits),
                    "erased": found.erased, "applicable": found.applicable, "reason": found.reason,
                    "reader": reading.reader, "missing": reading.missing,
                    **names_json(reading.sighting, reading.copies, reading.tries),
                    **alignment_json(reading.alignment)})  # fmt: skip
        return DONE if found.ok else NO
    print_reader(reading.reader, reading.mark, original, found.ok)
    told = {label: "message read" if ok else "no message" for label, ok in reading.copies.items()}
    print_names(reading.sighting, told, reading.tries)
    print_alignment(reading.alignment)
    print_missing(reading.missing, reading.mark)
    if not found.applicable:
        say(f"not applicable: {found.reason}")
    elif not found.ok:
        say("the message is lost; cwwm verify may still prove the mark")
    else:
        say(f"text: {bits_to_text(found.bits) or '(none)'}")
        say(f"hex:  {bits_to_hex(found.bits)}")
        say("this is no proof: see cwwm verify")
    return DONE if found.ok else NO


def _beside(model: Path) -> Path:
    """Return the mark file beside a checkpoint; BadInput if it is not there, as beside most suspects."""
    from cwwm.owner import mark_path

    path = mark_path(model)
    if not os.path.lexists(path):
        raise BadInput(f"no mark file at {path}; give the one that cwwm embed wrote as --mark")
    return path


def verify(
    suspect: Suspect,
    key: KeyFile,
    mark: Annotated[Path, typer.Option(help="Mark file written by embed.")],
    commitment: Annotated[Path | None, typer.Option(help="Commitment published before the model.")] = None,
    message: Text = None,
    message_file: TextFile = None,
    hex: Hex = None,
    fpr: Fpr = 1e-12,
    reference: Reference = None,
    original: Original = None,
    per_channel: PerChannel = False,
    innocent: Annotated[
        list[Path] | None,
        typer.Option(
            help="A model that cannot carry the mark (a public base, another network of the architecture); the "
            "claim must fail on it. May repeat."
        ),
    ] = None,
    tried: TriedText = "",
    plugin: Plugins = None,
    json: Json = False,
) -> int:
    """Judge the claim that a suspect carries a message: p-values, correction for what was tried, verdict.

    The mark's salt must follow from key, message and all that reading uses, so that nothing was chosen after the
    positions. Takes some tenths of a second and 64 MiB for the stretch of the key.
    """
    from cwwm.owner import ExhibitFiles, load_owner_key, verify_file
    from cwwm.ownership.evidence import Tried
    from cwwm.ownership.mark import load_mark
    from cwwm.plugins import load_plugins

    load_plugins(plugin or ())
    kept = load_mark(mark)
    files = ExhibitFiles(
        commitment=commitment,
        original=original,
        reference=reference,
        per_channel=per_channel,
        innocents=tuple(innocent or ()),
    )
    claimed, others = message_of(message, message_file, hex, kept.payload_bits), Tried.parse(tried)
    with status_line():
        found = verify_file(suspect, load_owner_key(key), mark, claimed, files, rate=fpr, tried=others)
    verdict = found.verdict
    if json:
        print_json({"proven": verdict.proven, "log10_p": finite(verdict.log10_p), "reason": verdict.reason,
                    "message_recovered": found.recovered, "statistics": all_finite(found.evidence.log10_p),
                    "details": dict(found.evidence.details), "innocents": all_finite(found.innocents),
                    "plugin": found.plugin or None, "reader": found.reader,
                    "missing": found.missing,
                    **names_json(found.sighting, all_finite(found.copies), found.tries),
                    **alignment_json(found.alignment)})  # fmt: skip
    else:
        print_reader(found.reader, kept, original, found.recovered)
        told = {label: f"log10 p = {log10_p:.1f}" for label, log10_p in found.copies.items()}
        print_names(found.sighting, told, found.tries)
        print_alignment(found.alignment)
        print_missing(found.missing, kept)
        if not found.extraction.applicable:
            say(f"not applicable: {found.extraction.reason}")
        for statistic, log10_p in found.evidence.log10_p.items():
            say(f"{statistic}: log10 p = {log10_p:.1f}")
        for name, log10_p in found.innocents.items():
            say(f"innocent {name}: log10 p = {log10_p:.1f}")
        if found.plugin:
            say(f"read by the plugin {found.plugin}: the verdict is worth what its code is worth, read it")
        say(f"message recovered: {'yes' if found.recovered else 'no'}")
        say(verdict.reason)
        if verdict.proven and not found.innocents:
            say("no --innocent model was shown: a judge asks for the public base and for a stranger")
    return DONE if verdict.proven else NO


def dispute(
    suspect: Annotated[
        Path, typer.Argument(help="The model that both claim: safetensors, a torch file, shards, or ONNX.")
    ],
    a: Annotated[Path, typer.Argument(metavar="FOLDER_A", help="What one party shows.")],
    b: Annotated[Path, typer.Argument(metavar="FOLDER_B", help="What the other party shows.")],
    date_a: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day of the commitment of A by a clock that both parties trust."),
    ] = None,
    date_b: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The same of B. Dates are told, not weighed.")
    ] = None,
    fpr: Fpr = 1e-12,
    tried: TriedText = "",
    plugin: Plugins = None,
    json: Json = False,
) -> int:
    """Say who marked first, where two parties both claim a suspect.

    Each party hands the judge one folder with five files, or links to them: its secret key (any name ending in
    .key), the mark (.mark.json) and the commitment (.commitment.json) as cwwm embed named them, the message
    (message.txt, or message.hex), and the unmarked checkpoint (original.safetensors, original.pt, or original, a
    folder of shards).

    For example: mkdir alice; cp owner.key marked.mark.json marked.commitment.json alice/;
    cp model.safetensors alice/original.safetensors; echo "it is mine" > alice/message.txt

    Then: cwwm dispute suspect.safetensors alice/ bob/

    First each claim is judged on the suspect, as cwwm verify does. Then each mark is looked for in the other
    party's original, whose digest its mark binds. Who marked a stolen copy shows as original a model that holds the
    owner's mark, while the owner's original does not hold the attacker's. If neither is found, or a claim is not
    proven, the answer is undecided: then the dates of the commitments decide, the older one wins.

    "Marked first" says nothing of who trained the model. The judge sees both keys and originals: keep them closed.

    Exit codes: 0 decided, 1 undecided or not proven, 2 bad input, such as one mark shown by both.
    """
    from cwwm.owner import dispute_files
    from cwwm.ownership.evidence import Tried
    from cwwm.plugins import load_plugins

    load_plugins(plugin or ())
    days = (date_a and date_a.date(), date_b and date_b.date())
    with status_line():
        found = dispute_files(suspect, (a, b), committed=days, rate=fpr, tried=Tried.parse(tried))
    parties = {"A": found.a, "B": found.b}
    if json:
        print_json({"first": found.first, "reason": found.reason, "dates": found.dates or None,
                    "parties": {name: {"claim": _verdict_json(standing.claim),
                                       "in_the_others_original": _verdict_json(standing.elsewhere)}
                                for name, standing in parties.items()}})  # fmt: skip
    else:
        for (name, standing), folder in zip(parties.items(), (a, b), strict=True):
            say(f"claim of {name}, {folder}: {_verdict_words(standing.claim)}")
        for name, standing in parties.items():
            say(f"mark of {name} in the other's original: {_verdict_words(standing.elsewhere)}")
        say(found.reason)
        if found.dates:
            say(found.dates)
    return DONE if found.first else NO


def _verdict_words(found: "Verification") -> str:
    """Return a verdict in one line, with how it was read and by whose code."""
    plugin = f", by the plugin {found.plugin}: read its code" if found.plugin else ""
    named = f", {found.sighting.label}" if found.tries > 1 else ""
    return f"{found.verdict.reason} (read {found.reader}{named}{plugin})"


def _verdict_json(found: "Verification") -> dict[str, Any]:
    return {"proven": found.verdict.proven, "log10_p": finite(found.verdict.log10_p),
            "reason": found.verdict.reason, "message_recovered": found.recovered, "reader": found.reader,
            "plugin": found.plugin or None,
            **names_json(found.sighting, all_finite(found.copies), found.tries),
            **alignment_json(found.alignment)}  # fmt: skip
