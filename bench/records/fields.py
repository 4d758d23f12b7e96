"""The kinds of values that files of results hold, as pydantic checks them."""

from typing import Annotated

from pydantic import AfterValidator, Field

FORMAT = "cwwm-bench-record v1"
KIND = "compatibility"  # of the record of an untrained model

LARGEST = 1e100  # sums, squares and pictures of such numbers are still finite


def _printable(text: str) -> str:
    """Refuse control characters: names are printed on terminals and pages."""
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


def _countable(number: int) -> int:
    """Refuse integers that are no exact floating-point number: formulas take them for one."""
    if number > 2**53:
        raise ValueError("is larger than anything that is counted")
    return number


def _led_by_a_level(pair: list[float | None]) -> list[float | None]:
    if pair[0] is None:
        raise ValueError("begins without a level")
    return pair


Name = Annotated[str, Field(max_length=300), AfterValidator(_printable)]
Text = Annotated[str, Field(max_length=100_000)]
Identity = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
Log10 = Annotated[float, Field(ge=-LARGEST, le=0)]
Count = Annotated[int, Field(ge=0), AfterValidator(_countable)]
Positive = Annotated[int, Field(ge=1), AfterValidator(_countable)]
Amount = Annotated[float, Field(ge=0, le=LARGEST)]
#: points of accuracy lost, and the strength chosen for them, null if even the mildest lost more
Level = Annotated[list[Number | None], Field(min_length=2, max_length=2), AfterValidator(_led_by_a_level)]
