"""cwwm plan: the strength or the code of a mark, what it stands and what it costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cwwm.cli.left_out import say_left_out
from cwwm.cli.options import (
    DEFAULT_SCHEME,
    Budget,
    Carrier,
    Copy,
    Depth,
    Images,
    Json,
    Network,
    PayloadBits,
    Survive,
)
from cwwm.cli.price import price_of
from cwwm.cli.strength import refuse_photographs, refuse_targets, sensitivity_of, targets_of
from cwwm.support.console import DONE, print_json, print_table, say
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.design import Targets
    from cwwm.design.standing import Stand
    from cwwm.weights.view import Weights

_SHOWN = 8  # designs that plan prints


def plan(
    model: Path,
    payload_bits: PayloadBits = 256,
    survive: Survive = None,
    budget_energy: Budget = None,
    budget_depth: Depth = None,
    carrier: Carrier = None,
    scheme: Annotated[
        str, typer.Option(help="spread-cwc, protected-cwc, or cwc for the plain code.")
    ] = DEFAULT_SCHEME,
    gain: Annotated[
        float | None, typer.Option(help="Of spread-cwc, the gain to look at instead of planning one.")
    ] = None,
    images: Images = None,
    network: Network = None,
    copy: Copy = None,
    json: Json = False,
) -> int:
    """Choose the strength or the code of a mark for this checkpoint, and show what it stands and what it costs.

    For spread-cwc the table says what is left of the mark, read against the original, after changes of a suspect,
    stated targets first; the gain is the least that meets each of them. For codes on magnitudes its first line is
    the cheapest code that survives stated attacks. Targets that cannot be met are refused, with the nearest that
    can.
    """
    from cwwm.owner import open_host

    weights = open_host(model, copy)
    if scheme == DEFAULT_SCHEME:
        refuse_targets(scheme, survive, budget_energy, budget_depth)
        felt = sensitivity_of(model, images, network, carrier, copy)
        return _plan_spread(weights, payload_bits, carrier, gain, survive, felt, json)
    refuse_photographs(scheme, images, network)
    targets = targets_of(payload_bits, survive, budget_energy, budget_depth)
    if scheme == "cwc":
        return _plan_plain(weights, targets, carrier or "all", json)
    if scheme != "protected-cwc":
        raise BadInput(f"plan chooses for spread-cwc, protected-cwc and cwc, not for '{scheme}'")
    return _plan_protected(weights, targets, carrier, json)


def _plan_spread(
    weights: "Weights",
    payload_bits: int,
    carrier: str | None,
    gain: float | None,
    survive: str | None,
    felt: dict[str, float] | None,
    json: bool,
) -> int:
    from dataclasses import asdict

    from cwwm.design.spread import CARRIER, plan_spread
    from cwwm.design.spread_targets import parse_targets
    from cwwm.weights.carrier import left_out

    rule, targets = carrier or CARRIER, () if survive is None else parse_targets(survive)
    found = plan_spread(weights, payload_bits, rule=rule, gain=gain, sensitivity=felt, targets=targets)
    lost = left_out(weights, rule)
    if json:
        print_json({**asdict(found), "tensors_left_out": lost})
        return DONE
    print_table(
        ("after", "SNR2", "message recovered", "proof"), [_row(s) for s in (*found.targets, *found.stands)],
        f"{payload_bits} bits in {found.pool:,} weights "
        f"(carrier {rule}) at gain {found.gain:.4g}, by law, read against the original"
    )  # fmt: skip
    print()
    say_left_out(lost)
    for sentence in price_of(found):
        say(sentence)
    seen = "" if felt is None else ", and the same --images and --network"
    say(f"embed with: --payload-bits {payload_bits} --carrier '{rule}' --set gain={found.gain:.4g}{seen}")
    return DONE


def _row(stand: "Stand") -> tuple[str, ...]:
    return stand.change, f"{stand.snr2:,.0f}", f"{stand.recovered:.3f}", f"1e{stand.log10_p:.0f}"


def _plan_protected(weights: "Weights", targets: "Targets", carrier: str | None, json: bool) -> int:
    from cwwm.design import CARRIERS, design
    from cwwm.weights.carrier import left_out

    designs = design(weights, [carrier] if carrier else CARRIERS, targets)
    lost = left_out(weights, designs[0].carrier)
    if json:
        print_json(
            {
                "carrier": designs[0].carrier,
                "designs": [found.to_json() for found in designs],
                "tensors_left_out": lost,
            }
        )
        return DONE
    rows = [
        (d.block_length, d.block_weight, d.blocks, f"{d.share:.2%}", f"{d.low:g}", f"{d.survive:g}",
         f"{d.energy:.1e}", f"{d.depth_energy:.1e}", f"{d.magnitude:.4f}", f"{d.random:.4f}", f"{d.noise:.4f}")
        for d in designs[:_SHOWN]
    ]  # fmt: skip
    columns = (
        "L_b", "ones", "blocks", "of pool", "T0 at", "T1 at", "energy", "over layers",
        f"magnitude {targets.magnitude:g}", f"random {targets.random:g}", f"noise {targets.noise:g}",
    )  # fmt: skip
    best = designs[0]
    print_table(
        columns, rows, f"{targets.payload_bits} bits, carrier {best.carrier}, least energy first; last columns: "
        "probability that the message is recovered, by law"
    )  # fmt: skip
    settings = " ".join(f"--set {name}={value}" for name, value in best.parameters.items() if name != "carrier")
    print()
    say_left_out(lost)
    say(f"embed with: --payload-bits {targets.payload_bits} --carrier '{best.carrier}' {settings}")
    return DONE


def _plan_plain(weights: "Weights", targets: "Targets", carrier: str, json: bool) -> int:
    from cwwm.design import plan as make_plan
    from cwwm.weights.carrier import Carrier as Pool
    from cwwm.weights.carrier import left_out

    pool = Pool.choose(weights, carrier)
    options = make_plan(weights, pool, targets.payload_bits, survive=targets.magnitude)
    lost = left_out(weights, carrier)
    if json:
        print_json(
            {
                "pool": pool.size,
                "carrier": carrier,
                "options": [option.to_json() for option in options],
                "tensors_left_out": lost,
            }
        )
        return DONE
    rows = [
        (o.length, o.weight, f"{o.share:.2%}", f"{o.energy:.1e}", f"<= {targets.magnitude:g}",
         f"{o.survive_random_1:.2f}", f"{o.survive_random_5:.2f}", o.proof_overlap)
        for o in options
    ]  # fmt: skip
    columns = (
        "L", "ones", "of pool", "energy", "magnitude", "random 1%", "random 5%", "ones for proof at 1e-12"
    )  # fmt: skip
    title = f"{targets.payload_bits} bits in {pool.size:,} weights (carrier {carrier}), least energy first"
    print_table(columns, rows, title)
    print()
    say_left_out(lost)
    say(f"embed with: --scheme cwc --payload-bits {targets.payload_bits} --survive {targets.magnitude:g} "
          f"--carrier '{carrier}' --set length={options[0].length} --set weight={options[0].weight}")  # fmt: skip
    return DONE
