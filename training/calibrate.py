"""Fit `calibration.json` of a checkpoint with both towers: python -m training.calibrate --model builtin --data DIR

Takes the even classes of imagenet-1000 and Flickr8k's dev photos (training/labelled.py), the ten best photos of every
search, and fits the logistic map of search/confidence.py to them by maximum likelihood, each sort of search weighing
the same. `bench/confidence.py` measures the result on other photos. Takes half a minute with the built-in checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoseek.aimv2 import Checkpoint, load_text_tower, load_vision_tower, open_checkpoint
from photoseek.aimv2.calibration import CALIBRATION_FILE, VERSION
from photoseek.binding import everyday_texts
from photoseek.contracts import Calibration
from photoseek.errors import CheckpointError
from photoseek.search.confidence import HIGHEST_THRESHOLD, confidences, generality, read
from training.labelled import Encoder, Floats, Searches, all_searches

SEEN = 10
"""Photos of an answer that a person looks at."""
NEAR = 0.8
"""Texts of the bank nearer to the query mean the same; between 0.6 and 0.9 it makes little difference."""
HIDDEN = 0.08
"""Share of searches with a right photo among the first three that may be answered "nothing" here; the goal is 0.10 on
other photos. Of the more general half of a sort's queries, and of the other half, 0.10 may be."""
HIDDEN_OF_HALF = 0.10
SMALLEST_HALF = 25
"""Of fewer answers a share says little."""
ENCODED_AT_ONCE = 250


def encoder_of(checkpoint: Checkpoint) -> Encoder:
    """The checkpoint's towers on photoseek's own engines, float32."""
    vision = load_vision_tower(checkpoint, precision="float32")
    text = load_text_tower(checkpoint, precision="float32")

    def photos(images: Sequence[Image.Image]) -> Floats:
        prepared = [checkpoint.preprocessing.prepare(image) for image in images]
        starts = range(0, len(prepared), ENCODED_AT_ONCE)
        return np.concatenate([vision.encode(prepared[at : at + ENCODED_AT_ONCE]) for at in starts])

    return Encoder(photos, lambda texts: text.encode(list(texts)))


