"""Writes the valid files that fuzzing starts from: python -m tests.fuzz.make_corpus."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cwwm.checkpoint import rewriting, save_tensors
from cwwm.commitment import Commitment
from cwwm.files import write_json
from cwwm.keys import Key
from cwwm.mark import save_mark
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme

CORPUS = Path(__file__).parent / "corpus"
BITS = 16
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
    "none": {},
    "wrong-key": {"scheme": "sign-repetition", "settings": {}},
    "aligned": {"scheme": "sign-repetition", "settings": {}},
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
    widths = {"conv": 8, "fc": 24}
    parameters = {"payload_bits": 2, "least": 0.1, "most": 0.6}
    _, mark = embed(make_scheme("none", {"payload_bits": 2}), *_claim(2))
    value = mark.to_json() | {"scheme": "structural", "parameters": parameters, "state": {"widths": widths}}
    write_json(CORPUS / "structural.mark.json", value)
    (CORPUS / "message.txt").write_text("it is mine\n")
    (CORPUS / "harness.key").unlink(missing_ok=True)
    KEY.save(CORPUS / "harness.key")


def _claim(bits: int) -> tuple[Any, Any, Key, EmbedContext]:
    from cwwm.checkpoint import open_weights

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
