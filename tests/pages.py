"""Pages whose blocks are run: what a reader would paste, and what is shown below it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cwwm.support.console import DONE

NEARLY = 0.02  # by which another key may change what is printed


@dataclass(frozen=True)
class Block:
    """What a page tells its reader to run, or to write to a file.

    Attributes:
        language: sh, python or yaml. title: the file that it is to be written to, if it names one.
        text: of the block. shown: what the page says that it prints, if anything.
    """

    language: str
    title: str
    text: str
    shown: str | None


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page that run or are written, in order."""
    pattern = r"```(sh|python|yaml)(?: title=\"(.*?)\")?\n(.*?)```(?:\n\n```text\n(.*?)```)?"
    return (Block(found[1], found[2] or "", found[3], found[4]) for found in re.finditer(pattern, text, re.S))


@dataclass(frozen=True)
class Reader:
    """Somebody who has installed the wheel, in a folder of their own.

    Attributes:
        site: where the wheel is installed. folder: where commands are run. env: variables besides.
        quiet: whether nothing may be said on standard error; a run tells there how far it is.
    """

    site: Path
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = True

    def prints(self, block: Block) -> str:
        """Run a block, which must succeed, and return what it prints.

        bench lets torchvision's CUDA wheel load beside a torch without.
        """
        text = block.text
        command = (
            ["bash", "-ec", text] if block.language == "sh" else [sys.executable, "-c", f"import bench\n{text}"]
        )
        path = {"PATH": f"{self.site / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": f"{self.site}:."}
        env = {**os.environ, **path, "OMP_NUM_THREADS": "1", **self.env}
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)
        assert done.returncode == DONE, (text, done.stdout, done.stderr)
        assert not self.quiet or done.stderr == "", text
        return done.stdout

    def follow(self, text: str, *, with_numbers: bool) -> int:
        """Do what a page says, in order, and hold what is printed against it; return how many were compared."""
        compared = 0
        for block in blocks(text):
            if block.title:
                (self.folder / block.title).write_text(block.text)
                continue
            said = self.prints(block)
            if block.shown is not None:
                compare(block.shown, said, with_numbers=with_numbers)
                compared += 1
        return compared


def compare(shown: str, said: str, *, with_numbers: bool) -> None:
    """Hold what a command printed against what a page shows; numbers nearly, or not at all."""
    (words, numbers), (said_words, said_numbers) = _parts(shown), _parts(said)
    assert said_words == words
    assert not with_numbers or said_numbers == pytest.approx(numbers, rel=NEARLY)


def _parts(text: str) -> tuple[str, list[float]]:
    """Return a text without its digests and numbers, and the numbers."""
    text = re.sub(r"\b[0-9a-f]{12,}\b", "HEX", text)
    number = r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?"
    return re.sub(number, "NUMBER", text), [float(found) for found in re.findall(number, text)]
