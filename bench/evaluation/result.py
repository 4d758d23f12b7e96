"""What an evaluation found, typed, and as a table."""

from dataclasses import dataclass

from tabulate import tabulate

from cwwm.schemes import Scheme

_HEAD = ("attack", "strength", "recovered", "bit error", "log10 p", "accuracy %")


@dataclass(frozen=True)
class Row:
    """What is left of the mark, and of the model, after one attack at one strength.

    Attributes:
        attack: its label; empty for the marked model before any attack.
        strength: as asked for; None before any attack.
        recovered: whether the message was recovered.
        bit_error_rate: share of wrong bits, in [0, 1]; 1/2 where the scheme says that the message is lost.
        log10_p: of the claim with the right key and message, in (-inf, 0].
        accuracy: percent of the test samples answered right; None without data.
    """

    attack: str
    strength: float | None
    recovered: bool
    bit_error_rate: float
    log10_p: float
    accuracy: float | None

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the row of a table."""
        strength = "-" if self.strength is None else f"{self.strength:g}"
        accuracy = "-" if self.accuracy is None else f"{self.accuracy:.2f}"
        said = "yes" if self.recovered else "no"
        return (
            self.attack or "(none)",
            strength,
            said,
            f"{self.bit_error_rate:.3f}",
            f"{self.log10_p:.1f}",
            accuracy,
        )


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; prints as a table.

    Attributes:
        scheme: that marked, with its parameters.
        host_accuracy: percent, of the model without a mark; None without data.
        marked: the marked model before any attack.
        rows: by attack and strength, in the order asked for.
    """

    scheme: Scheme
    host_accuracy: float | None
    marked: Row
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        host = "" if self.host_accuracy is None else f"; {self.host_accuracy:.2f} % without the mark"
        table = tabulate([row.cells for row in (self.marked, *self.rows)], _HEAD, "github", disable_numparse=True)
        return f"{self.scheme.name}, {self.scheme.payload_bits} bits{host}\n\n{table}"
