"""What the pages say of marks in pretrained ImageNet networks: from their study."""

import re

from cwwm.design.spread import ALONE
from tests.figures.registry import claim, holds, word
from tests.figures.sources import tables, words

OWNER, STUDY = "docs/owner.md", "pretrained-survival.md"
DEFAULTS = ("cwwm embed", "cwwm embed --images")
_KEPT = re.compile(r"(\S+)% \((\S+)% to (\S+)%\)")


def lines(label: str) -> list[list[str]]:
    """Return the lines of an encoding, one a network."""
    return [row for found in tables(STUDY, "encoding") for row in found if row[0] == label]


@claim(
    "README.md",
    "where `embed` takes {} by default, and two ImageNet networks keep 98 % of their answers only up to {} and {}.",
)
def largest_gains() -> list[str]:
    holds("at which 98% of the answers on 250 photo crops are kept" in words(STUDY), "that is what they keep")
    return [f"{ALONE:g}", *(row[1].removeprefix("gain ") for row in lines("spread-cwc"))]


def kept(label: str) -> list[tuple[str, ...]]:
    """Return the answers that several marks keep, in %: mean, least and most, a network after the other."""
    return [found.groups() for row in lines(label) if (found := _KEPT.fullmatch(row[3]))]


@claim(
    OWNER,
    "In two ImageNet networks such marks keep {} and {} % of the answers to photo crops without photographs, and "
    "{} and {} % with a dozen: the mean of {} marks each, of which single ones keep {} to {} %.",
)
def answers() -> list[str]:
    alone, seeing = map(kept, DEFAULTS)
    (marks,) = re.findall(r"answers kept by (\d+) marks of different keys", words(STUDY))
    ends = [(float(least), float(most)) for _, least, most in [*alone, *seeing]]
    least, most = min(low for low, _ in ends), max(high for _, high in ends)
    return [*(mean for mean, _, _ in [*alone, *seeing]), word(int(marks)), f"{least:.1f}", f"{most:.1f}"]


@claim(
    OWNER,
    "Read against the original, all come back from each of {} attacks that take neither data nor training; blind, "
    "those made without photographs come back from none.",
)
def survived() -> list[str]:
    best = {row[5] for label in DEFAULTS for row in lines(label)}
    (found,) = {re.fullmatch(r"(\d+) of (\d+) \(informed\)", cell) for cell in best}
    assert found
    holds(found[1] == found[2], "all come back")
    holds(all(row[4].startswith("0 of") for row in lines(DEFAULTS[0])), "none comes back blind")
    return [found[2]]
