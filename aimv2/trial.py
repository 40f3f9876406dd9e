"""How precisely pictures need to be embedded on this machine: tried once for each checkpoint, and remembered.

bfloat16 is up to four times as fast where the processor has hardware for it, many times slower where it has not; 8-bit
integers are faster still, the more the larger the tower. How much either moves a score depends on the weights. So both
are measured against float32, on pictures and texts. The answer is kept in `trials.json` in the models folder, by
checkpoint, processor and runtime; without one, towers load in float32.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.choice import is_installed, load_text_tower, load_vision_tower
from photoseek.aimv2.remembered import key_of, remember, remembered
from photoseek.contracts import Embeddings, Picture, VisionTower

log = logging.getLogger(__name__)

SHORTER = ("bfloat16", "int8")
"""What is tried instead of float32, each less exact than the one before."""
COSINE_MIN = 0.999
SCORE_SHIFT_MAX = 0.005
RECALL_MIN = 0.995
TIE = 0.001
"""A photo whose exact score is this little below the tenth best answers as well: a hundredth of how far the scores of
photos lie apart. Near-duplicates change places by chance, which says nothing about precision."""
GAIN_MIN = 1.1
"""Below this gain in speed over the one before, the more exact type stays."""

PICTURES_MIN, PICTURES_MAX = 16, 128
SIDE_SECONDS = 20.0
"""About how long each precision may take; the number of pictures follows from the first ones."""

PROBE_TEXTS = (
    "a dog",
    "a cat on a sofa",
    "two children playing football",
    "the beach at sunset",
    "snow on the mountains",
    "a red car",
    "a birthday cake with candles",
    "my bicycle",
    "a crowded street at night",
    "flowers in a garden",
    "a boat on the water",
    "people dancing at a wedding",
    "a plate of food",
    "a man with a guitar",
    "an old church",
    "a bird in flight",
    "a woman in a blue dress",
    "a train at a station",
    "autumn forest",
    "a baby asleep",
    "skyscrapers",
    "a horse in a field",
    "fireworks",
    "a screenshot of a text message",
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial measured: a shorter type against float32."""

    precision: str
    """The one to use: "float32" or one of `SHORTER`."""
    reason: str
    pictures: int = 0
    gain: float = 1.0
    """Pictures a second over those in float32."""
    cosine: float = 0.0
    """The worst picture's."""
    score_shift: float = 0.0
    """Largest change of any picture's score for any probe."""
    recall_at_10: float = 0.0
    """Share of the ten best that are as good as float32's ten best (`TIE`), over the probes."""


def run_trial(checkpoint: Checkpoint, pictures: Sequence[Picture] = (), *, threads: int | None = None) -> Trial:
    """Measure the shorter types on this machine and remember the answer; less than a minute for a large model.

    Args:
        pictures: prepared photos to try it on, best some of those about to be indexed; synthetic ones fill up.
    """
    if not is_installed("openvino"):
        return Trial("float32", "openvino is not installed")

    def open_tower(precision: str) -> VisionTower:
        return load_vision_tower(checkpoint, engine="openvino", precision=precision, threads=threads)

    bfloat16, key = _processor(checkpoint)
    shorter = [precision for precision in SHORTER if precision != "bfloat16" or bfloat16]
    trial = compare_precisions(checkpoint, open_tower, shorter, pictures)
    remember(key, asdict(trial))
    log.info("%s: %s (%s)", checkpoint.name, trial.precision, trial.reason)
    return trial


def remembered_trial(checkpoint: Checkpoint) -> Trial | None:
    """The trial of this checkpoint on this machine, or None; imports OpenVINO if it is installed."""
    if not is_installed("openvino"):
        return None
    entry = remembered(_processor(checkpoint)[1])
    try:
        return Trial(**entry) if entry else None
    except TypeError:  # of another version, or damaged
        return None


