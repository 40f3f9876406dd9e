"""Rate of the decode workers against plain threads that read the same JPEGs with the same code.

    python bench/decode.py [--photos 60] [--workers N] [--examples FOLDER]

Threads are the cheapest way to decode in parallel: no processes, no pipes, no limits. What the workers cost
beside them is the price of surviving a decoder that crashes. The goal is 85 % of the threads' rate.

Two sets are made from examples/photos: 12-megapixel JPEGs, as cameras write them, and small ones of 640 x 480,
where the fixed cost of a photo weighs most. Runs alternate and the best of each counts, which is the fairest to
both on a machine that does other things too. The processes are started before the clock is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from photoseek.contracts import DecodeJob, PhotoRead, Picture, Preprocessing
from photoseek.indexer.decode import read_photo
from photoseek.indexer.photo_file import PhotoFile, read_photo_file
from photoseek.indexer.workers import DecodeWorkers

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
SETS = {"12 MP": (4000, 3000), "640 x 480": (640, 480)}
ROUNDS = 5


@dataclass(frozen=True)
class Squash:
    """Preprocessing of a 224-pixel tower: the whole photo squashed to a square."""

    size: int = 224

    digest = "bench"

    @property
    def draft_size(self) -> tuple[int, int]:
        return 2 * self.size, 2 * self.size

    def prepare(self, image: Image.Image) -> Picture:
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC))

    def spec(self) -> tuple[str, dict[str, object]]:
        return "decode:Squash", {"size": self.size}  # this file, by the folder that Python put on its path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=60, help="photos of 12 MP; of the small ones ten times as many")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="folder of JPEGs to make the sets from")
    options = parser.parse_args()
    print(f"{options.workers} workers, best of {ROUNDS} runs, photos a second")
    for name, size in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = _make_photos(options.examples, Path(folder), size)
            count = options.photos if size[0] > 1000 else 10 * options.photos
            jobs = [DecodeJob(key, os.fsencode(paths[key % len(paths)])) for key in range(count)]
            threads, workers = _compare(jobs, options.workers)
        print(f"{name:>10}: threads {threads:7.1f}   workers {workers:7.1f}   {workers / threads:5.0%}")


def _make_photos(examples: Path, folder: Path, size: tuple[int, int]) -> list[Path]:
    """Each example photo as a JPEG of this size, with a little grain so that it is not smoother than a camera's."""
    paths = []
    noise = np.random.default_rng(0)
    for source in sorted(examples.glob("*.jpg")):
        with Image.open(source) as image:
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
        grain = noise.integers(-3, 4, pixels.shape, dtype=np.int16)
        path = folder / source.name
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    if not paths:
        raise SystemExit(f"no photos in {examples}")
    return paths


def _compare(jobs: list[DecodeJob], workers: int) -> tuple[float, float]:
    """Best rates of threads and of workers, in photos a second."""
    preprocessing: Preprocessing = Squash()

    def read(job: DecodeJob) -> object:
        photo = read_photo_file(job.path)
        assert isinstance(photo, PhotoFile)
        return read_photo(photo.data, preprocessing, name=job.path, mtime_ns=photo.mtime_ns)

    with ThreadPoolExecutor(workers) as threads, DecodeWorkers(preprocessing, workers=workers) as pool:
        ways: list[Callable[[], list[object]]] = [
            lambda: list(threads.map(read, jobs)),
            lambda: [result for _, result in pool.read(jobs)],
        ]
        best = [0.0, 0.0]
        for run in range(ROUNDS + 1):
            for way, work in enumerate(ways):
                start = time.perf_counter()
                results = work()
                seconds = time.perf_counter() - start
                assert all(isinstance(result, PhotoRead) for result in results)
                if run > 0:  # the first starts the processes and fills the caches
                    best[way] = max(best[way], len(jobs) / seconds)
    return best[0], best[1]


if __name__ == "__main__":
    main()
