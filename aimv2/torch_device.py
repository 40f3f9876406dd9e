"""torch's devices and number types by the names that users give them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from photoseek.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> tuple[torch.device, str]:
    """torch's device and its name; "auto" is the accelerator where there is one, "cuda" the first GPU.

    Raises:
        UsageError: there is no such device on this machine.
    """
    gpus = usable_gpus() if device in ("auto", "cuda") else []
    if device == "auto":
        device = "cuda" if gpus else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and gpus:
        return gpus[0], device
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"torch has no device {device!r} on this machine") from error
    if chosen.type == "cuda" and not _has_kernels(chosen.index or 0):
        raise UsageError(f"this build of torch has no code for the GPU {device!r}", hint="use --device cpu")
    return chosen, device


def cuda_devices(device: str) -> list[torch.device]:
    """The GPUs that a name stands for: all of them for "cuda" (and "auto", where there are any), one for "cuda:1";
    none for other devices.

    Raises:
        UsageError: there is no such device on this machine.
    """
    chosen, name = choose_device(device)
    if name == "cuda":
        return usable_gpus()
    return [chosen] if chosen.type == "cuda" else []


def usable_gpus() -> list[torch.device]:
    """The GPUs that this build of torch has kernels for: it lists older ones, too, and would fail on them later."""
    if not torch.cuda.is_available():
        return []
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count()) if _has_kernels(number)]


def _has_kernels(number: int) -> bool:
    """Code for sm_86 runs on 8.6 and later ones of the same major version, that for compute_86 on all later ones."""
    if torch.version.hip is not None:
        return True
    major, minor = torch.cuda.get_device_capability(number)
    for name in torch.cuda.get_arch_list():
        kind, _, version = name.partition("_")
        built = divmod(int(version.rstrip("af")), 10)  # sm_90a: with what only that version has
        if (kind == "sm" and built[0] == major and built[1] <= minor) or (
            kind == "compute" and built <= (major, minor)
        ):
            return True
    return False


def set_threads(threads: int | None) -> None:
    """torch counts threads for the whole process, so that the last tower loaded decides."""
    if threads is not None:
        torch.set_num_threads(threads)


def to_numpy(vectors: torch.Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = vectors.float().cpu().numpy()
    return result
