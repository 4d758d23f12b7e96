"""What each consumer takes, as JSON Schema, written from its own description."""

from typing import Any

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}  # Map(String, String)
_TEXT = {"type": "string"}
_FLOAT32 = {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38}


def _tuple(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "type": "object",
        "properties": {**properties, "extra_info": _TEXTS},
        "required": list(required),
        "additionalProperties": False,
    }


#: oss_ci_benchmark_v3 of pytorch/test-infra, without what the upload adds
OSS_V3 = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "benchmark": _tuple(("name",), name=_TEXT, mode=_TEXT, dtype=_TEXT),
            "model": _tuple(
                ("name",), name=_TEXT, type=_TEXT, backend=_TEXT, origins={"type": "array", "items": _TEXT}
            ),
            "metric": _tuple(
                ("name", "benchmark_values"),
                name=_TEXT,
                benchmark_values={"type": "array", "items": _FLOAT32, "minItems": 1},
                target_value=_FLOAT32,
            ),
            "inputs": {"type": "object", "additionalProperties": _tuple(dtype=_TEXT)},
            "dependencies": {
                "type": "object",
                "additionalProperties": _tuple(repo=_TEXT, branch=_TEXT, sha=_TEXT, version=_TEXT),
            },
            "runners": {
                "type": "array",
                "items": _tuple(
                    name=_TEXT,
                    type=_TEXT,
                    cpu_info=_TEXT,
                    cpu_count={"type": "integer"},
                    gpu_info=_TEXT,
                    gpu_count={"type": "integer"},
                ),
            },
        },
        "required": ["benchmark", "model", "metric"],
        "additionalProperties": False,
    },
}

#: bencher.dev/bmf.json, with the longest names of its description
BMF = {
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": 1024},
    "additionalProperties": {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64},
        "additionalProperties": {
            "type": "object",
            "properties": {name: {"type": "number"} for name in ("value", "lower_value", "upper_value")},
            "required": ["value"],
            "dependentRequired": {"lower_value": ["upper_value"], "upper_value": ["lower_value"]},
            "additionalProperties": False,
        },
    },
}

#: customBiggerIsBetter and customSmallerIsBetter of github-action-benchmark; it compares by ratio: nothing negative
GHA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "unit": _TEXT,
            "value": {"type": "number", "minimum": 0},
            "range": _TEXT,
            "extra": _TEXT,
        },
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
    },
}

SCHEMAS = {"oss-v3.json": OSS_V3, "bmf.json": BMF, "gha-bigger.json": GHA, "gha-smaller.json": GHA}
