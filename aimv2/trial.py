"""Placeholder."""

from photoseek.aimv2.checkpoint import Checkpoint


def remembered_precision(checkpoint: Checkpoint, engine: str) -> str:
    return "float32"
