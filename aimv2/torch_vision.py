"""The vision tower in plain torch functions, made to be compiled: for GPUs, and for any CPU.

Products that share their input are one product (queries, keys and values; gate and up), attention goes through
scaled_dot_product_attention without a mask, which is a flash kernel in half precision, and pictures are normalised
on the device. A block is one function of its weights, so that it is compiled once for all layers of a tower.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import FunctionType
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor
from torch.nn.attention import SDPBackend

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.layout import Parameters
from photoseek.aimv2.patches import patch_matrix, sincos_positions
from photoseek.aimv2.sizes import VisionSizes
from photoseek.aimv2.torch_device import DTYPES
from photoseek.errors import ModelError

log = logging.getLogger(__name__)

EAGER = "eager"
COMPILE_MODES = ("default", "max-autotune-no-cudagraphs")
"""torch.compile's modes that a trial tries. Not those with CUDA graphs: they save launching kernels, 2 ms of the
100 ms that a batch of the large tower takes, and are bound to the thread that first called them."""

Steps: TypeAlias = tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]
"""`embed`, `block` and `pool`, as they are or compiled."""


class LinearWeights(NamedTuple):
    """A product's weight (out, in), and its bias (out,) or None."""

    weight: Tensor
    bias: Tensor | None


class BlockWeights(NamedTuple):
    """What one block needs; norms are (width,)."""

    norm1: Tensor
    qkv: LinearWeights
    out: LinearWeights
    norm2: Tensor
    gate_up: LinearWeights
    down: LinearWeights


class HeadWeights(NamedTuple):
    """Attention pooling: the learned query (1, 1, width), keys and values, output."""

    query: Tensor
    key_value: LinearWeights
    out: LinearWeights


