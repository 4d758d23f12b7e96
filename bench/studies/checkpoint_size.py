"""What the owner's commands take on 8 GB of bfloat16 in shards, and on 5,000 small tensors.

Run it with ``python -m bench.studies.checkpoint_size -o results/checkpoint-size.md`` (some minutes; three times the
size of the checkpoint on the disk, deleted afterwards). Each command runs in an interpreter of its own; its price
is set beside a copy of the same bytes, synced, made before, between and after them.
"""

import ctypes
import json
import mmap
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from subprocess import DEVNULL, Popen
from typing import Annotated

import numpy as np
import torch
import typer
from tabulate import tabulate

from bench.studies.output import Output, measured_on, publish
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import load_mark
from cwwm.schemes import scheme_of
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput

GIGABYTES = 8.0
SHARDS = 5
WIDTH, INNER, KEYS, VOCABULARY = 3072, 8192, 1024, 128_256  # of a transformer with three billion weights
SMALL = 5000
REPEATS = 3  # of embedding, in turn with copies; odd, for one of them is the median
MESSAGE = ("--message", "it is mine")
CLASSIFIER = ("--scheme", "protected-cwc", "--carrier", "classifier", "--budget-depth", "1")
PAGE = mmap.PAGESIZE
ANSWERS = (0, 1)
_SAMPLING_SECONDS = 0.005
_NOISE = 1 << 25  # weights that are drawn once, and written again and again


@dataclass(frozen=True)
class Usage:
    """What one command took: wall and processor seconds, and the most anonymous memory seen in it, in bytes."""

    wall: float
    processor: float
    anonymous: int


@dataclass(frozen=True)
class Line:
    """A line of the table: a checkpoint, a command, what it took, and what is to be said of it.

    Attributes:
        copy: seconds of a copy of the same bytes, synced, that it is set beside; None if it is not.
    """

    checkpoint: str
    command: str
    usage: Usage
    note: str = ""
    copy: float | None = None


def transformer(gigabytes: float) -> dict[str, list[int]]:
    """Return names and shapes of a transformer's tensors that take about so many bytes in bfloat16."""
    shapes = {"lm_head.weight": [VOCABULARY, WIDTH], "model.embed_tokens.weight": [VOCABULARY, WIDTH]}
    block = {
        "input_layernorm": [WIDTH], "mlp.down_proj": [WIDTH, INNER], "mlp.gate_proj": [INNER, WIDTH],
        "mlp.up_proj": [INNER, WIDTH], "self_attn.k_proj": [KEYS, WIDTH], "self_attn.o_proj": [WIDTH, WIDTH],
        "self_attn.q_proj": [WIDTH, WIDTH], "self_attn.v_proj": [KEYS, WIDTH],
    }  # fmt: skip
    size = sum(int(np.prod(shape)) for shape in block.values())
    rest = gigabytes * 5e8 - sum(int(np.prod(shape)) for shape in shapes.values())
    for layer in range(max(1, round(rest / size))):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    return shapes


