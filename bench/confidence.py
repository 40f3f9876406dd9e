"""What a confidence is worth: calibration, the verdict "nothing found", and exclusions, on labelled photos.

    python bench/confidence.py --data DIR [--model builtin] [--part report|fit]

Searches and their right answers are those of training/labelled.py. `report` takes the odd classes of imagenet-1000 and
Flickr8k's test photos, which no weight, calibration or setting was fitted or chosen on; choose on `--part fit` only.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from report import Row, show

sys.path.insert(0, str(Path(__file__).parents[1]))  # training/ lies beside bench/ and is part of no package

import exclusion

from photoseek.aimv2 import open_checkpoint
from photoseek.binding import everyday_texts
from photoseek.contracts import Calibration
from photoseek.search.confidence import confidences, found_from
from training.calibrate import best, encoder_of
from training.labelled import Floats, Mask, Searches, all_searches, own_photo

SEEN = (1, 3, 10)
"""First photos of an answer whose calibration is measured."""
EDGES = (0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0001)
"""Of the curve's bins; the calibration error uses ten of equal width, as usual."""
THRESHOLDS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4)
WRONG_AT_MOST = 0.10


class Reading:
    """The confidences of every photo for every query of one sort."""

    def __init__(self, searches: Searches, calibration: Calibration, bank: Floats, scale: float) -> None:
        self.searches = searches
        self.confidence = np.stack(
            [confidences(calibration, query, searches.photos, bank, scale) for query in searches.queries]
        )
        """Shape (k, n)."""
        self.threshold = np.array(
            [
                found_from(calibration, query, bank, len(text.split()))
                for text, query in zip(searches.texts, searches.queries, strict=True)
            ]
        )
        scores = searches.queries @ searches.photos.T
        self.order = np.stack([best(row) for row in scores])
        """The ten best photos of each query, shape (k, 10)."""

    def seen(self, count: int, fits: Mask | None = None) -> tuple[NDArray[np.float32], Mask]:
        """Confidence and rightness of the first `count` photos of all answers."""
        order = self.order[:, :count]
        right = self.searches.fits if fits is None else fits
        return np.take_along_axis(self.confidence, order, 1).ravel(), np.take_along_axis(right, order, 1).ravel()

    def present(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Best confidence and threshold of each query with a right photo among the first three."""
        found = np.take_along_axis(self.searches.fits, self.order[:, :3], 1).any(axis=1)
        return self.confidence[found].max(axis=1), self.threshold[found]

    def absent(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Best confidence and threshold of each query, in the library without anything of the kind."""
        return np.where(self.searches.related, 0, self.confidence).max(axis=1), self.threshold


def calibration_error(likely: NDArray[np.float32], right: Mask, share: NDArray[np.float64]) -> float:
    """Expected calibration error with ten bins of equal width (Guo et al. 2017); the shares add up to 1."""
    bins = np.minimum((likely * 10).astype(int), 9)
    return float(np.abs(np.bincount(bins, share * (likely - right))).sum())


def area(higher: NDArray[np.float32], lower: NDArray[np.float32]) -> float:
    """Chance that one of `higher` exceeds one of `lower`, ties counted half: the area under the ROC curve."""
    ordered = np.sort(lower)
    below, upto = np.searchsorted(ordered, higher, "left"), np.searchsorted(ordered, higher, "right")
    return float((below + upto).mean() / 2 / len(lower)) if len(higher) and len(lower) else float("nan")


def error_rows(readings: list[Reading], strict: Mask) -> list[Row]:
    """Calibration of what a person sees; sentences also by the strict rule: only the photo they were written for."""
    cases = [(reading.searches.name, reading, None) for reading in readings]
    cases += [
        ("sentences, own photo only", reading, strict) for reading in readings if reading.searches.name == "sentences"
    ]
    rows: list[Row] = []
    for name, reading, fits in cases:
        for count in SEEN:
            likely, right = reading.seen(count, fits)
            share = np.full(len(right), 1 / len(right))
            rows.append(
                {
                    "queries": name,
                    "photos": f"top {count}",
                    "pairs": len(right),
                    "right": round(float(right.mean()), 3),
                    "mean confidence": round(float(likely.mean()), 3),
                    "calibration error": round(calibration_error(likely, right, share), 3),
                    "ROC area": round(area(likely[right], likely[~right]), 3),
                }
            )
    return rows


def pooled(readings: list[Reading]) -> tuple[NDArray[np.float32], Mask, NDArray[np.float64]]:
    """Confidence, rightness and share of the ten best photos of several sorts, each sort weighing the same."""
    likely, right = (np.concatenate([reading.seen(10)[place] for reading in readings]) for place in (0, 1))
    size = [reading.order.size for reading in readings]
    return likely, right, np.concatenate([np.full(count, 1 / count / len(size)) for count in size])


def curve_rows(readings: list[Reading]) -> list[Row]:
    """The reliability curve of the ten best photos of one collection."""
    likely, right, share = pooled(readings)
    rows: list[Row] = []
    for low, high in pairwise(EDGES):
        inside = (likely >= low) & (likely < high)
        if inside.any():
            rows.append(
                {
                    "confidence": f"{low:g} to {min(high, 1):g}",
                    "predicted": round(float(np.average(likely[inside], weights=share[inside])), 3),
                    "observed": round(float(np.average(right[inside], weights=share[inside])), 3),
                    "pairs": int(inside.sum()),
                }
            )
    return rows


def verdict_rows(readings: list[Reading]) -> list[Row]:
    """Of each sort: how often "nothing" is said, rightly and wrongly, and what a threshold of its own could do."""
    rows: list[Row] = []
    for reading in readings:
        (present, from_present), (absent, from_absent) = reading.present(), reading.absent()
        allowed = float(np.quantile(present, WRONG_AT_MOST)) if len(present) else float("nan")
        rows.append(
            {
                "queries": reading.searches.name,
                "library": len(reading.searches.photos),
                "absent": len(absent),
                "right in top 3": len(present),
                "threshold, median": round(float(np.median(from_absent)), 3),
                "nothing, rightly": round(float((absent < from_absent).mean()), 3),
                "nothing, wrongly": round(float((present < from_present).mean()), 3),
                "rightly where wrongly is 0.10": round(float((absent < allowed).mean()), 3),
                "ROC area": round(area(present, absent), 3),
            }
        )
    return rows


def roc_rows(readings: list[Reading]) -> list[Row]:
    """Nothing said rightly / wrongly, were the threshold the same for all queries."""
    rows: list[Row] = []
    for threshold in THRESHOLDS:
        row: Row = {"threshold": threshold}
        for reading in readings:
            rightly, wrongly = ((values < threshold).mean() for values in (reading.absent()[0], reading.present()[0]))
            row[reading.searches.name] = f"{rightly:.3f} / {wrongly:.3f}"
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin", help="builtin, a downloaded model's name, or a folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument("--part", choices=["report", "fit"], default="report")
    parser.add_argument("--json", type=Path, help="write the figures of the first table here as well")
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.model)
    calibration, scale = checkpoint.calibration, checkpoint.logit_scale
    if calibration is None or scale is None:
        parser.error(f"{checkpoint.name} has no calibration: make one with training/calibrate.py")
    encoder = encoder_of(checkpoint)
    bank = encoder.texts(everyday_texts())
    asked = all_searches(options.data, options.part, encoder)

    readings = [Reading(searches, calibration, bank, scale) for searches in asked.own]
    of_imagenet, of_flickr = readings[:2], readings[2:]
    show(f"Calibration, {checkpoint.name}", error_rows(readings, own_photo(asked.captioned)), options.json)
    for collection, parts in (
        ("ImageNet: class names and kinds", of_imagenet),
        ("Flickr8k: sentences and words", of_flickr),
    ):
        error = calibration_error(*pooled(parts))
        show(f"Reliability, {collection}, top 10; calibration error {error:.3f}", curve_rows(parts))
    everything = [*readings, *(Reading(searches, calibration, bank, scale) for searches in asked.elsewhere)]
    show('"Nothing found" at the checkpoint\'s threshold', verdict_rows(everything))
    show('"Nothing found", rightly / wrongly, by threshold', roc_rows(everything))
    _names, kinds, _told, words = asked.own
    exclusion.show_all([kinds, words], bank, scale)


if __name__ == "__main__":
    main()
