"""A command that is killed again and again in a folder of its own, and what was found of its files."""

import random
import signal
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ClassVar

from tests.kills.stage import Stage
from tests.processes import start


@dataclass
class Tally:
    """What was found after the kills of one command."""

    kills: int = 0
    whole: int = 0
    absent: int = 0
    left: int = 0  # temporary files, which harm nobody
    damage: list[str] = field(default_factory=list)


class Victim(ABC):
    """A command in a folder of its own, killed again and again."""

    name: ClassVar[str]
    command: ClassVar[str] = "cwwm-bench"
    weight: ClassVar[int] = 2  # of its share of the kills

    def __init__(self, stage: Stage, folder: Path, seconds: float | None = None) -> None:
        """Prepare `folder`.

        Args:
            stage: has the models and the finished run.
            folder: is made.
            seconds: that the command takes undisturbed; measured if not given.
        """
        self.stage, self.folder, self.tally = stage, folder, Tally()
        self.prepare()
        self.seconds = self.measured() if seconds is None else seconds
        self.reset()

    def measured(self) -> float:
        """Return the seconds that the command takes undisturbed."""
        began = time.monotonic()
        self.complete()
        return time.monotonic() - began

    @property
    @abstractmethod
    def arguments(self) -> tuple[object, ...]:
        """Return the command line."""

    @abstractmethod
    def look(self) -> None:
        """Count what is whole and what is absent, and note damage."""

    def prepare(self) -> None:
        """Make the folder, and what the command reads."""
        self.folder.mkdir()

    @abstractmethod
    def reset(self) -> None:
        """Begin anew, after the command came to its end."""

    def start(self) -> BaseProcess:
        return start(self.stage.zoo, self.folder / "said", self.command, *self.arguments)

    def complete(self) -> None:
        """Run the command to its end, and note if it fails."""
        process = self.start()
        process.join()
        self.expect(process.exitcode == 0, f"run to its end it says {(self.folder / 'said').read_text()[-300:]}")

    def kill(self, moments: random.Random) -> None:
        """Kill the command once, at a moment of its duration, and look."""
        while True:
            process = self.start()
            process.join(moments.uniform(0, self.seconds))
            if self.strike(process, moments):
                break
            self.reset()  # it ended before
        self.tally.kills += 1
        self.look()

    def strike(self, process: BaseProcess, moments: random.Random) -> bool:
        """Kill a process; say whether it still ran."""
        process.kill()
        process.join()
        return process.exitcode == -signal.SIGKILL

    def finish(self) -> None:
        """Run the command a last time, and hold what it leaves against what it must."""
        self.complete()
        self.look()

    def expect(self, true: bool, what: str) -> None:
        if not true:
            self.tally.damage.append(f"{self.name}: {what}")

    def parts(self) -> list[Path]:
        """Return the temporary files that are left."""
        return list(self.folder.rglob("*.part"))
