"""The one place that reads and writes YAML: plain values, no key twice; errors name the file and the line."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cwwm.support.errors import BadInput
from cwwm.support.files import read_bounded

_PARSER = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader  # the same events, ten times as fast
_DEPTH = 32  # of lists and mappings in one another
_VALUES = 100_000  # with those that aliases repeat: a few lines of aliases can stand for billions
_BYTES = 16 << 20

_TRUE = ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF")
_NULL = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,29})")  # neither 010 nor 08, 1_000 or 1:30, which versions read apart
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

Scalar = str | int | float | bool | None


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read a YAML file that holds one mapping.

    Text without quotes becomes None, a boolean (yes, no, on and off as well), an integer, a float (1e-3 as well) or
    stays text: no dates, no other bases. Aliases are followed within bounds, tags and merge keys refused.

    Raises:
        BadInput: one line with the file and, but for a file that cannot be read, the line.
    """
    value = parse(_decoded(read_bounded(path, "YAML file", _BYTES), path), path)
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds no mapping of names to values")
    return value


def _decoded(content: bytes, path: Path) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput(f"{path}, line 1: the file is UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save it so") from error


def parse(text: str, path: Path, parser: Any = _PARSER) -> Any:  # noqa: ANN401 (a PyYAML loader; any YAML value)
    """Return the value of a YAML text; `path` is for errors, which are those of `read_yaml`."""
    try:
        return _Builder(yaml.parse(text, parser), path).document()
    except yaml.MarkedYAMLError as error:
        place = f"{path}, line {error.problem_mark.line + 1}" if error.problem_mark else f"{path}"
        raise BadInput(f"{place} is not YAML: {error.problem}{_QUOTE.get(error.problem or '', '')}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadInput(
            f"{path}, line {line} holds a control character ({error.character:#04x}); remove it"
        ) from error


_QUOTE = dict.fromkeys(
    ("mapping values are not allowed in this context", "mapping values are not allowed here"),
    "; put quotes round a text with a colon",
)


class _Builder:
    """Makes plain values from the events of a parser."""

    def __init__(self, events: Iterator[Any], path: Path) -> None:
        self._events = events
        self._path = path
        self._count = 0
        self._anchored: dict[str, tuple[Any, int]] = {}  # the value, and how many are in it

    def document(self) -> Any:  # noqa: ANN401 (any YAML value)
        """Return the value of the only document, None if there is none."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)
        if not isinstance(more := next(self._events), yaml.StreamEndEvent):
            raise self._error(more, "a second document begins; keep one in a file")
        return value

    def _value(self, event: Any, depth: int) -> Any:  # noqa: ANN401
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        if event.tag is not None:
            raise self._error(event, f"tag {event.tag.removeprefix('tag:yaml.org,2002:')} is not taken; drop it")
        if depth > _DEPTH:
            raise self._error(event, f"nested deeper than {_DEPTH} lists and mappings")
        before = self._count
        self._add(1, event)
        value = self._of_kind(event, depth)
        if event.anchor:
            self._anchored[event.anchor] = (value, self._count - before)
        return value

    def _of_kind(self, event: Any, depth: int) -> Any:  # noqa: ANN401
        if isinstance(event, yaml.ScalarEvent):
            return plain(event.value) if event.implicit[0] else event.value
        return self._list(depth) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(depth)

    def _repeated(self, event: Any) -> Any:  # noqa: ANN401
        if event.anchor not in self._anchored:
            raise self._error(event, f"alias *{event.anchor} has no anchor &{event.anchor} before it")
        value, count = self._anchored[event.anchor]
        self._add(count, event)
        return value

    def _list(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _mapping(self, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, depth)
            if key in found:
                raise self._error(event, f"'{event.value}' is given twice, first in line {lines[key]}; keep one")
            lines[key] = event.start_mark.line + 1
            found[key] = self._value(next(self._events), depth + 1)
        return found

    def _key(self, event: Any, depth: int) -> Scalar:  # noqa: ANN401
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(event, "a key is a name or a number, no list, mapping or alias")
        if event.value == "<<" and event.implicit[0]:
            raise self._error(event, "merge keys (<<) are not followed; write the fields out")
        key: Scalar = self._value(event, depth + 1)
        return key

    def _add(self, count: int, event: Any) -> None:  # noqa: ANN401
        self._count += count
        if self._count > _VALUES:
            raise self._error(event, f"more than {_VALUES:,} values up to here, with those that aliases repeat")

    def _error(self, event: Any, text: str) -> BadInput:  # noqa: ANN401
        return BadInput(f"{self._path}, line {event.start_mark.line + 1}: {text}")


def plain(text: str) -> Scalar:
    """Return what a scalar without quotes stands for."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


class _Dumper(yaml.SafeDumper):
    """Writes every value out, and quotes each text that would be read as something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, None if isinstance(plain(text), str) else "'")


_Dumper.add_representer(str, _Dumper.represent_text)


def dump_yaml(value: Any) -> str:  # noqa: ANN401 (what YAML can hold)
    """Return the text of lists, mappings and scalars, the innermost in one line, which `read_yaml` reads alike."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=None, sort_keys=False, width=1000)
    return text
