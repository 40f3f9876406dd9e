"""A random checkpoint of AIMv2-large's size with both towers: the computing of the published one, none of its sense.

`apple/aimv2-large-patch14-224-lit` has 437 million parameters; speed does not depend on their values.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from checkpoints import (
    END,
    clip_vocabulary,
    default_processor,
    matrix,
    text_tensors,
    vision_tensors,
    write_tokenizer,
    write_weights,
)

VISION = {"width": 1024, "mlp": 2816, "layers": 24}
TEXT = {"width": 768, "mlp": 2048, "layers": 12}
VISION_HEADS, TEXT_HEADS = 8, 6
IMAGE, PATCH, CONTEXT, PROJECTION = 224, 14, 77, 768


def large_checkpoint(folder: Path) -> Path:
    """Write it to `folder` unless it is there (0.8 GB, float16); returns the folder."""
    done = folder / "preprocessor_config.json"  # written last
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    vocabulary = clip_vocabulary()
    tensors = vision_tensors(rng, **VISION, patch=PATCH, positions=(IMAGE // PATCH) ** 2, head=True)
    tensors |= text_tensors(rng, **TEXT, words=len(vocabulary), context=CONTEXT)
    tensors["visual_projection.weight"] = matrix(rng, PROJECTION, VISION["width"])
    tensors["text_projection.weight"] = matrix(rng, PROJECTION, TEXT["width"])
    tensors["logit_scale"] = np.array(2.5, dtype=np.float32)
    config = {
        "model_type": "aimv2",
        "projection_dim": PROJECTION,
        "max_logit_scale": 100.0,
        "vision_config": {
            "model_type": "aimv2_vision_model",
            **_sizes(VISION, VISION_HEADS),
            "image_size": IMAGE,
            "patch_size": PATCH,
            "num_channels": 3,
            "rms_norm_eps": 1e-5,
            "use_head": True,
            "is_native": False,
        },
        "text_config": {
            "model_type": "aimv2_text_model",
            **_sizes(TEXT, TEXT_HEADS),
            "vocab_size": len(vocabulary),
            "max_position_embeddings": CONTEXT,
            "eos_token_id": vocabulary[END],
            "rms_norm_eps": 1e-5,
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_weights(folder, tensors, dtype="F16")
    write_tokenizer(folder, vocabulary, tokenizer_json=True)
    done.write_text(json.dumps(default_processor(IMAGE, False), indent=2))
    return folder


def _sizes(tower: dict[str, int], heads: int) -> dict[str, int]:
    return {
        "hidden_size": tower["width"],
        "intermediate_size": tower["mlp"],
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": heads,
    }
