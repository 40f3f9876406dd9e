"""Indexing on GPUs, from JPEG files to a library, beside the plain loop of transformers on the same GPU.

    python bench/index_gpu.py --work WORK

One command, no network: the checkpoint (AIMv2-large's size, random weights) and the photos are made in WORK. On one
H100 with 16 cores it takes under ten minutes and 15 GB of disk. `--device cpu` runs the same code without a GPU, with
the sizes turned down, to see that it works.

peak           matrix product of 8192 x 8192 in bfloat16 on one GPU.
trial          what `gpu_trial.tune` finds: pictures a second by batch size and compile mode, copies included.
tower          rate of the best of them, on one GPU, and on all; the share of the peak is its arithmetic over its time.
decoding       every core reads, hashes, decodes and prepares photos in a process of its own; nothing is handed over.
workers        the same by the indexer's decode workers, which hand pictures to the library's process.
index          `PhotoLibrary.index` into a new library. "Steady" leaves out the first 30% of the photos, during which
               processes start, the tower is loaded and compiled and the batch grows, and the writing of the index
               file at the end; "whole" leaves out nothing.
plain loop     transformers' Aimv2Model in float32 on the GPU, one photo at a time: Pillow decodes it in full,
               transformers' image processor prepares it. Nothing stored.
cosine         lowest over --loop-photos, of the library's vectors: to the tower in float32 on the same prepared
               pictures, and to the plain loop's (which decodes in another way).
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from index_cpu import EXAMPLES, fastest, operations
from large import large_checkpoint
from numpy.typing import NDArray
from PIL import Image
from report import Row, cores, show

from photoseek import PhotoLibrary
from photoseek.aimv2 import Checkpoint, open_checkpoint
from photoseek.aimv2.gpu_engine import GpuVision
from photoseek.aimv2.gpu_trial import (
    GpuSettings,
    load_gpu_vision,
    pictures_per_second,
    tried_precision,
    tune,
    vision_sizes,
)
from photoseek.aimv2.torch_device import cuda_devices
from photoseek.aimv2.torch_vision import attention_kernel
from photoseek.aimv2.towers import EngineVisionTower
from photoseek.contracts import DecodeJob, PhotoRead, Picture
from photoseek.indexer import embedding
from photoseek.indexer.decode import read_photo
from photoseek.indexer.report import Progress
from photoseek.indexer.workers import DecodeWorkers

STARTED_SHARE = 0.3
TRIAL_BUDGET_S = 150.0
DECODE_SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where checkpoint, photos and library are made")
    parser.add_argument("--checkpoint", default="large", help='"large": random, made here; builtin, or a folder')
    parser.add_argument("--device", default="cuda", help='"cuda" for all GPUs, "cuda:0" for one, "cpu" to try it out')
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--photos", type=int, default=30000)
    parser.add_argument("--loop-photos", type=int, default=48, help="how many of them for the plain loop")
    parser.add_argument("--size", type=int, nargs=2, default=(1600, 1200), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--peak-side", type=int, default=8192, help="of the matrices for the peak")
    parser.add_argument("--trial-seconds", type=float, default=TRIAL_BUDGET_S, help="after this nothing new is tried")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    os.environ["PHOTOSEEK_MODELS"] = str(options.work / "models")  # trials are remembered there: not the user's
    devices = cuda_devices(options.device) or [torch.device("cpu")]
    source = str(large_checkpoint(options.work / "large")) if options.checkpoint == "large" else options.checkpoint
    folder = options.work / f"photos-{options.photos}-{options.size[0]}"
    paths = make_photos(folder, options.photos, tuple(options.size))
    title = f"{options.photos} photos of {options.size[0]} x {options.size[1]}, {options.checkpoint}, {gpus(devices)}"
    show(title, measure(open_checkpoint(source), source, paths, devices, options), options.json)


def gpus(devices: list[torch.device]) -> str:
    names = [torch.cuda.get_device_name(device) if device.type == "cuda" else str(device) for device in devices]
    return f"{len(names)} x {names[0]}, torch {torch.__version__}"


def measure(
    checkpoint: Checkpoint, source: str, paths: list[Path], devices: list[torch.device], options: argparse.Namespace
) -> list[Row]:
    sizes = vision_sizes(checkpoint)
    dtype = torch.bfloat16 if options.precision == "bfloat16" else torch.float32
    sample = prepared(checkpoint, paths[: options.loop_photos])
    peak = matrix_peak(dtype, options.peak_side, devices[0])
    loop_rate, loop_vectors = plain_loop(checkpoint, paths[: options.loop_photos], devices[0])
    verdict = tried_precision(checkpoint, devices[0])
    settings = tune(checkpoint, devices[0], options.precision, options.trial_seconds, sample)
    tower_rate = rate_on(checkpoint, devices, options, sample) if len(devices) > 1 else settings.rate
    decode_rate = decode_alone(source, paths, DECODE_SECONDS)
    workers_rate = decode_workers(checkpoint, paths[: int(DECODE_SECONDS * decode_rate) + 1])
    indexed = index(source, paths, options)
    exact = EngineVisionTower(GpuVision(checkpoint, sizes, devices[:1]), sizes, checkpoint.dim).encode(sample)
    mine = np.array([indexed.vectors[digest_of(path)] for path in paths[: options.loop_photos]])
    return [
        {"what": "matrix peak, TFLOP/s", "value": peak / 1e12},
        *trial_rows(settings),
        {"what": "attention kernel", "value": attention_kernel(devices[0], options.precision, sizes)},
        {"what": "tower, GFLOP a photo", "value": operations(sizes) / 1e9},
        {"what": "tower, photos/s on one GPU", "value": settings.rate},
        {"what": "tower's share of the peak (goal 0.55)", "value": settings.rate * operations(sizes) / peak},
        {"what": "tower, photos/s on all GPUs", "value": tower_rate},
        {"what": f"decoding, photos/s on {cores()} cores", "value": decode_rate},
        {"what": "decode workers, photos/s", "value": workers_rate},
        {"what": "index, photos/s, steady", "value": indexed.steady_rate},
        {
            "what": "index, steady, over min(tower, decoding) (goal 0.85)",
            "value": indexed.steady_rate / min(tower_rate, decode_rate),
        },
        {"what": "index, photos/s, whole run", "value": indexed.rate},
        {"what": "library's process, ms of one core a photo", "value": indexed.processor_ms},
        {"what": "plain loop, photos/s", "value": loop_rate},
        {"what": "index, steady, over plain loop (goal 10)", "value": indexed.steady_rate / loop_rate},
        {"what": "lowest cosine to float32", "value": float((mine * exact).sum(axis=1).min())},
        {"what": "lowest cosine to the plain loop", "value": float((mine * loop_vectors).sum(axis=1).min())},
        {"what": "precision that auto would choose", "value": f"{verdict.precision}: {verdict.reason}"},
    ]


def trial_rows(settings: GpuSettings) -> list[Row]:
    rows: list[Row] = [{"what": f"trial, {what}, photos/s", "value": rate} for what, rate in settings.tried.items()]
    return [*rows, {"what": "trial chose", "value": f"{settings.mode}, batch {settings.batch_size}"}]


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """`count` JPEGs of this size on all cores: the examples shifted, with a little grain, no two alike."""
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    done = folder.with_suffix(".done")
    if done.exists():
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    grain = np.random.default_rng(0).integers(-3, 4, (size[1], size[0], 3), dtype=np.int16)
    large = []
    for source in sorted(EXAMPLES.glob("*.jpg")):
        with Image.open(source) as image:
            resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
            large.append(np.clip(np.asarray(resized, dtype=np.int16) + grain, 0, 255).astype(np.uint8))

    def make(number: int) -> None:
        turns, shift = divmod(number // len(large), size[0])
        pixels = np.roll(large[number % len(large)], (17 * turns, shift), axis=(0, 1))
        Image.fromarray(pixels).save(paths[number], quality=90)

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(make, range(count)))
    done.touch()
    return paths


def prepared(checkpoint: Checkpoint, paths: list[Path]) -> list[Picture]:
    return [photo_of(path.read_bytes(), checkpoint).picture for path in paths]


def photo_of(data: bytes, checkpoint: Checkpoint) -> PhotoRead:
    photo = read_photo(data, checkpoint.preprocessing)
    assert isinstance(photo, PhotoRead)
    return photo


def matrix_peak(dtype: torch.dtype, side: int, device: torch.device) -> float:
    """Operations a second of a square matrix product, the best of three times twenty."""
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(20):
            torch.mm(left, right)
        synchronize(device)

    multiply()
    return 20 * 2.0 * side**3 / fastest(multiply)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_loop(checkpoint: Checkpoint, paths: list[Path], device: torch.device) -> tuple[float, NDArray[np.float32]]:
    """Photos a second after the model is loaded, and the unit vectors (n, dim)."""
    model = transformers.Aimv2Model.from_pretrained(checkpoint.folder, dtype=torch.float32).to(device)
    processor = transformers.CLIPImageProcessorPil.from_pretrained(checkpoint.folder)

    def embed(path: Path) -> NDArray[np.float32]:
        with Image.open(path) as image, torch.inference_mode():
            inputs = processor(images=image, return_tensors="pt").to(device)
            features = model.visual_projection(model.vision_model(**inputs).pooler_output)
        vector: NDArray[np.float32] = features.flatten().cpu().numpy()
        return vector / np.linalg.norm(vector)

    for path in paths[:4]:
        embed(path)
    started = time.perf_counter()
    vectors = np.array([embed(path) for path in paths])
    return len(paths) / (time.perf_counter() - started), vectors


def rate_on(
    checkpoint: Checkpoint, devices: list[torch.device], options: argparse.Namespace, sample: list[Picture]
) -> float:
    """Pictures a second on all GPUs together, as the trial set them."""
    engine = load_gpu_vision(
        checkpoint, devices, device_name=options.device, precision=options.precision, long_run=True
    )
    return pictures_per_second(engine, np.stack(sample))


def decode_alone(source: str, paths: list[Path], seconds: float) -> float:
    """Photos a second that all cores read and prepare, each in a process that keeps the pictures to itself."""
    shares = [(source, paths[core :: cores()], seconds) for core in range(cores())]
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        return sum(pool.starmap(_decode_share, shares, chunksize=1))


def _decode_share(source: str, paths: list[Path], seconds: float) -> float:
    checkpoint = open_checkpoint(source)
    photo_of(paths[0].read_bytes(), checkpoint)
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not count:
        photo_of(paths[count % len(paths)].read_bytes(), checkpoint)
        count += 1
    return count / passed


def decode_workers(checkpoint: Checkpoint, paths: list[Path]) -> float:
    """Photos a second from the indexer's workers to the library's process, after the workers have started."""
    started, count = 0.0, 0
    first = min(len(paths) // 4, 20 * cores())
    with DecodeWorkers(checkpoint.preprocessing) as workers:
        jobs = (DecodeJob(number, os.fsencode(path)) for number, path in enumerate(paths))
        for _job, photo in workers.read(jobs):
            assert isinstance(photo, PhotoRead)
            count += 1
            if count == first:
                started = time.perf_counter()
        return (count - first) / (time.perf_counter() - started)


class Indexed:
    """What a run of `index` did, and when."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.rate = self.steady_rate = self.processor_ms = 0.0
        self.vectors: dict[str, NDArray[np.float32]] = {}
        self._seen: list[tuple[int, float]] = []

    def progress(self, progress: Progress) -> None:
        if progress.stage == "index":
            self._seen.append((progress.done, time.perf_counter()))

    def end(self, run_s: float, processor_s: float) -> None:
        begun, begun_at = next(seen for seen in self._seen if seen[0] >= STARTED_SHARE * self.total)
        done, done_at = self._seen[-1]  # all are stored; writing the index follows
        self.rate, self.steady_rate = self.total / run_s, (done - begun) / (done_at - begun_at)
        self.processor_ms = 1000 * processor_s / self.total


