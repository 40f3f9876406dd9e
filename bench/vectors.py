"""A million vectors that lie as a model's photo vectors lie, grown from the real ones of a few thousand photos.

Random vectors are of no use for measuring an index: in 256 dimensions all are equally far apart. Copies of real
ones are of no use either. So a grown vector is made near real ones, in three steps:

1. a real photo, and one of its 16 nearest neighbours, are mixed with a random share from 0 to 1;
2. noise is added along the directions to `d` random ones of its 64 nearest neighbours, where `d` is the local
   dimension of the real vectors, measured (`local_dimension`); its length is about the distance from a real
   photo to its nearest neighbour. The noise stays within the directions in which real photos differ;
3. the sum is scaled to unit length.

The first vectors are the real ones themselves. Queries are real caption vectors of the same model, of photos
that are not among the real ones; nothing is added to them. `describe` says how the result compares with the real
vectors: local dimension, and how near the ten best photos are to a caption.

    python bench/vectors.py --data DIR --work WORK --rows 100000
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from report import Row, show
from retrieval import open_photo, read_tar

from photoseek.aimv2 import load_text_tower, load_vision_tower, open_checkpoint

PHOTO_TARS = ("train/flickr8k.tar", "train/corel5k.tar", "train/caltech101.tar")
CAPTION_TAR = "eval/flickr8k-test.tar"
MIXED_WITH, NOISE_FROM = 16, 64
CHUNK_ROWS = 2048
ENCODED_AT_ONCE = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Real:
    """Vectors that a checkpoint computed, unit length, float32 (n, dim)."""

    photos: Floats
    captions: Floats


def real_vectors(checkpoint_name: str, data: Path, work: Path, *, photos: int, captions: int) -> Real:
    """Embed photos of the training tars and captions of the test tar, or read them from `work` when done before.

    Args:
        data: folder with train/ and eval/, tars as bench/retrieval.py reads them.
        photos, captions: at most so many, taken evenly from what is there.
    """
    checkpoint = open_checkpoint(checkpoint_name)
    cache = work / f"real-{checkpoint.digest[:12]}-{photos}-{captions}.npz"
    if cache.exists():
        stored = np.load(cache)
        return Real(stored["photos"], stored["captions"])
    contents = [data_ for tar in PHOTO_TARS if (data / tar).exists() for data_ in read_tar(data / tar)[2].values()]
    chosen = [contents[k] for k in _evenly(len(contents), photos)]
    tower = load_vision_tower(checkpoint)
    parts = []
    for first in range(0, len(chosen), ENCODED_AT_ONCE):
        images = [open_photo(photo) for photo in chosen[first : first + ENCODED_AT_ONCE]]
        parts.append(tower.encode([checkpoint.preprocessing.prepare(image) for image in images]))
    header, rows, _ = read_tar(data / CAPTION_TAR)
    texts = [rows[k][header.index("caption")] for k in _evenly(len(rows), captions)]
    real = Real(np.concatenate(parts), load_text_tower(checkpoint).encode(texts))
    work.mkdir(parents=True, exist_ok=True)
    np.savez(cache, photos=real.photos, captions=real.captions)
    return real


def grown_vectors(real: Real, rows: int, path: Path) -> NDArray[np.float16]:
    """`rows` vectors as float16, mapped from the file at `path`, which is made if it is not there."""
    if path.exists():
        stored: NDArray[np.float16] = np.load(path, mmap_mode="r")
        if stored.shape == (rows, real.photos.shape[1]):
            return stored
    path.parent.mkdir(parents=True, exist_ok=True)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, real.photos.shape[1]))
    kept = min(rows, len(real.photos))
    out[:kept] = real.photos[:kept]
    grower = Grower(real.photos)
    for first in range(kept, rows, CHUNK_ROWS):
        out[first : first + CHUNK_ROWS] = grower.grow(min(CHUNK_ROWS, rows - first))
    out.flush()
    return out


class Grower:
    """Makes vectors near real ones; the same at every run."""

    def __init__(self, photos: Floats, seed: int = 0) -> None:
        self._photos = photos
        self._random = np.random.default_rng(seed)
        self.dimension = max(1, round(local_dimension(photos)))
        near = min(NOISE_FROM, len(photos) - 1)
        distances, self._neighbours = nearest(photos, photos, near)
        self._step = float(np.median(distances[:, 0]))

    def grow(self, rows: int) -> Floats:
        """New unit vectors, float32 (rows, dim)."""
        random, photos = self._random, self._photos
        near = self._neighbours.shape[1]
        base = random.integers(0, len(photos), rows)
        mate = self._neighbours[base, random.integers(0, min(MIXED_WITH, near), rows)]
        share = random.random((rows, 1), dtype=np.float32)
        mixed = (1 - share) * photos[base] + share * photos[mate]
        others = self._neighbours[base[:, None], random.integers(0, near, (rows, self.dimension))]
        directions = photos[others] - photos[base][:, None]  # (rows, d, dim)
        directions /= np.maximum(np.linalg.norm(directions, axis=2, keepdims=True), 1e-6)
        weights = random.standard_normal((rows, 1, self.dimension), dtype=np.float32)
        noise = (weights @ directions)[:, 0] * np.float32(self._step / np.sqrt(self.dimension))
        return unit(mixed + noise)


def nearest(queries: Floats, vectors: Floats, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """Euclidean distances and positions of the `count` nearest other vectors, (n, count) each."""
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    squares, positions = index.search(queries, count + 1)
    # A query is its own nearest; where a copy of it comes first, dropping either is the same.
    return np.sqrt(np.maximum(squares[:, 1:], 0)), positions[:, 1:]


def local_dimension(vectors: Floats, sample: int = 2000, count: int = 20) -> float:
    """How many directions the vectors fill near a point: maximum likelihood over 20 neighbours.

    Source: Levina and Bickel 2004, averaged over points by its inverse (MacKay and Ghahramani 2005).
    """
    chosen = vectors[_evenly(len(vectors), sample)]
    distances, _ = nearest(chosen, vectors, min(count, len(vectors) - 1))
    distances = distances[distances[:, 0] > 1e-4]  # copies of a photo say nothing about the space around it
    logs = np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1)
    return float(1 / np.mean(logs))


def describe(real: Real, grown: NDArray[np.float16]) -> list[Row]:
    """Real beside grown: rows, local dimension among equally many, cosine of a caption's ten best."""
    some = grown[_evenly(len(grown), len(real.photos))].astype(np.float32)
    rows: list[Row] = []
    for name, sample in (("real photos", real.photos), ("grown, as many of them", some)):
        best = np.sort(real.captions @ sample.T, axis=1)[:, -10:]
        rows.append(
            {
                "vectors": name,
                "rows": len(sample),
                "local dimension": local_dimension(sample),
                "cosine, caption to its 10 best": float(best.mean()),
            }
        )
    return rows


def unit(vectors: Floats) -> Floats:
    result: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def _evenly(total: int, wanted: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).round().astype(np.int64))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every benchmark on grown vectors."""
    parser.add_argument("--checkpoint", default="builtin", help="builtin, a downloaded model's name, or a folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and eval/")
    parser.add_argument("--work", type=Path, required=True, help="where vectors and libraries are made, and kept")
    parser.add_argument("--photos", type=int, default=8000, help="real photos to embed, at most")
    parser.add_argument("--captions", type=int, default=1000, help="real captions as queries")
    parser.add_argument("--json", type=Path, help="write the figures here as well")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    real = real_vectors(
        options.checkpoint, options.data, options.work, photos=options.photos, captions=options.captions
    )
    grown = grown_vectors(real, options.rows, options.work / f"vectors-{options.rows}.npy")
    show(f"{options.rows:,} vectors grown from {len(real.photos):,} real ones", describe(real, grown), options.json)


if __name__ == "__main__":
    main()
