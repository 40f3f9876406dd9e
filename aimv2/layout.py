"""The two layouts of published AIMv2 weights, read under one set of names.

photoseek calls each parameter as transformers does (`vision_model.encoder.layers.0.attention.q_proj.weight`).
Apple's original files use other names and stack q, k and v; files with a single tower leave its prefix out. The
tensors in the file decide which case it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoseek.aimv2.weights import Weights
from photoseek.errors import CheckpointError

BLOCK = r"encoder\.layers\.\d+\.(rms_norm[12]|attention\.([qkv]|out)_proj|ffn\.(gate|up|down)_proj)"
CANONICAL = re.compile(
    rf"(vision_model\.(embeddings\.(patch_embed|rms_norm|position_embedding)|{BLOCK}|rms_norm"
    rf"|head\.([kv]|output)_proj)|text_model\.(embeddings\.(token|position)_embedding|{BLOCK}|rms_norm)"
    r"|(visual|text)_projection)\.(weight|bias)|vision_model\.head\.cls_token|logit_scale"
)
"""Every name that a tower can have; another one in a file means a model that photoseek would compute wrongly."""

IGNORED = re.compile(r"(.*\.)?embeddings\.position_ids")
"""A constant that some versions of transformers saved."""

FROM_APPLE = [
    (r"^image_encoder\.", "vision_model."),
    (r"^text_encoder\.", "text_model."),
    (r"^image_projector\.", "visual_projection."),
    (r"^text_projector\.", "text_projection."),
    (r"^log_logit_scale$", "logit_scale"),
    (r"preprocessor\.patchifier\.proj\.", "embeddings.patch_embed."),
    (r"preprocessor\.patchifier\.norm\.", "embeddings.rms_norm."),
    (r"preprocessor\.pos_embed$", "embeddings.position_embedding.weight"),
    (r"preprocessor\.text_embedding\.", "embeddings.token_embedding."),
    (r"preprocessor\.positional_embedding$", "embeddings.position_embedding.weight"),
    (r"trunk\.post_trunk_norm\.", "rms_norm."),
    (r"trunk\.blocks\.(\d+)\.norm_([12])\.", r"encoder.layers.\1.rms_norm\2."),
    (r"trunk\.blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.attention.out_proj."),
    (r"trunk\.blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.attention.qkv."),
    (r"trunk\.blocks\.(\d+)\.mlp\.fc1\.", r"encoder.layers.\1.ffn.gate_proj."),
    (r"trunk\.blocks\.(\d+)\.mlp\.fc3\.", r"encoder.layers.\1.ffn.up_proj."),
    (r"trunk\.blocks\.(\d+)\.mlp\.fc2\.", r"encoder.layers.\1.ffn.down_proj."),
    (r"head\.(k|v)\.", r"head.\1_proj."),
    (r"head\.linear\.", "head.output_proj."),
]
"""Source: apple/ml-aim, aim-v2/aim/v2/torch/models.py and layers.py; fc1 is the gate, fc3 the value beside it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A parameter's place in the file: a tensor, or one third of a stacked q, k, v."""

    name: str
    third: int | None = None


class Parameters:
    """The parameters of a checkpoint by transformers' names, whatever the layout on disk.

    Args:
        keep: remember parameters that had to be converted or copied, for an engine that reads them again at
            every call; the others are views of the file.

    Raises:
        CheckpointError: the weights are not those of an AIMv2 tower.
    """

    def __init__(self, weights: Weights, *, keep: bool = False) -> None:
        self.weights = weights
        self._kept: dict[str, NDArray[np.float32]] | None = {} if keep else None
        self.stored = _by_canonical_name(weights)

    def __contains__(self, name: str) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter without reading it.

        Raises:
            CheckpointError: there is no such parameter.
        """
        stored = self._find(name)
        shape = self.weights.shape(stored.name)
        if stored.third is not None:
            if not shape or shape[0] % 3:
                raise CheckpointError(f"{self.weights.folder}: {stored.name} does not stack q, k and v: shape {shape}")
            shape = (shape[0] // 3, *shape[1:])
        if name.endswith("position_embedding.weight") and len(shape) == 3 and shape[0] == 1:
            shape = shape[1:]
        return shape

    def read(self, name: str) -> NDArray[np.float32]:
        """A parameter as float32; a view of the file where that stores float32. Treat it as read-only.

        Raises:
            CheckpointError: there is no such parameter, or it is not stored as a float.
        """
        if self._kept is not None and name in self._kept:
            return self._kept[name]
        stored, shape = self._find(name), self.shape(name)
        rows = None if stored.third is None else slice(stored.third * shape[0], (stored.third + 1) * shape[0])
        value = self.weights.read(stored.name, rows).reshape(shape)
        if self._kept is not None and not self.weights.is_view(stored.name):
            self._kept[name] = value
        return value

    def rows(self, name: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows of a matrix as float32, shape (*indices.shape, columns); the others stay on disk.

        Raises:
            IndexError: an index lies outside the matrix.
        """
        if indices.size and not 0 <= indices.min() <= indices.max() < self.shape(name)[0]:
            raise IndexError(f"{name} has {self.shape(name)[0]} rows, asked for {indices.min()} to {indices.max()}")
        return self.weights.read(self._find(name).name, indices)

    def optional(self, name: str) -> NDArray[np.float32] | None:
        """A parameter that a configuration may leave out (a bias), or None."""
        return self.read(name) if name in self else None

    def _find(self, name: str) -> Stored:
        try:
            return self.stored[name]
        except KeyError:
            raise CheckpointError(f"{self.weights.folder}: the weights lack {name}") from None


def _by_canonical_name(weights: Weights) -> dict[str, Stored]:
    stored: dict[str, Stored] = {}
    for original in weights:
        if IGNORED.fullmatch(original):
            continue
        name = original if CANONICAL.fullmatch(original) else _from_apple(original)
        if name.startswith(("embeddings.", "encoder.", "rms_norm.", "head.")):
            name = _only_tower(weights) + name
        parts = [(name.replace(".qkv.", f".{part}_proj."), n) for n, part in enumerate("qkv")]
        for canonical, third in parts if ".qkv." in name else [(name, None)]:
            if not CANONICAL.fullmatch(canonical):
                raise CheckpointError(
                    f"{weights.folder} is not an AIMv2 checkpoint that photoseek knows: it has a tensor {original!r}"
                )
            if canonical in stored:
                raise CheckpointError(f"{weights.folder} holds {canonical} twice")
            stored[canonical] = Stored(original, third)
    return stored


def _from_apple(name: str) -> str:
    for pattern, replacement in FROM_APPLE:
        name = re.sub(pattern, replacement, name)
    return name


def _only_tower(weights: Weights) -> str:
    """Prefix for a file that holds one tower without saying which: a text tower embeds tokens."""
    text = {"embeddings.token_embedding.weight", "preprocessor.text_embedding.weight"}
    return "text_model." if any(name in weights for name in text) else "vision_model."
