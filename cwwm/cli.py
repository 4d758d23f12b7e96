"""The owner's command line: cwwm keygen | plan | embed | extract | verify | dispute | inspect."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from cwwm.codes import Bits
from cwwm.ownership.message import bits_to_hex, bits_to_text, hex_to_bits, read_text, text_to_bits
from cwwm.support.console import DONE, NO, print_json, print_table, run_app, say
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.alignment import Alignment
    from cwwm.design import Targets
    from cwwm.owner import Marked
    from cwwm.ownership.mark import Mark
    from cwwm.ownership.verification import Verification
    from cwwm.schemes import Scheme
    from cwwm.weights.view import Weights

_SHOWN = 8  # designs that plan prints

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Hide a message in a checkpoint's weights, read it back, and prove ownership.

    Once: cwwm keygen -o owner.key

    Then: cwwm embed model.safetensors --key owner.key --message "it is mine" -o marked.safetensors

    Publish marked.commitment.json, release marked.safetensors, keep the key and marked.mark.json.

    Later: cwwm verify suspect.safetensors --key owner.key --mark marked.mark.json
    --commitment marked.commitment.json --message "it is mine" --original model.safetensors

    Keep model.safetensors, the unmarked original, secret and as it is: the mark is read in what the suspect adds to
    it. If the claim could have been fitted to a public model: --innocent public.safetensors

    If somebody else claims the suspect, too: cwwm dispute suspect.safetensors alice/ bob/

    Exit codes: 0 done, 1 the answer is no (not proven, message lost), 2 bad input, 3 the work failed.""",
)

