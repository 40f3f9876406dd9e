"""How likely a photo shows what the words say, from the model's own zero-shot reading of that photo.

A cosine says which photo fits a query better, not whether it fits. A dual encoder is trained to tell texts apart on
one photo, by a softmax over cosines times its logit scale (Radford et al. 2021); so the words are read against a bank
of neutral texts on the photo in question. Three figures of that reading go through a logistic map (Platt 1999) that
`training/calibrate.py` fitted on labelled photos. docs/decisions/0012 has what it is worth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Calibration, Embeddings

HIGHEST_THRESHOLD = 0.25
"""A photo of which one in four shows what the words say is never called "nothing", however general they are."""


def confidences(
    calibration: Calibration,
    query: NDArray[np.float32],
    photos: Embeddings,
    bank: Embeddings,
    logit_scale: float,
) -> NDArray[np.float32]:
    """How likely each photo shows what the query says.

    Depends on query, photo and bank only: a photo keeps its confidence when the library around it changes.

    Args:
        query: unit vector (dim,) of words, from the calibrated checkpoint, as photos and bank are.
        photos: unit vectors (n, dim), n may be 0.
        bank: unit vectors (m, dim) of neutral texts, m at least 1.
        logit_scale: the checkpoint's, 0 to 100.
    Returns:
        float32 (n,), each between 0 and 1.
    """
    reading = read(query, photos, bank, logit_scale, calibration.near)
    activation = (
        calibration.log_odds_weight * reading.log_odds
        + calibration.clarity_weight * reading.clarity
        + calibration.generality_weight * generality(query, bank)
        + calibration.bias
    )
    return _logistic(activation)


def found_from(calibration: Calibration, query: NDArray[np.float32], bank: Embeddings, words: int) -> float:
    """The confidence from which on a photo counts as found, between 0 and HIGHEST_THRESHOLD.

    It grows with how general the query is and with the number of its words, as the confidence of the best wrong photo
    does: of several things that a long query names, some photo in a library shows one or two.

    Args:
        words: how many words the query has, at least 1.
    """
    activation = (
        calibration.threshold_generality_weight * generality(query, bank)
        + calibration.threshold_words_weight * np.log(words)
        + calibration.threshold_bias
    )
    return min(float(_logistic(np.array(activation))), HIGHEST_THRESHOLD)


class Reading(NamedTuple):
    """What the model makes of photos, each float32 (n,)."""

    log_odds: NDArray[np.float32]
    """By how much a photo prefers the query to an average text of the bank: s q.p - log mean_j exp(s b_j.p), with
    photo p, query q, logit scale s and the texts b_j of the bank that do not say the same as the query."""
    clarity: NDArray[np.float32]
    """How clearly a photo reads as a few texts of the bank and not as the others: log m less the entropy of the softmax
    over its m texts, 0 to log m nats. Low where the model does not know what it sees."""


def read(query: NDArray[np.float32], photos: Embeddings, bank: Embeddings, logit_scale: float, near: float) -> Reading:
    """Read photos (n, dim) against the bank (m, dim).

    Texts with a cosine above `near` to the query say the same and do not count against it, unless all do.
    """
    scale = np.float32(logit_scale)
    logits = scale * (bank @ photos.T)  # (m, n)
    highest = logits.max(axis=0)
    logits -= highest
    odds = np.exp(logits)
    total = odds.sum(axis=0)
    clarity = np.log(np.float32(len(bank))) - np.log(total) + np.einsum("mn,mn->n", odds, logits) / total
    other = bank @ query <= near
    mean = odds[other].mean(axis=0) if other.any() and not other.all() else total / len(bank)
    against = highest + np.log(np.maximum(mean, np.finfo(np.float32).tiny))
    return Reading(scale * (photos @ query) - against, np.maximum(clarity, 0))


def generality(query: NDArray[np.float32], bank: Embeddings) -> float:
    """How general the words are: the mean cosine of the query with the bank.

    "a dog" lies close to many texts and fits many photos; a long sentence lies far from most and fits few, so the same
    odds mean less for it.
    """
    return float(np.mean(bank @ query))


def _logistic(activation: NDArray[np.floating]) -> NDArray[np.float32]:
    decay = np.exp(-np.abs(activation))  # never above 1, so that nothing overflows
    return np.asarray(np.where(activation >= 0, 1.0, decay) / (1.0 + decay), dtype=np.float32)
