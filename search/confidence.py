"""How likely a photo shows what the words say, from the model's own zero-shot reading of that photo.

A cosine says which photo fits a query better, not whether it fits. A dual encoder is trained to tell texts apart on
one photo, by a softmax over cosines times its logit scale (Radford et al. 2021); so the words are read against a bank
of neutral texts on the photo in question, and the odds go through a logistic map (Platt 1999) that
`training/calibrate.py` fitted on labelled photos. docs/decisions/0012 has the figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Calibration, Embeddings


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
        logit_scale: the checkpoint's, at least 0.
    Returns:
        float32 (n,), each between 0 and 1.
    """
    generality = general(query, bank)
    odds = log_odds(query, photos, bank, logit_scale, calibration.near)
    activation = calibration.log_odds_weight * odds + calibration.generality_weight * generality + calibration.bias
    decay = np.exp(-np.abs(activation))  # never above 1, so that nothing overflows
    return np.asarray(np.where(activation >= 0, 1.0, decay) / (1.0 + decay), dtype=np.float32)


def log_odds(
    query: NDArray[np.float32], photos: Embeddings, bank: Embeddings, logit_scale: float, near: float
) -> NDArray[np.float32]:
    """By how much a photo prefers the query to an average text of the bank: log of a ratio, float32 (n,).

    s q.p - log mean_j exp(s b_j.p), with photo p, query q, logit scale s and the texts b_j of the bank whose cosine
    with the query is at most `near`: a text that says the same as the query must not count against it.
    """
    other = bank[bank @ query <= near]
    if not len(other):
        other = bank
    logits = np.float32(logit_scale) * (other @ photos.T)  # (m, n)
    highest = logits.max(axis=0)
    logits -= highest
    np.exp(logits, out=logits)
    spread = np.log(logits.mean(axis=0)) + highest
    return np.asarray(np.float32(logit_scale) * (photos @ query) - spread, dtype=np.float32)


def general(query: NDArray[np.float32], bank: Embeddings) -> float:
    """How general the words are: the mean cosine of the query with the bank.

    "a dog" lies close to many texts and fits many photos; a long sentence lies far from most and fits few, so the same
    odds mean less for it.
    """
    return float(np.mean(bank @ query))
