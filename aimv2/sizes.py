"""Sizes of the two towers: what the tensors say, and what only the config can add.

Widths, depth, patch size, context and the presence of a head or of learned positions are read off the tensors;
the config adds heads, epsilon and the end token. So a config that leaves fields out, as Apple's first revisions
do (a vision-only config with the fields at top level, no word about the head), is no obstacle, and one that
contradicts the weights is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from photoseek.aimv2.layout import Parameters
from photoseek.errors import CheckpointError

NATIVE_PATCHES_MAX = 1024
"""Most patches of a native picture, larger ones are scaled down: 448 x 448 pixels at patch 14, four times the
work of a 224 model. transformers has no such limit and takes minutes for a 12 megapixel photo."""

LOGIT_SCALE_MAX = 100.0
"""Ceiling of exp(logit_scale), unless the config names another (`max_logit_scale`)."""


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """What the blocks of either tower need."""

    width: int
    mlp: int
    layers: int
    heads: int
    eps: float


@dataclass(frozen=True, slots=True)
class VisionSizes(BlockSizes):
    """Sizes of a vision tower."""

    patch: int
    """Side of a patch in pixels."""
    image: int | None
    """Side of the square picture in pixels; None for native resolution (any grid of whole patches)."""
    has_head: bool
    """Attention pooling; without it the pooled vector is the mean of the patch states."""

    @property
    def native(self) -> bool:
        return self.image is None

    @property
    def patches(self) -> int:
        """Patches of a picture; of a native tower, the most that one may have."""
        return NATIVE_PATCHES_MAX if self.image is None else (self.image // self.patch) ** 2


@dataclass(frozen=True, slots=True)
class TextSizes(BlockSizes):
    """Sizes of a text tower."""

    vocabulary: int
    context: int
    """Most tokens of a text, start and end included."""
    end_token: int


def read_vision_sizes(parameters: Parameters, config: Mapping[str, Any]) -> VisionSizes | None:
    """Sizes of the vision tower, or None when the weights have none.

    Args:
        config: content of config.json, of either tower alone or of both.

    Raises:
        CheckpointError: config and weights contradict each other, or are no AIMv2.
    """
    if "vision_model.embeddings.patch_embed.weight" not in parameters:
        return None
    fields = _part(config, "vision_config")
    kernel = parameters.shape("vision_model.embeddings.patch_embed.weight")
    if len(kernel) != 4 or kernel[1] != 3 or kernel[2] != kernel[3]:
        raise CheckpointError(f"{_folder(parameters)}: patches of shape {kernel} are not square patches of 3 channels")
    width, patch = kernel[0], kernel[2]
    positions = "vision_model.embeddings.position_embedding.weight"
    native = fields.get("is_native") is True or positions not in parameters
    if native and width % 4:
        raise CheckpointError(f"{_folder(parameters)}: a native tower's width must divide by 4, not {width}")
    image = None if native else _image_side(parameters, parameters.shape(positions)[0], patch)
    has_head = "vision_model.head.cls_token" in parameters
    blocks = _block_sizes(parameters, "vision_model", fields, width, default_heads=8)
    sizes = VisionSizes(
        **blocks, patch=patch, image=image, has_head=has_head and fields.get("use_head", True) is not False
    )
    _check_vision(parameters, sizes)
    return sizes


def read_text_sizes(parameters: Parameters, config: Mapping[str, Any]) -> TextSizes | None:
    """Sizes of the text tower, or None when the weights have none.

    Raises:
        CheckpointError: config and weights contradict each other, or are no AIMv2.
    """
    tokens = "text_model.embeddings.token_embedding.weight"
    if tokens not in parameters:
        return None
    fields = _part(config, "text_config")
    vocabulary, width = _matrix(parameters, tokens)
    context, _ = _matrix(parameters, "text_model.embeddings.position_embedding.weight")
    # In CLIP's format the end token is the last of the vocabulary (49407 in Apple's).
    end_token = fields.get("eos_token_id", vocabulary - 1)
    if isinstance(end_token, list) and end_token:
        end_token = end_token[0]
    if type(end_token) is not int or not 0 <= end_token < vocabulary:
        raise CheckpointError(
            f"{_folder(parameters)}: end token {end_token!r} is not in the vocabulary of {vocabulary}"
        )
    blocks = _block_sizes(parameters, "text_model", fields, width, default_heads=6)
    sizes = TextSizes(**blocks, vocabulary=vocabulary, context=context, end_token=end_token)
    _expect(parameters, "text_model.embeddings.position_embedding.weight", (context, width))
    _check_blocks(parameters, "text_model", sizes)
    return sizes


def read_projection_dim(parameters: Parameters, vision: VisionSizes | None, text: TextSizes | None) -> int | None:
    """Width of the joint space, or None when the checkpoint does not project (a single tower).

    Raises:
        CheckpointError: one of two projections is missing, or they do not fit the towers.
    """
    if "visual_projection.weight" not in parameters and "text_projection.weight" not in parameters:
        if vision and text:
            raise CheckpointError(f"{_folder(parameters)}: two towers, but no projections into one space")
        return None
    name = "visual_projection.weight" if vision else "text_projection.weight"
    dim, _ = _matrix(parameters, name)
    if vision:
        _expect(parameters, "visual_projection.weight", (dim, vision.width))
    if text:
        _expect(parameters, "text_projection.weight", (dim, text.width))
    return dim


def read_logit_scale(parameters: Parameters, config: Mapping[str, Any]) -> float | None:
    """exp of the stored logarithm, kept between 1 and the ceiling; None where there is none.

    Raises:
        CheckpointError: the stored value is not a finite scalar.
    """
    if "logit_scale" not in parameters:
        return None
    stored = parameters.read("logit_scale").reshape(-1)
    if stored.size != 1 or not math.isfinite(float(stored[0])):
        raise CheckpointError(f"{_folder(parameters)}: the logit scale is not a finite number")
    ceiling = float(config.get("max_logit_scale", LOGIT_SCALE_MAX))
    return math.exp(min(max(float(stored[0]), 0.0), math.log(ceiling)))


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The fields of one tower: a part of the config, or its top level where the tower stands alone."""
    part = config.get(name, config)
    if not isinstance(part, Mapping):
        raise CheckpointError(f"config.json: {name} is not an object")
    if part.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"config.json: AIMv2 activates by silu, not {part['hidden_act']!r}")
    return part


