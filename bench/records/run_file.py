"""What run.json says of the last run into a folder: its suite, its cells, the levels of its attacks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.records.fields import Count, Identity, Level, Name, Positive
from bench.support.schema import plain_faults
from bench.support.untrusted_io import read_object
from cwwm.support.errors import BadInput

MOST_CELLS = 1_000_000


class _Part(BaseModel):
    """A JSON object that may have other fields, of which nothing is made."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class AttackLevels(_Part):
    """The strengths of one attack on one model at levels of points lost, as (level, strength or null)."""

    attack: Name
    model: Name
    chosen: Annotated[list[Level], Field(max_length=1000)]


class Archived(_Part):
    """The note that the records are of older source."""

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    reason: Name


class Stamping(_Part):
    """What stands behind records that were given the identity of newer source; see `bench.verification.restamp`."""

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    of: Positive
    seed: Count
    again: Annotated[list[Name], Field(min_length=1, max_length=MOST_CELLS)]


class RunFile(_Part):
    """The whole file; its writer is `RecordStore.plan`."""

    suite: Name
    commit: Name | None = None
    cells: Annotated[list[Identity], Field(max_length=MOST_CELLS)]
    levels: Annotated[list[AttackLevels], Field(max_length=MOST_CELLS)] = []
    archived: Archived | None = None
    restamped: Annotated[list[Stamping], Field(max_length=1000)] = []


def read_run_file(path: Path) -> RunFile | None:
    """Return what a run file says, or None if there is none.

    Raises:
        BadInput: if it is no plain file, too large, no JSON, or of another form.
    """
    if not path.exists() and not path.is_symlink():
        return None
    return parse_run_file(read_object(path, "run file"), path)


def parse_run_file(value: Mapping[str, Any], path: Path) -> RunFile:
    """Return what a JSON object says as a run file; BadInput, naming `path`, if it has another form."""
    try:
        return RunFile.model_validate(value)
    except ValidationError as error:
        raise BadInput(f"run file {path}: {plain_faults(error, value)[0]}") from error
