"""The page of docs/ on records, made from the schema: one table for each part of a record."""

from collections.abc import Mapping
from typing import Any

from bench.records.fields import LARGEST
from bench.records.schema import TrainedRecord, json_schema
from bench.records.untrained_schema import UntrainedRecord

_HEAD = """\
# The record of a cell

Every result is one JSON object: a *record* of one cell, with a row for each strength of its attack. Records lie in
the folder of a run, one file each in `cells/`, or all in `records.jsonl.xz`, one a line. Tables and pictures follow
from them and from nothing else.

`cwwm-bench check` holds every record against this schema. This page is made from it by
`cwwm-bench schema --page > docs/record-schema.md`; `cwwm-bench schema` prints it as JSON Schema. A record has at
most 1 MiB, and no number that it names is NaN, infinite or beyond 1e100."""

_NAMES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}

Part = Mapping[str, Any]


_UNTRAINED = """\
# The record of an untrained model

Suites of untrained models (`zoo`) train nothing and measure no accuracy. Their records say `kind`:
`compatibility`; parts that are not told here are those above."""


def page() -> str:
    """Return the page in Markdown."""
    told: dict[str, Part] = {}
    sections = [_HEAD]
    for head, schema in (("", json_schema(TrainedRecord)), (_UNTRAINED, json_schema(UntrainedRecord))):
        parts = {schema["title"]: schema, **{name: schema["$defs"][name] for name in _order(schema)}}
        new = {name: part for name, part in parts.items() if name not in told}
        sections += [*filter(None, [head]), *(_section(name, part) for name, part in new.items())]
        told |= new
    return "\n\n".join(sections) + "\n"


def _order(schema: Part) -> list[str]:
    """Return the names of the parts as one meets them from the top, each after the part that holds it first."""
    found: list[str] = []
    waiting = [schema]
    while waiting:
        part = waiting.pop(0)
        for field in part.get("properties", {}).values():
            for name in _references(field):
                if name not in found and "properties" in schema["$defs"][name]:
                    found.append(name)
                    waiting.append(schema["$defs"][name])
    return found


def _references(field: Any) -> list[str]:  # noqa: ANN401 (any part of a schema)
    if isinstance(field, list):
        return [name for item in field for name in _references(item)]
    if not isinstance(field, dict):
        return []
    own = [field["$ref"].rsplit("/", 1)[1]] if "$ref" in field else []
    return own + [name for item in field.values() for name in _references(item)]


def _section(name: str, part: Part) -> str:
    required = part.get("required", [])
    rows = []
    for field, value in part["properties"].items():
        kind = _kind(value) + ("" if field in required else ", may be absent")
        rows.append(f"| `{field}` | {kind} | {value.get('description', '')} |")
    about = " ".join(part.get("description", "").split())
    return "\n".join([f"## {name}", "", about, "", "| field | holds | is |", "|---|---|---|", *rows])


def _kind(value: Part) -> str:
    """Return in words what a field holds."""
    if "anyOf" in value:
        return " or ".join(_kind(choice) for choice in value["anyOf"])
    if "const" in value or "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return "any JSON" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if value.get("type") == "array":
        return f"list, each {_kind(value['items'])}"
    if value.get("type") == "object":
        return f"object, each value {_kind(value['additionalProperties'])}"
    if "pattern" in value:
        return f"{value['pattern'].split('{')[1].split('}')[0]} hexadecimal digits"
    return _NAMES[value["type"]] + _bounds(value)


def _bounds(value: Part) -> str:
    low, high = (bound if abs(bound or 0) < LARGEST else None for bound in map(value.get, ("minimum", "maximum")))
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    bounds = {"least": low, "most": high}
    return "".join(f", at {which} {bound:g}" for which, bound in bounds.items() if bound is not None)
