"""The commands of an owner that are killed: a mark is whole or undone, a key is whole or absent, and never lost."""

import json
import random
import shutil
import stat
from multiprocessing.process import BaseProcess
from pathlib import Path

from cwwm.commitment import Commitment
from cwwm.owner import read_file
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import load_mark
from cwwm.ownership.message import bits_to_text
from cwwm.support.errors import BadInput
from tests.kills.stage import MESSAGE
from tests.kills.victim import Victim
from tests.processes import start


class Embed(Victim):
    """A mark made in one shot: model, mark and commitment are there together, or none is after the next command."""

    name = "embed"
    command = "cwwm"

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"marked.{end}" for end in ("safetensors", "mark.json", "commitment.json")]

    @property
    def arguments(self) -> tuple[object, ...]:
        options = ("--key", self.stage.key, "--message", MESSAGE, "--payload-bits", "128", "-o", self.files[0])
        return ("embed", self.stage.model, *options)

    def reset(self) -> None:
        for path in filter(Path.is_file, self.files):
            path.unlink()

    def look(self) -> None:
        self.tally.left += len(self.parts())
        if any(path.exists() for path in self.files) and not all(path.exists() for path in self.files):
            self.expect(not self.files[0].exists(), "the model stands without its mark or its commitment")
            self.complete()  # which undoes what was begun, or says why not
        there = [path.exists() for path in self.files]
        self.tally.whole += all(there)
        self.tally.absent += not any(there)
        if all(there):
            self.read()
            self.reset()
        else:
            self.complete()
            self.expect(all(path.exists() for path in self.files), "the same command leaves no model")
            self.expect(not self.parts(), f"the same command leaves {len(self.parts())} temporary files")
            self.reset()

    def read(self) -> None:
        try:
            key = Key.load(self.stage.key)
            found = read_file(self.files[0], key, self.files[1], original=self.stage.model)
            Commitment.load(self.files[2])
        except BadInput as error:
            self.expect(False, f"half-written: {error}")
        else:
            self.expect(bits_to_text(found.extraction.bits) == MESSAGE, "the message is not what was embedded")

    def finish(self) -> None:
        self.complete()
        self.read()


class Replace(Embed):
    """A mark written over another with --force: the old set or the new one."""

    name = "embed --force"

    @property
    def arguments(self) -> tuple[object, ...]:
        return (*super().arguments, "--force")

    def reset(self) -> None:
        """Leave the set that is there."""

    def look(self) -> None:
        self.tally.left += len(self.parts())
        self.expect(all(path.exists() for path in self.files), "one of three files that were there is lost")
        self.tally.whole += 1
        mark = load_mark(self.files[1])
        self.read()
        self.expect(mark.payload_bits == 128, "the mark is another")


class EmbedShards(Embed):
    """A mark made in a folder of shards: the folder, mark and commitment are there together, or none is."""

    name = "embed, shards"

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"marked{end}" for end in ("", ".mark.json", ".commitment.json")]

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("embed", self.stage.shards, *super().arguments[2:])

    def reset(self) -> None:
        shutil.rmtree(self.files[0], ignore_errors=True)
        super().reset()


class Keygen(Victim):
    """A key: absent, or whole and for its owner alone; the same command never makes another over it."""

    name = "keygen"
    command = "cwwm"

    @property
    def file(self) -> Path:
        return self.folder / "owner.key"

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("keygen", "-o", self.file, "--json")

    def reset(self) -> None:
        self.file.unlink(missing_ok=True)

    def look(self) -> None:
        self.tally.left += len(self.parts())
        if self.file.exists():
            self.tally.whole += 1
            self.keep()
        else:
            self.tally.absent += 1
            self.complete()
            self.keep()
        self.reset()

    def keep(self) -> None:
        """Hold the key to be whole, and kept by the same command, which refuses to write over it."""
        try:
            Key.load(self.file)
        except BadInput as error:
            self.expect(False, f"half a key: {error}")
        before = self.file.read_bytes()
        self.expect(stat.S_IMODE(self.file.stat().st_mode) == 0o600, "others can read the key")
        again = Victim.start(self)
        again.join()
        self.expect(again.exitcode == 2, f"over a key it ends with {again.exitcode}")
        self.expect(self.file.read_bytes() == before, "the key was lost: another one was written over it")


class Rivals(Keygen):
    """Two that make a key of one name at once, one of them killed: the file is that of the one that told so."""

    name = "keygen, two at once"

    other: BaseProcess

    def start(self) -> BaseProcess:
        self.other = start(self.stage.zoo, self.folder / "other", self.command, *self.arguments)
        return super().start()

    def complete(self) -> None:
        process = self.start()
        process.join()
        self.other.join()
        codes = sorted(code for code in (process.exitcode, self.other.exitcode) if code is not None)
        self.expect(codes == [0, 2], f"of two at once, they end with {codes}")
        self.expect_told()

    def strike(self, process: BaseProcess, moments: random.Random) -> bool:
        killed = super().strike(process, moments)
        self.other.join()
        self.expect(self.other.exitcode in (0, 2), f"the other one ends with {self.other.exitcode}")
        self.expect(self.file.exists(), "of two, none made a key, though one was let live")
        self.expect_told()
        return killed

    def expect_told(self) -> None:
        """Hold the key to be that of the one that said it had made it."""
        if self.other.exitcode == 0:
            told = json.loads((self.folder / "other").read_text())
            self.expect(Key.load(self.file).digest == told["digest"], "the key is not the one that was told")
