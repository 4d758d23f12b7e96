"""The study of outer codes: curves rise, repeat, and the page has what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.studies.codes import SURE, Curve, Rival, binary, linear, measure, multilevel, page, polar, reed_solomon
from cwwm.codes.finite_length import snr_needed

RIVALS = [polar(64, 512), linear(64)]


@pytest.fixture(scope="module")
def curves() -> list[Curve]:
    return [measure(rival, words=40) for rival in RIVALS]


def test_curves_rise_to_all_words_and_repeat(curves: list[Curve]) -> None:
    for curve in curves:
        shares = [share for _, share in curve.points]
        assert shares[-1] >= SURE > max(shares[:-1])
        assert shares[0] < 0.5
        assert curve.points[0][0] < curve.needed(0.5) < curve.needed(0.9) <= curve.points[-1][0]
        assert curve.alone > 0
    assert measure(RIVALS[0], words=40).points == curves[0].points


def test_polar_is_nearer_to_the_limit_than_the_linear_code_and_as_its_law_says(curves: list[Curve]) -> None:
    soft, order_one = curves
    assert soft.needed(0.9) < 0.6 * order_one.needed(0.9)
    assert soft.needed(0.9) < 1.15 * soft.rival.limit
    assert soft.law == pytest.approx(soft.needed(0.9), rel=0.15)
    assert order_one.law is None


def test_reads_have_the_stated_signal_to_noise_ratio() -> None:
    words = np.random.default_rng(0).integers(0, 2, (200, 400))
    values = binary(words, 100.0, np.random.default_rng(1))
    signs = 2 * words - 1
    assert np.mean(values * signs) == pytest.approx(0.5, abs=0.02)
    assert np.std(values - 0.5 * signs) == pytest.approx(1.0, abs=0.01)


def test_the_page_has_every_curve(curves: list[Curve]) -> None:
    text = page(curves, torch.device("cpu"), words=40)
    for curve in curves:
        row = next(line for line in text.splitlines() if line.startswith("| 64 ") and curve.rival.name in line)
        assert f" {curve.needed(0.9):.0f} " in row
        assert f"{curve.points[-1][0]:.0f} {curve.points[-1][1]:.2f}" in text


def test_a_curve_that_ends_too_early_says_no_number() -> None:
    short = Curve(RIVALS[0], [(10.0, 0.1), (20.0, 0.6)], 1.0, 1.0)
    assert short.needed(0.35) == pytest.approx(10 * 2**0.5)
    assert np.isnan(short.needed(0.9))


def test_reed_solomon_reads_orthogonal_directions() -> None:
    rival = reed_solomon(16, 12)
    messages = np.random.default_rng(0).integers(0, 2, (20, 16)).astype(np.uint8)
    found = rival.decode(rival.read(messages, 12 * 40.0, np.random.default_rng(1)))
    assert np.array_equal(found, messages)


def test_the_multilevel_code_reads_signed_rows_and_has_the_limit_of_any_code() -> None:
    rival = multilevel(16, weights=2000)
    messages = np.random.default_rng(0).integers(0, 2, (20, 16)).astype(np.uint8)
    values = rival.read(messages, 400.0, np.random.default_rng(1))
    assert np.array_equal(rival.decode(values), messages)
    assert np.sqrt(400.0 / 16) == pytest.approx(np.mean(np.max(np.abs(values), axis=2)), abs=0.3)
    assert rival.limit < snr_needed(rival.positions, rival.information)


def test_the_library_decodes_what_it_encodes() -> None:
    pytest.importorskip("sionna.phy")
    from bench.studies.codes import library_ldpc

    rival: Rival = replace(library_ldpc(64), name="library")
    messages = np.random.default_rng(0).integers(0, 2, (5, 64)).astype(np.uint8)
    found = rival.decode(rival.read(messages, 5000.0, np.random.default_rng(1)))
    assert np.array_equal(found, messages)
