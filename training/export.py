"""Write a trained model as a checkpoint folder: config, float16 weights, processor and tokenizer files."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.samples import IMAGE_MEAN, IMAGE_STD
from training.towers import TextSize, VisionSize, config_of, resize_positions

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
POSITIONS = "vision_model.embeddings.position_embedding.weight"


def weights_of(vision: Path, text: Path, vision_size: VisionSize, scale: float) -> dict[str, Tensor]:
    """All tensors of `Aimv2Model` in float16; throw-away parts left out, positions at the size of `vision_size`."""
    tensors = {k: v for k, v in load_file(vision).items() if k.startswith(("vision_model.", "visual_projection."))}
    tensors |= {k: v for k, v in load_file(text).items() if k.startswith(("text_model.", "text_projection."))}
    tensors[POSITIONS] = resize_positions(tensors[POSITIONS], vision_size.image_size // vision_size.patch_size)
    tensors["logit_scale"] = torch.tensor(math.log(scale))
    return {k: v.to(torch.float16).contiguous() for k, v in tensors.items()}


def processor_of(side: int) -> dict[str, object]:
    """preprocessor_config.json: shorter side to `side`, then the middle square.

    Training squashes photos, but on photos in their true shape the crop found more on dev (training/RESULTS.md).
    """
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
    }


def export(
    vision: Path,
    text: Path,
    tokenizer: Path,
    vision_size: VisionSize,
    text_size: TextSize,
    side: int,
    scale: float,
    folder: Path,
) -> str:
    """Write the checkpoint; returns the SHA-256 of model.safetensors.

    `side`: pixels of the pictures it is to be used with, which may differ from the size trained with before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = replace(vision_size, image_size=side)
    tensors = weights_of(vision, text, size, scale)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = config_of(size, text_size, tensors["visual_projection.weight"].shape[0], math.log(scale))
    for name, content in (("config.json", config), ("preprocessor_config.json", processor_of(side))):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, folder / name)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
