"""Arguments and options that commands share, with their help."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_SCHEME = "spread-cwc"
DEFAULT_SURVIVE = "magnitude=0.98,random=0.5,noise=0.2"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
KeyFile = Annotated[Path, typer.Option("--key", help="Key file made by cwwm keygen.")]
Suspect = Annotated[
    Path,
    typer.Argument(
        help="Safetensors, a torch file, a folder of shards or its .index.json, or one shard; or ONNX, which takes "
        "--original or --reference, and pip install 'cwwm[onnx]'."
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
        help="What the mark must survive: magnitude and random pruning rates (a bare number is the former), noise "
        f"relative to the weights' spread; of cwc and protected-cwc by default {DEFAULT_SURVIVE}. Of spread-cwc "
        "also drift (the share of a layer's norm by which training on moves it), low-rank (the share of singular "
        "values dropped), quantise (bits), average (copies), and blind=1, to be read without the original; the "
        "least gain is taken that meets each."
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        help="Of cwc and protected-cwc, squared change that may be spent, relative to the pool's norm; by default "
        "0.004."
    ),
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
Copy = Annotated[
    str | None,
    typer.Option(help="Of a file that holds several copies of its weights, raw and averaged, the one to mark."),
]
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
