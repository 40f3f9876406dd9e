"""Both towers on torch, for any CPU and for MPS, the text tower for CUDA too; and transformers' AIMv2 classes filled.

Weights come from the checkpoint's own files in either layout, never through a download or a pickle. The text
tower's attention is made causal here by an explicit mask: transformers drops its own mask for a text alone and
for texts of equal length, and the tower then attends both ways (docs/decisions/0011).
"""

from __future__ import annotations

import threading
from typing import Any, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.layout import Parameters
from photoseek.aimv2.sizes import TextSizes, VisionSizes
from photoseek.aimv2.torch_device import DTYPES, choose_device, set_threads, to_numpy
from photoseek.aimv2.torch_vision import TorchVisionModel

Attention = Literal["sdpa", "eager"]

TOKENS_PER_BATCH_CPU = 2048
TOKENS_PER_BATCH_ACCELERATOR = 16384
"""64 pictures of 256 patches."""


class TorchVision:
    """A vision tower with its projection, one call after the other; GPUs of CUDA have `gpu_engine`.

    Threads may share one; they take turns.
    """

    name, batches_at_once = "torch", 1

    def __init__(
        self,
        checkpoint: Checkpoint,
        sizes: VisionSizes,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._device, self.device = choose_device(device)
        self.precision = "float32" if precision == "auto" else precision
        set_threads(threads)
        self._model = TorchVisionModel(checkpoint, sizes, self._device, self.precision)
        self._turn = threading.Lock()
        self.tokens_per_batch = TOKENS_PER_BATCH_CPU if self.device == "cpu" else TOKENS_PER_BATCH_ACCELERATOR

    def run(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures of one shape, (batch, height, width, 3) uint8; returns (batch, dim), any length."""
        with self._turn:
            return to_numpy(self._model(torch.from_numpy(pictures).to(self._device)))


class TorchText:
    """A text tower with its projection. Threads may share one."""

    name = "torch"
    tokens_per_batch = 8192

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        attention: Attention = "sdpa",
    ) -> None:
        assert checkpoint.text is not None  # choice.load_text_tower refuses such a checkpoint
        self._device, self.device = choose_device(device)
        self.precision = "float32" if precision == "auto" else precision
        set_threads(threads)
        parameters = checkpoint.parameters()
        self.model = text_model(checkpoint, parameters, attention).to(self._device, DTYPES[self.precision])
        self.projection = projection(parameters, "text_projection", self._device, DTYPES[self.precision])
        self._end_token = checkpoint.text.end_token

    @torch.inference_mode()
    def run(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embed texts, (batch, tokens); returns (batch, dim), any length.

        Tokens after a text's first end token change nothing, since attention is causal.
        """
        ids = torch.from_numpy(token_ids).to(self._device)
        x = self.model.embeddings(ids)
        x = self.model.encoder(inputs_embeds=x, attention_mask=causal_mask(ids.shape[1], x)).last_hidden_state
        is_end = ids == self._end_token
        if not bool(is_end.any(dim=1).all()):
            raise ValueError("a text lacks its end token")
        pooled = self.model.rms_norm(x)[torch.arange(len(ids)), is_end.int().argmax(dim=1)]
        return to_numpy(pooled if self.projection is None else pooled @ self.projection.T)


def causal_mask(tokens: int, like: torch.Tensor) -> torch.Tensor:
    """Additive mask (1, 1, tokens, tokens): no token sees a later one, in any attention implementation."""
    blocked = torch.full((tokens, tokens), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device)
    return blocked.triu(diagonal=1)[None, None]


def vision_model(checkpoint: Checkpoint, parameters: Parameters, attention: Attention = "sdpa") -> Any:
    """transformers' Aimv2VisionModel with the checkpoint's weights, float32, in evaluation mode."""
    sizes = checkpoint.vision
    assert sizes is not None
    config = transformers.Aimv2VisionConfig(
        **block_fields(sizes, parameters, "vision_model"),
        patch_size=sizes.patch,
        image_size=sizes.image or sizes.patch,
        is_native=sizes.native,
        use_head=sizes.has_head,
    )
    positions = (sizes.image // sizes.patch) ** 2 if sizes.image else 1
    return filled(transformers.Aimv2VisionModel, config, parameters, "vision_model", positions, attention)


def text_model(checkpoint: Checkpoint, parameters: Parameters, attention: Attention = "sdpa") -> Any:
    """transformers' Aimv2TextModel with the checkpoint's weights, float32, in evaluation mode.

    Called by itself it is not causal for a text alone: give its encoder a `causal_mask`, as TorchText does.
    """
    sizes = checkpoint.text
    assert sizes is not None
    config = transformers.Aimv2TextConfig(
        **block_fields(sizes, parameters, "text_model"),
        vocab_size=sizes.vocabulary,
        max_position_embeddings=sizes.context,
        eos_token_id=sizes.end_token,
    )
    return filled(transformers.Aimv2TextModel, config, parameters, "text_model", sizes.context, attention)


def block_fields(sizes: VisionSizes | TextSizes, parameters: Parameters, tower: str) -> dict[str, Any]:
    layer = f"{tower}.encoder.layers.0"
    return {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.mlp,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "rms_norm_eps": sizes.eps,
        "qkv_bias": f"{layer}.attention.q_proj.bias" in parameters,
        "mlp_bias": f"{layer}.ffn.gate_proj.bias" in parameters,
    }


def filled(
    model_class: Any, config: Any, parameters: Parameters, tower: str, positions: int, attention: Attention
) -> Any:
    """A model made without storage and given the checkpoint's tensors, which saves initialising it."""
    config._attn_implementation = attention
    with torch.device("meta"):
        model = model_class(config)
    state = {name.removeprefix(f"{tower}."): tensor(parameters, name) for name in parameters if name.startswith(tower)}
    wanted = set(model.state_dict())
    model.load_state_dict({name: value for name, value in state.items() if name in wanted}, assign=True)
    # The one buffer that is not stored.
    model.embeddings.position_ids = torch.arange(positions)[None]
    return model.eval()


def projection(parameters: Parameters, name: str, device: torch.device, dtype: torch.dtype) -> torch.Tensor | None:
    if f"{name}.weight" not in parameters:
        return None
    return tensor(parameters, f"{name}.weight").to(device, dtype)


def tensor(parameters: Parameters, name: str) -> torch.Tensor:
    """A parameter as a tensor of its own: the file is mapped only while it is copied."""
    return torch.from_numpy(np.array(parameters.read(name)))