def write_shards(folder: Path, shapes: dict[str, list[int]], shards: int) -> None:
    """Write normal weights of these shapes as shards with an index; no tensor is held whole."""
    folder.mkdir()
    noise = (torch.randn(_NOISE, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16().view(torch.int16)
    sizes = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    names, homes = list(shapes), dict[str, str]()
    for number in range(1, shards + 1):
        name = f"model-{number:05}-of-{shards:05}.safetensors"
        low, high = (sizes[-1] * part / shards for part in (number - 1, number))
        held = [tensor for tensor, end in zip(names, sizes, strict=True) if low < end <= high]
        _write_shard(folder / name, {tensor: shapes[tensor] for tensor in held}, noise.numpy().tobytes())
        homes |= dict.fromkeys(held, name)
    index = {"metadata": {"total_size": 2 * int(sizes[-1])}, "weight_map": homes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_shard(path: Path, shapes: dict[str, list[int]], noise: bytes) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        left = end
        while left:
            left -= file.write(memoryview(noise)[: min(left, len(noise))])
        os.fsync(file.fileno())


def run(*arguments: object) -> Usage:
    """Run this Python, one torch thread, and watch it; BadInput if it ends with anything but 0 or 1."""
    with tempfile.TemporaryFile() as said:
        began, anonymous = time.perf_counter(), 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        child = Popen([sys.executable, *map(str, arguments)], stdout=DEVNULL, stderr=said, env=environment)
        while (ended := os.wait4(child.pid, os.WNOHANG))[0] == 0:
            anonymous = max(anonymous, _anonymous(child.pid))
            time.sleep(_SAMPLING_SECONDS)
        wall, used = time.perf_counter() - began, ended[2]
        child.returncode = os.waitstatus_to_exitcode(ended[1])
        said.seek(0)
        if child.returncode not in ANSWERS:
            raise BadInput(f"{arguments[2]} ended with {child.returncode}: {said.read()[-300:].decode()}")
    return Usage(wall, used.ru_utime + used.ru_stime, anonymous)


def imports() -> Usage:
    """Return what an interpreter takes that imports what every command does, and ends as they do."""
    return run("-c", "import gc, cwwm.cli.app, cwwm.owner, cwwm.schemes, torch; gc.freeze()")


def _anonymous(pid: int) -> int:
    """Return RssAnon of a process: what it allocated, without pages of files; 0 once it has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def evict(folder: Path) -> None:
    """Ask the system to forget the files of a folder, which are on disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(folder: Path) -> int:
    """Return how many pages of a folder's files are in memory."""
    return sum(map(_resident, folder.iterdir()))


def _resident(path: Path) -> int:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // PAGE))()
        start = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None, use_errno=True).mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages)
        del start
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(page & 1 for page in bytes(pages))


def copy_seconds(folder: Path) -> float:
    """Copy the files of a folder, sync them, delete them; return the seconds of copy and sync."""
    target = folder.with_name("copy")
    target.mkdir()
    began = time.perf_counter()
    for path in folder.iterdir():
        shutil.copyfile(path, target / path.name)
        with (target / path.name).open("rb") as file:
            os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    shutil.rmtree(target)
    return seconds


def host_pages(marked: Path, key: Path) -> int:
    """Return on how many pages the hosts of a mark of bfloat16 lie, as if each tensor began a page."""
    mark, secret = load_mark(marked.with_name(marked.name + ".mark.json")), Key.load(key)
    hosts = hidden_hosts(secret, mark, scheme_of(mark).hosts)
    return sum(len(np.unique(index.numpy() * 2 // PAGE)) for index in hosts.values())


def measured_large(folder: Path, gigabytes: float, *, wide: bool) -> Iterator[Line]:
    """Yield the lines of a checkpoint in shards; `wide` takes the default scheme, too, which marks all of it."""
    model, marked, key = folder / "model", folder / "marked", folder / "large.key"
    write_shards(model, transformer(gigabytes), SHARDS)
    Key.generate().save(key)
    size = sum(path.stat().st_size for path in model.iterdir())
    name = f"{size / 1e9:.1f} GB in {SHARDS} shards"
    for label, options, reading in (("classifier", CLASSIFIER, ()), ("wide", (), ("--original", model))):
        if options or wide:
            yield from _marked(name, label, model, marked, key, options, reading)
            _delete_marked(marked)
    yield Line(name, "inspect", run("-m", "cwwm.cli", "inspect", model))


def _marked(
    name: str, label: str, model: Path, marked: Path, key: Path, options: Sequence[str], reading: Sequence[object]
) -> Iterator[Line]:
    """Yield the lines of a mark in one carrier."""
    copies, embeds = [copy_seconds(model)], list[Usage]()
    for _ in range(REPEATS):
        _delete_marked(marked)
        embeds.append(run("-m", "cwwm.cli", "embed", model, "--key", key, *MESSAGE, *options, "-o", marked))
        copies.append(copy_seconds(model))
    walls, beside = (", ".join(f"{s:.1f}" for s in some) for some in ([one.wall for one in embeds], copies))
    note = f"{walls} s, in turn with copies of {beside} s"
    yield Line(name, f"embed, {label}", _middle(embeds), note, median(copies))
    evict(marked)
    before = resident(marked)
    extract = run("-m", "cwwm.cli", "extract", marked, "--key", key, *reading)
    pages, needed = resident(marked) - before, host_pages(marked, key)
    told = f"{pages:,} pages of {PAGE:,} bytes read" + (f", {needed:,} hold hosts" if needed else "")
    yield Line(name, f"extract, {label}", extract, told)
    claim = ("--mark", f"{marked}.mark.json", "--commitment", f"{marked}.commitment.json", "--key", key, *MESSAGE)
    yield Line(name, f"verify, {label}", run("-m", "cwwm.cli", "verify", marked, *claim, *reading))


def _delete_marked(marked: Path) -> None:
    """Delete a marked folder, its mark and its commitment, so that the next one finds the memory free of them."""
    for path in marked.parent.glob(f"{marked.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _middle(usages: Sequence[Usage]) -> Usage:
    """Return the one of median wall seconds, of an odd number."""
    return sorted(usages, key=lambda one: one.wall)[len(usages) // 2]


def measured_small(folder: Path, tensors: int) -> Iterator[Line]:
    """Yield the lines of a checkpoint of many small tensors."""
    model, key = folder / "small", folder / "small.key"
    write_shards(model, {f"blocks.{number}.weight": [64, 64] for number in range(tensors)}, 1)
    Key.generate().save(key)
    name = f"{tensors:,} tensors of 64 x 64"
    yield Line(name, "inspect", run("-m", "cwwm.cli", "inspect", model))
    for label, options in (
        ("wide", ()),
        ("all, on magnitudes", (*CLASSIFIER[:2], "--carrier", "all", *CLASSIFIER[4:])),
    ):
        marked = folder / f"marked {label}"
        embed = run("-m", "cwwm.cli", "embed", model, "--key", key, *MESSAGE, *options, "-o", marked)
        yield Line(name, f"embed, {label}", embed)


COLUMNS = ("checkpoint", "cwwm", "seconds", "beyond imports", "processor seconds", "anonymous memory, MB", "")


def page(lines: Sequence[Line], base: Usage, beside: str) -> str:
    """Return the table as Markdown; `base` is an interpreter that only imports."""
    rows = [
        (
            line.checkpoint, line.command, f"{line.usage.wall:.1f}", f"{line.usage.wall - base.wall:.1f}",
            f"{line.usage.processor:.1f}", f"{(line.usage.anonymous - base.anonymous) / 1e6:,.0f}",
            _ratio(line, base) + line.note,
        )
        for line in lines
    ]  # fmt: skip
    table = tabulate(rows, COLUMNS, tablefmt="github", disable_numparse=True)
    return (
        "# What marking takes on large checkpoints\n\n"
        "Normal weights in bfloat16, 256 bits: `wide` is the default scheme, which marks all layers and is read "
        "against the original; `classifier` is protected-cwc in the last layer, read blind. Each command runs "
        f"in an interpreter of its own, with one torch thread, embedding {REPEATS} times; importing, the "
        f"median of three times, takes {base.wall:.1f} s, {base.processor:.1f} s of a processor and "
        f"{base.anonymous / 1e6:,.0f} MB: wall and memory are left out of *beyond imports* and of *anonymous "
        "memory* (the most that was seen; pages of files are not in it). A copy is one of the same "
        "files, with fsync, before, between and after; the line is of the median. Before `extract` the files are "
        f"evicted from memory. {beside}{measured_on(torch.device('cpu'))}.\n\n{table}\n"
    )


def _ratio(line: Line, base: Usage) -> str:
    """Return how many times a copy a command takes, with and without imports, in words; nothing without a copy."""
    if line.copy is None:
        return ""
    beyond = (line.usage.wall - base.wall) / line.copy
    return f"{line.usage.wall / line.copy:.2f} times a copy, {beyond:.2f} beyond imports: "


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    gigabytes: Annotated[float, typer.Option(min=0.1, help="Of the checkpoint in shards.")] = GIGABYTES,
    wide: Annotated[
        bool, typer.Option(help="Take the default scheme, too, which reads and writes all of it.")
    ] = True,
    tensors: Annotated[int, typer.Option(min=1, help="Of the checkpoint of small ones.")] = SMALL,
    folder: Annotated[Path | None, typer.Option(help="To make a temporary folder in.")] = None,
    beside: Annotated[str, typer.Option(help="What else the machine did, a sentence for the page.")] = "",
) -> int:
    """Make the checkpoints, run the commands, delete all; print and write the table."""
    lines = []
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        place = Path(temporary)
        free = shutil.disk_usage(place).free
        if free < 4e9 * gigabytes:
            raise BadInput(f"{place} has {free / 1e9:.0f} GB left; {4 * gigabytes:.0f} are needed: see --gigabytes")
        bases = [imports()]
        for measured in (measured_small(place, tensors), measured_large(place, gigabytes, wide=wide)):
            for line in measured:
                lines.append(line)
                print(line, file=sys.stderr, flush=True)
            bases.append(imports())
    publish(page(lines, _middle(bases), f"{beside.rstrip('. ')}. " if beside else ""), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.checkpoint_size")