def _block_sizes(
    parameters: Parameters, tower: str, fields: Mapping[str, Any], width: int, *, default_heads: int
) -> dict[str, Any]:
    numbers = {int(m[1]) for name in parameters if (m := re.match(rf"{tower}\.encoder\.layers\.(\d+)\.", name))}
    if numbers != set(range(len(numbers))) or not numbers:
        raise CheckpointError(f"{_folder(parameters)}: layers of the {tower} are missing: found {sorted(numbers)}")
    mlp, _ = _matrix(parameters, f"{tower}.encoder.layers.0.ffn.gate_proj.weight")
    # A head count is nowhere in the tensors; without it in the config, that of the configuration class counts.
    heads, eps = fields.get("num_attention_heads", default_heads), fields.get("rms_norm_eps", 1e-5)
    if type(heads) is not int or heads < 1 or width % heads:
        raise CheckpointError(f"config.json: {heads!r} heads do not divide a width of {width}")
    if not isinstance(eps, int | float) or not 0 < eps < 1:
        raise CheckpointError(f"config.json: rms_norm_eps cannot be {eps!r}")
    for field, found in {"hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": len(numbers)}.items():
        if fields.get(field, found) != found:
            raise CheckpointError(f"config.json says {field} {fields[field]}, the weights say {found}")
    return {"width": width, "mlp": mlp, "layers": len(numbers), "heads": heads, "eps": float(eps)}


def _image_side(parameters: Parameters, positions: int, patch: int) -> int:
    side = math.isqrt(positions)
    if side * side != positions or not side:
        raise CheckpointError(f"{_folder(parameters)}: {positions} positions are not a square grid of patches")
    return side * patch


def _check_vision(parameters: Parameters, sizes: VisionSizes) -> None:
    tower, width = "vision_model", sizes.width
    _expect(parameters, f"{tower}.embeddings.patch_embed.bias", (width,), optional=True)
    _expect(parameters, f"{tower}.embeddings.rms_norm.weight", (width,))
    if sizes.image is not None:
        positions = (sizes.image // sizes.patch) ** 2
        _expect(parameters, f"{tower}.embeddings.position_embedding.weight", (positions, width))
    if sizes.has_head:
        _expect(parameters, f"{tower}.head.cls_token", (1, 1, width))
        for name in ("k_proj", "v_proj", "output_proj"):
            _expect(parameters, f"{tower}.head.{name}.weight", (width, width))
            _expect(parameters, f"{tower}.head.{name}.bias", (width,), optional=True)
    _check_blocks(parameters, tower, sizes)


def _check_blocks(parameters: Parameters, tower: str, sizes: BlockSizes) -> None:
    width, mlp = sizes.width, sizes.mlp
    shapes = {f"attention.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
    shapes |= {"ffn.gate_proj": (mlp, width), "ffn.up_proj": (mlp, width), "ffn.down_proj": (width, mlp)}
    for layer in range(sizes.layers):
        prefix = f"{tower}.encoder.layers.{layer}"
        for norm in ("rms_norm1", "rms_norm2"):
            _expect(parameters, f"{prefix}.{norm}.weight", (width,))
        for name, shape in shapes.items():
            _expect(parameters, f"{prefix}.{name}.weight", shape)
            _expect(parameters, f"{prefix}.{name}.bias", shape[:1], optional=True)
    _expect(parameters, f"{tower}.rms_norm.weight", (width,))


def _expect(parameters: Parameters, name: str, shape: tuple[int, ...], *, optional: bool = False) -> None:
    if optional and name not in parameters:
        return
    found = parameters.shape(name)
    if found != shape:
        raise CheckpointError(f"{_folder(parameters)}: {name} has shape {found}, expected {shape}")


def _matrix(parameters: Parameters, name: str) -> tuple[int, int]:
    shape = parameters.shape(name)
    if len(shape) != 2 or 0 in shape:
        raise CheckpointError(f"{_folder(parameters)}: {name} has shape {shape}, expected a matrix")
    return shape[0], shape[1]


def _folder(parameters: Parameters) -> str:
    return str(parameters.weights.folder)
