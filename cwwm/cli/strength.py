"""How strong a mark shall be, from options: targets of codes on magnitudes, or photographs for a gain."""

from pathlib import Path
from typing import TYPE_CHECKING

from cwwm.cli.options import DEFAULT_SURVIVE
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.design import Targets


def targets_of(payload_bits: int, survive: str | None, energy: float | None, depth: float | None) -> "Targets":
    """Return what a code on magnitudes is planned for."""
    from cwwm.design import Targets

    given = {"energy": energy, "depth_energy": depth}
    budgets = {name: value for name, value in given.items() if value is not None}
    return Targets.parse(survive or DEFAULT_SURVIVE, payload_bits=payload_bits, **{"energy": 0.004, **budgets})


def refuse_targets(scheme: str, *targets: object) -> None:
    """Refuse targets of codes on magnitudes for another scheme: nothing would come of them."""
    if any(target is not None for target in targets):
        raise BadInput(
            f"--survive and the budgets plan cwc and protected-cwc; {scheme} takes its strength from --images, or "
            "from --set gain=..., see cwwm plan"
        )


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
