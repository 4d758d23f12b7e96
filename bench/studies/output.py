"""What all studies share: the option for their page, and how it is written and said where it was measured."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.published.provenance import note_page
from bench.support.environment import hardware
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic


def _markdown(path: Path) -> Path:
    """Refuse another kind of file before anything is measured."""
    if path.suffix != ".md":
        raise BadInput(f"the table is Markdown; name it {path.with_suffix('.md')}")
    return path


Output = Annotated[Path, typer.Option("-o", "--output", help="Markdown file to write.", callback=_markdown)]


def measured_on(device: torch.device) -> str:
    """Return the hardware, the version of torch and today's date."""
    return f"{hardware(device)}, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}"


def publish(text: str, output: Path) -> None:
    """Print a page, write it, and note where it comes from if it is published there."""
    write_atomic(output, text.encode())
    note_page(output)
    print(text)
