"""What the committed records of suites `alignment` and `adaptive` show: channels moved, our answer, its limit."""

from pathlib import Path

import pytest

from bench.leaderboard.points import PROOF
from bench.records.record import Record
from bench.records.schema import Row, TrainedResult
from bench.records.store import RecordStore

pytestmark = pytest.mark.results

RESULTS = Path(__file__).resolve().parent.parent / "results"
MODELS, SEEDS = ("resnet18-digits", "vgg6_bn"), 5
ALIGNED, PLAIN = "protected-cwc aligned", "protected-cwc"


@pytest.fixture(scope="module")
def alignment() -> list[Record]:
    return list(RecordStore(RESULTS / "alignment").records())


@pytest.fixture(scope="module")
def adaptive() -> list[Record]:
    return list(RecordStore(RESULTS / "adaptive").records())


def exact(records: list[Record], *, scheme: str, attack: str, model: str | None = None) -> list[float]:
    """Return the outcome of each cell and strength: 1 for a message that was recovered."""
    rows = [
        row
        for record in records
        if (record.key.scheme, record.key.attack) == (scheme, attack) and model in (None, record.key.model)
        for row in record.rows or ()  # a refused one has none
    ]
    assert rows
    return [row.recovered for row in rows]


MUST = ("permute", "rescale", "permute + rescale", "permute + rescale + magnitude 0.9", "structured-removed",
        "permute + finetune", "permute + rescale + magnitude 0.9 + finetune", "insert")  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("attack", MUST)
def test_alignment_brings_every_message_back(attack: str, model: str, alignment: list[Record]) -> None:
    outcomes = exact(alignment, scheme=ALIGNED, attack=attack, model=model)
    assert len(outcomes) >= SEEDS
    assert all(outcomes)


def test_the_harshest_removal_takes_two_channels_of_five(alignment: list[Record]) -> None:
    strengths = {
        row.strength
        for record in alignment
        if record.key.attack == "structured-removed"
        for row in record.rows or ()
    }
    assert max(strengths) == 0.4


@pytest.mark.parametrize("attack", ["permute", "permute + rescale", "structured-removed", "permute + finetune"])
def test_without_alignment_no_message_comes_back(attack: str, alignment: list[Record]) -> None:
    assert not any(exact(alignment, scheme=PLAIN, attack=attack))


@pytest.mark.parametrize("attack", ["distill", "distill into lenet5"])
def test_no_mark_in_weights_outlives_distillation(attack: str, adaptive: list[Record]) -> None:
    schemes = {record.key.scheme for record in adaptive} - {"carriers", "ingrain"}
    assert len(schemes) >= 20
    for scheme in schemes:
        assert not any(exact(adaptive, scheme=scheme, attack=attack)), scheme


SHOWN = ("protected-cwc", "protected-cwc aligned", "spread-spectrum aligned", "sign-erasure aligned",
         "uchida aligned", "structural")  # fmt: skip


def letter(row: Row) -> str:
    """Return W for a message that was recovered, p for a proof without it, - for neither."""
    return "W" if row.recovered else "p" if row.log10_p <= PROOF else "-"


def attackers(records: list[Record]) -> list[str]:
    """Return the rows of the threat model's table, a line an attack at its hardest strength."""
    cells: dict[tuple[str, float], dict[str, str]] = {}
    for record in records:
        if not isinstance(
            record, TrainedResult
        ):  # one copy of a network with other widths cannot be averaged with the next
            continue
        hardest = max(record.rows, key=lambda row: row.strength)
        label = record.key.scheme.removesuffix(" (reconstruction)")
        cells.setdefault((record.key.attack, hardest.strength), {})[label] = letter(hardest)
    return [
        f"| {attack} {strength:g} | " + " | ".join(found.get(scheme, " ") for scheme in SHOWN) + " |"
        for (attack, strength), found in sorted(cells.items())
    ]


def test_the_threat_model_shows_what_the_records_say(adaptive: list[Record]) -> None:
    text = (RESULTS.parent / "docs" / "threat-model.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table[0] == "| attack | " + " | ".join(SHOWN) + " |"
    assert table[1:] == attackers(adaptive)
