"""Records of the PyTorch benchmark database, schema v3: one a metric of a line, its seeds as the values.

The names are those of clickhouse_db_schema/oss_ci_benchmark_v3/schema.sql in pytorch/test-infra. What says when
and in which workflow it ran (timestamp, repo, head_sha, workflow_id, job_id) is added by the action that uploads.
Maps of more facts go from text to text, and values are finite 32-bit numbers.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from bench.exports.base import Export, Source, json_bytes
from bench.exports.lines import Line, Measure, rounded

_LARGEST = 3.0e38  # near that of a 32-bit number


class PyTorchBenchmark(Export):
    """The PyTorch HUD and its database of benchmarks (schema v3), one record a metric."""

    name: ClassVar[str] = "oss-v3"

    def files(self, source: Source) -> dict[str, bytes]:
        """Return oss-v3.json."""
        records = [_record(source, line, measure) for line in source.lines for measure in line.values]
        return {"oss-v3.json": json_bytes(records)}


def _record(source: Source, line: Line, measure: Measure) -> dict[str, Any]:
    return {
        "benchmark": _benchmark(source, line),
        "model": _model(line),
        "metric": _metric(line, measure, source.targets.get(line.where)),
        "inputs": {"data": {"dtype": "float32", "extra_info": {"name": line.record.key.data}}},
        "dependencies": _dependencies(source, line),
        "runners": [_runner(line)],
    }


def _benchmark(source: Source, line: Line) -> dict[str, Any]:
    told = {
        "suite": source.suite,
        "scheme": line.place.scheme,
        "payload": str(line.place.payload),
        "attack": line.place.attack,
        "strength": f"{line.strength:g}",
        "strength_means": line.record.recipe.strength_means,
        **({"weights": line.weights} if line.weights else {}),
    }
    return {"name": f"cwwm-bench {source.suite}", "mode": "inference", "dtype": "float32", "extra_info": told}


def _model(line: Line) -> dict[str, Any]:
    entry = line.record.recipe.host.model
    told = {"timm": entry.timm, "size": str(entry.size)}
    # the HUD has a column a backend: so encodings stand side by side
    return {
        "name": line.place.model,
        "type": entry.family,
        "backend": line.place.scheme,
        "origins": ["timm"],
        "extra_info": told,
    }


def _metric(line: Line, measure: Measure, target: Line | None) -> dict[str, Any]:
    values = line.values[measure]
    wanted = {"target_value": _float32(target.mean(measure))} if target and measure in target.values else {}
    told = {
        "unit": measure.unit,
        "bigger_is_better": str(measure.bigger_is_better).lower(),
        "seeds": _words(values),
    }
    return {
        "name": measure.name,
        "benchmark_values": [_float32(value) for value in values.values()],
        **wanted,
        "extra_info": told,
    }


def _float32(value: float) -> float:
    return rounded(max(-_LARGEST, min(_LARGEST, value)))


def _words(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _dependencies(source: Source, line: Line) -> dict[str, Any]:
    host, environment = line.record.recipe.host, line.record.environment
    return {
        "cwwm": {"sha": source.commit or ""},
        "torch": {"repo": "pytorch/pytorch", "version": environment.torch},
        "timm": {"repo": "huggingface/pytorch-image-models", "version": host.timm},
        "numpy": {"repo": "numpy/numpy", "version": environment.numpy},
    }


def _runner(line: Line) -> dict[str, Any]:
    environment = line.record.environment
    unit = {"gpu_count": 1} if environment.device == "cuda" else {}
    told = {"device": environment.device, "threads": str(environment.threads), "python": environment.python}
    kind = "gpu_info" if environment.device == "cuda" else "cpu_info"
    return {
        "name": environment.device,
        "type": environment.hardware,
        kind: environment.hardware,
        **unit,
        "extra_info": told,
    }
