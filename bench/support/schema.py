"""How pydantic checks what a file holds, and the one place where its errors become plain lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, core_schema

from cwwm.support.errors import BadInput, unknown_name

T = TypeVar("T", bound=BaseModel)
Fault = Mapping[str, Any]

Name = Annotated[str, Field(min_length=1, max_length=300)]
Positive = Annotated[int, Field(ge=1, le=2**53)]


class Fields(BaseModel):
    """A mapping in a file of settings: these fields of exactly these types; an unknown one is told its nearest."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _all_known(cls, value: Any) -> Any:  # noqa: ANN401 (what a file holds)
        if cls.model_config["extra"] == "forbid":
            _refuse_unknown(value, cls.model_fields)
        return value


class FromMapping:
    """Annotates a plain dataclass that is read from a mapping: its fields are as strict as those of `Fields`."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's schema of the dataclass; where all is strict, it would take instances only."""
        schema = handler(source)
        cast(dict[str, Any], handler.resolve_ref_schema(schema))["strict"] = False  # of the whole, not its fields
        names = [field.name for field in fields(source)]

        def check(value: Any) -> Any:  # noqa: ANN401
            _refuse_unknown(value, names)
            return value

        return core_schema.no_info_before_validator_function(check, schema)


def refuse_numbers(value: Any) -> None:  # noqa: ANN401
    """Raise BadInput for a mapping with a number among its names: half of a decimal with a comma, most likely."""
    for key in value if isinstance(value, Mapping) else ():
        if str(key).isdigit():
            raise BadInput(f"{key} is no name; decimals take a point, since 0,9 is two entries")


def _refuse_unknown(value: Any, known: Mapping[str, Any] | Sequence[str]) -> None:  # noqa: ANN401
    refuse_numbers(value)
    for key in value if isinstance(value, Mapping) else ():
        if key not in known:
            raise unknown_name("field", str(key), known)


def validated(kind: type[T], value: Any, where: str, remedy: str = "") -> T:  # noqa: ANN401
    """Return what a file holds as an object of `kind`.

    Raises:
        BadInput: one line for the first fault: `where` (the file), the place in it, what is wrong, what to do.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise BadInput(f"{where}: {_line(fault, value)}{remedy or _hint(fault)}") from error


def plain_faults(error: ValidationError, value: Any) -> list[str]:  # noqa: ANN401
    """Return a line for each fault that pydantic found in a value: its place there, and what is wrong."""
    return [_line(fault, value) for fault in error.errors(include_url=False)]


def _line(fault: Fault, value: Any) -> str:  # noqa: ANN401
    place, text = _place(fault, value), _TEXTS.get(fault["type"], _other)(fault)
    return f"{place}: {text}" if place else text


def _place(fault: Fault, value: Any) -> str:  # noqa: ANN401
    """Return where a fault is, such as schemes[0].at; pydantic's own marks in the path are left out."""
    place = ""
    for part in fault["loc"][: -_ABOVE.get(fault["type"], 0) or None]:
        if isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            place, value = f"{place}[{part}]", value[part]
        elif isinstance(value, Mapping) and part in value:
            place, value = f"{place}.{part}", value[part]
        else:
            break
    if fault["loc"][-1:] == ("[key]",):  # told of the mapping that has the key
        place = place.rpartition(".")[0]
    return place.removeprefix(".")


_ABOVE = {"missing": 1, "missing_argument": 1, "extra_forbidden": 1, "unexpected_keyword_argument": 1}


def _kind(value: Any) -> str:  # noqa: ANN401
    kinds = {bool: "a boolean", str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return "nothing" if value is None else kinds.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "invalid_key": "text",
}
_HINTS = {
    ("text", "a boolean"): "yes, no, on, off, true and false are read so; put quotes round a name",
    ("text", "a number"): "put quotes round a name",
    ("a whole number", "text"): "write it without quotes, leading zeros, underscores or colons",
    ("a whole number", "a boolean"): "yes, no, on and off are read so; write the number",
    ("a number", "text"): "write it without quotes, its decimals after a point",
    ("a number", "a boolean"): "yes, no, on and off are read so; write the number",
    ("a list", "text"): "put it in [ ]",
    ("a list", "a number"): "put it in [ ]",
}


def _wrong_kind(fault: Fault) -> str:
    found, wanted = fault["input"], _WANTED[fault["type"]]
    key = "key " if fault["type"] == "invalid_key" or fault["loc"][-1:] == ("[key]",) else ""
    if _kind(found) == "a number" and wanted != "text":
        return f"{key}{_shown(found)} is not {wanted}"
    return f"{key}{_shown(found)} is {_kind(found)}, not {wanted}"


def _hint(fault: Fault) -> str:
    """Return what to write instead in YAML, or nothing."""
    found = _HINTS.get((_WANTED.get(fault["type"], ""), _kind(fault["input"])))
    return f"; {found}" if found else ""


def _missing(fault: Fault) -> str:
    return f"field '{fault['loc'][-1]}' is missing"


def _unknown(fault: Fault) -> str:
    return f"unknown field '{fault['loc'][-1]}'"


def _own_words(fault: Fault) -> str:
    return str(fault["ctx"]["error"])


def _other(fault: Fault) -> str:
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, not {_shown(fault['input'])}"


def _beyond(words: str) -> Callable[[Fault], str]:
    """Return what tells a limit that pydantic names in the context of a fault."""
    return lambda fault: words.format(shown=_shown(fault["input"]), **fault["ctx"])


_TEXTS: dict[str, Callable[[Fault], str]] = {
    **dict.fromkeys(_WANTED, _wrong_kind),
    **dict.fromkeys(("missing", "missing_argument"), _missing),
    **dict.fromkeys(("extra_forbidden", "unexpected_keyword_argument"), _unknown),
    "value_error": _own_words,
    "too_short": _beyond("{shown} has too few entries; give at least one"),
    "string_too_short": _beyond("{shown} is empty; give a text"),
    "too_long": _beyond("more than {max_length} entries"),
    "string_too_long": _beyond("more than {max_length} characters"),
    "greater_than_equal": _beyond("{shown} is less than {ge:g}"),
    "greater_than": _beyond("{shown} is not more than {gt:g}"),
    "less_than_equal": _beyond("{shown} is more than {le:g}"),
    "less_than": _beyond("{shown} is not less than {lt:g}"),
    "string_pattern_mismatch": _beyond("{shown} does not have the form {pattern}"),
    "literal_error": _beyond("{shown} is not {expected}"),
}
