"""Both towers in NumPy, float32.

The engine that is always there, and the fastest way from a cold start to one query: it maps the weights,
touches just the rows of the token table it needs, and multiplies; no runtime to import, no graph to compile
(docs/decisions/0010). It also gives every intermediate state for `features`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.layout import Parameters
from photoseek.aimv2.patches import patch_matrix, patchify, sincos_positions
from photoseek.aimv2.sizes import BlockSizes, TextSizes, VisionSizes

Floats: TypeAlias = NDArray[np.float32]

ONE_THREAD_TOKENS = 64
"""Up to so many tokens a product is too small to share: two threads then mostly wait for each other, and for a
processor that another program holds (measured: 3 to 18 ms a query on one thread, up to 480 ms on two)."""


@dataclass(slots=True)
class States:
    """Intermediate results of one pass, for `features`."""

    hidden: list[Floats] = field(default_factory=list)
    """(batch, tokens, width) before the first block and after each one."""
    attentions: list[Floats] = field(default_factory=list)
    """(batch, heads, tokens, tokens) of each block, when `keep_attentions`."""
    last: Floats | None = None
    """(batch, tokens, width) after the final norm."""
    keep_attentions: bool = False


class BlasThreads:
    """How many threads NumPy's matrix products use.

    BLAS counts them for the whole process: the limit holds from the first product that wants one until the
    last has ended, whichever threads they run in, and what was there before comes back.
    """

    _lock = threading.Lock()
    _running = 0
    _limit: Any = None

    def __init__(self, threads: int | None) -> None:
        self.threads = threads
        self._controller = threadpoolctl.ThreadpoolController()

    @contextmanager
    def for_tokens(self, tokens: int) -> Iterator[None]:
        """Limit the threads while so many tokens are computed: to the caller's number, or one for a few."""
        wanted = self.threads or (1 if tokens <= ONE_THREAD_TOKENS else None)
        if wanted is None:
            yield
            return
        shared = BlasThreads
        with shared._lock:
            if shared._running == 0:
                shared._limit = self._controller.limit(limits=wanted, user_api="blas")
            shared._running += 1
        try:
            yield
        finally:
            with shared._lock:
                shared._running -= 1
                if shared._running == 0:
                    shared._limit.restore_original_limits()


