"""Inverted lists: trained, on GPUs where FAISS sees any, and filled.

Lists are clusters of k-means along the first of the vectors' principal axes. In its list a vector stands as what is
left of it less the list's centroid, in codes of 4 bits for each pair of axes. Before that it is rotated, so that axes
that share a code stand side by side.

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
from photoseek.storage.list_shapes import add_by_list

log = logging.getLogger(__name__)

LISTS_PER_ROOT = 3
"""nlist over the square root of the rows. A search reads the shapes of all lists and the codes of some: with words on
1,000,000 vectors, for recall@10 0.993, together 3.1 MB with 1, 2.8 with 2, 2.9 with 3 and 3.2 with 4, where from 2 to 4
a quarter fewer rows are scored."""
TRAINING_ROWS_PER_LIST = 16
"""In memory. FAISS advises 39; 16, 24 and 40 made lists that take equally long to search."""
TRAINING_ROUNDS = 6
"""Of k-means with these."""
FURTHER_ROWS_PER_LIST = 128
"""Of the file, where there are as many, read again in each further round."""
FURTHER_ROUNDS = 4
"""On 1,000,000 vectors, with captions for the same recall, the median of the rows scored falls from 32,000 without
them to 28,000, 27,000, 26,000 and 25,000 (mean of three runs)."""
ENERGY_KEPT = 0.95
"""Of the vectors' square length; lists are told apart along the axes that hold it, a third of all. Where all lists lie
along these is read at each search, and what is saved on the others outweighs the rows scored more."""
CODE_BITS = 4
"""What FAISS's fast scan takes."""
CODE_ROWS = 4096
"""FAISS trains codes of 4 bits on no more."""
ROWS_AT_ONCE = 4096
GPU_BYTES = 2**28
"""Of each GPU, set aside while it is lent to. FAISS would take 1.5 GiB, which a vision tower may need."""

Floats = NDArray[np.float32]