def index(source: str, paths: list[Path], options: argparse.Namespace) -> Indexed:
    """Index all photos as a run of hours would: with what the trial found, compiled."""
    library_folder, empty = options.work / "library", options.work / "no photos"
    shutil.rmtree(library_folder, ignore_errors=True)
    empty.mkdir(exist_ok=True)
    engine = "torch" if options.device == "cpu" else "auto"

    def opened() -> PhotoLibrary:
        return PhotoLibrary.open(
            library_folder, model=source, device=options.device, precision=options.precision, engine=engine
        )

    with opened() as library:
        library.index(empty)
    indexed = Indexed(len(paths))
    with opened() as library, long_runs():
        started, processor = time.perf_counter(), time.process_time()
        report = library.index(paths[0].parent, on_progress=indexed.progress)
        indexed.end(time.perf_counter() - started, time.process_time() - processor)
        assert report.embedded == len(paths), f"{report.embedded} of {len(paths)} photos were embedded"
        photos = list(library.search(like=paths[0], limit=report.embedded))
        wanted = {digest_of(path) for path in paths[: options.loop_photos]}
        chosen = [photo for photo in photos if photo.digest in wanted]
        vectors = library.vectors([photo.id for photo in chosen])
    indexed.vectors = {photo.digest: vector for photo, vector in zip(chosen, vectors, strict=True)}
    return indexed


@contextmanager
def long_runs() -> Iterator[None]:
    """Every run counts as a long one, for which compiling pays."""
    seconds, embedding.LONG_RUN_SECONDS = embedding.LONG_RUN_SECONDS, 0.0
    try:
        yield
    finally:
        embedding.LONG_RUN_SECONDS = seconds


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
