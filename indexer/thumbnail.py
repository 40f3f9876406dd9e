"""What decode workers make where a person is to see the photo: a small upright picture instead of a model's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from photoseek.contracts import Picture


@dataclass(frozen=True, slots=True)
class ThumbnailRules:
    """Fits a photo into a square, its proportions kept (`contracts.Preprocessing`)."""

    side: int
    """Pixels of the longer side; smaller photos stay as they are."""

    def __post_init__(self) -> None:
        if not 1 <= self.side <= 4096:
            raise ValueError(f"the side of a thumbnail lies between 1 and 4096 pixels, not at {self.side}")

    @property
    def digest(self) -> str:
        return f"thumbnail {self.side}"

    @property
    def draft_size(self) -> tuple[int, int]:
        """A scaled JPEG keeps its shorter side as long as the thumbnail's longer one: enough pixels to average over."""
        return self.side, self.side

    def prepare(self, image: Image.Image) -> Picture:
        """Scale an upright RGB picture down; returns uint8 (height, width, 3)."""
        scale = min(1.0, self.side / max(image.size))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return np.asarray(small, dtype=np.uint8)

    def spec(self) -> tuple[str, dict[str, object]]:
        return "photoseek.indexer.thumbnail:ThumbnailRules", {"side": self.side}