DEFAULT_SCHEME = "spread-cwc"
DEFAULT_SURVIVE = "magnitude=0.98,random=0.5,noise=0.2"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
KeyFile = Annotated[Path, typer.Option("--key", help="Key file made by cwwm keygen.")]
Suspect = Annotated[
    Path,
    typer.Argument(
        help="Safetensors or a torch file; or ONNX, which takes --original or --reference, and pip install "
        "'cwwm[onnx]'."
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        help="The unmarked original, or the marked copy as embed wrote it: undoes permuted, scaled, removed and "
        "added channels first. A marked copy proves nothing without --original."
    ),
]
Original = Annotated[
    Path | None,
    typer.Option(
        help="The unmarked checkpoint that was marked, whose digest the mark binds: marks that sum or rank weights "
        "are read in what the suspect adds to it, which holds where blind reading has lost them. Keep it secret."
    ),
]
PerChannel = Annotated[
    bool,
    typer.Option(
        "--per-channel",
        help="Read without the scales of channels, and without a reference: batch norms folded into the weights, "
        "and positive factors moved between layers, are then no change. p counts both ways to read.",
    ),
]
Carrier = Annotated[
    str | None,
    typer.Option(
        help="Host layers: wide (all but depthwise and narrow ones, the default), all, large, conv, linear, body, "
        "classifier, or a regular expression on names. Codes on magnitudes take by default the first of "
        "classifier, large, all that will do."
    ),
]
Survive = Annotated[
    str | None,
    typer.Option(
        help="Of cwc and protected-cwc, what the mark must survive: magnitude and random pruning rates, noise "
        f"relative to the weights' spread; by default {DEFAULT_SURVIVE}. A bare number is the magnitude rate."
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(help="Of both, squared change that may be spent, relative to the pool's norm; by default 0.004."),
]
Depth = Annotated[
    float | None,
    typer.Option(
        help="The same, relative to each layer's own norm and summed over layers, by default 0.01: what the "
        "model's answers feel. Raise it if the model is fine-tuned afterwards."
    ),
]
SchemeName = Annotated[
    str, typer.Option(help="Encoding: spread-cwc, protected-cwc, cwc, or another of the registry.")
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="A folder with a dozen photographs, of anything: measures which layers the answers feel, and gives "
        "the mark more strength for the same answers kept. Takes --network."
    ),
]
Network = Annotated[str | None, typer.Option(help="The checkpoint's network, by its name in timm; with --images.")]
PayloadBits = Annotated[int, typer.Option(help="Length of the message in bits.")]
Text = Annotated[str | None, typer.Option("--message", help="The message, as text.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="A Python module with more schemes; its code is run. May repeat."),
]
TextFile = Annotated[
    str | None,
    typer.Option(
        "--message-file",
        help="A file that holds the message as text, or - for standard input: the list of processes then does not "
        "show it. One line end that closes it is left out.",
    ),
]
Fpr = Annotated[float, typer.Option(help="False-positive rate that a proof may have.")]
TriedText = Annotated[
    str,
    typer.Option(
        help="What else was tried, as suspects=12,keys=2; p is multiplied by all of suspects, prefixes, "
        "alignments, readers, references, keys, marks and commitments (those that the claimant has published)."
    ),
]
Hex = Annotated[str | None, typer.Option("--hex", help="The message, as hexadecimal bytes.")]


@app.command()
def keygen(
    output: Annotated[Path, typer.Option("-o", "--output", help="Key file to write, mode 0600.")],
    json: Json = False,
) -> int:
    """Make a secret key from the system's generator. Whoever has it can claim, and erase, your marks."""
    from cwwm.ownership.keys import Key

    key = Key.generate()
    key.save(output)
    if json:
        print_json({"key": str(output), "digest": key.digest})
    else:
        say(f"{output}: key {key.digest[:12]}; keep it secret and keep a copy")
    return DONE


@app.command()
def plan(
    model: Path,
    payload_bits: PayloadBits = 256,
    survive: Survive = None,
    budget_energy: Budget = None,
    budget_depth: Depth = None,
    carrier: Carrier = None,
    scheme: Annotated[
        str, typer.Option(help="spread-cwc, protected-cwc, or cwc for the plain code.")
    ] = DEFAULT_SCHEME,
    gain: Annotated[
        float | None, typer.Option(help="Of spread-cwc, the gain to look at instead of planning one.")
    ] = None,
    images: Images = None,
    network: Network = None,
    json: Json = False,
) -> int:
    """Choose the strength or the code of a mark for this checkpoint, and show what it stands and what it costs.

    For spread-cwc the table says what is left of the mark, read against the original, after changes of a suspect.
    For codes on magnitudes its first line is the cheapest code that survives stated attacks; targets that cannot be
    met are refused, with the nearest that can.
    """
    from cwwm.weights.checkpoint import open_weights

    weights = open_weights(model)
    if scheme == DEFAULT_SCHEME:
        _refuse_targets(scheme, survive, budget_energy, budget_depth)
        felt = _sensitivity(model, images, network, carrier)
        return _plan_spread(weights, payload_bits, carrier, gain, felt, json)
    _refuse_photographs(scheme, images, network)
    targets = _targets(payload_bits, survive, budget_energy, budget_depth)
    if scheme == "cwc":
        return _plan_plain(weights, targets, carrier or "all", json)
    if scheme != "protected-cwc":
        raise BadInput(f"plan chooses for spread-cwc, protected-cwc and cwc, not for '{scheme}'")
    return _plan_protected(weights, targets, carrier, json)


def _targets(payload_bits: int, survive: str | None, energy: float | None, depth: float | None) -> "Targets":
    """Return what a code on magnitudes is planned for."""
    from cwwm.design import Targets

    given = {"energy": energy, "depth_energy": depth}
    budgets = {name: value for name, value in given.items() if value is not None}
    return Targets.parse(survive or DEFAULT_SURVIVE, payload_bits=payload_bits, **{"energy": 0.004, **budgets})


def _refuse_targets(scheme: str, *targets: object) -> None:
    """Refuse targets of codes on magnitudes for another scheme: nothing would come of them."""
    if any(target is not None for target in targets):
        raise BadInput(
            f"--survive and the budgets plan cwc and protected-cwc; {scheme} takes its strength from --images, or "
            "from --set gain=..., see cwwm plan"
        )


def _refuse_photographs(scheme: str, *options: object) -> None:
    """Refuse photographs for a scheme that marks all layers alike: nothing would come of them."""
    if any(option is not None for option in options):
        raise BadInput(f"--images and --network give layers gains, which {scheme} has none of; see spread-cwc")


def _sensitivity(
    model: Path, images: Path | None, network: str | None, carrier: str | None
) -> dict[str, float] | None:
    """Return what a network's answers feel of each layer; None without photographs."""
    if images is None and network is None:
        return None
    if images is None or network is None:
        raise BadInput("--images and --network go together: photographs, and the network's name in timm")
    from cwwm.design.spread import CARRIER
    from cwwm.probing import probe
    from cwwm.weights.checkpoint import open_weights

    return probe(open_weights(model), network, images, carrier or CARRIER)


def _plan_spread(
    weights: "Weights",
    payload_bits: int,
    carrier: str | None,
    gain: float | None,
    felt: dict[str, float] | None,
    json: bool,
) -> int:
    from dataclasses import asdict

    from cwwm.design.spread import CARRIER, plan_spread

    rule = carrier or CARRIER
    found = plan_spread(weights, payload_bits, rule=rule, gain=gain, sensitivity=felt)
    if json:
        print_json(asdict(found))
        return DONE
    rows = [(s.change, f"{s.snr2:,.0f}", f"{s.recovered:.3f}", f"1e{s.log10_p:.0f}") for s in found.stands]
    print_table(
        ("after", "SNR2", "message recovered", "proof"), rows, f"{payload_bits} bits in {found.pool:,} weights "
        f"(carrier {rule}) at gain {found.gain:.4g}, by law, read against the original"
    )  # fmt: skip
    print()
    say(_felt_words(found.felt))
    say(f"embed with: --payload-bits {payload_bits} --carrier '{rule}' --set gain={found.gain:.4g}")
    return DONE


def _blind_words(said: str, model: Path) -> str:
    """Say what a marked copy tells without the original."""
    from cwwm.design.spread import MESSAGE, PROOF

    if said == MESSAGE:
        return "the message"
    left = "a proof but no message" if said == PROOF else "nothing"
    return f"{left}, by law; extract and verify take --original {model}"


def _felt_words(felt: float | None) -> str:
    """Say what a gain costs the answers."""
    from cwwm.design.spread import FELT

    if felt is None:
        return (
            "what the answers feel was not measured: the gain is a careful one; --images and --network allow more"
        )
    return f"squared change of the logits: {felt:.1e} of their spread; about 98 % of the answers stay at {FELT:g}"


def _plan_protected(weights: "Weights", targets: "Targets", carrier: str | None, json: bool) -> int:
    from cwwm.design import CARRIERS, design

    designs = design(weights, [carrier] if carrier else CARRIERS, targets)
    if json:
        print_json({"carrier": designs[0].carrier, "designs": [found.to_json() for found in designs]})
        return DONE
    rows = [
        (d.block_length, d.block_weight, d.blocks, f"{d.share:.2%}", f"{d.low:g}", f"{d.survive:g}",
         f"{d.energy:.1e}", f"{d.depth_energy:.1e}", f"{d.magnitude:.4f}", f"{d.random:.4f}", f"{d.noise:.4f}")
        for d in designs[:_SHOWN]
    ]  # fmt: skip
    columns = (
        "L_b", "ones", "blocks", "of pool", "T0 at", "T1 at", "energy", "over layers",
        f"magnitude {targets.magnitude:g}", f"random {targets.random:g}", f"noise {targets.noise:g}",
    )  # fmt: skip
    best = designs[0]
    print_table(
        columns, rows, f"{targets.payload_bits} bits, carrier {best.carrier}, least energy first; last columns: "
        "probability that the message is recovered, by law"
    )  # fmt: skip
    settings = " ".join(f"--set {name}={value}" for name, value in best.parameters.items() if name != "carrier")
    print()
    say(f"embed with: --payload-bits {targets.payload_bits} --carrier '{best.carrier}' {settings}")
    return DONE


def _plan_plain(weights: "Weights", targets: "Targets", carrier: str, json: bool) -> int:
    from cwwm.design import plan as make_plan
    from cwwm.weights.carrier import Carrier as Pool

    pool = Pool.choose(weights, carrier)
    options = make_plan(weights, pool, targets.payload_bits, survive=targets.magnitude)
    if json:
        print_json({"pool": pool.size, "carrier": carrier, "options": [option.to_json() for option in options]})
        return DONE
    rows = [
        (o.length, o.weight, f"{o.share:.2%}", f"{o.energy:.1e}", f"<= {targets.magnitude:g}",
         f"{o.survive_random_1:.2f}", f"{o.survive_random_5:.2f}", o.proof_overlap)
        for o in options
    ]  # fmt: skip
    columns = (
        "L", "ones", "of pool", "energy", "magnitude", "random 1%", "random 5%", "ones for proof at 1e-12"
    )  # fmt: skip
    title = f"{targets.payload_bits} bits in {pool.size:,} weights (carrier {carrier}), least energy first"
    print_table(columns, rows, title)
    print()
    say(f"embed with: --scheme cwc --payload-bits {targets.payload_bits} --survive {targets.magnitude:g} "
          f"--carrier '{carrier}' --set length={options[0].length} --set weight={options[0].weight}")  # fmt: skip
    return DONE


@app.command()
def embed(
    model: Path,
    key: KeyFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Marked checkpoint to write (.safetensors).")],
    message: Text = None,
    message_file: TextFile = None,
    hex: Hex = None,
    payload_bits: PayloadBits = 256,
    carrier: Carrier = None,
    images: Images = None,
    network: Network = None,
    survive: Survive = None,
    budget_energy: Budget = None,
    budget_depth: Depth = None,
    covert: Annotated[
        bool, typer.Option(help="Of cwc and protected-cwc, draw magnitudes from the model's own distribution.")
    ] = False,
    scheme: SchemeName = DEFAULT_SCHEME,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the scheme, as name=value; may repeat. See cwwm plan."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace existing output files.")] = False,
    plugin: Plugins = None,
    json: Json = False,
) -> int:
    """Mark a checkpoint. Writes OUT.safetensors, OUT.mark.json (keep it) and OUT.commitment.json (publish it).

    Every layer that is wide enough is marked, without training, by changes far below the weights. Strength is
    planned (see cwwm plan) unless --set gives it.
    """
    from cwwm.owner import embed_file, load_owner_key, plan_scheme
    from cwwm.plugins import load_plugins
    from cwwm.schemes import make_scheme

    load_plugins(plugin or ())
    owner, given = load_owner_key(key), _parameters(set_ or [])
    bits = _message(message, message_file, hex, payload_bits)
    on_magnitudes = scheme in ("cwc", "protected-cwc")
    if on_magnitudes:
        _refuse_photographs(scheme, images, network)
    else:
        _refuse_targets(scheme, survive, budget_energy, budget_depth)
    felt = _sensitivity(model, images, network, carrier or given.get("carrier"))
    targets = _targets(payload_bits, survive, budget_energy, budget_depth)
    planned = plan_scheme(model, scheme, targets, carrier, given, felt)
    if on_magnitudes:
        planned = {"covert": covert, **planned}
    made = make_scheme(scheme, planned)
    if not made.weighs_layers:
        _refuse_photographs(scheme, images, network)
    marked = embed_file(model, output, made, bits, owner, sensitivity=felt, force=force)
    _tell(model, made, marked, json)
    return DONE


