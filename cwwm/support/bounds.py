"""Checks of values that come from files of strangers, before anything is allocated for them."""

import re
from collections.abc import Mapping
from typing import Any

from cwwm.support.errors import BadInput

MOST_PAYLOAD = 1 << 20  # bits of a message
MOST_HOSTS = 1 << 24  # keyed positions of a mark
MOST_ENTRIES = 1 << 26  # of a keyed matrix

_HEX = re.compile(r"[0-9a-f]*")


def whole(value: object, name: str, least: int, most: int) -> int:
    """Return `value`; BadInput unless it is a whole number from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise BadInput(f"{name} is a whole number from {least:,} to {most:,}, not {_brief(value)}")
    return value


def text(value: object, name: str, most: int) -> str:
    """Return `value`; BadInput unless it is a text of at most so many characters."""
    if not isinstance(value, str) or len(value) > most:
        raise BadInput(f"{name} is a text of at most {most:,} characters, not {_brief(value)}")
    return value


def digits(value: object, name: str, count: int) -> str:
    """Return `value`; BadInput unless it is so many hexadecimal digits, in lower case."""
    if not isinstance(value, str) or len(value) != count or not _HEX.fullmatch(value):
        raise BadInput(f"{name} is {count} hexadecimal digits, not {_brief(value)}")
    return value


def mapping(value: object, name: str) -> dict[str, Any]:
    """Return a copy of `value`; BadInput unless it is a mapping."""
    if not isinstance(value, Mapping):
        raise BadInput(f"{name} is an object, not {_brief(value)}")
    return dict(value)


def _brief(value: object) -> str:
    found = repr(value) if isinstance(value, (int, float, str, type(None))) else f"a {type(value).__name__}"
    return found if len(found) <= 40 else f"{found[:40]}..."
