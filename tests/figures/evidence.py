"""What docs say of forged claims, proofs and detection: study pages, and exact laws."""

import re

from cwwm.ownership.evidence import log10_match_tail
from tests.figures.registry import claim, holds
from tests.figures.sources import table, words

MODEL, CONCEPTS, STUDY = "docs/threat-model.md", "docs/concepts.md", "forgery.md"
OWNER, ENCODINGS = "docs/owner.md", "docs/encodings.md"
FITTED = "scheme: chosen to fit"
_PROOF = -12.0  # log10


def rate(log10_p: float) -> str:
    """Return a p-value as a power of ten, its exponent rounded."""
    return f"1e{round(log10_p)}"


def stretch() -> re.Match[str]:
    """Return the seconds and MiB that a try costs, as the study measured them."""
    found = re.search(r"one stretch: ([\d.]+) s and (\d+) MiB", words(STUDY))
    assert found
    return found


@claim(
    MODEL,
    "of {} verdicts on {} fitted claims {} are *proven*, where the numbers alone would have convinced in {}.",
)
def fitted() -> list[str]:
    lines = table(STUDY, FITTED)
    proven, verdicts = (sum(int(row[-1].split("/")[part]) for row in lines) for part in (0, 1))
    believed = sum(int(row[-3].split("/")[0]) for row in lines if row[1] == "kept")
    return [str(verdicts), str(len(lines)), str(proven), str(believed)]


@claim(
    MODEL,
    'whoever fine-tunes the base is then "proven" to carry that mark, at {} to {} by the numbers',
)
def fitted_on_derived() -> list[str]:
    lowest = [float(row[3]) for row in table(STUDY, FITTED) if row[1] == "kept" and row[3] != "-"]
    believed = [value for value in lowest if value <= _PROOF]
    return [rate(max(believed)), rate(min(believed))]


@claim(MODEL, "a perfect match, at {} to {} by the numbers alone.")
def extracted() -> list[str]:
    lines = table(STUDY, "form", "claims")
    found = [float(row[4]) for row in lines if int(row[3])]
    holds(all(row[5] == "0" for row in lines), "none is proven")
    return [rate(max(found)), rate(min(found))]


@claim(MODEL, "of {} keys, on a marked and on an unmarked model, none came to {} ({} would have been allowed).")
def searched() -> list[str]:
    lines = [row for row in table(STUDY, "form", "CPU s") if row[0] == "cwc, 64 bits"]
    holds({row[1] for row in lines} == {"marked", "unmarked"}, "both models were searched")
    holds(all(row[6].startswith("0 /") for row in lines), "none came to it")
    ((keys, allowed),) = {(row[2], row[6].split("/")[1].strip()) for row in lines}
    return [keys, "1e-6", allowed]


@claim(MODEL, "Each try costs one stretch of scrypt, {} s of one core and {} MiB here.")
def cost_of_a_try() -> list[str]:
    return [f"{float(stretch()[1]):.1f}", stretch()[2]]


@claim(OWNER, "each try of another one costs some tenths of a second, and a proof asks for 1e-12")
def cost_in_words() -> list[str]:
    holds(0.1 <= float(stretch()[1]) < 1, "a try costs some tenths of a second")
    return []


@claim(MODEL, "1e-6 takes days of one core, 1e-12 thousands of core-years, for each base.")
def grinding() -> list[str]:
    costs = {row[0]: row[2] for row in table(STUDY, "p")}
    holds(costs["1e-06"].endswith(" days"), "1e-6 takes days")
    holds(float(costs["1e-12"].removesuffix(" years").replace(",", "")) > 1000, "1e-12 takes thousands of years")
    return []


@claim(OWNER, "(up to {} % of a small one: results/hosts.md)")
def dead_weights() -> list[str]:
    shares = [float(row[4].strip("*%")) for row in table("hosts.md", "model")]
    return [f"{max(shares):.0f}"]


@claim(
    ENCODINGS,
    "at 256 bits a polar code needs two fifths of the random linear code's energy (results/codes.md).",
)
def polar() -> list[str]:
    lines = {(row[0], row[1], row[2]): row for row in table("codes.md", "message bits")}
    polar_code = float(lines["256", "polar, list 32", "2048"][4])
    linear = float(lines["256", "random linear, order 1", "576"][4])
    holds(round(polar_code / linear, 1) == 0.4, "a polar code needs two fifths")
    return []


def _blocks() -> float:
    """Return log10 p of 18 of 160 blocks read right, by chance 1/256 each."""
    return log10_match_tail(18, 160, 1 / 256)


@claim(MODEL, "18 of 160 blocks read right are {}.")
def blocks_read_right() -> list[str]:
    return [rate(_blocks())]


@claim(CONCEPTS, "18 of 160 symbols read right are one in 10²⁰.")
def symbols_read_right() -> list[str]:
    holds(round(-_blocks()) == 20, "it is one in 10²⁰")
    return []


@claim(CONCEPTS, "none is surer than a guess of the key, {}.")
def guess_of_the_key() -> list[str]:
    return [rate(-256 * 0.30102999566)]