def _tell(model: Path, scheme: "Scheme", marked: "Marked", json: bool) -> None:
    """Say what was embedded, what to do with each file, and what the mark says without the original."""
    from cwwm.design.spread import said_blind

    blind, report = said_blind(scheme, marked.mark), dict(marked.mark.report)
    if json:
        print_json({"files": [str(path) for path in marked.files], "without_original": blind, "report": report})
        return
    _print_report(report)
    for path, advice in zip(marked.files, ("release this", "keep this", "publish this, dated, first"), strict=True):
        say(f"{path}: {advice}")
    say(f"{model}: keep this too, secret and bit for bit: the mark binds it, --original takes it")
    say(f"read without the original: {_blind_words(blind, model)}")


@app.command()
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
    from cwwm.owner import load_owner_key, mark_path, read_file
    from cwwm.plugins import load_plugins

    load_plugins(plugin or ())
    mark = mark or mark_path(reference or suspect)
    secret = load_owner_key(key)
    reading = read_file(suspect, secret, mark, reference=reference, original=original, per_channel=per_channel)
    found = reading.extraction
    if json:
        print_json({"ok": found.ok, "hex": bits_to_hex(found.bits), "text": bits_to_text(found.bits),
                    "erased": found.erased, "applicable": found.applicable, "reason": found.reason,
                    "reader": reading.reader, **_alignment_json(reading.alignment)})  # fmt: skip
        return DONE if found.ok else NO
    _print_reader(reading.reader, reading.mark, original, found.ok)
    _print_alignment(reading.alignment)
    if not found.applicable:
        say(f"not applicable: {found.reason}")
    elif not found.ok:
        say("the message is lost; cwwm verify may still prove the mark")
    else:
        say(f"text: {bits_to_text(found.bits) or '(none)'}")
        say(f"hex:  {bits_to_hex(found.bits)}")
        say("this is no proof: see cwwm verify")
    return DONE if found.ok else NO


