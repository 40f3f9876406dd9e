"""Inverted lists: trained, on GPUs where FAISS sees any, and filled.

The index stays one of the processor's: only k-means is lent out. A GPU that is full, perhaps of the vision tower, costs
time and nothing else. Rows are added without: FAISS then asks the quantizer for each row's residual by itself, which
over a GPU takes longer than finding its list saves.
"""

from __future__ import annotations

import logging
import math

import faiss
import numpy as np
from numpy.typing import NDArray

from photoseek.storage.faissfile import flat_rows

log = logging.getLogger(__name__)

LISTS_PER_ROOT = 3
"""nlist over the square root of the rows. A search reads the shapes of all lists and the codes of some: with words on
1,000,000 vectors, for recall@10 0.993, together 3.1 MB with 1, 2.8 with 2, 2.9 with 3 and 3.2 with 4, where from 2 to 4
a quarter fewer rows are scored."""
TRAINING_ROWS_PER_LIST = 16
"""FAISS advises 39. Measured with words on 100,000 and 1,000,000 vectors: 16, 24 and 40 take equally long to search for
the same recall, and 16 a third of the time and memory to train."""
TRAINING_ROUNDS = 6
"""Of k-means; later ones move little."""
ROWS_AT_ONCE = 4096
CODE_BITS = 4
"""What FAISS's fast scan takes."""
GPU_BYTES = 2**28
"""Of each GPU, set aside while it is lent to. FAISS would take 1.5 GiB, which a vision tower may need."""


def train_lists(flat: faiss.IndexScalarQuantizer) -> faiss.IndexPreTransform:
    """Empty inverted lists, about 3 sqrt(n) of them, trained on a sample of the rows.

    Vectors are rotated, so that 4 bits for each pair of numbers tell most, and coded less their list's centroid.
    """
    rows = flat_rows(flat)
    nlist = max(1, min(round(LISTS_PER_ROOT * math.sqrt(len(rows))), len(rows) // 39))
    chosen = _sample(rows, nlist * TRAINING_ROWS_PER_LIST)
    rotation = _rotation(chosen)
    for first in range(0, len(chosen), ROWS_AT_ONCE):  # in place: there may be a hundred MB
        chosen[first : first + ROWS_AT_ONCE] = rotation.apply(chosen[first : first + ROWS_AT_ONCE])
    parts = flat.d // 2 if flat.d % 2 == 0 else flat.d
    ivf = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(flat.d), flat.d, nlist, parts, CODE_BITS, faiss.METRIC_INNER_PRODUCT
    )
    ivf.by_residual = True
    ivf.cp.spherical = True
    ivf.cp.seed = 0
    ivf.cp.niter = TRAINING_ROUNDS
    for clustering in (ivf.cp, ivf.pq.cp):
        clustering.min_points_per_centroid = 1  # small libraries with IVF forced on; FAISS would warn on stdout
    _train(ivf, chosen)
    return faiss.IndexPreTransform(rotation, ivf)


def _train(ivf: faiss.IndexIVFPQFastScan, sample: NDArray[np.float32]) -> None:
    """On the GPUs; without them if that fails. FAISS clusters before it changes anything, so that training that failed
    there can be done again."""
    if faiss.get_num_gpus() > 0:
        try:
            ivf.clustering_index = on_gpus = _on_all_gpus(faiss.IndexFlatIP(ivf.d))
            on_gpus.this.own(True)  # FAISS does not, and by the assignment Python would not: it would never go
            ivf.train(sample)
            return
        except RuntimeError as error:
            log.warning("FAISS goes on without GPUs: %s", str(error).strip().partition("\n")[0])
        finally:
            ivf.clustering_index = None
    ivf.train(sample)


def _on_all_gpus(index: faiss.Index) -> faiss.Index:
    resources = [faiss.StandardGpuResources() for _ in range(faiss.get_num_gpus())]
    for each in resources:
        each.setTempMemory(GPU_BYTES)
    return faiss.index_cpu_to_gpu_multiple_py(resources, index)


def rotation_of(index: faiss.IndexPreTransform) -> NDArray[np.float32]:
    """The rotation before some lists: (dim, dim), an axis a row."""
    rotation = faiss.downcast_VectorTransform(index.chain.at(0))
    return np.asarray(faiss.vector_to_array(rotation.A).reshape(index.d, index.d))


def positions_in(ivf: faiss.IndexIVF, number: int) -> NDArray[np.int64]:
    """The positions of the vectors in one list, without a copy; valid while the index lives."""
    size = ivf.invlists.list_size(number)
    if size == 0:
        return np.empty(0, dtype=np.int64)
    positions: NDArray[np.int64] = faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size)
    return positions


def lists_of(index: faiss.IndexPreTransform) -> NDArray[np.int64]:
    """(rows,): the list in which each vector stands."""
    ivf = faiss.downcast_index(index.index)
    lists = np.empty(ivf.ntotal, dtype=np.int64)
    for number in range(ivf.nlist):
        lists[positions_in(ivf, number)] = number
    return lists


def _sample(rows: NDArray[np.float16], count: int) -> NDArray[np.float32]:
    """So many of the rows (n, dim), or all, but as many as FAISS wants at least to train codes."""
    least = 2**CODE_BITS
    count = min(max(count, least), len(rows))
    places = np.sort(np.random.default_rng(0).choice(len(rows), count, replace=False, shuffle=False))
    sample = np.empty((count, rows.shape[1]), dtype=np.float32)
    for first in range(0, count, ROWS_AT_ONCE):  # never all of them as float16, too
        sample[first : first + ROWS_AT_ONCE] = rows[places[first : first + ROWS_AT_ONCE]]
    return sample if count >= least else np.resize(sample, (least, rows.shape[1]))


def _rotation(sample: NDArray[np.float32]) -> faiss.LinearTransform:
    """The principal axes of a sample (n, dim) of unit vectors, the one with most of them paired with the one of least.

    Inner products stay as they are. Each pair of numbers is coded in as many bits, so each should have as much to
    say: photos differ along half of the axes or fewer. Measured on the built-in model: what the codes lose falls to a
    sixth.

    Source: optimized product quantization, its parametric solution (Ge et al. 2013).
    """
    dim = sample.shape[1]
    products = np.zeros((dim, dim))
    for first in range(0, len(sample), ROWS_AT_ONCE):  # at once would make a copy of twice the size
        part = sample[first : first + ROWS_AT_ONCE].astype(np.float64)
        products += part.T @ part
    _, axes = np.linalg.eigh(products)
    order = np.stack([np.arange(dim)[::-1], np.arange(dim)], axis=1).ravel()[:dim]
    rotation = faiss.LinearTransform(dim, dim, False)
    faiss.copy_array_to_vector(axes[:, order].T.astype(np.float32).ravel(), rotation.A)
    rotation.is_trained = True
    rotation.set_is_orthonormal()
    return rotation
