"""How a checkpoint is computed fastest on this machine's GPU: precision, batch size, and whether compiled. Remembered.

The precision is tried when a tower is first loaded, which takes seconds: bfloat16 where it finds the same photos as
float32 (`trial.judge`). The batch size and torch.compile are tried in a long run only, since compiling takes minutes.
Several GPUs of one machine are taken to be alike: the first is tried.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.gpu_engine import SLOTS_PER_GPU, GpuVision
from photoseek.aimv2.remembered import key_of, remember, remembered
from photoseek.aimv2.sizes import VisionSizes
from photoseek.aimv2.torch_vision import COMPILE_MODES, EAGER
from photoseek.aimv2.towers import EngineVisionTower
from photoseek.aimv2.trial import COSINE_MIN, PICTURES_MIN, Trial, compare_precisions, synthetic_pictures
from photoseek.contracts import Picture

log = logging.getLogger(__name__)

BATCH_MIN, BATCH_MAX = 16, 512
"""A run collects no more photos than that for one batch (`indexer.embedding.COMMIT_ITEMS`)."""
BATCH_GAIN_MIN = 1.03
"""A batch of twice the size is kept only if it is faster by more than this: smaller ones lose less when killed."""
MEASURE_S = 1.0
RUN_SHARE = 0.1
"""The share of a run that trying may take."""
BUDGET_GROWTH = 4.0
"""A run that allows so many times the budget of the last trial is worth another one."""


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """What a trial found fastest."""

    batch_size: int
    mode: str
    """`torch_vision.EAGER`, or a mode of torch.compile."""
    rate: float
    """Pictures a second on one GPU, copies included."""
    budget_s: float
    """Time after which nothing new was tried."""
    tried: dict[str, float] = field(default_factory=dict)
    """Pictures a second by what was tried, "eager 64" or "default 256"."""


def load_gpu_vision(
    checkpoint: Checkpoint, devices: Sequence[torch.device], *, device_name: str, precision: str, long_run: bool
) -> GpuVision:
    """The engine as the trials on this machine found best.

    Args:
        precision: "auto" tries bfloat16, once.
        long_run: compile where that was found faster.
    Raises:
        ModelError: the model does not fit the GPU's memory.
    """
    chosen = precision
    if precision == "auto":
        trial = tried_precision(checkpoint, devices[0])
        log.info("%s on %s: %s (%s)", checkpoint.name, devices[0], trial.precision, trial.reason)
        chosen = trial.precision
    settings = remembered_settings(checkpoint, devices[0], chosen)
    return GpuVision(
        checkpoint,
        vision_sizes(checkpoint),
        devices,
        device_name=device_name,
        precision=chosen,
        batch_size=settings.batch_size if settings else None,
        mode=settings.mode if settings and long_run else EAGER,
    )


def tried_precision(checkpoint: Checkpoint, device: torch.device) -> Trial:
    """Whether bfloat16 may serve, from memory or tried now in a few seconds."""
    key = _key(checkpoint, device, "precision")
    entry = remembered(key)
    try:
        if entry:
            return Trial(**entry)
    except TypeError:
        pass  # of another version, or damaged: tried again
    if not has_bfloat16(device):
        trial = Trial("float32", "the GPU has no hardware for bfloat16")
    else:
        trial = _compare_precisions(checkpoint, device)
    remember(key, asdict(trial))
    return trial


def remembered_settings(checkpoint: Checkpoint, device: torch.device, precision: str) -> GpuSettings | None:
    """What `tune` found for this checkpoint and GPU, or None."""
    entry = remembered(_key(checkpoint, device, precision))
    try:
        return GpuSettings(**entry) if entry else None
    except TypeError:  # of another version, or damaged
        return None


def tune(
    checkpoint: Checkpoint, device: torch.device, precision: str, budget_s: float, pictures: Sequence[Picture] = ()
) -> GpuSettings:
    """Find the batch size and the mode that are fastest, and remember them.

    Args:
        precision: "float32", "bfloat16" or "float16".
        budget_s: nothing new is tried after this; what is being tried is finished.
        pictures: prepared photos to try it on; synthetic ones fill up.
    """
    started = time.monotonic()
    sample = np.stack([*pictures, *synthetic_pictures(checkpoint, max(0, PICTURES_MIN - len(pictures)))])
    engine = GpuVision(checkpoint, vision_sizes(checkpoint), [device], precision=precision)
    tried: dict[str, float] = {}

    def measure(batch_size: int, mode: str) -> float | None:
        engine.set_batch(batch_size, mode)
        rate = pictures_per_second(engine, sample)
        if engine.batch_size < batch_size or engine.compiled_mode != mode:
            return None  # too little memory, or no compiler
        tried[f"{mode} {batch_size}"] = rate
        return rate

    batch_size, rate = best_batch_size(lambda size: measure(size, EAGER))
    best_mode = EAGER
    engine.set_batch(batch_size, EAGER)
    batch = _full_batch(engine, sample)  # smaller ones are not compiled
    exact = engine.run(batch)
    for mode in COMPILE_MODES:
        if time.monotonic() - started > budget_s:
            break
        compiled = measure(batch_size, mode)
        if compiled and compiled > rate and _lowest_cosine(engine.run(batch), exact) > COSINE_MIN:
            best_mode, rate = mode, compiled
    settings = GpuSettings(batch_size, best_mode, rate, budget_s, tried)
    log.info("%s on %s: %s", checkpoint.name, device, settings)
    remember(_key(checkpoint, device, precision), asdict(settings))
    return settings


def tune_for(
    checkpoint: Checkpoint, device: torch.device, precision: str, run_s: float, pictures: Sequence[Picture]
) -> None:
    """`tune` for a run that will take so many seconds, unless one as thorough has been done."""
    chosen = tried_precision(checkpoint, device).precision if precision == "auto" else precision
    settings, budget_s = remembered_settings(checkpoint, device, chosen), RUN_SHARE * run_s
    if settings is None or budget_s > BUDGET_GROWTH * settings.budget_s:
        tune(checkpoint, device, chosen, budget_s, pictures)


def best_batch_size(measure: Callable[[int], float | None]) -> tuple[int, float]:
    """(batch size, its rate): doubled while that is faster, memory allows, and a batch takes less than a second.

    A run collects larger batches only while they take less (`indexer.embedding`): slower ones would stay half empty.

    Args:
        measure: pictures a second with a batch size; None where the memory does not suffice.
    """
    size, best, best_rate = BATCH_MIN, BATCH_MIN, 0.0
    while size <= BATCH_MAX:
        if best_rate and SLOTS_PER_GPU * size > best_rate:
            break
        rate = measure(size)
        if rate is None or rate < BATCH_GAIN_MIN * best_rate:
            break
        best, best_rate = size, rate
        size *= 2
    return best, best_rate


def pictures_per_second(engine: GpuVision, sample: NDArray[np.uint8]) -> float:
    """The engine's rate in batches of its size, with as many threads as it gains from, after warming up."""
    batch = _full_batch(engine, sample)
    with ThreadPoolExecutor(engine.batches_at_once) as threads:
        list(threads.map(engine.run, [batch] * engine.batches_at_once))  # compiles, and fills the slots
        started = time.perf_counter()
        threads.submit(engine.run, batch).result()  # where kernels were chosen: attention keeps them by thread
        batches = 4 + int(MEASURE_S / (time.perf_counter() - started))
        started = time.perf_counter()
        list(threads.map(engine.run, [batch] * batches))
        return batches * len(batch) / (time.perf_counter() - started)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the GPU computes in bfloat16 by hardware: NVIDIA's since Ampere, and AMD's that ROCm supports."""
    if device.type != "cuda":
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def vision_sizes(checkpoint: Checkpoint) -> VisionSizes:
    assert checkpoint.vision is not None  # choice.load_vision_tower refuses such a checkpoint
    return checkpoint.vision


def _compare_precisions(checkpoint: Checkpoint, device: torch.device) -> Trial:
    sizes, some = vision_sizes(checkpoint), synthetic_pictures(checkpoint, PICTURES_MIN)

    def tower(precision: str) -> EngineVisionTower:
        engine = GpuVision(checkpoint, sizes, [device], precision=precision)
        made = EngineVisionTower(engine, sizes, checkpoint.dim)
        made.encode(some)  # kernels are loaded at their first use
        return made

    return compare_precisions(checkpoint, tower, ["bfloat16"])


def _full_batch(engine: GpuVision, sample: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The sample, repeated or cut to the engine's batch size."""
    return np.resize(sample, (engine.batch_size, *sample.shape[1:]))


def _lowest_cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.min(np.sum(left * right, axis=1) / lengths))


def _key(checkpoint: Checkpoint, device: torch.device, question: str) -> str:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return key_of(checkpoint.digest, "torch", torch.__version__, torch.version.cuda, torch.version.hip, gpu, question)
