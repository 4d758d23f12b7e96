"""What a planned gain costs the answers, in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cwwm.design.spread import SpreadPlan


def price_of(plan: "SpreadPlan") -> list[str]:
    """Return sentences: what the gain costs, what asks for more than the default, and what it does not meet."""
    sentences = [_cost(plan)]
    if plan.is_dear:
        asking = ", ".join(f"{t.change} alone asks for {t.least_gain:g}" for t in plan.dear_targets)
        sentences.append(
            f"that costs more than the gain of {plan.allowed:.4g} that is taken by default"
            + (f": {asking}; embed takes it only by --set gain={plan.gain:.4g}" if asking else "")
        )
    if plan.targets and plan.gain < plan.allowed and not plan.missed:
        sentences.append(f"the targets take no more; the gain of {plan.allowed:.4g} taken by default stands more")
    if plan.missed:
        sentences.append(f"this gain does not meet {', '.join(target.change for target in plan.missed)}")
    return sentences


def _cost(plan: "SpreadPlan") -> str:
    from cwwm.design.spread import ALONE

    if plan.kept is not None:
        change = f"squared change of the logits: {plan.felt:.1e} of their spread"
        return f"{change}; about {plan.kept:.1%} of the answers stay, by law"
    if plan.gain <= ALONE:
        return (
            "what the answers feel was not measured: the gain is a careful one; --images and --network allow more"
        )
    return "what the answers feel was not measured: --images and --network tell what this gain costs"
