"""Which engine computes a tower, where, and how precisely.

`auto` means: for pictures, a GPU if torch is installed and sees one, otherwise OpenVINO where it is installed;
for words, NumPy (nothing to import or compile). Precision is float32 unless a trial on this machine has shown that
a shorter type is faster and finds the same photos: on a GPU when a tower is first loaded, on a processor in the first
long run (`long_run`).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import re
import time
from typing import TYPE_CHECKING

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.sizes import TextSizes, VisionSizes
from photoseek.aimv2.towers import EngineTextTower, EngineVisionTower, TextEngine, Tower, VisionEngine
from photoseek.errors import CheckpointError, MissingExtraError, NoTextTowerError, UsageError

if TYPE_CHECKING:
    from photoseek.aimv2.tokenizer import Tokenizer

log = logging.getLogger(__name__)

ENGINES = ("auto", "numpy", "openvino", "torch")
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]+)?|mps")


def load_vision_tower(
    checkpoint: Checkpoint,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    long_run: bool = False,
) -> EngineVisionTower:
    """Load the vision tower and its projection; the text tower's tensors are not read.

    Args:
        device: "auto" or "cpu", or what torch calls an accelerator: "cuda" for all GPUs, "cuda:1" for one, "mps".
        precision: "auto", "float32", "bfloat16", "float16" or "int8".
        engine: "auto", "openvino", "numpy" or "torch".
        threads: how many the engine may use; None leaves it to the engine.
        long_run: the tower may take a minute to compile, where `prepare_long_run` found that this pays.
    Raises:
        CheckpointError: the checkpoint has no vision tower, or its weights cannot be read.
        MissingExtraError: the engine's package is not installed.
        UsageError: the options exclude each other.
    """
    if checkpoint.vision is None:
        raise CheckpointError(f"{checkpoint.name} has no vision tower")
    started, why = time.monotonic(), "" if precision == "auto" else ", as asked"
    name = choose_engine(engine, device, precision, for_text=False)
    computed: VisionEngine
    if name == "openvino":
        from photoseek.aimv2.openvino_engine import OpenVinoVision
        from photoseek.aimv2.trial import remembered_trial

        chosen = precision
        if precision == "auto":
            trial = remembered_trial(checkpoint)
            chosen = trial.precision if trial else "float32"
            why = f" ({trial.reason})" if trial else " (nothing shorter was tried yet: a long run does)"
        computed = OpenVinoVision(checkpoint, checkpoint.vision, precision=chosen, threads=threads)
    elif name == "torch":
        computed = _torch_vision(checkpoint, checkpoint.vision, device, precision, threads, long_run)
    else:
        from photoseek.aimv2.numpy_engine import NumpyVision

        computed = NumpyVision(checkpoint, checkpoint.vision, threads=threads)
    tower = EngineVisionTower(computed, checkpoint.vision, checkpoint.dim)
    _tell("pictures", checkpoint, tower, started, why)
    return tower


def _tell(what: str, checkpoint: Checkpoint, tower: Tower, started: float, why: str = "") -> None:
    """Log what computes a tower."""
    log.info(
        "%s of %s: %s on %s in %s%s, loaded in %.1f s",
        what,
        checkpoint.name,
        tower.engine,
        tower.device,
        tower.precision,
        why,
        time.monotonic() - started,
    )


def _torch_vision(
    checkpoint: Checkpoint, sizes: VisionSizes, device: str, precision: str, threads: int | None, long_run: bool
) -> VisionEngine:
    from photoseek.aimv2.torch_device import cuda_devices

    if devices := cuda_devices(device):
        from photoseek.aimv2.gpu_trial import load_gpu_vision

        name = "cuda" if device == "auto" else device
        return load_gpu_vision(checkpoint, devices, device_name=name, precision=precision, long_run=long_run)
    from photoseek.aimv2.torch_engine import TorchVision

    return TorchVision(checkpoint, sizes, device=device, precision=precision, threads=threads)


def load_text_tower(
    checkpoint: Checkpoint,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
) -> EngineTextTower:
    """Load the text tower, its projection and tokenizer; the vision tower's tensors are not read.

    Arguments as in load_vision_tower. Words have no `auto` precision but float32: a query takes a few
    milliseconds and its vector meets vectors of any precision.

    Raises:
        NoTextTowerError: the checkpoint has no text tower.
        CheckpointError, MissingExtraError, UsageError: as in load_vision_tower.
    """
    if checkpoint.text is None:
        raise NoTextTowerError(
            f"{checkpoint.name} has no text tower: it finds photos by example, not by words",
            hint='use a model with both towers ("photoseek models list")',
        )
    started = time.monotonic()
    name = choose_engine(engine, device, precision, for_text=True)
    computed: TextEngine
    if name == "openvino":
        from photoseek.aimv2.openvino_engine import OpenVinoText

        chosen = "float32" if precision == "auto" else precision
        computed = OpenVinoText(checkpoint, checkpoint.text, precision=chosen, threads=threads)
    elif name == "torch":
        from photoseek.aimv2.torch_engine import TorchText

        computed = TorchText(checkpoint, device=device, precision=precision, threads=threads)
    else:
        from photoseek.aimv2.numpy_engine import NumpyText

        computed = NumpyText(checkpoint, checkpoint.text, threads=threads)
    tower = EngineTextTower(
        computed, functools.partial(read_tokenizer, checkpoint, checkpoint.text), checkpoint.text, checkpoint.dim
    )
    _tell("words", checkpoint, tower, started)
    return tower


def read_tokenizer(checkpoint: Checkpoint, sizes: TextSizes) -> Tokenizer:
    """The checkpoint's tokenizer.

    Raises:
        CheckpointError: it has none, or one that does not fit its text tower.
    """
    from photoseek.aimv2.tokenizer import Tokenizer

    return Tokenizer(checkpoint.folder, context=sizes.context, end_token=sizes.end_token)


def choose_engine(engine: str, device: str, precision: str, *, for_text: bool) -> str:
    """The engine that serves these options, "numpy", "openvino" or "torch".

    Raises:
        MissingExtraError: the package that is needed is not installed.
        UsageError: an unknown name, or options that exclude each other.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}: one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: one of {', '.join(PRECISIONS)}")
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"unknown device {device!r}: auto, cpu, cuda, cuda:1 or mps")
    on_cpu = device in ("auto", "cpu")
    if engine == "auto":
        if not on_cpu or (device == "auto" and not for_text and has_accelerator()):
            engine = "torch"
        elif precision in ("auto", "float32") and (for_text or not is_installed("openvino")):
            engine = "numpy"
        elif precision == "float16" or (precision != "int8" and not is_installed("openvino")):
            engine = "torch"
        else:
            engine = "openvino"
    if engine != "torch" and not on_cpu:
        raise UsageError(f"the engine {engine} runs on the CPU, not on {device!r}")
    if engine == "numpy" and precision not in ("auto", "float32"):
        raise UsageError(f"the engine numpy computes in float32, not in {precision}")
    if engine == "openvino" and precision == "float16":
        raise UsageError("the engine openvino computes in float32, bfloat16 or int8, not in float16")
    if engine == "torch" and precision == "int8":
        raise UsageError("the engine torch computes in float32, bfloat16 or float16, not in int8")
    packages = {"numpy": (), "openvino": ("openvino",), "torch": ("torch", "transformers")}
    missing = [package for package in packages[engine] if not is_installed(package)]
    if missing:
        extra = "cpu" if engine == "openvino" else "torch"
        raise MissingExtraError(
            f"the engine {engine} needs the package {missing[0]}, which is not installed",
            hint=f'install it with: pip install "photoseek[{extra}]"',
        )
    return engine


@functools.cache
def has_accelerator() -> bool:
    """Whether torch is installed and computes on a GPU here; a CPU build of torch is not even imported."""
    if not (is_installed("torch") and is_installed("transformers")):
        return False
    if importlib.metadata.version("torch").endswith("+cpu"):
        return False
    from photoseek.aimv2.torch_device import choose_device

    return choose_device("auto")[1] != "cpu"


def is_installed(package: str) -> bool:
    """Whether a package can be imported; does not import it."""
    return importlib.util.find_spec(package) is not None
