"""Everything the towers compute, not only the embedding: states, attentions, similarity, zero-shot probabilities.

For work beyond search: dense features for segmentation, attention maps, classification by prompts. Computed in
NumPy, so that no extra is needed; a single large picture takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.choice import load_text_tower, load_vision_tower, read_tokenizer
from photoseek.aimv2.numpy_engine import NumpyText, NumpyVision, States
from photoseek.contracts import Embeddings, Picture, TextTower, VisionTower
from photoseek.errors import CheckpointError, NoTextTowerError

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Features:
    """What one tower made of n pictures of one shape, or of n texts; all float32.

    Texts of different lengths are filled up with the end token. Attention is causal, so that this changes
    no state before; rows of a text at and beyond its `lengths` mean nothing.
    """

    pooled: Floats
    """(n, width): the head's output, or the mean of the patch states without a head; for texts the state at
    the end token. Before the projection."""
    last_hidden_state: Floats
    """(n, tokens, width) after the final norm. A picture's patches go row by row."""
    hidden_states: tuple[Floats, ...]
    """layers + 1 arrays (n, tokens, width): the embeddings, then each block's output (before the final norm)."""
    attentions: tuple[Floats, ...]
    """One array (n, heads, tokens, tokens) for each block; empty unless asked for."""
    lengths: tuple[int, ...]
    """Tokens of each text, start and end included; patches of each picture."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """Pictures against texts."""

    logits_per_image: Floats
    """(pictures, texts): cosines times the logit scale."""
    image_embeddings: Embeddings
    text_embeddings: Embeddings

    @property
    def logits_per_text(self) -> Floats:
        """(texts, pictures)."""
        return self.logits_per_image.T

    @property
    def probabilities(self) -> Floats:
        """Zero-shot classification, (pictures, texts): softmax over the texts; each row sums to 1."""
        powers: Floats = np.exp(self.logits_per_image - self.logits_per_image.max(axis=1, keepdims=True))
        powers /= powers.sum(axis=1, keepdims=True)
        return powers


def features(
    checkpoint: Checkpoint,
    *,
    pictures: Sequence[Picture] | None = None,
    texts: Sequence[str] | None = None,
    attentions: bool = False,
) -> Features:
    """All states of one tower.

    Args:
        pictures: prepared pictures (`checkpoint.preprocessing.prepare`) of one shape. A native tower takes
            any sides of whole patches.
        texts: instead of pictures.
        attentions: keep the attention weights, tokens x tokens for each head of each block.
    Raises:
        ValueError: not exactly one of pictures and texts was given, none at all, or pictures of several shapes.
        CheckpointError, NoTextTowerError: the checkpoint lacks the tower.
    """
    states = States(keep_attentions=attentions)
    if pictures is not None and texts is None:
        lengths, pooled = _picture_states(checkpoint, pictures, states)
    elif texts is not None and pictures is None:
        lengths, pooled = _text_states(checkpoint, texts, states)
    else:
        raise ValueError("features takes either pictures or texts")
    assert states.last is not None
    return Features(pooled, states.last, tuple(states.hidden), tuple(states.attentions), lengths)


def similarity(
    checkpoint: Checkpoint,
    pictures: Sequence[Picture],
    texts: Sequence[str],
    *,
    vision_tower: VisionTower | None = None,
    text_tower: TextTower | None = None,
) -> Similarity:
    """Compare pictures with texts as the model was trained to: cosines times the logit scale.

    Args:
        pictures: prepared pictures.
        vision_tower, text_tower: towers of this checkpoint already loaded; any engine and precision.
    Raises:
        NoTextTowerError: the checkpoint has one tower only.
    """
    if checkpoint.logit_scale is None:
        raise NoTextTowerError(f"{checkpoint.name} cannot compare pictures with words: it lacks a tower or its scale")
    images = (vision_tower or load_vision_tower(checkpoint)).encode(pictures)
    words = (text_tower or load_text_tower(checkpoint)).encode(texts)
    return Similarity(np.float32(checkpoint.logit_scale) * (images @ words.T), images, words)


def _picture_states(
    checkpoint: Checkpoint, pictures: Sequence[Picture], states: States
) -> tuple[tuple[int, ...], Floats]:
    if checkpoint.vision is None:
        raise CheckpointError(f"{checkpoint.name} has no vision tower")
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        raise ValueError(f"features takes pictures of one shape, not of {len(shapes)}")
    height, width, _ = shapes.pop()
    side, patch = checkpoint.vision.image, checkpoint.vision.patch
    if (height, width) != (side or height // patch * patch, side or width // patch * patch):
        raise ValueError(f"pictures of {width} x {height} pixels do not fit the tower; use preprocessing.prepare")
    pooled = NumpyVision(checkpoint, checkpoint.vision).pooled(np.stack(pictures), states)
    return (height // patch * (width // patch),) * len(pictures), pooled


def _text_states(checkpoint: Checkpoint, texts: Sequence[str], states: States) -> tuple[tuple[int, ...], Floats]:
    if checkpoint.text is None:
        raise NoTextTowerError(f"{checkpoint.name} has no text tower")
    if not texts:
        raise ValueError("features takes at least one text")
    ids = read_tokenizer(checkpoint, checkpoint.text).encode(texts)
    lengths = tuple(len(row) for row in ids)
    filled = [row + [checkpoint.text.end_token] * (max(lengths) - len(row)) for row in ids]
    pooled = NumpyText(checkpoint, checkpoint.text).pooled(np.array(filled, dtype=np.int64), states)
    return lengths, pooled
