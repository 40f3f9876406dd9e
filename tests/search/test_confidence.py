"""Confidence: a probability of query and photo, the same whatever else is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoseek.contracts import Calibration
from photoseek.search.confidence import HIGHEST_THRESHOLD, confidences, found_from, generality, read

CALIBRATION = Calibration(
    log_odds_weight=0.4,
    clarity_weight=0.5,
    generality_weight=5.0,
    bias=-3.0,
    near=0.8,
    threshold_generality_weight=2.0,
    threshold_words_weight=0.5,
    threshold_bias=-2.5,
)


def unit(seed: int, *shape: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@given(st.integers(0, 1000), st.integers(0, 40), st.integers(1, 20), st.floats(0, 100))
def test_they_are_probabilities_at_any_logit_scale(seed: int, photos: int, texts: int, scale: float):
    found = confidences(CALIBRATION, unit(seed, 8), unit(seed + 1, photos, 8), unit(seed + 2, texts, 8), scale)
    assert found.shape == (photos,)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()


def test_the_formula_written_out():
    query, photos, bank, scale = unit(0, 16), unit(1, 5, 16), unit(2, 30, 16), 40.0
    assert (bank @ query <= CALIBRATION.near).all()
    for photo, found in zip(photos, confidences(CALIBRATION, query, photos, bank, scale), strict=True):
        odds = np.exp(scale * (bank @ photo).astype(np.float64))
        shares = odds / odds.sum()
        activation = (
            0.4 * np.log(np.exp(scale * float(query @ photo)) / odds.mean())
            + 0.5 * (np.log(30) + float(shares @ np.log(shares)))
            + 5.0 * np.mean(bank @ query)
            - 3.0
        )
        assert found == pytest.approx(1 / (1 + np.exp(-activation)), rel=1e-3)


def test_a_photo_keeps_its_confidence_whatever_stands_beside_it():
    query, photos, bank = unit(0, 16), unit(1, 50, 16), unit(2, 30, 16)
    together = confidences(CALIBRATION, query, photos, bank, 40.0)
    alone = [confidences(CALIBRATION, query, photos[k : k + 1], bank, 40.0)[0] for k in range(50)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_among_photos_that_the_bank_reads_alike_the_nearer_is_the_more_likely():
    bank = np.eye(8, dtype=np.float32)[:4]
    query = np.eye(8, dtype=np.float32)[4]
    photos = np.zeros((5, 8), dtype=np.float32)
    photos[:, 4] = np.linspace(-1, 1, 5)
    photos[:, 5] = np.sqrt(1 - photos[:, 4] ** 2)
    assert (np.diff(confidences(CALIBRATION, query, photos, bank, 20.0)) > 0).all()


def test_a_text_that_says_the_same_as_the_query_does_not_count_against_it():
    query, bank = unit(0, 16), unit(2, 30, 16)
    with_twin = np.concatenate([bank, query[None]])
    spared = read(query, query[None], with_twin, 40.0, near=0.8).log_odds
    np.testing.assert_allclose(spared, read(query, query[None], bank, 40.0, near=0.8).log_odds, rtol=1e-5)
    assert read(query, query[None], with_twin, 40.0, near=1.1).log_odds < spared


def test_a_bank_of_nothing_but_twins_still_gives_odds():
    query, photos = unit(0, 16), unit(1, 5, 16)
    np.testing.assert_allclose(read(query, photos, query[None], 40.0, near=0.8).log_odds, 0, atol=1e-4)


def test_a_photo_that_reads_as_one_text_is_clearer_than_one_between_two():
    bank = np.eye(8, dtype=np.float32)[:4]
    one, between = bank[0], (bank[0] + bank[1]) / np.sqrt(np.float32(2))
    none = np.eye(8, dtype=np.float32)[7]
    clarity = read(bank[2], np.stack([none, between, one]), bank, 40.0, near=0.8).clarity
    np.testing.assert_allclose(clarity, [0, np.log(2), np.log(4)], atol=1e-3)


def test_general_words_lie_closer_to_the_bank_and_need_more_confidence():
    bank = unit(2, 30, 16)
    general, special = bank.mean(axis=0) / np.linalg.norm(bank.mean(axis=0)), unit(3, 16)
    assert generality(general, bank) > generality(special, bank)
    assert 0 < found_from(CALIBRATION, special, bank, 1) < found_from(CALIBRATION, general, bank, 1) < 1


def test_the_threshold_written_out_for_one_word_and_for_many():
    query, bank = unit(0, 16), unit(2, 30, 16)
    for words in (1, 2, 12):
        activation = 2.0 * float(np.mean(bank @ query)) + 0.5 * np.log(words) - 2.5
        assert found_from(CALIBRATION, query, bank, words) == pytest.approx(1 / (1 + np.exp(-activation)))
    assert found_from(CALIBRATION, query, bank, 1000) == HIGHEST_THRESHOLD
