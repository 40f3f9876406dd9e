"""Binds a library to its model: opens the checkpoint it was made with, and refuses any other.

The contract of a space is the checkpoint's digest, the preprocessing's digest and the vectors of two probe
pictures: the first two catch another model, the third an engine that computes something else.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from photoseek.contracts import Calibration, Picture, Preprocessing, TextTower, VisionTower
from photoseek.errors import CheckpointError, ModelMismatchError
from photoseek.storage.spaces import Space, Spaces

if TYPE_CHECKING:
    from photoseek.aimv2 import Checkpoint

log = logging.getLogger(__name__)

AUTO = "auto"
PROBE_COSINE = 0.999
"""Below this, an engine does not compute what the space was made with; half precision stays above 0.9999."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where and how the towers run; see `aimv2.load_vision_tower`."""

    device: str = AUTO
    precision: str = AUTO
    engine: str = AUTO
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Towers:
    """A checkpoint with both its towers."""

    checkpoint: Checkpoint
    vision: VisionTower
    text: TextTower


class ModelBinding:
    """The towers of one library; each is loaded at first use and kept."""

    def __init__(self, spaces: Callable[[], Spaces], model: str | Path | None, options: EngineOptions) -> None:
        self._spaces = spaces
        self._model = model
        self._options = options
        self._checkpoints: dict[str, Checkpoint] = {}
        self._vision: dict[str, VisionTower] = {}
        self._text: dict[str, TextTower] = {}

    def requested(self) -> Checkpoint:
        """The checkpoint for a new library: the one asked for, or the best at hand."""
        from photoseek.aimv2 import default_checkpoint, open_checkpoint

        if self._model is None or self._model == AUTO:
            return default_checkpoint()
        return open_checkpoint(self._model)

    def check_options(self) -> None:
        """Refuse an engine that is unknown or not installed, also where nothing will be embedded.

        Raises:
            UsageError: an unknown name, or options that exclude each other.
            MissingExtraError: the engine's package is not installed.
        """
        options = self._options
        if (options.device, options.precision, options.engine) != (AUTO, AUTO, AUTO):
            from photoseek.aimv2.choice import choose_engine

            choose_engine(options.engine, options.device, options.precision, for_text=False)

    def check_request(self, space: Space) -> None:
        """Refuse a library that holds vectors of another model than the one asked for.

        Raises:
            ModelMismatchError: naming both.
        """
        if self._model is None or self._model == AUTO or str(self._model) == space.model:
            return
        asked = self.requested()
        if asked.digest != space.checkpoint_digest:
            raise ModelMismatchError(
                f"this library holds vectors of the model {space.model}, asked for {self._model}",
                hint=f'leave --model out, or run "photoseek models use {self._model}" to embed its photos anew',
            )

    def checkpoint(self, space: Space) -> Checkpoint:
        """The checkpoint that the space was made with.

        Raises:
            ModelMismatchError: what lies there now is another one.
            CheckpointError: it is gone or damaged.
        """
        if space.checkpoint_digest not in self._checkpoints:
            from photoseek.aimv2 import open_checkpoint

            checkpoint = open_checkpoint(space.model)
            if (checkpoint.digest, checkpoint.preprocessing.digest) != (space.checkpoint_digest, space.preprocessing):
                raise ModelMismatchError(
                    f"the model {space.model} is not the one this library was made with: its files have changed",
                    hint=f'bring the old files back, or run "photoseek models use {space.model}" to embed anew',
                )
            self._checkpoints[space.checkpoint_digest] = checkpoint
        return self._checkpoints[space.checkpoint_digest]

    def calibration(self, space: Space) -> tuple[Calibration, float] | None:
        """The checkpoint's calibration with its logit scale; None where nobody calibrated it, or it is gone.

        Queries that were asked before are answered without their checkpoint; only their confidence needs its files.
        """
        try:
            checkpoint = self.checkpoint(space)
        except (CheckpointError, ModelMismatchError) as error:
            log.info("no confidence: %s", error)
            return None
        if checkpoint.calibration is None or checkpoint.logit_scale is None:
            return None
        return checkpoint.calibration, checkpoint.logit_scale

    def preprocessing(self, space: Space) -> Preprocessing:
        return self.checkpoint(space).preprocessing

    def vision(self, space: Space) -> VisionTower:
        """The vision tower, after it has given the probe pictures the vectors they had when the space was made."""
        if space.checkpoint_digest not in self._vision:
            self._vision[space.checkpoint_digest] = self._probed_vision(space)
        return self._vision[space.checkpoint_digest]

    def long_run_vision(self, space: Space, pictures: Sequence[Picture], seconds: float) -> VisionTower:
        """The vision tower for a run that takes long, after finding out how this machine embeds fastest.

        That is tried once for a model and a machine, and remembered.

        Args:
            pictures: some of the run's.
            seconds: what embedding will take with the tower of `vision`.
        """
        from photoseek.aimv2 import prepare_long_run

        options = self._options
        if prepare_long_run(
            self.checkpoint(space),
            pictures,
            seconds,
            device=options.device,
            precision=options.precision,
            engine=options.engine,
            threads=options.threads,
        ):
            self._vision.pop(space.checkpoint_digest, None)  # a GPU may hold one tower and not two
            self._vision[space.checkpoint_digest] = self._probed_vision(space, long_run=True)
        return self.vision(space)

    def _probed_vision(self, space: Space, *, long_run: bool = False) -> VisionTower:
        checkpoint = self.checkpoint(space)
        tower = self._load_vision(checkpoint, long_run=long_run)
        vectors = tower.encode(probe_pictures(checkpoint.preprocessing))
        cosine = float((vectors * self._spaces().probe(space)).sum(axis=1).min())
        if not cosine >= PROBE_COSINE:
            raise ModelMismatchError(
                f"the vision tower of {space.model} computes other vectors here than when the library was made"
                f" (cosine {cosine:.4f})",
                hint="try --precision float32, or another --engine",
            )
        return tower

    def text(self, space: Space) -> TextTower:
        """The text tower.

        Raises:
            NoTextTowerError: the model has none.
        """
        if space.checkpoint_digest not in self._text:
            self._text[space.checkpoint_digest] = self._load_text(self.checkpoint(space))
        return self._text[space.checkpoint_digest]

    def towers(self, space: Space | None) -> Towers:
        """Checkpoint and both towers, of a space or of the model for a new library."""
        if space is not None:
            return Towers(self.checkpoint(space), self.vision(space), self.text(space))
        checkpoint = self.requested()
        return Towers(checkpoint, self._load_vision(checkpoint), self._load_text(checkpoint))

    def make_space(
        self,
        checkpoint: Checkpoint,
        *,
        state: str,
        committing: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Space:
        """The space of a checkpoint, made with both towers if there is none yet.

        `committing` makes a lock that is held while it is stored, for callers who do not hold the writer's.
        """
        spaces = self._spaces()
        digest = checkpoint.digest
        space = spaces.find(digest, checkpoint.preprocessing.digest)
        if space is not None:
            return space
        vision = self._load_vision(checkpoint)
        texts = everyday_texts()
        text_vectors = self._load_text(checkpoint).encode(texts) if checkpoint.has_text else None
        probe = vision.encode(probe_pictures(checkpoint.preprocessing))
        with committing():
            space = spaces.create(
                model=model_source(checkpoint),
                checkpoint_digest=digest,
                preprocessing=checkpoint.preprocessing.digest,
                probe=probe,
                texts=texts,
                text_vectors=text_vectors,
                state=state,
            )
        self._checkpoints[digest] = checkpoint
        self._vision[digest] = vision
        return space

    def _load_vision(self, checkpoint: Checkpoint, *, long_run: bool = False) -> VisionTower:
        from photoseek.aimv2 import load_vision_tower

        options = self._options
        return load_vision_tower(
            checkpoint,
            device=options.device,
            precision=options.precision,
            engine=options.engine,
            threads=options.threads,
            long_run=long_run,
        )

    def _load_text(self, checkpoint: Checkpoint) -> TextTower:
        from photoseek.aimv2 import load_text_tower

        options = self._options
        return load_text_tower(checkpoint, device=options.device, engine=options.engine, threads=options.threads)


def model_source(checkpoint: Checkpoint) -> str:
    """What to write down so that `open_checkpoint` finds the checkpoint again: a name, or an absolute folder."""
    from photoseek.aimv2.models import BUILTIN, downloaded_names

    if checkpoint.name == BUILTIN or checkpoint.name in downloaded_names():
        return checkpoint.name
    return str(checkpoint.folder.resolve())


def probe_pictures(preprocessing: Preprocessing) -> list[Picture]:
    """Two made pictures, the same on every machine: soft colours with shapes, and fine stripes."""
    from PIL import Image

    y, x = np.mgrid[0:256, 0:256]
    soft = np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8)
    soft[(x - 90) ** 2 + (y - 110) ** 2 < 50**2] = (230, 40, 30)
    soft[150:220, 130:230] = (30, 60, 200)
    fine = np.stack([(x * 5) % 256, (y * 3) % 256, ((x // 16 + y // 16) % 2) * 255], axis=-1).astype(np.uint8)
    return [preprocessing.prepare(Image.fromarray(pixels)) for pixels in (soft, fine)]


@functools.cache
def everyday_texts() -> list[str]:
    """A few hundred short texts as people type them; nprobe is tuned on their vectors."""
    lines = resources.files("photoseek.search").joinpath("everyday_texts.txt").read_text(encoding="utf-8")
    return lines.split("\n")[:-1]
