"""The commands of the laboratory that are killed: recorded cells stay, tables follow from them or are absent."""

import os
import random
import shutil
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.exports.registry import EXPORTS
from bench.records.store import RecordStore
from bench.verification.comparison import reproducible
from bench.verification.submission import inspect
from tests.kills.stage import tables
from tests.kills.victim import Victim
from tests.processes import gone, recorded, until, workers


class Run(Victim):
    """A run that goes on where the last one was killed; its tables are those of an undisturbed one."""

    name = "run"
    weight = 1  # it takes long
    done: dict[str, int]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("run", self.stage.zoo / "tiny.yaml", "--out", self.out, "--device", "cpu")

    def reset(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.done = {}

    def look(self) -> None:
        files = {path.name: path.stat().st_mtime_ns for path in recorded(self.out)}
        self.expect(self.done.items() <= files.items(), "a recorded cell was lost or run again")
        self.done = files
        if (self.out / "run.json").exists():
            faults = [
                f for f in inspect(RecordStore(self.out)).faults if "cells of the run have no record" not in f
            ]
            self.expect(not faults, "; ".join(faults))
        records = [reproducible(record) for record in RecordStore(self.out).records()] if files else []
        wrong = [r for r in records if r != self.stage.reproducible.get(r["identity"])]
        self.expect(not wrong, f"{len(wrong)} records are others than those of an undisturbed run")
        self.tally.whole += len(records)
        self.tally.absent += len(self.stage.reproducible) - len(records)

    def finish(self) -> None:
        super().finish()
        self.expect(tables(self.out) == self.stage.tables, "its tables are not those of an undisturbed run")
        self.expect(not self.parts(), f"it leaves {len(self.parts())} temporary files")


class Parent(Run):
    """A run of two processes whose parent dies: its workers end, and the next run goes on."""

    name = "run --jobs 2, parent"

    @property
    def arguments(self) -> tuple[object, ...]:
        return (*super().arguments, "--jobs", 2)

    def strike(self, process: BaseProcess, moments: random.Random) -> bool:
        own = workers(process.pid)
        killed = super().strike(process, moments)
        until(lambda: gone(own), 60)
        return killed


class Worker(Parent):
    """A run of two processes one of whose workers dies: it is replaced, and the run comes to its end."""

    name = "run --jobs 2, worker"

    def strike(self, process: BaseProcess, moments: random.Random) -> bool:
        own: list[int] = []
        until(lambda: own.extend(workers(process.pid)) or own or not process.is_alive())
        if not own:
            return False
        try:
            os.kill(moments.choice(own), signal.SIGKILL)
        except ProcessLookupError:
            process.join()
            return False
        process.join()
        self.expect(process.exitcode == 0, f"without a worker it ends with {process.exitcode}")
        return True

    def look(self) -> None:
        given_up = [record for record in RecordStore(self.out).records() if record.is_given_up]
        self.expect(not given_up, f"{len(given_up)} cells are given up after one kill")
        super().look()
        self.expect(tables(self.out) == self.stage.tables, "its tables are not those of an undisturbed run")

    def kill(self, moments: random.Random) -> None:
        super().kill(moments)
        self.reset()  # it came to its end


class Tables(Victim):
    """A command that writes files which follow from records: each is as it must be, or absent."""

    whole: dict[str, bytes]

    @property
    def target(self) -> Path:
        return self.folder / "out"

    def prepare(self) -> None:
        super().prepare()
        shutil.copytree(self.stage.finished, self.folder / "out", ignore=shutil.ignore_patterns("artefacts"))

    def complete(self) -> None:
        super().complete()
        if not hasattr(self, "whole"):
            self.whole = self.files()

    def files(self) -> dict[str, bytes]:
        names = (path for path in self.target.glob("*") if path.is_file() and path.name[0] != ".")
        return {path.name: path.read_bytes() for path in names}

    def reset(self) -> None:
        for name in ("leaderboard.md", "leaderboard.csv", "leaderboard.png"):
            (self.target / name).unlink(missing_ok=True)

    def look(self) -> None:
        found = self.files()
        for name, data in found.items():
            self.expect(self.whole.get(name) == data, f"{name} is not what follows from the records")
        self.tally.whole += len(found)
        self.tally.absent += len(self.whole.keys() - found.keys())
        self.reset()

    def finish(self) -> None:
        super().complete()
        self.expect(self.files() == self.whole, "in the end its files are not those of an undisturbed run")
        self.expect(not self.parts(), f"it leaves {len(self.parts())} temporary files")


class Leaderboard(Tables):
    """Tables derived again, with the page."""

    name = "leaderboard --html"

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("leaderboard", self.folder / "out", "--html")


class Exports(Tables):
    """Records in the formats of others."""

    name = "export"

    @property
    def arguments(self) -> tuple[object, ...]:
        formats = [word for name in EXPORTS for word in ("--to", name)]
        return ("export", self.folder / "out", *formats, "--folder", self.target)

    @property
    def target(self) -> Path:
        return self.folder / "exports"

    def reset(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)


class Pack(Tables):
    """Records packed into another folder."""

    name = "pack"

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("pack", self.folder / "out", "--to", self.target)

    @property
    def target(self) -> Path:
        return self.folder / "packed"

    def reset(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)
