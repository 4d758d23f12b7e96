"""Exporters: ONNX by both of torch's, and a file of torch.export, each written, read again and made a network."""

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from bench.attacks.deploy.network import ExportedNetwork, OnnxNetwork


def through_onnx(model: nn.Module, images: Tensor, *, dynamo: bool) -> nn.Module:
    """Return what an ONNX file of the model holds.

    The exporter that traces (``dynamo=False``) folds batch norms and gives what it folded new names. The one that
    goes through torch.export folds them too, and keeps the names of parameters; it needs the package onnxscript.

    Args:
        model: in evaluation mode.
        images: (n >= 2, c, h, w), an example of what it takes.

    Raises:
        ModuleNotFoundError: without onnx, or onnxscript for the new exporter.
    """
    if dynamo:
        importlib.import_module("onnxscript")  # torch says in ten lines that it is missing
    written = io.BytesIO()
    with quiet():
        if dynamo:
            shapes = ({0: Dim("n")},)
            program = torch.onnx.export(
                model, (images,), input_names=["x"], dynamic_shapes=shapes, dynamo=True, verbose=False
            )
            assert program is not None
            written.write(program.model_proto.SerializeToString())
        else:
            axes = {"x": {0: "n"}}
            buffer: Any = written  # taken, which the exporter's types do not say
            torch.onnx.export(model, (images,), buffer, input_names=["x"], dynamic_axes=axes, dynamo=False)
    return OnnxNetwork(written.getvalue())


def through_export(model: nn.Module, images: Tensor) -> nn.Module:
    """Return what a file of torch.export holds; see `through_onnx`."""
    written = io.BytesIO()
    with quiet():
        torch.export.save(torch.export.export(model, (images,), dynamic_shapes=({0: Dim("n")},)), written)
    return ExportedNetwork(written.getvalue())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters from warning of what they are."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
