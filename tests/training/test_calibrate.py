"""Fitting a calibration: on searches whose answers follow a known law, that law is found again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # training/ is part of no package

from photoseek.errors import CheckpointError
from photoseek.search.confidence import confidences
from training.calibrate import HIDDEN, Highest, calibrate, fit_logistic, fit_threshold
from training.labelled import Searches, content_words

pytestmark = pytest.mark.slow


def unit(seed: int, *shape: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def searches(sign: int = 1) -> Searches:
    """Photos close to the query fit (or, with -1, those less close)."""
    queries, photos = unit(0, 60, 24), unit(1, 400, 24)
    scores = queries @ photos.T
    noise = np.random.default_rng(2).logistic(size=scores.shape)
    fits = sign * 20 * (scores - 0.55) + noise > 0
    return Searches("made", [f"text {k}" for k in range(60)], queries, photos, fits, fits)


def test_the_logistic_finds_the_law_that_made_the_labels():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40_000, 2))
    right = features @ np.array([1.5, -0.5]) - 1 + rng.logistic(size=40_000) > 0
    np.testing.assert_allclose(fit_logistic(features, right, np.ones(40_000)), [1.5, -0.5, -1], atol=0.08)


def test_what_is_predicted_is_what_is_observed():
    made, bank = searches(), unit(3, 40, 24)
    calibration = calibrate([made], bank, 20.0)
    first = np.argsort(-(made.queries @ made.photos.T), axis=1)[:, :10]
    likely = np.stack([confidences(calibration, query, made.photos, bank, 20.0) for query in made.queries])
    predicted, observed = (np.take_along_axis(values, first, 1).mean() for values in (likely, made.fits))
    assert predicted == pytest.approx(observed, abs=0.01)


def test_a_model_that_has_it_backwards_is_not_calibrated():
    with pytest.raises(CheckpointError, match="nothing to calibrate"):
        calibrate([searches(sign=-1)], unit(3, 40, 24), 20.0)


def made_answers(level: float, words: tuple[float, float], seed: int) -> Highest:
    """Answers to queries with so many words (logarithms drawn between both); each lifts the best photo of an answer."""
    rng = np.random.default_rng(seed)
    count = rng.uniform(*words, 500)
    general = rng.uniform(0, 0.3, 500)
    present, absent = (rng.normal(mean, 1, 500) + count for mean in (level, level - 2))
    return Highest(np.column_stack([present, general, count]), np.column_stack([absent, general, count]))


def test_the_threshold_hides_few_right_answers_of_any_sort():
    found = [made_answers(level, (0, 0), seed) for seed, level in enumerate((-2.0, -1.0))]
    weights = np.array([1, *(-weight for weight in fit_threshold(found, steepest=10.0))])
    hidden = [(np.insert(sort.present, 3, 1, axis=1) @ weights < 0).mean() for sort in found]
    assert max(hidden) == pytest.approx(HIDDEN, abs=0.005)


def test_where_longer_queries_read_higher_the_threshold_grows_with_them():
    general, words, _ = fit_threshold([made_answers(-5, (0, 0.7), 0), made_answers(-5, (1.5, 3), 1)], steepest=10.0)
    assert words == pytest.approx(1, abs=0.15)
    assert general < 3


def test_content_words_leave_out_endings_and_small_words():
    assert content_words("Two dogs are running on the snowy beach .") == {"dog", "run", "snowy", "beach"}
