"""Searching a generation's inverted lists: how far, for a plain search and under a filter.

Vectors stand in the lists as 4-bit codes (`ivf`), read by FAISS's fast scan; who asks scores the candidates exactly.
A search probes the lists that are almost as near to the query (`list_shapes`) as the nearest ones. How much "almost"
is, and how many candidates it takes, is measured on texts when the index is built (`tuning`). A query that lies near a
few lists needs few of them and one that lies far from all needs many, which a fixed number of lists would give neither.

Under a filter how many lists it takes depends on where the allowed vectors lie, not only on how many they are. So the
walk goes on by scores. A vector's cosine with a text exceeds its list's nearness by hardly more than a margin, measured
likewise. After the first lists the tenth best score is known; lists that lie further below it than the margin are left
out. Where few pass the filter, the tenth best score is lower and more lists are walked, by as much
as is needed. A filter that excludes what a query is about is seen before that: of the vectors in the nearest lists it
lets through a smaller part than of all. The best allowed ones then lie anywhere, and all allowed ones are scanned.

Sources: product quantization (Jégou et al. 2011), fast scan (André et al. 2015). Related: SPANN (Chen et al. 2021)
prunes lists by the ratio of their distance to that of the nearest centroid.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from photoseek.storage.idset import IdSet
from photoseek.storage.ivf import centroids_of, positions_in, rotation_of
from photoseek.storage.list_shapes import nearness_of, within

REFINE_FACTOR = 4
"""Candidates for each match asked for, where that is more than was measured for ten."""
STOP_RANK = 10
"""The score of this rank decides how far lists are walked, whatever the page: so longer answers begin like shorter."""
FIRST_ALLOWED_ROWS = 1024
"""The first lists hold at least so many allowed vectors."""
SHARE_OF_FAR = 0.5
"""A filter that lets through less than this part of what it lets through elsewhere excludes what the query is about."""
RESERVOIR = 11
"""FAISS's number for the way to search that is fastest for one query and hundreds of candidates."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far to search a generation's lists, measured on texts."""

    below_nearest: float
    """Lists are probed that are at most this much less near than the nearest ones (`top_nearness`)."""
    candidates: int
    """How many candidates the lists give for exact scoring, at least."""
    margin: float
    """How far a vector's cosine with a text exceeds its list's nearness; for `Lists.filtered`."""


class Lists:
    """The inverted lists of one generation, holding positions. Threads may share it."""

    def __init__(self, index: faiss.IndexPreTransform, shapes: NDArray[np.float32], reach: Reach) -> None:
        """`shapes` are those of the index's lists (`list_shapes`)."""
        self._index = index  # keeps alive what the next one is a part of
        self._ivf = faiss.downcast_index(index.index)
        self._ivf.implem = RESERVOIR
        self._rotation = rotation_of(index)
        self._centroids, self._axes = centroids_of(index)
        self._shapes, self._reach = shapes, reach

    def nearness(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """How near each list is to a query (dim,): (nlist,), much as a cosine."""
        return nearness_of(self._shapes, self._axes @ query)

    def candidates(self, count: int) -> int:
        """How many candidates to score for `count` matches: in few steps, so that longer answers begin like shorter."""
        candidates = self._reach.candidates
        while candidates < REFINE_FACTOR * count:
            candidates *= 4
        return min(candidates, int(self._ivf.ntotal))

    def nearest(
        self, query: NDArray[np.float32], candidates: int, selector: faiss.IDSelector | None
    ) -> NDArray[np.int64]:
        """Positions of at most `candidates` vectors, in no order; only those that the selector passes."""
        nearness = self.nearness(query)
        lists = np.flatnonzero(within(nearness, self._reach.below_nearest))
        return self.probe(query, candidates, lists, selector)[0]

    def filtered(self, query: NDArray[np.float32], candidates: int, allowed: IdSet) -> NDArray[np.int64] | None:
        """The same of the allowed vectors; None where only a scan of all allowed ones would tell."""
        nearness = self.nearness(query)
        order = np.argsort(-nearness)
        first = int(np.count_nonzero(within(nearness, self._reach.below_nearest)))
        near = self._near_lists(order, first, max(candidates, FIRST_ALLOWED_ROWS), allowed)
        if near is None:
            return None
        selector = faiss.IDSelectorBitmap(allowed.position_bits)
        positions, scores = self.probe(query, candidates, order[:near], selector)
        least = np.sort(scores)[-min(STOP_RANK, len(scores))] - self._reach.margin
        end = near + int(np.count_nonzero(nearness[order[near:]] >= least))
        if end > near:
            more, more_scores = self.probe(query, candidates, order[near:end], selector)
            positions, scores = np.concatenate([positions, more]), np.concatenate([scores, more_scores])
        if len(positions) > candidates:
            positions = positions[np.argpartition(-scores, candidates)[:candidates]]
        return positions

    def _near_lists(self, order: NDArray[np.int64], first: int, rows: int, allowed: IdSet) -> int | None:
        """How many lists an unfiltered search would probe, or more until `rows` are allowed; None if too few are."""
        walked = held = start = 0
        end = first
        while True:
            for number in order[start:end].tolist():
                positions = positions_in(self._ivf, number)
                walked += len(positions)
                held += int(np.count_nonzero(allowed.mapped[positions]))
            if held * len(allowed.mapped) < SHARE_OF_FAR * allowed.mapped_count * walked:
                return None
            if held >= rows:
                return end
            if end >= len(order):
                return None
            start, end = end, min(2 * end, len(order))

    def probe(
        self,
        query: NDArray[np.float32],
        candidates: int,
        lists: NDArray[np.int64],
        selector: faiss.IDSelector | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Positions of the best vectors in these lists and their scores by 4-bit codes."""
        lists = np.ascontiguousarray(lists, dtype=np.int64)
        list_scores = self._centroids[lists] @ (self._axes @ query)
        query = self._rotation @ query
        scores = np.empty(candidates, dtype=np.float32)
        positions = np.empty(candidates, dtype=np.int64)
        # The wrapper that takes arrays takes no parameters, and so no selector (seen in FAISS 1.15).
        self._ivf.search_preassigned_c(
            1,
            faiss.swig_ptr(query),
            candidates,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(list_scores),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(positions),
            False,
            faiss.SearchParametersIVF(nprobe=len(lists), sel=selector),
        )
        found = positions >= 0
        return positions[found], scores[found]