@app.command()
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
    found = verify_file(
        suspect,
        load_owner_key(key),
        mark,
        _message(message, message_file, hex, kept.payload_bits),
        files,
        rate=fpr,
        tried=Tried.parse(tried),
    )
    verdict = found.verdict
    if json:
        print_json({"proven": verdict.proven, "log10_p": _finite(verdict.log10_p), "reason": verdict.reason,
                    "message_recovered": found.recovered, "statistics": _all_finite(found.evidence.log10_p),
                    "details": dict(found.evidence.details), "innocents": _all_finite(found.innocents),
                    "plugin": found.plugin or None, "reader": found.reader,
                    **_alignment_json(found.alignment)})  # fmt: skip
    else:
        _print_reader(found.reader, kept, original, found.recovered)
        _print_alignment(found.alignment)
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


@app.command()
def dispute(
    suspect: Annotated[Path, typer.Argument(help="The model that both claim: safetensors, a torch file, or ONNX.")],
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
    (message.txt, or message.hex), and the unmarked checkpoint (original.safetensors, or original.pt).

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
    return f"{found.verdict.reason} (read {found.reader}{plugin})"


def _verdict_json(found: "Verification") -> dict[str, Any]:
    return {"proven": found.verdict.proven, "log10_p": _finite(found.verdict.log10_p),
            "reason": found.verdict.reason, "message_recovered": found.recovered, "reader": found.reader,
            "plugin": found.plugin or None, **_alignment_json(found.alignment)}  # fmt: skip


@app.command()
def inspect(model: Path, json: Json = False) -> int:
    """List a checkpoint's layers and what each carrier rule would choose."""
    from cwwm.weights.carrier import RULES, weight_kind
    from cwwm.weights.carrier import Carrier as Pool
    from cwwm.weights.checkpoint import open_weights
    from cwwm.weights.view import all_finite

    weights = open_weights(model)
    layers = [
        {"name": name, "kind": weight_kind(name, weights.shape(name)) or "-", "shape": list(weights.shape(name)),
         "dtype": weights.dtype(name), "finite": all_finite(weights.tensor(name))}
        for name in weights.names()
    ]  # fmt: skip
    pools: dict[str, int] = {}
    for rule in RULES:
        try:
            pools[rule] = Pool.choose(weights, rule).size
        except BadInput:  # a rule that matches nothing here has an empty pool
            pools[rule] = 0
    if json:
        print_json({"layers": layers, "carriers": pools})
        return DONE
    rows = [(x["name"], x["kind"], x["shape"], x["dtype"], "" if x["finite"] else "NOT FINITE") for x in layers]
    print_table(("tensor", "kind", "shape", "dtype", ""), rows)
    print()
    print_table(("carrier", "weights", "is"), [(r, f"{n:,}", RULES[r]) for r, n in pools.items()])
    return DONE


def _message(text: str | None, file: str | None, digits: str | None, payload_bits: int) -> Bits:
    if sum(given is not None for given in (text, file, digits)) != 1:
        raise BadInput("give the message once: --message TEXT or --hex DIGITS, or --message-file FILE")
    if digits is not None:
        return hex_to_bits(digits, payload_bits)
    return text_to_bits(read_text(file) if file is not None else text or "", payload_bits)


def _parameters(pairs: list[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadInput(f"--set takes name=value, not '{pair}'")
        parameters[name] = _value(value)
    return parameters


def _value(text: str) -> int | float | bool | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _all_finite(values: Any) -> dict[str, float | None]:  # noqa: ANN401
    return {name: _finite(value) for name, value in values.items()}


def _alignment_json(alignment: "Alignment | None") -> dict[str, Any]:
    if alignment is None:
        return {}
    facts = {"score": alignment.score, "layers": len(alignment.layers), **alignment.channels}
    return {"alignment": facts | {"tensors": alignment.tensors}}


def _print_reader(reader: str, mark: "Mark", original: Path | None, recovered: bool) -> None:
    """Say how the suspect was read, what was given and could not be used, and what may read a lost message."""
    from cwwm.readers import Informed, reads_originals
    from cwwm.schemes import scheme_of

    if not reads_originals(scheme_of(mark)):
        more = "; this scheme cannot be read against --original" if original else ""
    elif reader != Informed.name and not recovered:
        more = f"; weak marks take --original{' without --reference' if original else ''}"
    else:
        more = ""
    say(f"read: {reader}{more}")


def _print_alignment(alignment: "Alignment | None") -> None:
    if alignment is not None:
        counts = ", ".join(f"{count:,} {what}" for what, count in alignment.channels.items())
        tensors = ", ".join(f"{count:,} {what}" for what, count in alignment.tensors.items())
        say(f"layers of the owner's copy: {tensors}")
        say(f"aligned: {alignment.score:.1%} of the owner's copy recognised; channels: {counts}")


def _print_report(report: dict[str, Any]) -> None:
    unprotected = report.pop("unprotected_layers", [])
    for name, value in report.items():
        say(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
    if unprotected:
        say(f"not protected under a ranking of their own: {', '.join(unprotected)}")


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run_app(app, "cwwm"))


if __name__ == "__main__":
    main()
