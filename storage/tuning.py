"""How far lists have to be searched for a recall of 0.99: measured on texts.

Words lie outside the photos' distribution: what holds for photos as queries does not hold for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import faiss
import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Embeddings
from photoseek.storage.faissfile import flat_rows
from photoseek.storage.ivf import lists_of
from photoseek.storage.list_shapes import top_nearness, within
from photoseek.storage.lists import Lists, Reach

TARGET_RECALL = 0.99
RECALL_AT = 10
REACHED = (0.991, 0.992, 0.993, 0.994, 0.995, 0.996, 0.997, 0.998, 0.999, 1.0)
"""Of the best vectors of the texts, so many stand in lists that are probed."""
CANDIDATES = (160, 320, 640, 1280, 2560)
"""How many candidates are tried; 4-bit codes of some models need more. The least serves a page of 20 with its spare
ones (`lists.REFINE_FACTOR`); for the built-in model it finds all but 0.0005 of what 512 find."""
ROWS_PER_CANDIDATE = 50
"""Scoring a candidate exactly takes as long as scanning so many rows of the lists: it lies alone in memory."""
SCANNED_ROWS_MIN = 4096
"""Lists are probed until about this many rows are scanned: fewer save no time that could be measured."""
MARGIN_QUANTILE = 0.995
"""Of the best vectors of the texts, so many exceed their list's nearness by no more than the margin."""
EVERY_LIST = 3.0
"""No list with vectors in it lies so far below the nearest ones."""
MIN_QUERIES = 20
"""With fewer texts, stored photo vectors are the queries: a space without a text tower."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured on a generation with lists."""

    reach: Reach
    nlist: int
    """How many lists there are."""
    nprobe: int
    """How many of them a text probes, the median."""
    recall: float
    """recall@10 against exact search on queries not used to choose the reach."""


def tune(
    index: faiss.IndexPreTransform, shapes: NDArray[np.float32], flat: faiss.IndexScalarQuantizer, texts: Embeddings
) -> Tuned:
    """The shortest reach with recall@10 >= 0.99 on every second text and on the others; else the longest there is."""
    if len(texts) < MIN_QUERIES:
        sample = np.random.default_rng(1).permutation(flat.ntotal)[:200]
        texts = flat_rows(flat)[sample].astype(np.float32)
    truth_scores, truth = flat.search(texts, min(RECALL_AT, flat.ntotal))
    every = Lists(index, shapes, Reach(EVERY_LIST, CANDIDATES[-1], EVERY_LIST))
    nearness = np.stack([every.nearness(text) for text in texts])
    of_lists = np.take_along_axis(nearness, lists_of(index)[truth], axis=1)
    below = top_nearness(nearness)[:, None] - of_lists
    margin = float(np.quantile(truth_scores - of_lists, MARGIN_QUANTILE))
    chosen, held_out = slice(0, None, 2), slice(1, None, 2)
    least = _least_below(nearness, flat.ntotal)
    longest = Reach(max(least, float(below.max())), CANDIDATES[-1], margin)
    reaches = [
        Reach(max(least, float(np.quantile(below[chosen], reached))), candidates, margin)
        for reached, candidates in product(REACHED, CANDIDATES)
    ]
    reaches = [*sorted(reaches, key=lambda reach: _cost(nearness, reach, flat.ntotal)), longest]
    for reach in reaches:
        lists = Lists(index, shapes, reach)
        if reach is not reaches[-1] and _recall(lists, texts[chosen], truth[chosen]) < TARGET_RECALL:
            continue
        recall = _recall(lists, texts[held_out], truth[held_out])
        if recall >= TARGET_RECALL:
            break
    return Tuned(reach, nearness.shape[1], int(np.median(_probed(nearness, reach))), recall)


def _least_below(nearness: NDArray[np.float32], rows: int) -> float:
    """How far below the nearest ones the list lies with which `SCANNED_ROWS_MIN` rows are scanned; not above them."""
    nlist = nearness.shape[1]
    lists = math.ceil(SCANNED_ROWS_MIN * nlist / rows)
    if lists >= nlist:
        return EVERY_LIST
    last = np.sort(nearness, axis=1)[:, -lists]
    return max(0.0, float(np.median(top_nearness(nearness) - last)))


def _probed(nearness: NDArray[np.float32], reach: Reach) -> NDArray[np.int64]:
    """How many lists each text probes, (n,)."""
    return np.asarray(np.count_nonzero(within(nearness, reach.below_nearest), axis=1))


def _cost(nearness: NDArray[np.float32], reach: Reach, rows: int) -> float:
    """Rows scanned by a text, the mean, with the candidates' share."""
    scanned: float = float(_probed(nearness, reach).mean()) * rows / nearness.shape[1]
    return scanned + ROWS_PER_CANDIDATE * reach.candidates


def _recall(lists: Lists, queries: Embeddings, truth: NDArray[np.int64]) -> float:
    """Share of the true best positions (n, 10) that are candidates: exact scoring then puts them first."""
    found = [lists.nearest(query, lists.candidates(RECALL_AT), None) for query in queries]
    return float(np.mean([np.isin(best, positions).mean() for best, positions in zip(truth, found, strict=True)]))
