"""The vision tower on the GPUs of one machine: copies and computing overlap, and too little memory costs time only.

Each GPU has a replica of the tower and two slots; a call of `run` takes a free slot of any of them:

    slot 1   stack, copy to the GPU | compute        | copy back    | next batch ...
    slot 2                            stack, copy to | wait for 1   | compute ...

Pictures go over as uint8 through pinned memory on a stream of their own and are normalised on the GPU. Which GPU gets
a batch is decided by which has a free slot.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.sizes import VisionSizes
from photoseek.aimv2.torch_vision import EAGER, TorchVisionModel
from photoseek.errors import ModelError

log = logging.getLogger(__name__)

TOKENS_PER_BATCH = 65536
"""256 pictures of 256 patches, until a trial has found what is best."""
SLOTS_PER_GPU = 2
"""One batch is copied while another is computed; a third would wait."""
PADDED_SHARE = 4
"""A batch is filled up to the fixed shape from a quarter of it on; smaller ones are quicker without compiling."""


class GpuVision:
    """A vision tower with its projection on one or more GPUs. Threads may share one, and should.

    Args:
        devices: the GPUs. The first gets its replica now, the others when there is work for them.
        device_name: what the user calls them ("cuda", "cuda:1").
        batch_size: pictures computed together; None for a good guess.
        mode: `torch_vision.EAGER`, or a mode of torch.compile for full batches.
    Raises:
        CheckpointError: a tensor cannot be read.
        ModelError: the weights do not fit the memory of the first GPU.
    """

    name = "torch"

    def __init__(
        self,
        checkpoint: Checkpoint,
        sizes: VisionSizes,
        devices: Sequence[torch.device],
        *,
        device_name: str = "cuda",
        precision: str = "float32",
        batch_size: int | None = None,
        mode: str = EAGER,
    ) -> None:
        self.device, self.precision = device_name, precision
        self._patch = sizes.patch
        self._patches = None if sizes.native else sizes.patches
        self._usual_patches = sizes.patches
        self.mode = mode if self._patches else EAGER  # native pictures have many shapes
        self.tokens_per_batch = TOKENS_PER_BATCH if batch_size is None else batch_size * self._usual_patches
        self._replicas = [Replica(checkpoint, sizes, device, precision) for device in devices]
        # Last in, first out: a caller alone stays with the first GPU.
        self._free: queue.LifoQueue[Slot] = queue.LifoQueue()
        for replica in reversed(self._replicas * SLOTS_PER_GPU):
            self._free.put(Slot(replica))
        try:
            self._replicas[0].load(self.mode)
        except torch.OutOfMemoryError as error:
            raise self._too_small(self._replicas[0].device, "the model") from error

    @property
    def batches_at_once(self) -> int:
        return SLOTS_PER_GPU * len(self._replicas)

    @property
    def batch_size(self) -> int:
        """Pictures computed together; of a native tower, pictures of 1,024 patches."""
        return max(1, self.tokens_per_batch // self._usual_patches)

    def set_batch(self, batch_size: int, mode: str) -> None:
        """Compute so many pictures together, compiled or not, from the next call on."""
        self.tokens_per_batch = batch_size * self._usual_patches
        self.mode = mode if self._patches else EAGER
        for replica in self._replicas:
            replica.set_mode(self.mode)

    @property
    def compiled_mode(self) -> str:
        """The mode that serves; EAGER where compiling has failed."""
        return self._replicas[0].mode

    def run(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures of one shape, (batch, height, width, 3) uint8; returns (batch, dim), any length.

        When memory runs out, the batch is halved for this and all later calls.

        Raises:
            ModelError: a single picture does not fit the GPU's memory.
        """
        patches = pictures.shape[1] * pictures.shape[2] // self._patch**2
        largest = max(1, self.tokens_per_batch // patches)
        if len(pictures) > largest:
            parts = (pictures[start : start + largest] for start in range(0, len(pictures), largest))
            return np.concatenate([self.run(part) for part in parts])
        fixed = largest if self.compiled_mode != EAGER and len(pictures) * PADDED_SHARE > largest else None
        slot = self._take_slot()
        try:
            return slot.run(pictures, fixed)
        except torch.OutOfMemoryError as error:
            if len(pictures) == 1:
                raise self._too_small(slot.replica.device, "one picture") from error
        finally:
            self._free.put(slot)
        slot.replica.free_memory()  # not before: the error's frames held on to tensors
        half = len(pictures) // 2
        self.tokens_per_batch = min(self.tokens_per_batch, half * patches)
        log.warning("%s has too little memory for %d pictures: going on with %d", self.device, len(pictures), half)
        return self.run(pictures)

    def _take_slot(self) -> Slot:
        """A free slot of a GPU that holds the model; GPUs too full for it are left out."""
        while True:
            slot = self._free.get()
            try:
                slot.replica.load(self.mode)
            except torch.OutOfMemoryError:
                log.warning("%s has too little memory for the model: going on without it", slot.replica.device)
            else:
                return slot

    def _too_small(self, device: torch.device, what: str) -> ModelError:
        hint = "end other programs that use the GPU, or use --device cpu"
        if self.precision == "float32":
            hint += " or --precision bfloat16"
        return ModelError(f"{what} does not fit the memory of {device} beside what is there", hint=hint)


class Replica:
    """The tower on one GPU. Batches are put on its streams under `turn`, one after the other."""

    def __init__(self, checkpoint: Checkpoint, sizes: VisionSizes, device: torch.device, precision: str) -> None:
        self._checkpoint, self._sizes = checkpoint, sizes
        self.device, self._precision = device, precision
        self.turn = threading.Lock()
        self._model: TorchVisionModel | None = None
        self.has_streams = device.type == "cuda"

    def load(self, mode: str) -> None:
        """Read the model from the checkpoint, unless it is there.

        Raises:
            torch.OutOfMemoryError: it does not fit.
        """
        with self.turn:
            if self._model is None:
                if self.has_streams:  # not before: they alone take hundreds of MB of a GPU
                    self.copying, self.computing = torch.cuda.Stream(self.device), torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
                model = TorchVisionModel(self._checkpoint, self._sizes, self.device, self._precision)
                model.compile(mode)
                if self.has_streams:  # the weights came on the default stream
                    torch.cuda.synchronize(self.device)
                self._model = model

    @property
    def model(self) -> TorchVisionModel:
        assert self._model is not None  # a slot is taken only after `load`
        return self._model

    @property
    def mode(self) -> str:
        return self._model.mode if self._model is not None else EAGER

    def set_mode(self, mode: str) -> None:
        with self.turn:
            if self._model is not None and self._model.mode != mode:
                self._model.compile(mode)

    def free_memory(self) -> None:
        """Give what the allocator keeps back to the GPU, so that smaller blocks can be made of it."""
        if self.has_streams:
            with self.turn, torch.cuda.device(self.device):
                torch.cuda.synchronize(self.device)
                torch.cuda.empty_cache()


class Slot:
    """Memory for one batch on its way to a GPU: pinned on this side, and its place there. One caller at a time."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self._here = self._there = torch.empty(0, dtype=torch.uint8)

    def run(self, pictures: NDArray[np.uint8], fixed: int | None) -> NDArray[np.float32]:
        """Embed a batch; the calling thread waits, and others may use the GPU meanwhile.

        Args:
            fixed: fill the batch up to this many, the shape that was compiled; what fills it does not matter.
        """
        replica, count = self.replica, fixed or len(pictures)
        if not replica.has_streams:
            with replica.turn:
                batch = self._filled(pictures, count, pinned=False)
                states = replica.model(batch, is_fixed=fixed is not None)
            return states[: len(pictures)].numpy()
        here = self._filled(pictures, count, pinned=True)
        with replica.turn:
            there = self._place(here)
            with torch.cuda.stream(replica.copying):
                there.copy_(here, non_blocking=True)
            with torch.cuda.stream(replica.computing):
                replica.computing.wait_stream(replica.copying)
                states = replica.model(there, is_fixed=fixed is not None)[: len(pictures)]
                vectors = torch.empty(states.shape, dtype=torch.float32, pin_memory=True)
                vectors.copy_(states, non_blocking=True)
                done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
                done.record(replica.computing)
        done.synchronize()  # asleep: a waiting thread would keep a core busy
        return np.array(vectors.numpy())  # pinned memory is scarce

    def _filled(self, pictures: NDArray[np.uint8], count: int, *, pinned: bool) -> torch.Tensor:
        """The pictures at the beginning of memory for `count`, (count, height, width, 3)."""
        bytes_needed = count * pictures[0].size
        if len(self._here) < bytes_needed:
            self._here = torch.zeros(bytes_needed, dtype=torch.uint8, pin_memory=pinned)
        batch = self._here[:bytes_needed].view(count, *pictures.shape[1:])
        batch[: len(pictures)].copy_(torch.from_numpy(pictures))
        return batch

    def _place(self, here: torch.Tensor) -> torch.Tensor:
        """As much memory on the GPU; the slot's own, since it is written and read on different streams."""
        if len(self._there) < here.numel():
            with torch.cuda.stream(self.replica.computing):
                self._there = torch.empty(here.numel(), dtype=torch.uint8, device=self.replica.device)
            # The memory may have been that of states which are still being computed with.
            self.replica.copying.wait_stream(self.replica.computing)
        return self._there[: here.numel()].view(here.shape)
