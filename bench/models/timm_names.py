"""How timm's users name models: an architecture, perhaps with a tag of weights, perhaps as it lies on the hub."""

from types import ModuleType
from typing import Any

from cwwm.support.errors import BadInput, EnvironmentFault, unknown_name

_HUB = ("hf-hub:", "hf_hub:")
_TIMM = "timm/"  # the owner of timm's own models on the hub


def timm_with_ours() -> ModuleType:
    """Return timm, once it knows our own networks; imported late, for it takes seconds."""
    import timm

    from bench.models import networks  # noqa: F401 (importing it registers them)

    return timm


def without_hub(name: str) -> str:
    """Return timm's own name of a model: ``timm/NAME`` and ``hf-hub:timm/NAME`` are NAME."""
    bare = name.removeprefix(_HUB[0]).removeprefix(_HUB[1])
    return bare.removeprefix(_TIMM) if bare.startswith(_TIMM) else name


def on_hub(name: str) -> bool:
    """Say whether a name is of a model on the hub whose architecture only the hub knows."""
    return name.startswith(_HUB)


def asked_hub(name: str) -> tuple[str, dict[str, Any]]:
    """Return the architecture of ``hf-hub:OWNER/NAME`` and the arguments that it is made with.

    Raises:
        EnvironmentFault: if the hub is out of reach, or has no such model, and it was not downloaded before.
    """
    from timm.models import load_model_config_from_hf

    try:
        _, architecture, arguments = load_model_config_from_hf(name.partition(":")[2])
    except Exception as error:  # the hub's client has no common class of errors
        raise EnvironmentFault(
            f"model '{name}' has to be asked of the Hugging Face hub, which gave nothing ({type(error).__name__}); "
            "connect to the network, or name its architecture"
        ) from error
    return architecture, dict(arguments or {})


def check_tag(name: str, where: str = "") -> None:
    """Raise BadInput, led by `where`, for ``NAME.TAG`` if timm has no weights of that tag."""
    architecture, dot, tag = name.partition(".")
    if not dot:
        return
    timm = timm_with_ours()
    if not timm.is_model(architecture):
        raise unknown_name("model", architecture, timm.list_models(), where)
    known = [full.partition(".")[2] for full in timm.list_models(architecture, pretrained=True)]
    if tag not in known:
        named = f"its tags are {', '.join(known)}" if any(known) else "it has none"
        lead = f"{where}: " if where else ""
        raise BadInput(f"{lead}model '{architecture}' has no weights with the tag '{tag}'; {named}")
