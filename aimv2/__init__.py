"""The model: AIMv2 checkpoints, their two towers on several engines, preprocessing, tokenizer.

    from photoseek.aimv2 import open_checkpoint, load_text_tower, load_vision_tower

    checkpoint = open_checkpoint("builtin")
    queries = load_text_tower(checkpoint).encode(["a red car"])
    photos = load_vision_tower(checkpoint).encode([checkpoint.preprocessing.prepare(image)])
    scores = queries @ photos.T

Importing this package loads nothing heavy: each name below comes with its module at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from photoseek.aimv2.checkpoint import Checkpoint
    from photoseek.aimv2.choice import load_text_tower, load_vision_tower
    from photoseek.aimv2.download import Offer, download_model, offer_download
    from photoseek.aimv2.long_run import prepare_long_run
    from photoseek.aimv2.models import (
        PUBLISHED,
        PublishedModel,
        default_checkpoint,
        list_models,
        models_folder,
        open_checkpoint,
    )
    from photoseek.aimv2.outputs import Features, Similarity, features, similarity
    from photoseek.aimv2.preprocessing import Preprocessing
    from photoseek.aimv2.trial import Trial, remembered_trial, run_trial

_HOMES = {
    "Checkpoint": "checkpoint",
    "Features": "outputs",
    "Similarity": "outputs",
    "features": "outputs",
    "similarity": "outputs",
    "Offer": "download",
    "download_model": "download",
    "offer_download": "download",
    "load_text_tower": "choice",
    "load_vision_tower": "choice",
    "PUBLISHED": "models",
    "PublishedModel": "models",
    "default_checkpoint": "models",
    "list_models": "models",
    "models_folder": "models",
    "open_checkpoint": "models",
    "Preprocessing": "preprocessing",
    "Trial": "trial",
    "remembered_trial": "trial",
    "prepare_long_run": "long_run",
    "run_trial": "trial",
}

__all__ = [
    "PUBLISHED",
    "Checkpoint",
    "Features",
    "Offer",
    "Preprocessing",
    "PublishedModel",
    "Similarity",
    "Trial",
    "default_checkpoint",
    "download_model",
    "features",
    "list_models",
    "load_text_tower",
    "load_vision_tower",
    "models_folder",
    "offer_download",
    "open_checkpoint",
    "prepare_long_run",
    "remembered_trial",
    "run_trial",
    "similarity",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
