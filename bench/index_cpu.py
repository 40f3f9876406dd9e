"""Indexing on the CPU, from JPEG files to a library, beside the plain loop of transformers' documentation.

    python bench/index_cpu.py --work WORK --photos 200
    python bench/index_cpu.py --work WORK --photos 24 --checkpoint large

Photos of 12 megapixels are made from examples/photos, each with other pixels. Everything runs on the same files,
checkpoint and machine, in one run:

plain loop     transformers' Aimv2Model in float32, one photo at a time: Pillow decodes it in full, transformers'
               image processor prepares it. No hashing, no metadata, nothing stored. On --loop-photos of them.
index          `PhotoLibrary.index` into a new library, start of the workers and the model included; its space is
               made before. The precision is what the trial chose (aimv2/trial.py).
decode alone   one photo read, decoded and prepared as the workers do it, on one thread.
tower alone    the vision tower on the prepared pictures, on all cores, in batches as the indexer makes them.
bound          cores / (decode + tower), both in seconds of one core a photo: no index can be faster.
peak           matrix product of 4096 x 4096 in torch, float32 and bfloat16, all cores: the engine's share is the
               tower's arithmetic over its time, over the better of the two.

Machines change their speed from minute to minute, so loop, decode, tower and index are timed in turns, a library anew
each time: the times printed are medians, the ratios the medians of each round's own.

The lowest cosine between the loop's vectors and the library's says whether both compute the same; the two decode
in different ways (scaled decoding), so it is not 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from large import large_checkpoint
from numpy.typing import NDArray
from PIL import Image
from report import Row, cores, median, show

from photoseek import PhotoLibrary
from photoseek.aimv2 import Checkpoint, load_vision_tower, open_checkpoint, run_trial
from photoseek.aimv2.sizes import VisionSizes
from photoseek.contracts import PhotoRead
from photoseek.indexer.decode import read_photo
from photoseek.indexer.embedding import BATCH_MAX

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
SIZE = (4000, 3000)
PEAK_SIDE = 4096
REPEATS = 3
TOWER_SECONDS = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin", help='builtin, a folder, or "large": random, made here')
    parser.add_argument("--work", type=Path, required=True, help="where photos and the library are made")
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="folder of JPEGs to make the photos from")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--loop-photos", type=int, default=24, help="how many of them for the plain loop")
    parser.add_argument("--rounds", type=int, default=3, help="of loop, decoding, tower and index, in turns")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--peak-side", type=int, default=PEAK_SIDE, help="of the matrices for the peak")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    # Trials are remembered beside the models: not beside the user's.
    os.environ["PHOTOSEEK_MODELS"] = str(options.work / "models")
    folder = options.work / f"photos-{options.photos}-{options.size[0]}"
    paths = make_photos(options.examples, folder, options.photos, tuple(options.size))
    source = str(large_checkpoint(options.work / "large")) if options.checkpoint == "large" else options.checkpoint
    checkpoint = open_checkpoint(source)
    title = f"{options.photos} photos of {options.size[0]} x {options.size[1]}, {options.checkpoint}"
    show(title, measure(checkpoint, source, folder, paths, options), options.json)


def measure(
    checkpoint: Checkpoint, source: str, folder: Path, paths: list[Path], options: argparse.Namespace
) -> list[Row]:
    assert checkpoint.vision is not None
    peak = max(matrix_peak(torch.float32, options.peak_side), matrix_peak(torch.bfloat16, options.peak_side))
    _, pictures = decode_alone(checkpoint, paths[: 2 * options.loop_photos])
    trial = run_trial(checkpoint, pictures)
    rounds = []
    for _ in range(options.rounds):
        loop_s, loop_vectors = plain_loop(checkpoint, paths[: options.loop_photos])
        decode_s, _ = decode_alone(checkpoint, paths[: 2 * options.loop_photos])
        tower_s = tower_alone(checkpoint, pictures)
        index_s, vectors = index(source, folder, options.work / "library")
        rounds.append((loop_s / options.loop_photos, decode_s, tower_s, index_s / len(paths)))
    loop_s, decode_s, tower_s, index_s = (median(seconds) for seconds in zip(*rounds, strict=True))
    over_loop = median(loop / whole for loop, _, _, whole in rounds)
    over_bound = median((decode / cores() + tower) / whole for _, decode, tower, whole in rounds)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths[: options.loop_photos]]
    cosine = min(float(vectors[key] @ mine) for key, mine in zip(digests, loop_vectors, strict=True))
    share = operations(checkpoint.vision) / tower_s / peak
    return [
        {"what": "plain loop, photos/s", "value": 1 / loop_s},
        {"what": "index, photos/s", "value": 1 / index_s},
        {"what": "index over plain loop", "value": over_loop},
        {"what": "lowest cosine between the two", "value": cosine},
        {"what": "precision chosen by the trial", "value": f"{trial.precision}: {trial.reason}"},
        {"what": "decode alone, ms of one core", "value": 1000 * decode_s},
        {"what": "tower alone, photos/s on all cores", "value": 1 / tower_s},
        {"what": "bound, photos/s", "value": 1 / (decode_s / cores() + tower_s)},
        {"what": "index over bound", "value": over_bound},
        {"what": "tower, GFLOP a photo", "value": operations(checkpoint.vision) / 1e9},
        {"what": "matrix peak, GFLOP/s", "value": peak / 1e9},
        {"what": "tower's share of the peak", "value": share},
    ]


def make_photos(examples: Path, folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """`count` JPEGs of this size: the examples mirrored and shifted, with a little grain, no two alike."""
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    grain = rng.integers(-3, 4, (size[1], size[0], 3), dtype=np.int16)
    for first, source in enumerate(sources := sorted(examples.glob("*.jpg"))):
        with Image.open(source) as image:
            large = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
        for number in range(first, count, len(sources)):
            shift = number * 37 % size[1]  # another for each photo, up to thousands
            pixels = np.roll(large, shift, axis=1)[:, :: rng.choice([-1, 1])] + np.roll(grain, shift, axis=0)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(paths[number], quality=90)
    return paths


def plain_loop(checkpoint: Checkpoint, paths: list[Path]) -> tuple[float, NDArray[np.float32]]:
    """Seconds for all paths after the model is loaded, and the unit vectors (n, dim)."""
    model = transformers.Aimv2Model.from_pretrained(checkpoint.folder, dtype=torch.float32)  # in eval mode already
    processor = transformers.CLIPImageProcessorPil.from_pretrained(checkpoint.folder)

    def embed(path: Path) -> NDArray[np.float32]:
        with Image.open(path) as image, torch.inference_mode():
            inputs = processor(images=image, return_tensors="pt")
            features = model.visual_projection(model.vision_model(**inputs).pooler_output)
        vector: NDArray[np.float32] = features[0].numpy()
        return vector / np.linalg.norm(vector)

    embed(paths[0])
    started = time.perf_counter()
    vectors = np.array([embed(path) for path in paths])
    return time.perf_counter() - started, vectors


def decode_alone(checkpoint: Checkpoint, paths: list[Path]) -> tuple[float, list[Any]]:
    """Seconds a photo on one thread, and the prepared pictures."""
    pictures = []
    started = time.perf_counter()
    for path in paths:
        photo = read_photo(path.read_bytes(), checkpoint.preprocessing)
        assert isinstance(photo, PhotoRead)
        pictures.append(photo.picture)
    return (time.perf_counter() - started) / len(paths), pictures


def tower_alone(checkpoint: Checkpoint, pictures: list[Any]) -> float:
    """Seconds a picture with all cores, warm, over some seconds; in the precision that a library would use."""
    tower = load_vision_tower(checkpoint)
    batch = (pictures * BATCH_MAX)[:BATCH_MAX]
    tower.encode(batch)
    started, runs = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < TOWER_SECONDS:
        tower.encode(batch)
        runs += 1
    return seconds / (runs * len(batch))


def index(source: str, folder: Path, library_folder: Path) -> tuple[float, dict[str, NDArray[np.float32]]]:
    """Seconds of `index` into a library that holds nothing but its space; vectors by content digest."""
    shutil.rmtree(library_folder, ignore_errors=True)
    empty = library_folder.with_name("no photos")
    empty.mkdir(exist_ok=True)
    with PhotoLibrary.open(library_folder, model=source) as library:
        library.index(empty)
    with PhotoLibrary.open(library_folder, model=source) as library:
        started = time.perf_counter()
        report = library.index(folder)
        seconds = time.perf_counter() - started
        assert report.embedded == len(list(folder.iterdir())), "some photos were not embedded"
        photos = list(library.search(like=next(folder.iterdir()), limit=report.embedded))
        vectors = library.vectors([photo.id for photo in photos])
    return seconds, {photo.digest: vector for photo, vector in zip(photos, vectors, strict=True)}


def operations(sizes: VisionSizes) -> float:
    """Floating-point operations of the tower for one picture, a multiplication and an addition counted as two."""
    weights = sizes.layers * (4 * sizes.width**2 + 3 * sizes.width * sizes.mlp) + 3 * sizes.patch**2 * sizes.width
    attention = sizes.layers * 2 * sizes.patches * sizes.width
    return 2.0 * sizes.patches * (weights + attention)


def matrix_peak(dtype: torch.dtype, side: int) -> float:
    """Operations a second of a square matrix product, the best of three."""
    left, right = (torch.rand(side, side).to(dtype) for _ in range(2))
    torch.mm(left, right)
    return 2.0 * side**3 / fastest(lambda: torch.mm(left, right))


def fastest(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


if __name__ == "__main__":
    main()
