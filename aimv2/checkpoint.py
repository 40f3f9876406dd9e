"""A checkpoint on disk: what it is, checked, without loading it.

`open_checkpoint` reads the config, the tensors' headers and the processor's and tokenizer's settings (about
10 ms), so that everything that can be wrong with a checkpoint is said before work begins.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photoseek.aimv2.calibration import read_calibration
from photoseek.aimv2.layout import Parameters
from photoseek.aimv2.preprocessing import Preprocessing, from_processor_config
from photoseek.aimv2.sizes import (
    TextSizes,
    VisionSizes,
    read_logit_scale,
    read_projection_dim,
    read_text_sizes,
    read_vision_sizes,
)
from photoseek.aimv2.weights import Weights, read_json
from photoseek.contracts import Calibration
from photoseek.errors import CheckpointError

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint, described: a cheap value that can be pickled; the weights stay on disk."""

    name: str
    """Hub name ("apple/aimv2-large-patch14-224-lit"), "builtin", or the folder's name."""
    folder: Path
    digest: str
    """Hexadecimal fingerprint of config, processor, tokenizer and weights (`Weights.fingerprint`)."""
    vision: VisionSizes | None
    text: TextSizes | None
    projection_dim: int | None
    preprocessing_rules: Preprocessing | None
    logit_scale: float | None
    """What cosines are multiplied by before a softmax: exp of the stored logarithm, at most 100."""
    calibration: Calibration | None
    """How sure its matches are; None where nobody calibrated it. No part of the digest."""

    @property
    def has_vision(self) -> bool:
        return self.vision is not None

    @property
    def has_text(self) -> bool:
        return self.text is not None

    @property
    def dim(self) -> int:
        """Width of the embeddings: the joint space's, or the tower's own where nothing projects."""
        if self.projection_dim is not None:
            return self.projection_dim
        sizes = self.vision or self.text
        assert sizes is not None  # open_checkpoint refuses a checkpoint without a tower
        return sizes.width

    @property
    def preprocessing(self) -> Preprocessing:
        """How photos become pictures.

        Raises:
            CheckpointError: the checkpoint has no vision tower.
        """
        if self.preprocessing_rules is None:
            raise CheckpointError(f"{self.name} has no vision tower")
        return self.preprocessing_rules

    @property
    def context_length(self) -> int | None:
        """Most tokens of a text, start and end included; None without a text tower."""
        return self.text.context if self.text else None

    def parameters(self, *, keep: bool = False) -> Parameters:
        """The weights, mapped from disk; each tensor is read when it is asked for (`keep`: see Parameters)."""
        return Parameters(Weights(self.folder), keep=keep)


def read_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Describe the checkpoint in `folder` after checking that it is whole.

    Raises:
        CheckpointError: a file is missing, truncated or malformed, or this is no AIMv2 checkpoint.
    """
    if not os.path.isdir(folder):
        raise CheckpointError(f"there is no checkpoint folder {folder}")
    config = read_json(folder / "config.json")
    weights = Weights(folder)
    parameters = Parameters(weights)
    vision, text = read_vision_sizes(parameters, config), read_text_sizes(parameters, config)
    if vision is None and text is None:
        raise CheckpointError(f"{folder} holds no AIMv2 tower: model type {config.get('model_type')!r}")
    rules = None
    if vision is not None:
        rules = from_processor_config(
            _processor_settings(folder), image_side=vision.image, patch=vision.patch, where=str(folder)
        )
    return Checkpoint(
        name=name,
        folder=folder,
        digest=_digest(folder, weights),
        vision=vision,
        text=text,
        projection_dim=read_projection_dim(parameters, vision, text),
        preprocessing_rules=rules,
        logit_scale=read_logit_scale(parameters, config) if text and vision else None,
        calibration=read_calibration(folder) if text and vision else None,
    )


def _processor_settings(folder: Path) -> Mapping[str, Any]:
    """The image processor's settings: a file of its own, or a part of transformers 5's processor_config.json.

    Empty where there is neither.
    """
    image_processor, processor = (folder / name for name in PROCESSOR_FILES)
    if image_processor.is_file():
        return read_json(image_processor)
    part = read_json(processor).get("image_processor", {}) if processor.is_file() else {}
    if not isinstance(part, dict):
        raise CheckpointError(f"{processor}: image_processor is no object")
    return part


def _digest(folder: Path, weights: Weights) -> str:
    """SHA-256 over everything that decides an embedding; file names and lengths keep the parts apart."""
    digest = hashlib.sha256(b"photoseek checkpoint 1")
    for name in ("config.json", *PROCESSOR_FILES, *TOKENIZER_FILES):
        file = folder / name
        content = file.read_bytes() if file.is_file() else b""
        digest.update(f"\n{name} {len(content)}\n".encode() + content)
    digest.update(b"\nweights\n" + weights.fingerprint())
    return digest.hexdigest()