def judge(precision: str, exact: Embeddings, short: Embeddings, probes: Embeddings, gain: float) -> Trial:
    """Compare pictures embedded twice.

    Args:
        precision: the short type's name.
        exact, short: (n, dim) in float32 and in the short type.
        probes: (m, dim) that look for them.
        gain: speed of the short type over float32.
    """
    scores, shifted = probes @ exact.T, probes @ short.T  # (m, n)
    least = np.sort(scores, axis=1)[:, -10:].min(axis=1, keepdims=True)
    found = np.argsort(-shifted, axis=1, kind="stable")[:, :10]
    as_good = np.take_along_axis(scores, found, axis=1) >= least - TIE
    cosine = float(np.min(np.sum(exact * short, axis=1)))
    shift = float(np.max(np.abs(scores - shifted)))
    recall = float(as_good.mean())
    if cosine <= COSINE_MIN:
        verdict = f"{precision} turns a vector to a cosine of {cosine:.5f}"
    elif shift > SCORE_SHIFT_MAX:
        verdict = f"{precision} moves a score by {shift:.4f}"
    elif recall < RECALL_MIN:
        verdict = f"only {recall:.1%} of {precision}'s ten best are among the best"
    elif gain < GAIN_MIN:
        verdict = f"{precision} is no faster: {gain:.2f} times"
    else:
        verdict = ""
    reason = verdict or f"{precision} finds the same photos {gain:.1f} times as fast"
    return Trial("float32" if verdict else precision, reason, len(exact), gain, cosine, shift, recall)


def best_of(trials: Sequence[Trial]) -> Trial:
    """What they say together: the fastest that may serve, where each is faster than the one before by `GAIN_MIN`."""
    if not trials:
        return Trial("float32", "the processor has no hardware for a shorter type")
    best: Trial | None = None
    for trial in trials:
        if trial.precision != "float32" and (best is None or trial.gain >= GAIN_MIN * best.gain):
            best = trial
    return replace(best or trials[-1], reason="; ".join(trial.reason for trial in trials))


def synthetic_pictures(checkpoint: Checkpoint, count: int) -> list[Picture]:
    """Prepared pictures with the low frequencies, edges and grain of photos; the same at every call."""
    from PIL import Image

    rng = np.random.default_rng(20)
    made = []
    for _ in range(count):
        cells = int(rng.integers(2, 24))
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        canvas = np.asarray(coarse.resize((512, 384), int(rng.integers(0, 4)))).astype(np.int16)
        for _ in range(int(rng.integers(1, 5))):  # a few objects with sharp edges
            top, left, height, width = rng.integers(0, 300, 4)
            canvas[top : top + height + 20, left : left + width + 20] = rng.integers(0, 256, 3)
        canvas = canvas + rng.integers(-12, 13, canvas.shape)
        picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
        made.append(checkpoint.preprocessing.prepare(picture))
    return made


def compare_precisions(
    checkpoint: Checkpoint,
    open_tower: Callable[[str], VisionTower],
    shorter: Sequence[str],
    pictures: Sequence[Picture] = (),
) -> Trial:
    """Embed pictures with a tower of each precision, for about `SIDE_SECONDS`, and judge.

    One tower after the other is opened and dropped: a large one takes gigabytes.
    """
    if not shorter:
        return best_of([])
    chosen = list(pictures[:PICTURES_MAX])
    chosen += synthetic_pictures(checkpoint, PICTURES_MAX - len(chosen))
    exact, exact_s = _embed(open_tower("float32"), chosen)
    texts = load_text_tower(checkpoint).encode(PROBE_TEXTS) if checkpoint.has_text else None
    trials = []
    for precision in shorter:
        short, short_s = _embed(open_tower(precision), chosen[: len(exact)])
        same = exact[: len(short)]  # fewer, where the short type is slow
        probes = same if texts is None else texts
        trials.append(judge(precision, same, short, probes, exact_s / short_s))
    return best_of(trials)


def _embed(tower: VisionTower, pictures: list[Picture]) -> tuple[Embeddings, float]:
    """Vectors of as many pictures as take about `SIDE_SECONDS`, but of `PICTURES_MIN` at least; and how long those
    took."""
    first, rest = pictures[:PICTURES_MIN], pictures[PICTURES_MIN:]
    tower.encode(first[:1])  # the first call arranges the weights
    started = time.perf_counter()
    vectors = tower.encode(first)
    seconds = time.perf_counter() - started
    more = rest[: max(0, int((SIDE_SECONDS / seconds - 1) * len(first)))]
    return np.concatenate([vectors, tower.encode(more)]), seconds


def _processor(checkpoint: Checkpoint) -> tuple[bool, str]:
    """Whether the processor computes in bfloat16 by hardware, and the key under which a trial is remembered."""
    from photoseek.aimv2.openvino_engine import has_bfloat16, import_openvino

    openvino = import_openvino()
    core = openvino.Core()
    capabilities = [str(each) for each in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")]
    parts = [checkpoint.digest, openvino.__version__, core.get_property("CPU", "FULL_DEVICE_NAME"), *capabilities]
    return has_bfloat16(core), key_of(*parts, *SHORTER)
