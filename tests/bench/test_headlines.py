"""The page of the papers' claims: every published encoding has a line, and a gap is said as it is."""

import pytest
import torch

from bench.attacks import make_attack
from bench.models.registry import find_models
from bench.studies.headlines import HEADLINES, NO_FIGURE, Headline, Outcome, page
from cwwm.schemes import SCHEMES, make_scheme

OURS = {"cwc", "protected-cwc", "sign", "sign-repetition", "sign-erasure", "spread-spectrum", "spread-cwc"} | {
    "none",
    "wrong-key",
}
CLAIM, UNKNOWN = HEADLINES[0], next(one for one in HEADLINES if one.error is None)


def test_every_encoding_that_others_published_has_a_line_that_can_be_run() -> None:
    assert {one.scheme for one in HEADLINES} == set(SCHEMES) - OURS
    for one in HEADLINES:
        make_scheme(one.scheme, {**one.parameters, "payload_bits": one.payload})
        attack = make_attack(one.attack, "test")
        assert one.at in one.strengths
        for strength in one.strengths:
            attack.check_strength(strength)
        assert find_models([one.model])
        assert (one.error is None) == (NO_FIGURE in one.says)


@pytest.mark.parametrize(
    ("outcome", "measured", "gap"),
    [
        (
            Outcome(CLAIM, 2, 2, 0.5, {0.5: [0, 0], 0.65: [0, 0]}),
            "2 of 2, for 0.5 points; bit error 0.000; whole up to 0.65",
            "as claimed",
        ),
        (Outcome(CLAIM, 2, 2, 0.5, {0.5: [0, 0], 0.65: [0, 0.25]}), "bit error 0.125; whole up to 0.5", "+0.125"),
        (
            Outcome(CLAIM, 2, 1, 0.0, {0.5: [0.1], 0.65: [0.5]}),
            "embedded 1 of 2, for 0.0 points; bit error 0.500; whole not at",
            "+0.500",
        ),
        (Outcome(CLAIM, 2, 0, 0.0, {0.5: [], 0.65: []}), "embedded in 0 of 2 hosts", "not embedded"),
        (Outcome(CLAIM, 2, refusal="too small"), "refused: too small", "-"),
        (Outcome(UNKNOWN, 1, 1, 0.0, {UNKNOWN.at: [0.25]}), "bit error 0.250", "-"),
    ],
)
def test_a_gap_is_said_as_it_is(outcome: Outcome, measured: str, gap: str) -> None:
    row = outcome.row()
    assert measured in row[3]
    assert row[4] == gap
    line = page([outcome], torch.device("cpu")).splitlines()[-1]
    assert outcome.headline.says in line
    assert line.count("|") == 6


def test_a_setting_names_host_payload_parameters_and_attack() -> None:
    one = Headline("uchida", "source", "claim", "lenet5", 0.5, 0.0, {"strength": 0.1}, payload=64)
    assert one.setting == "lenet5, 64 bits, strength 0.1; magnitude 0.5"
