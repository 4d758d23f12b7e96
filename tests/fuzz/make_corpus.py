"""Writes the valid files that fuzzing starts from: python -m tests.fuzz.make_corpus."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.execution.progress import Progress
from bench.records.store import RecordStore, record_digest
from bench.suite.calibration_file import AttackStrengths, Strengths
from bench.support.strict_yaml import read_yaml
from cwwm.commitment import Commitment
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import save_mark
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.support.files import write_json
from cwwm.weights.checkpoint import open_weights, rewriting, save_tensors

CORPUS = Path(__file__).parent / "corpus"
RESULTS = Path(__file__).resolve().parents[2] / "results"
BITS = 16
#: what a record of a refused cell has, and has not
REFUSED: dict[str, Any] = {"status": "refused", "reason": "no room", "rows": None, "marked": None, "artefact": None}
MESSAGE = np.arange(BITS, dtype=np.uint8) % 2
KEY = Key.for_harness(purpose="fuzzing")
SCHEMES: dict[str, Mapping[str, Any]] = {
    "protected-cwc": {"block_length": 16, "blocks": 15, "survive": 0.9, "low": 0.5, "lift": 1.0},
    "cwc": {"density": 0.25, "survive": 0.6, "low": 0.3},
    "sign": {},
    "sign-repetition": {"repetition": 3},
    "sign-erasure": {"survive": 0.5},
    "dm-qim": {"repetition": 3},
    "fixed-weights": {},
    "spread-spectrum": {"ratio": 8.0},
    "spread-cwc": {"gain": 0.1},
    "none": {},
    "wrong-key": {"scheme": "sign-repetition", "settings": {}},
}


def _state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(8, 4, 3, 3, generator=generator),
        "fc.weight": torch.randn(24, 40, generator=generator),
        "fc.bias": torch.zeros(24),
        "half.weight": torch.randn(16, 32, generator=generator).half(),
        "count": torch.tensor(3),
    }


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    state = _state()
    save_tensors(state, CORPUS / "model.safetensors", {"format": "pt"})
    torch.save(state, CORPUS / "model.pt")
    torch.save({"state_dict": state, "epoch": 3}, CORPUS / "wrapped.pt", pickle_protocol=4)
    torch.save(state, CORPUS / "legacy.pth", _use_new_zipfile_serialization=False)
    for name, parameters in SCHEMES.items():
        _mark(name, parameters)
    _learned()
    _exported()
    widths = {"conv": 8, "fc": 24}
    parameters = {"payload_bits": 2, "least": 0.1, "most": 0.6}
    _, mark = embed(make_scheme("none", {"payload_bits": 2}), *_claim(2))
    value = mark.to_json() | {"scheme": "structural", "parameters": parameters, "state": {"widths": widths}}
    write_json(CORPUS / "structural.mark.json", value)
    (CORPUS / "message.txt").write_text("it is mine\n")
    (CORPUS / "harness.key").unlink(missing_ok=True)
    KEY.save(CORPUS / "harness.key")
    _results()


def _learned() -> None:
    """Write a mark that has tensors of its own beside it, as a learned extractor would be."""
    _, mark = embed(make_scheme("sign-repetition", {"payload_bits": BITS}), *_claim(BITS))
    generator = torch.Generator().manual_seed(1)
    learned = {"net.weight": torch.randn(8, 16, generator=generator), "net.bias": torch.zeros(8)}
    save_mark(replace(mark, learned=learned), CORPUS / "learned.mark.json")


def _exported() -> None:
    """Write the marked model as an exporter would: renamed, a matrix transposed, a tensor in a file beside it."""
    import onnx

    marked = open_weights(CORPUS / "protected-cwc.safetensors")
    values = {name: marked.tensor(name) for name in ("conv.weight", "fc.weight", "half.weight")}
    values["fc.weight"] = values["fc.weight"].T.contiguous()
    kinds = {torch.float32: onnx.TensorProto.FLOAT, torch.float16: onnx.TensorProto.FLOAT16}
    made = [
        onnx.TensorProto(name=f"onnx::{n}", data_type=kinds[t.dtype], dims=t.shape, raw_data=t.numpy().tobytes())
        for n, t in enumerate(values.values())
    ]
    (CORPUS / "exported.bin").write_bytes(made[0].raw_data)
    made[0].ClearField("raw_data")
    made[0].data_location = onnx.TensorProto.EXTERNAL
    made[0].external_data.add(key="location", value="exported.bin")
    nodes = [
        onnx.NodeProto(op_type="Conv", input=["x", tensor.name], output=[f"y{tensor.name}"]) for tensor in made
    ]
    model = onnx.ModelProto(ir_version=10, graph=onnx.GraphProto(name="net", node=nodes, initializer=made))
    (CORPUS / "exported.onnx").write_bytes(model.SerializeToString(deterministic=True))


def _results() -> None:
    """Write the files of a folder of results: the smallest committed records, and what stands beside."""
    records = {"trained": _smallest("smoke", "ok")}
    records["refused"] = {**_smallest("smoke", "ok"), **REFUSED}
    records["untrained"] = _smallest("zoo", "ok")
    for number, (name, record) in enumerate(records.items()):
        whole = {**record, "identity": f"{number:032x}"}
        write_json(CORPUS / f"{name}.record.json", {**whole, "digest": record_digest(whole)})
    cells = [f"{number:032x}" for number in range(len(records))]
    levels = [{"attack": "magnitude", "model": "test_resnet", "chosen": [[1.0, 0.5], [3.0, None]]}]
    noted = {"date": "2026-01-31", "reason": "marks are bound now."}
    run = {"suite": "smoke", "commit": "0" * 40, "cells": cells, "levels": levels, "archived": noted}
    write_json(CORPUS / "smoke.run.json", run)
    line = "tiny #0 cwc 64 bits: magnitude"
    progress = Progress("smoke", 8, 1, 3, 1, 1.7e9, 1.7e9, 12.5, line, cells[0], [line], [f"failed: {line}"])
    write_json(CORPUS / "last.progress.json", {**asdict(progress), "pid": 1, "machine": "elsewhere"})
    took = [["tiny", "cwc", 64, "magnitude", "host", 2.5], ["tiny", "cwc", 64, "magnitude", "nothing", 0.5]]
    write_json(CORPUS / "durations.json", {"hardware": "a processor", "cells": took})
    means = {"exact": 0.9, "log10_p": -12.0, "accuracy": 97.5, "extract_ms": 1.5}
    nightly_run = {
        "date": "2026-01-31T02:00:00",
        "commit": "0" * 40,
        "verdict": "worse",
        "cells": 8,
        "cut": 0,
        "failed": 1,
    }
    (CORPUS / "history.jsonl").write_text(json.dumps({**nightly_run, "schemes": {"cwc, 64 bits": means}}) + "\n")
    write_json(CORPUS / "accepted.note.json", {"commit": "0" * 40, "date": "2026-01-31"})
    _calibration()


def _smallest(folder: str, status: str) -> dict[str, Any]:
    records = [r.to_json() for r in RecordStore(RESULTS / folder).records() if r.status == status]
    return min(records, key=lambda record: len(json.dumps(record)))


def _calibration() -> None:
    """Write a calibration as its file holds it, and as JSON, whose values are changed one by one."""
    found = AttackStrengths({0.0: None, 0.5: 1.5}, {1.0: 0.0, 3.0: 0.5}, "accuracy", 0)
    values = {("cwc", 64, "tiny"): {"lift": 1.5}, ("sign", 64, "tiny"): {"lift": None}}
    path = CORPUS / "smoke.calibration.yaml"
    Strengths(values, {("cwc", 64, "tiny"): {"energy": 1e-3}}, {("magnitude", "tiny"): found}).write(path, "0" * 32)
    write_json(CORPUS / "calibration.json", read_yaml(path))


def _claim(bits: int) -> tuple[Any, Any, Key, EmbedContext]:
    return open_weights(CORPUS / "model.safetensors"), MESSAGE[:bits], KEY, EmbedContext(nonce=bytes(16))


def _mark(name: str, parameters: Mapping[str, Any]) -> None:
    scheme = make_scheme(name, {"payload_bits": BITS, **parameters})
    with rewriting(CORPUS / "model.safetensors", CORPUS / f"{name}.safetensors") as weights:
        _, mark = embed(scheme, weights, MESSAGE, KEY, EmbedContext(nonce=bytes(16)))
    save_mark(mark, CORPUS / f"{name}.mark.json")
    Commitment.to(Claim(KEY, mark, MESSAGE)).save(CORPUS / f"{name}.commitment.json")
    if name != "protected-cwc":  # one suspect is enough
        (CORPUS / f"{name}.safetensors").unlink()


if __name__ == "__main__":
    main()
