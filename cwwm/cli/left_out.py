"""What a rule of host layers leaves out, as commands tell it."""

from collections.abc import Mapping

from cwwm.support.console import say


def say_left_out(lost: Mapping[str, str]) -> None:
    """Say which tensors a rule would have chosen if they were of floats, each with its dtype; nothing of none."""
    from cwwm.weights.carrier import named_dtypes

    if lost:
        say(f"left out: {named_dtypes(lost)}")
