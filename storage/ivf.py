"""Inverted lists: trained and filled, with the search for nearest centroids on GPUs where FAISS sees any.

The index stays one of the processor's: only k-means and the assignment of rows to lists are lent out. A GPU that is
full, perhaps of the vision tower, costs time and nothing else.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray

from photoseek.storage.faissfile import flat_rows

log = logging.getLogger(__name__)

LISTS_PER_ROOT = 8
"""nlist over the square root of the rows. Measured with words on 1,000,000 vectors, for recall@10 0.99: 4 scans 5.6% of
the rows, 8 scans 2.6%, 16 scans 1.2%, but then comparing with the centroids costs more than the rows that are saved."""
TRAINING_ROWS_PER_LIST = 40
"""FAISS wants at least 39; more costs time and gains little for float vectors."""
TRAINING_ROUNDS = 6
"""Of k-means; later ones move little."""


class IvfBuilder:
    """Trains and fills inverted lists."""

    def __init__(self) -> None:
        self._gpus_serve = faiss.get_num_gpus() > 0

    def train(self, flat: faiss.IndexScalarQuantizer) -> faiss.IndexIVFScalarQuantizer:
        """Empty inverted lists, about 8 sqrt(n) of them, trained on a sample of the rows; 8-bit codes."""
        rows = flat_rows(flat)
        nlist = max(1, min(round(LISTS_PER_ROOT * math.sqrt(len(rows))), len(rows) // 39))
        sample = np.random.default_rng(0).permutation(len(rows))[: nlist * TRAINING_ROWS_PER_LIST]
        ivf = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(flat.d), flat.d, nlist, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        ivf.cp.spherical = True
        ivf.cp.seed = 0
        ivf.cp.niter = TRAINING_ROUNDS
        ivf.cp.min_points_per_centroid = 1  # small libraries with IVF forced on; FAISS would warn on stdout
        chosen = rows[np.sort(sample)].astype(np.float32)
        self._with_gpus(ivf, "clustering_index", faiss.IndexFlatIP(flat.d), lambda: ivf.train(chosen))
        return ivf

    def add(self, ivf: faiss.IndexIVFScalarQuantizer, vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        """Add rows (n, dim) under their ids (n,)."""
        self._with_gpus(ivf, "quantizer", ivf.quantizer, lambda: ivf.add_with_ids(vectors, ids))

    def _with_gpus(
        self, ivf: faiss.IndexIVFScalarQuantizer, part: str, lent: faiss.Index, work: Callable[[], None]
    ) -> None:
        """Do some work while a part of the index is a copy of `lent` on the GPUs; without them if that fails.

        FAISS asks the part before it changes anything, so that work that failed there can be done again.
        """
        if self._gpus_serve:
            before = getattr(ivf, part)
            try:
                on_gpus = faiss.index_cpu_to_all_gpus(lent)  # this name keeps it alive: FAISS does not
                setattr(ivf, part, on_gpus)
                work()
                return
            except RuntimeError as error:
                self._gpus_serve = False
                log.warning("FAISS goes on without GPUs: %s", str(error).strip().partition("\n")[0])
            finally:
                setattr(ivf, part, before)
        work()
