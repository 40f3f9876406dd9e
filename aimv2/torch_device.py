"""torch's devices and number types by the names that users give them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from photoseek.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> tuple[torch.device, str]:
    """torch's device and its name; "auto" is the accelerator where there is one.

    Raises:
        UsageError: there is no such device on this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"torch has no device {device!r} on this machine") from error
    return chosen, device


def cuda_devices(device: str) -> list[torch.device]:
    """The GPUs that a name stands for: all of them for "cuda" (and "auto", where there are any), one for "cuda:1";
    none for other devices.

    Raises:
        UsageError: there is no such device on this machine.
    """
    chosen, _name = choose_device(device)
    if chosen.type != "cuda":
        return []
    if chosen.index is not None:
        return [chosen]
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def set_threads(threads: int | None) -> None:
    """torch counts threads for the whole process, so that the last tower loaded decides."""
    if threads is not None:
        torch.set_num_threads(threads)


def to_numpy(vectors: torch.Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = vectors.float().cpu().numpy()
    return result
