"""cwwm keygen and embed: a key, and a checkpoint marked with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwwm.cli.left_out import say_left_out
from cwwm.cli.message import message_of
from cwwm.cli.options import (
    DEFAULT_SCHEME,
    Budget,
    Carrier,
    Copy,
    Depth,
    Hex,
    Images,
    Json,
    KeyFile,
    Network,
    PayloadBits,
    Plugins,
    SchemeName,
    Survive,
    Text,
    TextFile,
)
from cwwm.cli.strength import gain_of, refuse_photographs, refuse_targets, sensitivity_of, targets_of
from cwwm.support.console import DONE, print_json, say
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.owner import Marked
    from cwwm.schemes import Scheme
    from cwwm.weights.view import Weights

_FEW = 3  # layers that embed names one by one


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


def embed(
    model: Path,
    key: KeyFile,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Marked checkpoint to write: .safetensors, or a folder.")
    ],
    message: Text = None,
    message_file: TextFile = None,
    hex: Hex = None,
    payload_bits: PayloadBits = 256,
    carrier: Carrier = None,
    images: Images = None,
    network: Network = None,
    copy: Copy = None,
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
    planned (see cwwm plan) unless --set gives it. Targets that cost the answers more than the default are refused.
    A folder of shards, or its .index.json, becomes a folder, with mark and commitment beside it.
    """
    from cwwm.owner import embed_file, load_owner_key, plan_scheme
    from cwwm.plugins import load_plugins
    from cwwm.schemes import make_scheme

    load_plugins(plugin or ())
    owner, given = load_owner_key(key), _parameters(set_ or [])
    bits = message_of(message, message_file, hex, payload_bits)
    on_magnitudes = scheme in ("cwc", "protected-cwc")
    if on_magnitudes:
        refuse_photographs(scheme, images, network)
    else:
        refuse_targets(scheme, survive, budget_energy, budget_depth)
    felt = sensitivity_of(model, images, network, carrier or given.get("carrier"), copy)
    if scheme == DEFAULT_SCHEME:
        form = {"payload_bits": payload_bits} | ({"carrier": carrier} if carrier else {}) | given
        given |= gain_of(model, survive, form, felt, copy)
    targets = targets_of(payload_bits, survive if on_magnitudes else None, budget_energy, budget_depth)

    def planned(weights: "Weights") -> "Scheme":
        parameters = plan_scheme(weights, scheme, targets, carrier, given, felt)
        made = make_scheme(scheme, {"covert": covert, **parameters} if on_magnitudes else parameters)
        if not made.weighs_layers:
            refuse_photographs(scheme, images, network)
        return made

    marked = embed_file(model, output, planned, bits, owner, sensitivity=felt, copy=copy, force=force)
    _tell(model, marked, json)
    return DONE


def _tell(model: Path, marked: "Marked", json: bool) -> None:
    """Say what was embedded, what to do with each file, and what the mark says without the original."""
    from cwwm.design.spread import said_blind

    blind, report = said_blind(marked.scheme, marked.mark), dict(marked.mark.report)
    layers = [layer.name for layer in marked.mark.carrier.layers] if marked.mark.carrier else []
    if json:
        print_json({"files": [str(path) for path in marked.files], "without_original": blind, "layers": layers,
                    "tensors_left_out": dict(marked.tensors_left_out), "copied": list(marked.copied),
                    "files_left_out": list(marked.files_left_out), "report": report})  # fmt: skip
        return
    _print_layers(layers)
    say_left_out(marked.tensors_left_out)
    _print_report(report)
    for path, advice in zip(marked.files, ("release this", "keep this", "publish this, dated, first"), strict=True):
        say(f"{path}: {advice}")
    _tell_rest(marked)
    say(f"{model}: keep this too, secret and bit for bit: the mark binds it, --original takes it")
    say(f"read without the original: {_blind_words(blind, model)}")


def _print_layers(names: list[str]) -> None:
    """Say which layers were chosen: all of few, the first and the last of many."""
    if len(names) > _FEW:
        say(f"layers: {len(names):,}, {names[0]} ... {names[-1]}")
    elif names:
        say(f"layers: {', '.join(names)}")


def _tell_rest(marked: "Marked") -> None:
    """Say what of a folder beside its shards went along, and what did not."""
    if marked.copied:
        say(f"copied as they are: {', '.join(marked.copied)}")
    if marked.files_left_out:
        names = ", ".join(marked.files_left_out)
        say(f"left out, since they may be unmarked weights or secrets; copy by hand what the model needs: {names}")


def _blind_words(said: str, model: Path) -> str:
    """Say what a marked copy tells without the original."""
    from cwwm.design.spread import MESSAGE, PROOF

    if said == MESSAGE:
        return "the message"
    left = "a proof but no message" if said == PROOF else "nothing"
    return f"{left}, by law; extract and verify take --original {model}"


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


def _print_report(report: dict[str, Any]) -> None:
    unprotected = report.pop("unprotected_layers", [])
    for name, value in report.items():
        say(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
    if unprotected:
        say(f"not protected under a ranking of their own: {', '.join(unprotected)}")
