"""How strong a mark shall be, from options: targets, budgets of codes on magnitudes, or photographs for a gain."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cwwm.cli.options import DEFAULT_SCHEME, DEFAULT_SURVIVE
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.design import Targets


def targets_of(payload_bits: int, survive: str | None, energy: float | None, depth: float | None) -> "Targets":
    """Return what a code on magnitudes is planned for."""
    from cwwm.design import Targets

    given = {"energy": energy, "depth_energy": depth}
    budgets = {name: value for name, value in given.items() if value is not None}
    return Targets.parse(survive or DEFAULT_SURVIVE, payload_bits=payload_bits, **{"energy": 0.004, **budgets})


def refuse_targets(scheme: str, survive: str | None, *budgets: float | None) -> None:
    """Refuse targets and budgets of a scheme that is not planned for them: nothing would come of them."""
    if survive is not None and scheme != DEFAULT_SCHEME:
        raise BadInput(
            f"--survive plans {DEFAULT_SCHEME}, cwc and protected-cwc; {scheme} takes its strength by --set"
        )
    if any(budget is not None for budget in budgets):
        raise BadInput(
            f"--budget-energy and --budget-depth plan cwc and protected-cwc; {DEFAULT_SCHEME} takes its strength "
            "from --survive, --images or --set gain=..., see cwwm plan"
        )


def gain_of(
    model: Path,
    survive: str | None,
    parameters: Mapping[str, Any],
    felt: Mapping[str, float] | None,
    copy: str | None,
) -> dict[str, float]:
    """Return the gain of the default scheme that meets targets, as a parameter; none if no target is stated.

    Args:
        model: the checkpoint.
        survive: targets, as they were written.
        parameters: of the scheme; a gain among them has to meet the targets.
        felt: what the answers feel of each layer, if it was measured.
        copy: the prefix of the copy to mark, as `cwwm.owner.open_host` takes it.
    """
    if survive is None:
        return {}
    from cwwm.design.spread import gain_for_targets
    from cwwm.design.spread_targets import parse_targets
    from cwwm.owner import open_host
    from cwwm.schemes import make_scheme
    from cwwm.schemes.spread_cwc import SpreadConstantWeight

    targets, scheme = parse_targets(survive), make_scheme(DEFAULT_SCHEME, parameters)
    assert isinstance(scheme, SpreadConstantWeight)
    given = scheme.gain if "gain" in parameters else None
    return {"gain": gain_for_targets(open_host(model, copy), scheme, targets, gain=given, sensitivity=felt)}


def refuse_photographs(scheme: str, *options: object) -> None:
    """Refuse photographs for a scheme that marks all layers alike: nothing would come of them."""
    if any(option is not None for option in options):
        raise BadInput(f"--images and --network give layers gains, which {scheme} has none of; see spread-cwc")


def sensitivity_of(
    model: Path, images: Path | None, network: str | None, carrier: str | None, copy: str | None
) -> dict[str, float] | None:
    """Return what a network's answers feel of each layer; None without photographs."""
    if images is None and network is None:
        return None
    if images is None or network is None:
        raise BadInput("--images and --network go together: photographs, and the network's name in timm")
    from cwwm.design.spread import CARRIER
    from cwwm.owner import open_host
    from cwwm.probing import probe

    return probe(open_host(model, copy), network, images, carrier or CARRIER)
