"""Both AIMv2 towers once more, written plainly from the papers and tested against: one picture or text at a time.

Follows Fini et al. 2024 (AIMv2), Zhai et al. 2022 (LiT) and the layout in docs/aimv2.md; calls neither photoseek
nor transformers. float64 and loops instead of speed. Parameters are a mapping of transformers' names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Params = Mapping[str, NDArray[np.float32]]

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
TEXTS = ["a red car", "dog", "two dogs at the beach", "a photo of a cat", "an Über-café, 1:30 pm!"]


def normalised(picture: NDArray[np.uint8]) -> Array:
    """CLIP's mean and deviation: uint8 (h, w, 3) to (3, h, w)."""
    return ((picture / 255 - MEAN) / STD).transpose(2, 0, 1)


def with_prefix(tensors: Params) -> Params:
    """Parameters of a lone vision tower under the names they have in a dual encoder."""
    lone = "embeddings.patch_embed.weight" in tensors
    return {f"vision_model.{name}" if lone else name: value for name, value in tensors.items()}


def norm(x: Array, weight: Array, eps: float) -> Array:
    return np.stack([row / math.sqrt(sum(v * v for v in row) / len(row) + eps) * weight for row in x])


def attend(query: Array, keys: Array, values: Array) -> Array:
    """One query (d,) over n keys (n, d) and values (n, d)."""
    scores = [float(np.dot(query, key)) / math.sqrt(len(query)) for key in keys]
    powers = [math.exp(score - max(scores)) for score in scores]
    return sum(power / sum(powers) * value for power, value in zip(powers, values, strict=True))  # type: ignore[return-value]


def block(x: Array, p: Params, prefix: str, heads: int, eps: float, *, causal: bool) -> Array:
    def weight(name: str) -> Array:
        return p[f"{prefix}.{name}.weight"].astype(np.float64)

    y = norm(x, weight("rms_norm1"), eps)
    q, k, v = (np.einsum("nd,ed->ne", y, weight(f"attention.{part}_proj")) for part in "qkv")
    size = x.shape[1] // heads
    mixed = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for n in range(len(x)):
            seen = n + 1 if causal else len(x)
            mixed[n, part] = attend(q[n, part], k[:seen, part], v[:seen, part])
    x = x + np.einsum("nd,ed->ne", mixed, weight("attention.out_proj"))
    y = norm(x, weight("rms_norm2"), eps)
    gate = np.einsum("nd,ed->ne", y, weight("ffn.gate_proj"))
    up = np.einsum("nd,ed->ne", y, weight("ffn.up_proj"))
    return x + np.einsum("ne,de->nd", gate / (1 + np.exp(-gate)) * up, weight("ffn.down_proj"))


def native_positions(rows: int, columns: int, width: int) -> Array:
    table = np.zeros((rows * columns, width))
    quarter = width // 4
    for row in range(rows):
        for column in range(columns):
            for i in range(quarter):
                rate = 1 / 10000 ** (i / quarter)
                cell = table[row * columns + column]
                cell[i], cell[quarter + i] = math.sin(column * rate), math.cos(column * rate)
                cell[2 * quarter + i], cell[3 * quarter + i] = math.sin(row * rate), math.cos(row * rate)
    return table


def vision(p: Params, pixels: Array, *, heads: int, layers: int, eps: float = 1e-5) -> tuple[Array, list[Array], Array]:
    """One normalised picture (3, h, w): pooled (width,), states before each block and after the last, last state."""
    kernel = p["vision_model.embeddings.patch_embed.weight"].astype(np.float64)
    width, _, patch, _ = kernel.shape
    rows, columns = pixels.shape[1] // patch, pixels.shape[2] // patch
    tokens = []
    for row in range(rows):
        for column in range(columns):
            area = pixels[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append([float((area * kernel[out]).sum()) for out in range(width)])
    x = np.array(tokens) + p["vision_model.embeddings.patch_embed.bias"]
    x = norm(x, p["vision_model.embeddings.rms_norm.weight"].astype(np.float64), eps)
    learned = p.get("vision_model.embeddings.position_embedding.weight")
    x = x + (native_positions(rows, columns, width) if learned is None else learned)
    states = [x]
    for layer in range(layers):
        x = block(x, p, f"vision_model.encoder.layers.{layer}", heads, eps, causal=False)
        states.append(x)
    last = norm(x, p["vision_model.rms_norm.weight"].astype(np.float64), eps)
    if "vision_model.head.cls_token" not in p:
        return last.mean(axis=0), states, last
    head = "vision_model.head"
    query = p[f"{head}.cls_token"].astype(np.float64).reshape(-1)
    keys = np.einsum("nd,ed->ne", last, p[f"{head}.k_proj.weight"])
    values = np.einsum("nd,ed->ne", last, p[f"{head}.v_proj.weight"])
    size = width // heads
    parts = [slice(head * size, (head + 1) * size) for head in range(heads)]
    mixed = np.concatenate([attend(query[part], keys[:, part], values[:, part]) for part in parts])
    return p[f"{head}.output_proj.weight"] @ mixed + p[f"{head}.output_proj.bias"], states, last


def text(p: Params, ids: list[int], *, end: int, heads: int, layers: int, eps: float = 1e-5) -> Array:
    """One text's pooled state (width,): at its first end token, every token seeing only those before it."""
    positions = p["text_model.embeddings.position_embedding.weight"]
    x = np.array([p["text_model.embeddings.token_embedding.weight"][token] for token in ids], dtype=np.float64)
    x = x + positions[: len(ids)]
    for layer in range(layers):
        x = block(x, p, f"text_model.encoder.layers.{layer}", heads, eps, causal=True)
    return norm(x, p["text_model.rms_norm.weight"].astype(np.float64), eps)[ids.index(end)]


def projected(p: Params, name: str, pooled: Array) -> Array:
    """Through the projection, where there is one, to unit length."""
    vector = p[f"{name}.weight"] @ pooled if f"{name}.weight" in p else pooled
    return vector / math.sqrt(float((vector * vector).sum()))