class NumpyVision:
    """A vision tower with its projection. Threads may share one."""

    name, device, precision = "numpy", "cpu", "float32"
    tokens_per_batch, batches_at_once = 2048, 1

    def __init__(self, checkpoint: Checkpoint, sizes: VisionSizes, *, threads: int | None = None) -> None:
        self.sizes, self.rules = sizes, checkpoint.preprocessing
        self.blas = BlasThreads(threads)
        self.parameters = checkpoint.parameters(keep=True)
        read = self.parameters.read
        self.kernel = patch_matrix(read("vision_model.embeddings.patch_embed.weight"))
        self.projection = self.parameters.optional("visual_projection.weight")

    def run(self, pictures: NDArray[np.uint8]) -> Floats:
        """Embed pictures of one shape, (batch, height, width, 3) uint8; returns (batch, dim), any length."""
        with self.blas.for_tokens(pictures.size // (3 * self.sizes.patch**2)):
            pooled = self.pooled(pictures)
            return pooled if self.projection is None else pooled @ self.projection.T

    def pooled(self, pictures: NDArray[np.uint8], states: States | None = None) -> Floats:
        """Pooled states before the projection, (batch, width): the head's, or the mean of the patches."""
        tower, sizes, parameters = "vision_model", self.sizes, self.parameters
        pixels = self.rules.normalise(patchify(pictures, sizes.patch).reshape(len(pictures), -1, 3))
        x = pixels.reshape(len(pictures), -1, 3 * sizes.patch**2) @ self.kernel.T
        bias = parameters.optional(f"{tower}.embeddings.patch_embed.bias")
        x = x if bias is None else x + bias
        x = rms_norm(x, parameters.read(f"{tower}.embeddings.rms_norm.weight"), sizes.eps)
        if sizes.native:
            rows, columns = (side // sizes.patch for side in pictures.shape[1:3])
            x = x + sincos_positions(rows, columns, sizes.width)
        else:
            x = x + parameters.read(f"{tower}.embeddings.position_embedding.weight")
        x = run_blocks(x, parameters, tower, sizes, mask=None, states=states)
        return self._head(x) if sizes.has_head else x.mean(axis=1)

    def _head(self, x: Floats) -> Floats:
        """Attention pooling: one learned query looks at all patches (batch, patches, width)."""
        name, heads, parameters = "vision_model.head", self.sizes.heads, self.parameters
        query = split_heads(parameters.read(f"{name}.cls_token"), heads)
        key, value = (split_heads(linear(x, parameters, f"{name}.{part}_proj"), heads) for part in "kv")
        mixed, _ = attention(query, key, value, mask=None)
        return linear(merge_heads(mixed)[:, 0], parameters, f"{name}.output_proj")


class NumpyText:
    """A text tower with its projection. Threads may share one."""

    name, device, precision = "numpy", "cpu", "float32"
    tokens_per_batch = 2048

    def __init__(self, checkpoint: Checkpoint, sizes: TextSizes, *, threads: int | None = None) -> None:
        self.sizes = sizes
        self.blas = BlasThreads(threads)
        self.parameters = checkpoint.parameters(keep=True)
        self.projection = self.parameters.optional("text_projection.weight")

    def run(self, token_ids: NDArray[np.int64]) -> Floats:
        """Embed texts of one length, (batch, tokens); returns (batch, dim), any length."""
        with self.blas.for_tokens(token_ids.size):
            pooled = self.pooled(token_ids)
            return pooled if self.projection is None else pooled @ self.projection.T

    def pooled(self, token_ids: NDArray[np.int64], states: States | None = None) -> Floats:
        """State at the first end token after the final norm, (batch, width)."""
        tower, sizes, parameters = "text_model", self.sizes, self.parameters
        length = token_ids.shape[1]
        x = embed_tokens(parameters, token_ids)
        mask = np.triu(np.full((length, length), -np.inf, np.float32), k=1)
        x = run_blocks(x, parameters, tower, sizes, mask=mask, states=states)
        return x[np.arange(len(token_ids)), end_positions(token_ids, sizes.end_token)]


def embed_tokens(parameters: Parameters, token_ids: NDArray[np.int64]) -> Floats:
    """Token plus position embeddings, (batch, tokens, width); reads only the rows it needs.

    Raises:
        ValueError: there are more tokens than the context holds.
        IndexError: a token is not in the vocabulary.
    """
    positions = parameters.read("text_model.embeddings.position_embedding.weight")
    if token_ids.shape[1] > len(positions):
        raise ValueError(f"{token_ids.shape[1]} tokens, but the context holds {len(positions)}")
    rows = parameters.rows("text_model.embeddings.token_embedding.weight", token_ids)
    return rows + positions[: token_ids.shape[1]]


def end_positions(token_ids: NDArray[np.int64], end_token: int) -> NDArray[np.int64]:
    """Index of the first end token of each text, (batch,): where the tower pools.

    Raises:
        ValueError: a text has none; pooling elsewhere would give a vector that means nothing.
    """
    is_end = token_ids == end_token
    if not is_end.any(axis=1).all():
        raise ValueError("a text lacks its end token")
    first: NDArray[np.int64] = is_end.argmax(axis=1)
    return first


def run_blocks(
    x: Floats, parameters: Parameters, tower: str, sizes: BlockSizes, *, mask: Floats | None, states: States | None
) -> Floats:
    """The blocks and the final norm: (batch, tokens, width) to the same shape.

    Args:
        mask: added to the attention logits, (tokens, tokens); None for attention both ways.
    """
    for layer in range(sizes.layers):
        if states is not None:
            states.hidden.append(x)
        prefix = f"{tower}.encoder.layers.{layer}"
        y = rms_norm(x, parameters.read(f"{prefix}.rms_norm1.weight"), sizes.eps)
        query, key, value = (
            split_heads(linear(y, parameters, f"{prefix}.attention.{part}_proj"), sizes.heads) for part in "qkv"
        )
        mixed, weights = attention(query, key, value, mask)
        if states is not None and states.keep_attentions:
            states.attentions.append(weights)
        x = x + linear(merge_heads(mixed), parameters, f"{prefix}.attention.out_proj")
        y = rms_norm(x, parameters.read(f"{prefix}.rms_norm2.weight"), sizes.eps)
        gate = silu(linear(y, parameters, f"{prefix}.ffn.gate_proj"))
        x = x + linear(gate * linear(y, parameters, f"{prefix}.ffn.up_proj"), parameters, f"{prefix}.ffn.down_proj")
    last = rms_norm(x, parameters.read(f"{tower}.rms_norm.weight"), sizes.eps)
    if states is not None:
        states.hidden.append(x)
        states.last = last
    return last


def linear(x: Floats, parameters: Parameters, name: str) -> Floats:
    """x times the transposed weight, plus the bias where there is one.

    Few rows go as (weight times x transposed) transposed: BLAS is a third faster with the weight first.
    """
    weight = parameters.read(f"{name}.weight")
    rows = x.reshape(-1, x.shape[-1])
    y = (weight @ rows.T).T if len(rows) <= ONE_THREAD_TOKENS else rows @ weight.T
    y = y.reshape(*x.shape[:-1], -1)
    bias = parameters.optional(f"{name}.bias")
    return y if bias is None else y + bias


def rms_norm(x: Floats, weight: Floats, eps: float) -> Floats:
    """Divide by the root mean square over the last axis, times weight (Zhang and Sennrich 2019)."""
    mean_square: Floats = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
    normed: Floats = x * np.reciprocal(np.sqrt(mean_square + np.float32(eps)))
    return normed * weight


def silu(x: Floats) -> Floats:
    """x * sigmoid(x); clipped where exp would overflow, which leaves the value as it is in float32."""
    power: Floats = np.exp(np.minimum(-x, np.float32(88)))
    return x / (np.float32(1) + power)


def attention(query: Floats, key: Floats, value: Floats, mask: Floats | None) -> tuple[Floats, Floats]:
    """Softmax attention on (batch, heads, tokens, head width): the mixed values and the weights."""
    logits = query @ key.swapaxes(-1, -2) * np.float32(query.shape[-1] ** -0.5)
    if mask is not None:
        logits = logits + mask
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ value, weights


def split_heads(x: Floats, heads: int) -> Floats:
    """(batch, tokens, width) to (batch, heads, tokens, width / heads)."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Floats) -> Floats:
    """(batch, heads, tokens, head width) back to (batch, tokens, width)."""
    batch, heads, tokens, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, tokens, heads * width)
