"""Tiny random AIMv2 checkpoints on disk, made with NumPy and `tokenizers` alone.

A checkpoint made here is a folder like a downloaded one: config, weights in either published layout, image
processor and a CLIP-format tokenizer that can encode any text. The weights are random, so its answers mean
nothing; they are only reproducible, spread out, and different for different pictures and texts.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[np.float32]]

START, END = "<|startoftext|>", "<|endoftext|>"
# A few merges, so that byte-pair encoding has work to do; each side must exist when its line is reached.
MERGES = [
    ("d", "o"),
    ("do", "g</w>"),
    ("c", "a"),
    ("ca", "r</w>"),
    ("r", "e"),
    ("re", "d</w>"),
    ("a", "t</w>"),
    ("c", "at</w>"),
]


def make_checkpoint(
    folder: Path,
    *,
    layout: Literal["transformers", "apple"] = "transformers",
    seed: int = 0,
    text: bool = True,
    vision: bool = True,
    head: bool = True,
    native: bool = False,
    width: int = 32,
    mlp: int = 48,
    layers: int = 2,
    heads: int = 2,
    image_size: int = 32,
    patch_size: int = 8,
    projection_dim: int = 16,
    context_length: int = 77,
    dtype: Literal["F32", "F16", "BF16"] = "F32",
    shards: int = 1,
    processor: Mapping[str, Any] | None = None,
    tokenizer_json: bool = True,
) -> Path:
    """Write a random checkpoint into `folder` (made if missing) and return the folder.

    Args:
        layout: tensor names and config as transformers writes them, or as Apple published them first.
        text, vision: which towers; both make a dual encoder with projections and a logit scale.
        head, native: the vision tower's attention pooling head; sin-cos positions for any grid.
        dtype: storage type of all tensors.
        shards: above 1 the weights are split over so many files with an index.
        processor: content of preprocessor_config.json; an empty mapping writes no file.
        tokenizer_json: False leaves only vocab.json and merges.txt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    vocabulary = clip_vocabulary()
    sizes = {"hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers, "num_attention_heads": heads}
    vision_config = {
        "model_type": "aimv2_vision_model",
        **sizes,
        "image_size": image_size,
        "patch_size": patch_size,
        "num_channels": 3,
        "rms_norm_eps": 1e-5,
        "use_head": head,
        "is_native": native,
    }
    text_config = {
        "model_type": "aimv2_text_model",
        **sizes,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": context_length,
        "eos_token_id": vocabulary[END],
        "rms_norm_eps": 1e-5,
    }
    tensors: Tensors = {}
    if vision:
        positions = None if native else (image_size // patch_size) ** 2
        tensors |= vision_tensors(rng, width, mlp, layers, patch_size, positions, head)
    if text:
        tensors |= text_tensors(rng, width, mlp, layers, len(vocabulary), context_length)
    if text and vision:
        tensors["visual_projection.weight"] = matrix(rng, projection_dim, width)
        tensors["text_projection.weight"] = matrix(rng, projection_dim, width)
        tensors["logit_scale"] = np.array(2.5, dtype=np.float32)
        config: dict[str, Any] = {
            "model_type": "aimv2",
            "projection_dim": projection_dim,
            "max_logit_scale": 100.0,
            "vision_config": vision_config,
            "text_config": text_config,
        }
    else:
        config = vision_config if vision else text_config
        tensors = {name.removeprefix("vision_model.").removeprefix("text_model."): t for name, t in tensors.items()}
    if layout == "apple":
        tensors = apple_tensors(tensors, layers)
        config = apple_config(config)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_weights(folder, tensors, dtype=dtype, shards=shards)
    if vision:
        settings = default_processor(image_size, native) if processor is None else dict(processor)
        if settings:
            (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))
    if text:
        write_tokenizer(folder, vocabulary, tokenizer_json=tokenizer_json)
    return folder


def matrix(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """Random (rows, columns) that keeps the scale of what it multiplies."""
    return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)


def gain(rng: np.random.Generator, width: int) -> NDArray[np.float32]:
    """Random weights (width,) of an RMSNorm, around 1."""
    return rng.uniform(0.7, 1.3, width).astype(np.float32)


def block_tensors(rng: np.random.Generator, prefix: str, width: int, mlp: int, layers: int) -> Tensors:
    tensors: Tensors = {}
    for index in range(layers):
        layer = f"{prefix}.encoder.layers.{index}"
        tensors[f"{layer}.rms_norm1.weight"] = gain(rng, width)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors[f"{layer}.attention.{name}.weight"] = matrix(rng, width, width)
        tensors[f"{layer}.rms_norm2.weight"] = gain(rng, width)
        tensors[f"{layer}.ffn.gate_proj.weight"] = matrix(rng, mlp, width)
        tensors[f"{layer}.ffn.up_proj.weight"] = matrix(rng, mlp, width)
        tensors[f"{layer}.ffn.down_proj.weight"] = matrix(rng, width, mlp)
    tensors[f"{prefix}.rms_norm.weight"] = gain(rng, width)
    return tensors


def vision_tensors(
    rng: np.random.Generator, width: int, mlp: int, layers: int, patch: int, positions: int | None, head: bool
) -> Tensors:
    """A vision tower under transformers' names; `positions` None is a native one."""
    name = "vision_model.embeddings"
    tensors = {
        f"{name}.patch_embed.weight": matrix(rng, width, 3 * patch * patch).reshape(width, 3, patch, patch),
        f"{name}.patch_embed.bias": rng.normal(0, 0.1, width).astype(np.float32),
        f"{name}.rms_norm.weight": gain(rng, width),
    }
    if positions is not None:
        tensors[f"{name}.position_embedding.weight"] = rng.normal(0, 0.3, (positions, width)).astype(np.float32)
    tensors |= block_tensors(rng, "vision_model", width, mlp, layers)
    if head:
        tensors["vision_model.head.cls_token"] = rng.normal(0, 1, (1, 1, width)).astype(np.float32)
        tensors["vision_model.head.k_proj.weight"] = matrix(rng, width, width)
        tensors["vision_model.head.v_proj.weight"] = matrix(rng, width, width)
        tensors["vision_model.head.output_proj.weight"] = matrix(rng, width, width)
        tensors["vision_model.head.output_proj.bias"] = rng.normal(0, 0.1, width).astype(np.float32)
    return tensors


def text_tensors(rng: np.random.Generator, width: int, mlp: int, layers: int, words: int, context: int) -> Tensors:
    """A text tower under transformers' names."""
    name = "text_model.embeddings"
    return {
        f"{name}.token_embedding.weight": rng.normal(0, 1, (words, width)).astype(np.float32),
        f"{name}.position_embedding.weight": rng.normal(0, 0.3, (context, width)).astype(np.float32),
    } | block_tensors(rng, "text_model", width, mlp, layers)


APPLE_NAMES = {
    "embeddings.patch_embed": "preprocessor.patchifier.proj",
    "embeddings.rms_norm": "preprocessor.patchifier.norm",
    "embeddings.token_embedding": "preprocessor.text_embedding",
    "encoder.layers": "trunk.blocks",
    "rms_norm1": "norm_1",
    "rms_norm2": "norm_2",
    "attention.out_proj": "attn.proj",
    "ffn.gate_proj": "mlp.fc1",
    "ffn.up_proj": "mlp.fc3",
    "ffn.down_proj": "mlp.fc2",
    "head.k_proj": "head.k",
    "head.v_proj": "head.v",
    "head.output_proj": "head.linear",
    "vision_model.rms_norm.": "vision_model.trunk.post_trunk_norm.",
    "text_model.rms_norm.": "text_model.trunk.post_trunk_norm.",
    "visual_projection": "image_projector",
    "text_projection": "text_projector",
    "logit_scale": "log_logit_scale",
}


def apple_tensors(tensors: Tensors, layers: int) -> Tensors:
    """The same parameters under Apple's original names: q, k, v stacked, positions with their own axes."""
    renamed: Tensors = {}
    for name, value in tensors.items():
        if ".attention.q_proj" in name:
            stacked = [tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            name, value = name.replace("attention.q_proj", "attn.qkv"), np.concatenate(stacked)
        elif ".attention.k_proj" in name or ".attention.v_proj" in name:
            continue
        elif name == "rms_norm.weight":
            name = "trunk.post_trunk_norm.weight"
        if name.endswith("position_embedding.weight"):
            is_text = name.startswith("text_model") or "embeddings.token_embedding.weight" in tensors
            name = name.replace(
                "embeddings.position_embedding.weight",
                "preprocessor.positional_embedding" if is_text else "preprocessor.pos_embed",
            )
            value = value if is_text else value[None]
        for ours, apples in APPLE_NAMES.items():
            name = name.replace(ours, apples)
        renamed[name.replace("vision_model.", "image_encoder.").replace("text_model.", "text_encoder.")] = value
    return renamed


def apple_config(config: dict[str, Any]) -> dict[str, Any]:
    """As Apple's first revisions said it: model_type `aimv2` everywhere and not a word about the head."""
    config = json.loads(json.dumps(config))
    config["model_type"] = "aimv2"
    for part in (config, config.get("vision_config", {}), config.get("text_config", {})):
        for unknown in ("use_head", "is_native"):
            part.pop(unknown, None)
    return config


def default_processor(image_size: int, native: bool) -> dict[str, Any]:
    """The settings of Apple's processors, for this image size."""
    fixed = {"do_resize": True, "do_center_crop": True}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": {"shortest_edge": image_size},
        "crop_size": {"height": image_size, "width": image_size},
    } | ({"do_resize": False, "do_center_crop": False} if native else fixed)


# Files


def write_weights(folder: Path, tensors: Tensors, *, dtype: str = "F32", shards: int = 1) -> None:
    """model.safetensors, or `shards` files with model.safetensors.index.json."""
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors, dtype))
        return
    weight_map = {}
    for shard in range(shards):
        part = {name: value for n, (name, value) in enumerate(tensors.items()) if n % shards == shard}
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        (folder / file).write_bytes(safetensors_bytes(part, dtype))
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def safetensors_bytes(tensors: Tensors, dtype: str = "F32") -> bytes:
    """A safetensors file: header length (uint64), JSON header, tensors back to back."""
    header: dict[str, Any] = {}
    parts, offset = [], 0
    for name, value in tensors.items():
        data = storage_bytes(value, dtype)
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    return with_header(header, b"".join(parts))


def with_header(header: Any, data: bytes) -> bytes:
    """Put any header, a true or a lying one, before `data`; padded to 8 bytes, as writers do."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def storage_bytes(value: NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":  # upper half of float32, rounded to nearest
        bits = np.ascontiguousarray(value, dtype="<f4").view("<u4").astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return value.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def clip_vocabulary() -> dict[str, int]:
    """256 byte symbols, the same at a word's end, the merges, start and end."""
    symbols = list(byte_symbols().values())
    merged = [left + right for left, right in MERGES]
    return {token: n for n, token in enumerate([*symbols, *(s + "</w>" for s in symbols), *merged, START, END])}


def byte_symbols() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def write_tokenizer(folder: Path, vocabulary: dict[str, int], *, tokenizer_json: bool) -> None:
    """vocab.json, merges.txt, tokenizer_config.json and, unless told otherwise, tokenizer.json."""
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in MERGES), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if not tokenizer_json:
        return
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer = Tokenizer(models.BPE(vocabulary, MERGES, unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([AddedToken(START, special=True), AddedToken(END, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
