"""What README, owner page and threat model say of the default mark, read against the original: from its study."""

import re

from cwwm.design.spread import ALONE
from tests.figures.registry import claim, holds
from tests.figures.sources import table, words

MODEL, STUDY = "docs/threat-model.md", "informed.md"
DARE, SHAPED, TRAINED = "DARE against the public base", "noise-shaped", "svd + finetune"
WIDE = ("test_resnet-40", "test_convnext2")


def removal(host: str) -> tuple[str, int, float]:
    """Return the first removal that the study names of a host: attack, share of the images in %, of a training."""
    found = re.search(
        rf"\*\*{host}\*\*, of \d+ suspects: (.+?) at \S+ \(tier \d, (\d+)% of the images, (\S+) times", words(STUDY)
    )
    assert found, host
    return found[1], int(found[2]), float(found[3])


def lost(attack: str) -> list[str]:
    """Return the hosts on which an attack removes the message at its greatest strength."""
    rows = [row for row in table(STUDY, "host") if row[1] == attack]
    return [row[0] for row in rows if row[-1] == "lost" and row[2] == rows[-1][2]]


@claim("README.md", "That is measured at {} times the energy of the mark that `embed` makes without photographs,")
@claim("docs/owner.md", "measured at {} times the energy that `embed` takes without photographs")
@claim(MODEL, "{} times the one that `cwwm embed` makes without photographs")
def louder_than_the_default() -> list[str]:
    found = re.search(r"at a relative energy g\^2 of (\S+)\. ", words(STUDY))
    assert found
    return [f"{float(found[1]) / ALONE**2:.0f}"]


@claim(
    MODEL,
    "`spread-cwc` comes back from {} of {} attacked ones, on a residual network, a ConvNeXt and a transformer",
)
def recovered() -> list[str]:
    rows = table(STUDY, "host")
    holds({row[0] for row in rows} == {*WIDE, "test_vit"}, "these are the hosts")
    return [str(sum(row[-1] == "recovered" for row in rows)), str(len(rows))]


@claim("docs/owner.md", "which takes {} % of the images and at most {} % of a training and worked on")
@claim(MODEL, "it takes {} % of the images and at most {} % of a training.")
def cheapest() -> list[str]:
    found = [removal(host) for host in WIDE]
    holds(all(attack == SHAPED for attack, _, _ in found), "shaped noise is the cheapest on both")
    holds(removal("test_vit")[:2] == (DARE, 0), "the base alone is enough for the transformer")
    holds(lost(DARE) == ["test_vit"], "only there")
    holds(
        sorted(lost(TRAINED)) == sorted([*WIDE, "test_vit"]), "low rank and a whole training remove it everywhere"
    )
    (images,) = {images for _, images, _ in found}
    return [str(images), f"{100 * max(share for _, _, share in found):.0f}"]


@claim(
    "README.md",
    "takes {} % of the images and removes it from a residual network and a ConvNeXt; DARE with the public base "
    "takes none, and removes it from a small transformer.",
)
def cheapest_in_images() -> list[str]:
    return cheapest()[:1]
