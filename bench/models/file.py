"""What models.yaml and files like it hold, field by field: recipes, and the models that are trained by them."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bench.support.schema import Fields, FromMapping, Name, Positive, validated
from bench.support.strict_yaml import read_yaml
from cwwm.support.errors import BadInput, unknown_name
from cwwm.training import Recipe

#: what `pretrained` may say, and what a model's weights are then
WEIGHTS = {False: "random", True: "timm", "packaged": "packaged"}

_Recipe = Annotated[Recipe, FromMapping()]


def _weights(value: Any) -> str:  # noqa: ANN401 (what YAML gave)
    if not isinstance(value, bool | str) or value not in WEIGHTS:
        raise BadInput(f"pretrained is true, false or packaged, not {value!r}")
    return WEIGHTS[value]


class RecipeFields(Fields):
    """The two phases of a host: training, unless its weights are pretrained, and fine-tuning with the mark."""

    mark: _Recipe
    train: _Recipe | None = None


class ModelFields(Fields):
    """One entry of `models`; see `bench.models.registry.ModelSpec` for what the fields mean."""

    data: Name
    size: Positive
    timm: Name | None = None
    channels: Positive = 3
    create: dict[str, Any] = Field({})
    recipe: str = "small"
    pretrained: Annotated[Any, AfterValidator(_weights)] = Field(False, validate_default=True)
    family: str = ""


class ZooFile(Fields):
    """The whole file."""

    recipes: dict[Name, RecipeFields]
    models: dict[Name, ModelFields]


def read_zoo_file(path: Path) -> ZooFile:
    """Read models.yaml, or another file like it.

    Raises:
        BadInput: one line with the file, the place, and the nearest valid name for an unknown field or recipe.
    """
    found = validated(ZooFile, read_yaml(path), str(path))
    for name, entry in found.models.items():
        if entry.recipe not in found.recipes:
            raise unknown_name("recipe", entry.recipe, found.recipes, f"{path}: models.{name}")
    return found