def seen_pairs(searches: Searches, bank: Floats, scale: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log odds, clarity and generality (pairs, 3) of the first photos of each answer; and whether each is right."""
    features, right = [], []
    for query, fits in zip(searches.queries, searches.fits, strict=True):
        first = best(searches.photos @ query)
        reading = read(query, searches.photos[first], bank, scale, NEAR)
        features.append(np.stack([*reading, np.full(len(first), generality(query, bank))], axis=1))
        right.append(fits[first])
    return np.concatenate(features).astype(np.float64), np.concatenate(right)


def best(scores: NDArray[np.float32], count: int = SEEN) -> NDArray[np.int64]:
    """The places of the highest scores, highest first."""
    return np.argsort(-scores, kind="stable")[:count]


def fit_logistic(
    features: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of the features and, last, the bias, by weighted maximum likelihood (Newton's method).

    A penalty of 1e-6 on the squared weights keeps the answer finite where the features separate the labels.
    """
    design = np.column_stack([features, np.ones(len(features))])
    shares = weights / weights.sum()
    found = np.zeros(design.shape[1])
    penalty = np.array([1e-6] * features.shape[1] + [0.0])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-design @ found))
        gradient = design.T @ (shares * (likely - right)) + penalty * found
        curvature = (design * (shares * likely * (1 - likely))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        found -= step
        if np.abs(step).max() < 1e-9:
            break
    return found


@dataclass(frozen=True)
class Highest:
    """The best confidence in the library for each search of one sort, as log odds, with how general its words are and
    the logarithm of their number."""

    present: NDArray[np.float64]
    """Shape (p, 3), of searches with a right photo among the first three."""
    absent: NDArray[np.float64]
    """Shape (k, 3), of all searches, once nothing of the kind is in the library."""


def highest(searches: Searches, calibration: Calibration, bank: Floats, scale: float) -> Highest:
    """What the verdict "nothing found" depends on."""
    present, absent = [], []
    for text, query, fits, related in zip(
        searches.texts, searches.queries, searches.fits, searches.related, strict=True
    ):
        likely = confidences(calibration, query, searches.photos, bank, scale)
        asked = (generality(query, bank), math.log(len(text.split())))
        absent.append((_logit(float(likely[~related].max(initial=0))), *asked))
        if fits[best(searches.photos @ query, 3)].any():
            present.append((_logit(float(likely.max())), *asked))
    return Highest(np.array(present).reshape(-1, 3), np.array(absent).reshape(-1, 3))


def fit_threshold(found: Sequence[Highest], steepest: float) -> tuple[float, float, float]:
    """(weight of generality, of the number of words, bias): of those that hide no larger share of the right answers of
    any sort than may be, the one that says "nothing" most often where nothing is, on average over the sorts. Generality
    is tried from 0 to `steepest`, the number of words from 0 to 1."""
    limits = list(_limits(found))
    tried = []
    for general, words in product(np.linspace(0, steepest, 41), np.linspace(0, 1, 41)):
        needed = np.array([1, -general, -words])
        biases = [
            float(np.quantile(np.where(_safe(shown), np.inf, shown @ needed), hidden, method="lower"))
            for shown, hidden in limits
        ]
        bias = min(biases, default=_logit(HIGHEST_THRESHOLD))
        rightly = [((values.absent @ needed < bias) & ~_safe(values.absent)).mean() for values in found]
        tried.append((float(np.mean(rightly)), float(general), float(words), bias))
    _, of_generality, of_words, bias = max(tried)
    return round(of_generality, 4), round(of_words, 4), round(min(bias, _logit(HIGHEST_THRESHOLD)), 4)


def _limits(found: Sequence[Highest]) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Groups of right answers, and the share of each that may be hidden."""
    for values in found:
        if not len(values.present):
            continue
        yield values.present, HIDDEN
        by_generality = values.present[np.argsort(values.present[:, 1], kind="stable")]
        halves = np.array_split(by_generality, 2)
        if len(halves[-1]) >= SMALLEST_HALF:
            yield from ((half, HIDDEN_OF_HALF) for half in halves)


def _safe(answers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of these can no threshold reach?"""
    return np.asarray(answers[:, 0] >= _logit(HIGHEST_THRESHOLD))


def calibrate(sorts: Sequence[Searches], bank: Floats, scale: float, elsewhere: Sequence[Searches] = ()) -> Calibration:
    """The map that fits these searches, and a threshold that hides few right answers of any sort, nor of those
    `elsewhere`, in libraries that hold something else as well.

    Raises:
        CheckpointError: higher odds do not mean more right photos, so that nothing can be calibrated.
    """
    parts = [seen_pairs(searches, bank, scale) for searches in sorts]
    shares = np.concatenate([np.full(len(right), 1 / len(right)) for _, right in parts])
    features, right = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    odds, clarity, general, bias = (round(float(x), 4) for x in fit_logistic(features, right, shares))
    if odds <= 0:
        raise CheckpointError("with this checkpoint higher odds do not mean more right photos: nothing to calibrate")
    without_threshold = Calibration(odds, clarity, general, bias, NEAR, 0.0, 0.0, 0.0)
    found = [highest(searches, without_threshold, bank, scale) for searches in [*sorts, *elsewhere]]
    of_general, of_words, threshold_bias = fit_threshold(found, steepest=max(general, 0.0))
    return replace(
        without_threshold,
        threshold_generality_weight=of_general,
        threshold_words_weight=of_words,
        threshold_bias=threshold_bias,
    )


def _logit(likely: float) -> float:
    bounded = float(np.clip(likely, 1e-7, 1 - 1e-7))
    return math.log(bounded / (1 - bounded))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin", help="builtin, a downloaded model's name, or a folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument("--out", type=Path, help="where to write instead of the checkpoint's folder")
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.model)
    if checkpoint.logit_scale is None:
        parser.error(f"{checkpoint.name} lacks a tower: confidence needs words and photos")
    encoder = encoder_of(checkpoint)
    asked = all_searches(options.data, "fit", encoder)
    calibration = calibrate(asked.own, encoder.texts(everyday_texts()), checkpoint.logit_scale, asked.elsewhere)
    content = {
        "version": VERSION,
        **asdict(calibration),
        "fitted_on": {sort.name: len(sort.texts) for sort in asked.own},
    }
    text = json.dumps(content, indent=2) + "\n"
    (options.out or checkpoint.folder / CALIBRATION_FILE).write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
