"""How many lists to probe: measured on texts, since words lie outside the photos' distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Embeddings
from photoseek.storage.faissfile import flat_rows

TARGET_RECALL = 0.99
RECALL_AT = 10
MARGIN = 0.003
"""Aimed above the target on the tuning half, so that the held-out half reaches it."""
CANDIDATES = 256
"""How many candidates the lists give for exact scoring, at least."""
SCANNED_ROWS_MIN = 4096
"""Lists are probed until about this many rows are scanned: fewer save no time that could be measured."""
MIN_QUERIES = 20
"""With fewer texts, stored photo vectors are the queries: a space without a text tower."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Lists to probe, and recall@10 against exact search on queries not used to choose it."""

    nprobe: int
    recall: float | None


def tune(
    ivf: faiss.IndexIVFScalarQuantizer,
    flat: faiss.IndexScalarQuantizer,
    ids: NDArray[np.int64],
    texts: Embeddings,
) -> Tuned:
    """The smallest nprobe with recall@10 >= 0.99 on every second text, checked on the others."""
    if len(texts) < MIN_QUERIES:
        sample = np.random.default_rng(1).permutation(len(ids))[:200]
        texts = flat_rows(flat)[sample].astype(np.float32)
    _, truth_positions = flat.search(texts, min(RECALL_AT, len(ids)))
    truth = ids[truth_positions]
    tuning, held_out = slice(0, None, 2), slice(1, None, 2)

    def recall(part: slice, nprobe: int) -> float:
        found = search_lists(ivf, flat, ids, texts[part], nprobe, CANDIDATES)
        hits = [np.isin(truth_row, found_row).mean() for truth_row, found_row in zip(truth[part], found, strict=True)]
        return float(np.mean(hits))

    nprobe = min(ivf.nlist, math.ceil(SCANNED_ROWS_MIN * ivf.nlist / len(ids)))
    while nprobe < ivf.nlist and recall(tuning, nprobe) < TARGET_RECALL + MARGIN:
        nprobe = min(ivf.nlist, max(nprobe + 1, round(nprobe * 1.2)))
    while (held_recall := recall(held_out, nprobe)) < TARGET_RECALL and nprobe < ivf.nlist:
        nprobe = min(ivf.nlist, max(nprobe + 1, round(nprobe * 1.2)))
    return Tuned(nprobe, held_recall)


def search_lists(
    ivf: faiss.IndexIVFScalarQuantizer,
    flat: faiss.IndexScalarQuantizer,
    ids: NDArray[np.int64],
    queries: Embeddings,
    nprobe: int,
    candidates: int,
) -> list[NDArray[np.int64]]:
    """The ten best ids a query: candidates from the lists, scored exactly."""
    _, found = ivf.search(queries, candidates, params=faiss.SearchParametersIVF(nprobe=nprobe))
    rows = flat_rows(flat)
    best = []
    for query, candidate_ids in zip(queries, found, strict=True):
        candidate_ids = candidate_ids[candidate_ids >= 0]
        scores = rows[np.searchsorted(ids, candidate_ids)].astype(np.float32) @ query
        best.append(candidate_ids[np.argsort(-scores)[:RECALL_AT]])
    return best
