"""AIMv2's two towers for training: same arithmetic and state-dict names as transformers' `Aimv2Model`, but lean.

The text tower states its causal attention itself (see the text trap in DESIGN, section 3).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class VisionSize:
    """Sizes of the vision tower; the names are those of `Aimv2VisionConfig`."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int
    rms_norm_eps: float = 1e-5


@dataclass(frozen=True)
class TextSize:
    """Sizes of the text tower; the names are those of `Aimv2TextConfig`."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    eos_token_id: int
    max_position_embeddings: int = 77
    rms_norm_eps: float = 1e-5


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Attention of (n, heads, t, width) written out: on a CPU, for few tokens, twice as fast as the fused kernel."""
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if causal:
        t = q.shape[-2]
        scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1), float("-inf"))
    out: Tensor = scores.softmax(-1).to(v.dtype) @ v
    return out


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        q, k, v = F.linear(x, weight).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        out = attend(q, k, v, self.causal)
        return self.out_proj(out.transpose(1, 2).reshape(n, t, width))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = F.linear(x, torch.cat([self.gate_proj.weight, self.up_proj.weight])).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, width: int, inner: int, heads: int, eps: float, causal: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal)
        self.ffn = SwiGLU(width, inner)
        self.rms_norm1 = RMSNorm(width, eps)
        self.rms_norm2 = RMSNorm(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.rms_norm1(x))
        return x + self.ffn(self.rms_norm2(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    def __init__(self, size: VisionSize | TextSize, causal: bool) -> None:
        super().__init__()
        s = size
        self.layers = nn.ModuleList(
            Block(s.hidden_size, s.intermediate_size, s.num_attention_heads, s.rms_norm_eps, causal)
            for _ in range(s.num_hidden_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class VisionEmbeddings(nn.Module):
    """Pictures (n, 3, side, side), normalised, to (n, tokens, width); positions are resized for another side."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.grid = size.image_size // size.patch_size
        self.patch_embed = nn.Conv2d(3, size.hidden_size, size.patch_size, size.patch_size)
        self.rms_norm = RMSNorm(size.hidden_size, size.rms_norm_eps)
        self.position_embedding = nn.Embedding(self.grid**2, size.hidden_size)

    def forward(self, pictures: Tensor) -> Tensor:
        n, _, side, _ = pictures.shape
        patch = self.patch_embed.kernel_size[0]
        grid = side // patch
        # The convolution as one matrix product: (n, grid * grid, 3 * patch * patch).
        cut = pictures.view(n, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, -1)
        x = F.linear(cut, self.patch_embed.weight.flatten(1), self.patch_embed.bias)
        positions = self.position_embedding.weight
        if grid != self.grid:
            positions = resize_positions(positions, grid)
        return self.rms_norm(x) + positions  # type: ignore[no-any-return]


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Learned positions (old * old, width) resampled to (grid * grid, width)."""
    old = math.isqrt(len(positions))
    as_picture = positions.view(1, old, old, -1).permute(0, 3, 1, 2)
    out = F.interpolate(as_picture, size=(grid, grid), mode="bilinear", align_corners=False, antialias=False)
    return out.permute(0, 2, 3, 1).reshape(grid * grid, -1)


class AttentionPoolingHead(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.output_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        k = self.k_proj(x).view(n, t, self.heads, -1).transpose(1, 2)
        v = self.v_proj(x).view(n, t, self.heads, -1).transpose(1, 2)
        q = self.cls_token.expand(n, -1, -1).view(n, 1, self.heads, -1).transpose(1, 2).to(k.dtype)
        out = attend(q, k, v, causal=False)
        return self.output_proj(out.transpose(1, 2).reshape(n, width))  # type: ignore[no-any-return]


class VisionModel(nn.Module):
    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(size)
        self.encoder = Encoder(size, causal=False)
        self.rms_norm = RMSNorm(size.hidden_size, size.rms_norm_eps)
        self.head = AttentionPoolingHead(size.hidden_size, size.num_attention_heads)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.rms_norm(self.encoder(self.embeddings(pictures))))  # type: ignore[no-any-return]


class TextEmbeddings(nn.Module):
    def __init__(self, size: TextSize) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(size.vocab_size, size.hidden_size)
        self.position_embedding = nn.Embedding(size.max_position_embeddings, size.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]  # type: ignore[no-any-return]


class TextModel(nn.Module):
    """Token ids (n, t), right-padded with anything after the first end token, to the state there (n, width)."""

    def __init__(self, size: TextSize) -> None:
        super().__init__()
        self.eos_token_id = size.eos_token_id
        self.embeddings = TextEmbeddings(size)
        self.encoder = Encoder(size, causal=True)
        self.rms_norm = RMSNorm(size.hidden_size, size.rms_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        states = self.encoder(self.embeddings(ids))
        end = (ids == self.eos_token_id).int().argmax(1)
        return self.rms_norm(states[torch.arange(len(ids)), end])  # type: ignore[no-any-return]


def init_weights(module: nn.Module) -> None:
    """Normal 0.02 for embeddings, 1 / sqrt(fan in) for matrices; residual outputs start small."""
    for name, parameter in module.named_parameters():
        if parameter.ndim < 2 or name.endswith("cls_token"):
            continue
        if "embedding.weight" in name:
            nn.init.normal_(parameter, std=0.02)
        else:
            std = parameter[0].numel() ** -0.5
            nn.init.trunc_normal_(
                parameter, std=0.3 * std if name.endswith(("out_proj.weight", "down_proj.weight")) else std
            )
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)


def config_of(vision: VisionSize, text: TextSize, projection_dim: int, logit_scale: float) -> dict[str, Any]:
    """The content of config.json, every field stated."""
    shared = {"hidden_act": "silu", "qkv_bias": False, "mlp_bias": False, "attention_dropout": 0.0}
    return {
        "architectures": ["Aimv2Model"],
        "model_type": "aimv2",
        "projection_dim": projection_dim,
        "logit_scale_init_value": logit_scale,
        "max_logit_scale": 100.0,
        "torch_dtype": "float16",
        "vision_config": {
            "model_type": "aimv2_vision_model", "num_channels": 3, "use_head": True, "is_native": False,
            **shared, **asdict(vision),
        },
        "text_config": {"model_type": "aimv2_text_model", **shared, **asdict(text)},
    }  # fmt: skip