class TorchVisionModel:
    """A vision tower with its projection, on one device. Used by one thread at a time.

    Raises:
        CheckpointError: a tensor cannot be read.
        torch.OutOfMemoryError: the weights do not fit the device.
    """

    def __init__(self, checkpoint: Checkpoint, sizes: VisionSizes, device: torch.device, precision: str) -> None:
        self.sizes, self.device, self.dtype = sizes, device, DTYPES[precision]
        self.mode = EAGER
        """EAGER, or the mode of torch.compile that serves."""
        self._compiled: Steps | None = None
        self._positions_of: dict[tuple[int, int], Tensor] = {}
        self._load(checkpoint)

    def compile(self, mode: str) -> None:
        """Compile calls of a fixed shape from now on; EAGER takes that back.

        Where that fails (no compiler on the machine, no Triton on Windows), now or later, calls go on without it.
        """
        self.mode, self._compiled = EAGER, None
        if mode == EAGER:
            return
        try:
            embed_step, block_step, pool_step = (
                torch.compile(own_copy(step), mode=mode, dynamic=False) for step in STEPS
            )
        except Exception as error:  # it refuses whole systems and versions of Python, with errors of many kinds
            _warn_of_no_compiler(error)
            return
        self.mode, self._compiled = mode, (embed_step, block_step, pool_step)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor, *, is_fixed: bool = False) -> Tensor:
        """Embed pictures of one shape, (batch, height, width, 3) uint8 on the device.

        Args:
            is_fixed: the shape is one of very few, so that compiling for it pays.
        Returns:
            (batch, dim) float32 of any length, on the device.
        Raises:
            torch.OutOfMemoryError: the batch does not fit the device's memory.
        """
        if self._compiled is None or not is_fixed:
            return self._run(pictures, STEPS)
        try:
            return self._run(pictures, self._compiled)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail in many ways; without one the tower computes the same
            _warn_of_no_compiler(error)
            self.compile(EAGER)
            return self._run(pictures, STEPS)

    def _run(self, pictures: Tensor, steps: Steps) -> Tensor:
        embed_step, block_step, pool_step = steps
        sizes = self.sizes
        levels = self._scale, self._shift
        x = embed_step(pictures, levels, self._kernel, self._norm, self._positions(pictures), sizes.patch, sizes.eps)
        for weights in self._blocks:
            x = block_step(x, weights, sizes.heads, sizes.eps)
        return pool_step(x, self._last_norm, self._head, self._projection, sizes.heads, sizes.eps)

    def _positions(self, pictures: Tensor) -> Tensor:
        """(patches, width): learned, or of the grid of a native tower's pictures."""
        if self._learned_positions is not None:
            return self._learned_positions
        rows, columns = (side // self.sizes.patch for side in pictures.shape[1:3])
        if (rows, columns) not in self._positions_of:
            made = torch.from_numpy(sincos_positions(rows, columns, self.sizes.width))
            self._positions_of[rows, columns] = made.to(self.device, self.dtype)
        return self._positions_of[rows, columns]

    def _load(self, checkpoint: Checkpoint) -> None:
        parameters, tower = checkpoint.parameters(), "vision_model"
        affine = checkpoint.preprocessing.affine()
        self._scale, self._shift = (torch.from_numpy(part).to(self.device) for part in affine)
        kernel = patch_matrix(parameters.read(f"{tower}.embeddings.patch_embed.weight"))
        bias = self._optional(parameters, f"{tower}.embeddings.patch_embed.bias")
        self._kernel = LinearWeights(self._on_device(torch.from_numpy(kernel)), bias)
        self._norm = self._read(parameters, f"{tower}.embeddings.rms_norm.weight")
        self._learned_positions = None
        if not self.sizes.native:
            self._learned_positions = self._read(parameters, f"{tower}.embeddings.position_embedding.weight")
        self._blocks = [self._block(parameters, f"{tower}.encoder.layers.{n}") for n in range(self.sizes.layers)]
        self._last_norm = self._read(parameters, f"{tower}.rms_norm.weight")
        self._head: HeadWeights | None = None
        if self.sizes.has_head:
            head = f"{tower}.head"
            query = self._read(parameters, f"{head}.cls_token").reshape(1, 1, -1)
            key_value = self._linear(parameters, f"{head}.k_proj", f"{head}.v_proj")
            self._head = HeadWeights(query, key_value, self._linear(parameters, f"{head}.output_proj"))
        self._projection = self._optional(parameters, "visual_projection.weight")

    def _block(self, parameters: Parameters, layer: str) -> BlockWeights:
        return BlockWeights(
            self._read(parameters, f"{layer}.rms_norm1.weight"),
            self._linear(parameters, *(f"{layer}.attention.{part}_proj" for part in "qkv")),
            self._linear(parameters, f"{layer}.attention.out_proj"),
            self._read(parameters, f"{layer}.rms_norm2.weight"),
            self._linear(parameters, f"{layer}.ffn.gate_proj", f"{layer}.ffn.up_proj"),
            self._linear(parameters, f"{layer}.ffn.down_proj"),
        )

    def _linear(self, parameters: Parameters, *names: str) -> LinearWeights:
        """Products of one input as one product: their weights one below the other."""
        weight = torch.cat([self._read(parameters, f"{name}.weight") for name in names])
        biases = [self._optional(parameters, f"{name}.bias") for name in names]
        given = [bias for bias in biases if bias is not None]
        if given and len(given) < len(names):
            raise ModelError(f"of {', '.join(names)} some have a bias and some have none")
        return LinearWeights(weight, torch.cat(given) if given else None)

    def _optional(self, parameters: Parameters, name: str) -> Tensor | None:
        return self._read(parameters, name) if name in parameters else None

    def _read(self, parameters: Parameters, name: str) -> Tensor:
        # A copy of its own, since the file is mapped only while it is read.
        return self._on_device(torch.from_numpy(np.array(parameters.read(name))))

    def _on_device(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype)


def embed(
    pictures: Tensor,
    levels: tuple[Tensor, Tensor],
    kernel: LinearWeights,
    norm: Tensor,
    positions: Tensor,
    patch: int,
    eps: float,
) -> Tensor:
    """Pictures (batch, height, width, 3) uint8 to states (batch, patches, width).

    Args:
        levels: scale and shift of each channel, (3,) float32.
    """
    scale, shift = levels
    batch, height, width, _ = pictures.shape
    pixels = (pictures.to(torch.float32) * scale + shift).to(norm.dtype)
    grid = pixels.view(batch, height // patch, patch, width // patch, patch, 3).transpose(2, 3)
    patches = grid.reshape(batch, -1, 3 * patch * patch)
    return rms_norm(F.linear(patches, *kernel), norm, eps) + positions


def block(x: Tensor, weights: BlockWeights, heads: int, eps: float) -> Tensor:
    """One block: attention and gated MLP, each after a norm and added to its input; (batch, patches, width)."""
    qkv = F.linear(rms_norm(x, weights.norm1, eps), *weights.qkv)
    query, key, value = split_heads(qkv, 3, heads)
    x = x + F.linear(merge_heads(F.scaled_dot_product_attention(query, key, value)), *weights.out)
    gate, up = F.linear(rms_norm(x, weights.norm2, eps), *weights.gate_up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, *weights.down)


def pool(
    x: Tensor, norm: Tensor, head: HeadWeights | None, projection: Tensor | None, heads: int, eps: float
) -> Tensor:
    """States (batch, patches, width) to (batch, dim) float32: by the head, or their mean."""
    x = rms_norm(x, norm, eps)
    if head is None:
        pooled = x.mean(dim=1)
    else:
        key, value = split_heads(F.linear(x, *head.key_value), 2, heads)
        (query,) = split_heads(head.query.expand(len(x), -1, -1), 1, heads)
        pooled = F.linear(merge_heads(F.scaled_dot_product_attention(query, key, value)), *head.out).squeeze(1)
    return (pooled if projection is None else F.linear(pooled, projection)).float()


STEPS = (embed, block, pool)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, eps)


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(batch, tokens, parts * width) to as many (batch, heads, tokens, head width)."""
    batch, tokens, _ = x.shape
    return x.view(batch, tokens, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(x: Tensor) -> Tensor:
    """(batch, heads, tokens, head width) to (batch, tokens, width)."""
    return x.transpose(1, 2).flatten(2)


def attention_kernel(device: torch.device, precision: str, sizes: VisionSizes) -> str:
    """Which kernel scaled_dot_product_attention takes for the tower's shape: "flash", "cudnn", "efficient", "math"."""
    if device.type != "cuda":
        return "the processor's"
    tokens = sizes.patches
    part = torch.empty((1, sizes.heads, tokens, sizes.width // sizes.heads), device=device, dtype=DTYPES[precision])
    chosen = SDPBackend(torch._fused_sdp_choice(part, part, part))
    return str(chosen.name).lower().removesuffix("_attention")


def own_copy(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function with code of its own: torch keeps at most eight compiled versions of one piece of code, too few
    for many GPUs."""
    assert isinstance(step, FunctionType)
    return FunctionType(step.__code__.replace(), step.__globals__, step.__name__)


def _warn_of_no_compiler(error: Exception) -> None:
    lines = str(error).strip().splitlines() or ["no message"]
    log.warning("torch.compile does not work here, going on without: %s: %s", type(error).__name__, lines[0])
