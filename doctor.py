"""What this installation has, what it lacks, and what that means."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from photoseek import __version__
from photoseek.errors import PhotoseekError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    name: str
    value: str
    advice: str | None = None


def examine(library: Path | None) -> list[Finding]:
    """Look at packages, processors, model and library; nothing is changed and no tower is loaded."""
    return list(_examine(library))


def _examine(library: Path | None) -> Iterator[Finding]:
    yield Finding("photoseek", __version__)
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("processor", f"{os.cpu_count()} cores, {_instructions()}")
    for package in ("numpy", "pillow", "pi-heif", "sqlalchemy"):
        yield Finding(package, _version(package) or "missing", None if _version(package) else "reinstall photoseek")
    yield _faiss()
    yield _engine("openvino", 'install "photoseek[cpu]": it indexes several times faster on a CPU')
    yield _engine("torch", 'optional: "photoseek[torch]" for all of AIMv2\'s outputs, "photoseek[gpu]" for a GPU')
    yield _engine("transformers", "optional, comes with the torch extra")
    yield from _devices()
    yield _model()
    yield _library(library)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _engine(package: str, advice: str) -> Finding:
    version = _version(package)
    return Finding(package, version or "not installed", None if version else advice)


def _faiss() -> Finding:
    cpu, gpu = _version("faiss-cpu"), _version("faiss-gpu")
    if cpu and gpu:
        return Finding("faiss", f"faiss-cpu {cpu} and faiss-gpu {gpu}", "remove both, then install one of them")
    if not cpu and not gpu:
        return Finding("faiss", "missing", 'install "photoseek[cpu]" or "photoseek[gpu]"')
    faiss = importlib.import_module("faiss")
    kind = "faiss-cpu" if cpu else "faiss-gpu"
    devices = f", {faiss.get_num_gpus()} GPUs" if gpu else ""
    return Finding("faiss", f"{kind} {cpu or gpu} ({faiss.get_compile_options().strip()}{devices})")


def _instructions() -> str:
    """The instruction sets that decide about speed, as NumPy sees them."""
    from numpy._core._multiarray_umath import __cpu_features__ as features  # type: ignore[import-not-found]

    known = ("AVX512_SPR", "AVX512_ICL", "AVX512F", "AVX2", "ASIMD", "NEON")
    found = [name for name in known if features.get(name)]
    return ", ".join(found) or "no vector instructions known"


def _devices() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            short = "bfloat16" if (facts.major, facts.minor) >= (8, 0) else "no bfloat16"
            yield Finding(f"cuda:{number}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, {short}")
        yield Finding("GPU driver", _gpu_driver() or "version unknown")
        yield _compiler()
    elif torch.backends.mps.is_available():
        yield Finding("mps", "available")
    else:
        yield Finding("GPU", "none that torch can use")


def _gpu_driver() -> str | None:
    """What NVIDIA's kernel module says about itself; None where it says nothing (other systems, other makers)."""
    try:
        return Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError:
        return None


def _compiler() -> Finding:
    """Whether long runs can compile the tower, as far as that shows without compiling."""
    if importlib.util.find_spec("triton") is None:
        return Finding("torch.compile", "not available", "install triton: long runs compile the tower with it")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        return Finding("torch.compile", "not available", "install a C compiler: triton needs one")
    return Finding("torch.compile", f"triton {_version('triton') or 'of torch'}")


def _model() -> Finding:
    from photoseek.aimv2 import default_checkpoint

    try:
        checkpoint = default_checkpoint()
    except PhotoseekError as error:
        return Finding("default model", "none", str(error))
    advice = 'small; "photoseek models list" shows larger ones' if checkpoint.name == "builtin" else None
    return Finding("default model", checkpoint.name, advice)


def _library(library: Path | None) -> Finding:
    from photoseek.library import PhotoLibrary

    try:
        with PhotoLibrary.open(library) as opened:
            if not opened.exists:
                return Finding("library", f"none yet at {opened.path}")
            status = opened.status()
            return Finding("library", f"{opened.path}: {status.photos:,} photos, model {status.model}")
    except PhotoseekError as error:
        return Finding("library", "cannot be opened", str(error))
