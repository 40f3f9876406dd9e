"""Before a long run: find out, once, how this machine embeds pictures fastest with a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.choice import choose_engine
from photoseek.aimv2.trial import remembered_trial, run_trial
from photoseek.contracts import Picture
from photoseek.errors import ModelError

log = logging.getLogger(__name__)


def prepare_long_run(
    checkpoint: Checkpoint,
    pictures: Sequence[Picture],
    run_s: float,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
) -> bool:
    """Try what may be faster, unless that was done before; `load_vision_tower(..., long_run=True)` uses the answer.

    On a GPU the batch size and torch.compile are tried, within a tenth of the run; with OpenVINO on a processor,
    bfloat16 and 8-bit integers, for less than a minute.

    Args:
        pictures: some of those about to be embedded.
        run_s: seconds that embedding will take as things are.
        device, precision, engine, threads: as in `load_vision_tower`.
    Returns:
        Whether a tower loaded now may be faster than the one that serves.
    """
    chosen = choose_engine(engine, device, precision, for_text=False)
    if chosen == "torch":
        from photoseek.aimv2.torch_device import cuda_devices

        devices = cuda_devices(device)
        if not devices or checkpoint.vision is None or checkpoint.vision.native:
            return False
        from photoseek.aimv2.gpu_trial import tune_for

        try:
            tune_for(checkpoint, devices[0], precision, run_s, pictures)
        except ModelError as error:  # beside the tower that serves there is no memory to try in
            log.warning("not tried what is fastest: %s", error)
            return False
        return True
    if chosen == "openvino" and (device, precision, engine) == ("auto", "auto", "auto"):
        if remembered_trial(checkpoint) is None:
            run_trial(checkpoint, pictures, threads=threads)
        return True
    return False
