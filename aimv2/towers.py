"""The towers as the rest of photoseek sees them: pictures or words in, unit vectors out.

A tower checks what it is given, forms batches of one shape, lets an engine compute them and scales the results
to unit length. Which engine, device and precision is decided in `choice`.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from photoseek.aimv2.sizes import TextSizes, VisionSizes
from photoseek.contracts import Embeddings, Picture
from photoseek.errors import ModelError

if TYPE_CHECKING:
    from photoseek.aimv2.tokenizer import Tokenizer


class VisionEngine(Protocol):
    """Computes a vision tower and its projection."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def tokens_per_batch(self) -> int:
        """About how many patches or words one call should bring."""
        ...

    @property
    def batches_at_once(self) -> int:
        """How many threads may call `run` at once with gain."""
        ...

    def run(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(batch, height, width, 3) uint8 of one shape to (batch, dim), not yet of unit length."""
        ...


class TextEngine(Protocol):
    """Computes a text tower and its projection; causal by its own doing, never by the caller's mask."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def tokens_per_batch(self) -> int: ...

    def run(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, tokens) int64 of texts of one length to (batch, dim), not yet of unit length."""
        ...


class Tower:
    """What both towers tell about themselves."""

    def __init__(self, engine: VisionEngine | TextEngine, dim: int) -> None:
        self.dim = dim
        """Width of the embeddings."""
        self.engine = engine.name
        """`numpy`, `openvino` or `torch`."""
        self.device = engine.device
        """`cpu`, or torch's name of an accelerator (`cuda`, `mps`)."""
        self.precision = engine.precision
        """`float32`, `bfloat16` or `float16`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.engine}, {self.device}, {self.precision}, dim {self.dim})"


class EngineVisionTower(Tower):
    """A vision tower on an engine (`contracts.VisionTower`). Threads may share one."""

    def __init__(self, engine: VisionEngine, sizes: VisionSizes, dim: int) -> None:
        super().__init__(engine, dim)
        self._engine, self._sizes = engine, sizes

    @property
    def batch_size(self) -> int:
        """Pictures that one call of `encode` should bring at least; of a native tower, pictures of 1,024 patches."""
        return max(1, self._engine.tokens_per_batch // self._sizes.patches)

    @property
    def batches_at_once(self) -> int:
        """Threads that may call `encode` at once with gain."""
        return self._engine.batches_at_once

    def encode(self, pictures: Sequence[Picture]) -> Embeddings:
        """Embed prepared pictures (`Preprocessing.prepare`), any number; a picture's vector does not depend
        on the others.

        Args:
            pictures: uint8 (height, width, 3) each; of the tower's size, or for a native tower with sides
                that are any multiples of the patch.
        Returns:
            float32 (n, dim) of unit length, in the order given.
        Raises:
            ValueError: a picture has another shape or type.
            ModelError: the tower computed no finite vector (damaged weights, overflow in half precision).
        """
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, picture in enumerate(pictures):
            self._check(picture, index)
            by_shape[picture.shape].append(index)
        embeddings = np.empty((len(pictures), self.dim), dtype=np.float32)
        for shape, indices in by_shape.items():
            patches = (shape[0] // self._sizes.patch) * (shape[1] // self._sizes.patch)
            parts = batches(indices, self._engine.tokens_per_batch // patches)
            for part, vectors in self._computed(parts, pictures):
                embeddings[part] = vectors
        return unit_length(embeddings, self)

    def _computed(
        self, parts: Iterable[list[int]], pictures: Sequence[Picture]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Each part with its vectors, as many parts at once as the engine gains from."""

        def computed(part: list[int]) -> tuple[list[int], NDArray[np.float32]]:
            return part, self._engine.run(np.stack([pictures[index] for index in part]))

        first, *others = parts
        if not others or self.batches_at_once == 1:
            yield from map(computed, [first, *others])
            return
        with ThreadPoolExecutor(self.batches_at_once, "photoseek-embed") as threads:
            yield from threads.map(computed, [first, *others])

    def _check(self, picture: Picture, index: int) -> None:
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3:
            raise ValueError(f"picture {index} is no uint8 array of shape (height, width, 3)")
        height, width, channels = picture.shape
        patch, image = self._sizes.patch, self._sizes.image
        fits = (
            (height, width) == (image, image) if image else min(height, width) and not (height % patch or width % patch)
        )
        if channels != 3 or not fits:
            wanted = f"({image}, {image}, 3)" if image else f"(height, width, 3) with sides in whole patches of {patch}"
            raise ValueError(f"picture {index} has shape {picture.shape}, the tower takes {wanted}")


class EngineTextTower(Tower):
    """A text tower on an engine (`contracts.TextTower`). Threads may share one."""

    def __init__(self, engine: TextEngine, make_tokenizer: Callable[[], Tokenizer], sizes: TextSizes, dim: int) -> None:
        super().__init__(engine, dim)
        self._engine, self._sizes = engine, sizes
        self._make_tokenizer = functools.cache(make_tokenizer)  # a checkpoint may lack one: see encode_ids

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts, any number; a text's vector does not depend on the others.

        A text longer than the context is cut, with its end token kept.

        Returns:
            float32 (n, dim) of unit length, in the order given.
        Raises:
            TypeError: one string was given instead of a sequence of them.
            CheckpointError: the checkpoint has no tokenizer that fits.
            ModelError: the tower computed no finite vector.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a sequence of texts, not one string")
        return self.encode_ids(self._make_tokenizer().encode(texts))

    def encode_ids(self, token_ids: Sequence[Sequence[int]]) -> Embeddings:
        """Embed texts that are token ids already, start and end included; see `encode`.

        Texts of one length are computed together, so that nothing is ever padded.

        Raises:
            ValueError: a text has no end token, is longer than the context, or names an unknown token.
        """
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, ids in enumerate(token_ids):
            if not 0 < len(ids) <= self._sizes.context or not 0 <= min(ids) <= max(ids) < self._sizes.vocabulary:
                raise ValueError(
                    f"text {index} is no sequence of 1 to {self._sizes.context} tokens below {self._sizes.vocabulary}"
                )
            by_length[len(ids)].append(index)
        embeddings = np.empty((len(token_ids), self.dim), dtype=np.float32)
        for length, indices in by_length.items():
            for part in batches(indices, self._engine.tokens_per_batch // length):
                embeddings[part] = self._engine.run(np.array([token_ids[index] for index in part], dtype=np.int64))
        return unit_length(embeddings, self)


def batches(indices: list[int], size: int) -> Iterator[list[int]]:
    """Consecutive parts of at most `size` (at least 1)."""
    size = max(1, size)
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def unit_length(vectors: NDArray[np.float32], tower: Tower) -> Embeddings:
    """Scale rows (n, dim) to length 1, so that an inner product is a cosine.

    Raises:
        ModelError: a row is zero or not finite.
    Source: AIMv2 LiT normalises both towers (apple/ml-aim, aim-v2/aim/v2/torch/models.py).
    """
    lengths = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        hint = None if tower.precision == "float32" else "try precision float32"
        raise ModelError(f"{tower} computed no finite vector for inputs {bad[:10].tolist()}", hint=hint)
    units: Embeddings = vectors / lengths[:, None]
    return units