def train_lists(flat: faiss.IndexScalarQuantizer) -> faiss.IndexPreTransform:
    """Empty inverted lists, about 3 sqrt(n) of them, trained on a sample of the rows."""
    rows = flat_rows(flat)
    nlist = max(1, min(round(LISTS_PER_ROOT * math.sqrt(len(rows))), len(rows) // 39))
    sample = _sample(rows, nlist * TRAINING_ROWS_PER_LIST)
    axes, kept = _principal_axes(sample)
    for first in range(0, len(sample), ROWS_AT_ONCE):  # in place: there may be a hundred MB
        sample[first : first + ROWS_AT_ONCE] = sample[first : first + ROWS_AT_ONCE] @ axes.T
    centroids = _clustered(np.ascontiguousarray(sample[:, :kept]), nlist)
    for _ in range(FURTHER_ROUNDS):
        centroids = _means(rows, axes[:kept], centroids)
    order = _order(flat.d)
    quantizer = faiss.IndexPreTransform(
        _transform(np.eye(flat.d, dtype=np.float32)[order, :kept].T), _holding(centroids)
    )
    # Of the wrapper only. For distances FAISS would make a table at each opening: 25 MB for a million rows, unread.
    quantizer.metric_type = faiss.METRIC_INNER_PRODUCT
    codes = flat.d // 2 if flat.d % 2 == 0 else flat.d
    ivf = faiss.IndexIVFPQFastScan(quantizer, flat.d, nlist, codes, CODE_BITS, faiss.METRIC_INNER_PRODUCT)
    ivf.by_residual = True
    ivf.pq.cp.min_points_per_centroid = 1  # small libraries with IVF forced on; FAISS would warn on stdout
    ivf.train(sample[:: -(-len(sample) // CODE_ROWS), order])
    return faiss.IndexPreTransform(_transform(axes[order]), ivf)


def rotation_of(index: faiss.IndexPreTransform) -> Floats:
    """The rotation before some lists: (dim, dim), an axis a row."""
    return _matrix(index)


def centroids_of(index: faiss.IndexPreTransform) -> tuple[Floats, Floats]:
    """The lists' centroids (nlist, k), and the axes that they are along (k, dim)."""
    quantizer = faiss.downcast_index(faiss.downcast_index(index.index).quantizer)
    flat = faiss.downcast_index(quantizer.index)
    centroids: Floats = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return centroids.reshape(flat.ntotal, flat.d), _matrix(index)[_matrix(quantizer).argmax(axis=1)]


def _matrix(index: faiss.IndexPreTransform) -> Floats:
    transform = faiss.downcast_VectorTransform(index.chain.at(0))
    return np.asarray(faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in))


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


def _principal_axes(sample: Floats) -> tuple[Floats, int]:
    """The principal axes of unit vectors (n, dim), that of most first; and by how many of them to tell lists apart."""
    dim = sample.shape[1]
    products = np.zeros((dim, dim))
    for first in range(0, len(sample), ROWS_AT_ONCE):  # at once would make a copy of twice the size
        part = sample[first : first + ROWS_AT_ONCE].astype(np.float64)
        products += part.T @ part
    energies, axes = np.linalg.eigh(products)
    held = np.cumsum(energies[::-1])
    return axes.T[::-1].astype(np.float32), 1 + int(np.searchsorted(held, ENERGY_KEPT * held[-1]))


def _clustered(sample: Floats, nlist: int) -> Floats:
    """Centroids (nlist, k) of a sample (n, k), found on the GPUs; without them if that fails."""
    flat = faiss.IndexFlatL2(sample.shape[1])
    if faiss.get_num_gpus() > 0:
        try:
            return _k_means(sample, nlist, _on_all_gpus(flat))
        except RuntimeError as error:
            log.warning("FAISS goes on without GPUs: %s", str(error).strip().partition("\n")[0])
    return _k_means(sample, nlist, flat)


def _k_means(sample: Floats, nlist: int, finder: faiss.Index) -> Floats:
    settings = faiss.ClusteringParameters()
    settings.seed, settings.niter = 0, TRAINING_ROUNDS
    settings.min_points_per_centroid = 1
    clustering = faiss.Clustering(sample.shape[1], nlist, settings)
    clustering.train(sample, finder)
    return np.asarray(faiss.vector_to_array(clustering.centroids).reshape(nlist, -1))


def _on_all_gpus(index: faiss.Index) -> faiss.Index:
    resources = [faiss.StandardGpuResources() for _ in range(faiss.get_num_gpus())]
    for each in resources:
        each.setTempMemory(GPU_BYTES)
    return faiss.index_cpu_to_gpu_multiple_py(resources, index)


def _means(rows: NDArray[np.float16], axes: Floats, centroids: Floats) -> Floats:
    """Along the axes (k, dim), the means of the rows (n, dim) that are nearest to each centroid (nlist, k)."""
    finder, nlist = _holding(centroids), len(centroids)
    sums, sizes = np.zeros_like(centroids), np.zeros(nlist, dtype=np.int64)
    step = max(1, len(rows) // (FURTHER_ROWS_PER_LIST * nlist))
    for first in range(0, len(rows), step * ROWS_AT_ONCE):
        part = rows[first : first + step * ROWS_AT_ONCE : step].astype(np.float32) @ axes.T
        near = finder.search(part, 1)[1][:, 0]
        add_by_list(sums, part, near)
        sizes += np.bincount(near, minlength=nlist)
    return np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None].astype(np.float32), centroids)


def _order(dim: int) -> NDArray[np.int64]:
    """The axes (dim,) as codes take them: the one of most beside the one of least, and so on.

    Each pair is coded in as many bits, so each should have as much to say: photos differ along half of the axes or
    fewer. Measured on the built-in model: what the codes lose falls to a sixth. One to four axes to a code, so that the
    products of their variances are even, find no more.

    Source: optimized product quantization, its parametric solution (Ge et al. 2013).
    """
    return np.stack([np.arange(dim), np.arange(dim)[::-1]], axis=1).ravel()[:dim]


def _holding(vectors: Floats) -> faiss.IndexFlatL2:
    flat = faiss.IndexFlatL2(vectors.shape[1])
    flat.add(vectors)
    return flat


def _transform(matrix: Floats) -> faiss.LinearTransform:
    """What multiplies by a matrix (n, dim)."""
    transform = faiss.LinearTransform(matrix.shape[1], matrix.shape[0], False)
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix).ravel(), transform.A)
    transform.is_trained = True
    transform.set_is_orthonormal()
    return transform
