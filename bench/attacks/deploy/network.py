"""Files of exporters as networks: what a file holds as parameters under its names, answers by its own graph."""

import io
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class FileNetwork(nn.Module):
    """A file's program with its tensors as parameters, which nothing trains.

    A reader of weights sees what is in the file: names, shapes and values. The program is read at each call and
    given the parameters as they are then.
    """

    def __init__(self, file: bytes, tensors: Mapping[str, Tensor]) -> None:
        """Keep the bytes of the file, and its float tensors by name."""
        super().__init__()
        self._file = file
        for name, value in tensors.items():
            self._keep(name, nn.Parameter(value.detach().clone(), requires_grad=False))

    def _keep(self, name: str, value: nn.Parameter) -> None:
        """Register a parameter under a name with dots, as modules have them."""
        path, _, leaf = name.rpartition(".")
        home: nn.Module = self
        for part in path.split(".") if path else ():
            if part not in home._modules:
                home.add_module(part, nn.Module())
            home = home.get_submodule(part)
        home.register_parameter(leaf, value)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (n, classes), on the device of the images; they are computed on the CPU."""
        values = {name: value.detach().cpu() for name, value in self.named_parameters()}
        return self.answers(x.detach().cpu().float(), values).to(x.device)

    @abstractmethod
    def answers(self, x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the logits by the file's program with these values for its tensors."""


class OnnxNetwork(FileNetwork):
    """The graph of an ONNX file, run by onnx's own reference implementation, which is slow."""

    def __init__(self, file: bytes) -> None:
        """Read an ONNX file of one input and one output."""
        from onnx import load_model_from_string
        from onnx.numpy_helper import to_array

        stored = load_model_from_string(file).graph.initializer
        tensors = {tensor.name: torch.from_numpy(to_array(tensor).copy()) for tensor in stored}
        super().__init__(file, {name: value for name, value in tensors.items() if value.is_floating_point()})

    def answers(self, x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the logits by the graph with these initialisers."""
        from onnx import load_model_from_string
        from onnx.reference import ReferenceEvaluator

        model: Any = load_model_from_string(self._file)
        given = {name: value.numpy() for name, value in {**values, model.graph.input[0].name: x}.items()}
        (found,) = ReferenceEvaluator(model).run(None, given)
        return torch.from_numpy(found)


class ExportedNetwork(FileNetwork):
    """The program of a file of torch.export; buffers stay inside."""

    def __init__(self, file: bytes) -> None:
        """Read a file of `torch.export.save`."""
        super().__init__(file, dict(torch.export.load(io.BytesIO(file)).named_parameters()))

    def answers(self, x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the logits by the program with these parameters."""
        program = torch.export.load(io.BytesIO(self._file)).module()
        program.load_state_dict(values, strict=False)
        found: Tensor = program(x)
        return found
