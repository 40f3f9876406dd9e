"""The checkpoint's own way from an upright RGB photo to the picture its vision tower sees.

Follows preprocessor_config.json as transformers' image processors read it: resize (shorter side, or squash to
an exact size), centre crop, rescale, normalise. Done here with NumPy and Pillow, so that decode workers need
neither torch nor transformers. `prepare` ends at uint8, so that a picture is small on its way between processes
and its digest is exact; the tower rescales and normalises.

A checkpoint without that file gets AIMv2's own values: shorter side to the image size, bicubic, centre crop,
mean and deviation of CLIP.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoseek.aimv2.sizes import NATIVE_PATCHES_MAX
from photoseek.contracts import Picture
from photoseek.errors import CheckpointError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

PANORAMA_RATIO = 64
"""Beyond this ratio of the resized sides only the middle of the photo is resized (1 x 30,000 pixels otherwise
become 224 x 6,720,000); what is cut away lies outside the centre crop."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Rules of one checkpoint: a small value that can be pickled, compared and sent as JSON (`spec`)."""

    resize: Literal["shortest_edge", "exact", "native"]
    height: int
    """exact: height of the result. shortest_edge: length of the shorter side. native: side of a patch."""
    width: int
    """As height, for the width."""
    crop_height: int | None = None
    """Centre crop after resizing; None for none. A smaller picture is padded with black."""
    crop_width: int | None = None
    patches_max: int | None = None
    """native only: most patches, None for any number."""
    resample: int = 3
    """Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming."""
    rescale: float = 1 / 255
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON brings lists; a frozen value must be hashable
            object.__setattr__(self, name, tuple(getattr(self, name)))
        sides = [self.height, self.width, self.crop_height or 1, self.crop_width or 1, self.patches_max or 1]
        if min(sides) < 1 or max(sides[:4]) > 8192:
            raise ValueError(f"sides of a picture must lie between 1 and 8192 pixels: {sides}")
        if min(self.std) <= 0 or len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError("mean and std need three channels, each std above 0")

    @property
    def digest(self) -> str:
        """Hexadecimal digest of every rule; two equal digests give equal pictures."""
        rules = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(f"photoseek preprocessing 1 {rules}".encode()).hexdigest()

    @property
    def draft_size(self) -> tuple[int, int] | None:
        """(width, height) that a scaled decoding must not fall below: twice what the resize aims at.

        Twice, so that the filter still averages over all pixels (cosine of the embeddings 0.99999).
        """
        if self.resize != "native":
            return 2 * self.width, 2 * self.height
        if self.patches_max is None:
            return None
        side = 2 * self.height * math.ceil(math.sqrt(self.patches_max))
        return side, side

    def prepare(self, image: Image.Image) -> Picture:
        """Resize and crop.

        Args:
            image: upright, mode RGB, at least 1 x 1.
        Returns:
            uint8 (height, width, 3); the sides of a native picture are multiples of the patch.
        """
        if self.resize == "native":
            return self._native(image)
        if self.resize == "exact":
            image = self._resized(image, self.width, self.height)
        else:
            image = self._cut_panorama(image)
            short, long = sorted(image.size)
            # The long side is cut to whole pixels, as transformers does.
            new_long = int(self.height * long / short)
            wide = image.width > image.height
            image = self._resized(image, *((new_long, self.height) if wide else (self.height, new_long)))
        if self.crop_height is not None and self.crop_width is not None:
            image = centre_crop(image, self.crop_width, self.crop_height)
        return np.asarray(image, dtype=np.uint8)

    def normalise(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Rescale and normalise (..., 3) uint8 to float32, bit for bit as transformers' processor does."""
        levels = (np.arange(256, dtype=np.float64) * self.rescale).astype(np.float32)[:, None]
        mean, std = (np.array(channels, dtype=np.float32) for channels in (self.mean, self.std))
        table: NDArray[np.float32] = (levels - mean) / std  # (256, 3)
        normalised: NDArray[np.float32] = table[pictures, np.arange(3)]
        return normalised

    def affine(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(scale, shift), each float32 (3,): pixel * scale + shift is the normalised value up to rounding."""
        std = np.array(self.std)
        return (self.rescale / std).astype(np.float32), (-np.array(self.mean) / std).astype(np.float32)

    def spec(self) -> tuple[str, dict[str, Any]]:
        """What rebuilds this value in another process: ("module:class", keyword arguments for JSON)."""
        return "photoseek.aimv2.preprocessing:Preprocessing", asdict(self)

    def _resized(self, image: Image.Image, width: int, height: int) -> Image.Image:
        # Pillow returns an equal size as it is; transformers resamples nothing then either.
        return image.resize((width, height), Image.Resampling(self.resample))

    def _cut_panorama(self, image: Image.Image) -> Image.Image:
        short, long = sorted(image.size)
        kept = max(self.crop_height or 0, self.crop_width or 0, self.height)
        if not self.crop_height or long * self.height <= PANORAMA_RATIO * kept * short:
            return image
        length = math.ceil(PANORAMA_RATIO * kept * short / self.height)
        start = (long - length) // 2
        wide = image.width > image.height
        return image.crop((start, 0, start + length, short) if wide else (0, start, short, start + length))

    def _native(self, image: Image.Image) -> Picture:
        patch, patches_max = self.height, self.patches_max
        if not patches_max:
            scale = max(1.0, patch / min(image.size))
        else:
            scale = min(1.0, patch * math.sqrt(patches_max / (image.width * image.height)))
        # Whole patches: what is left over at the right and bottom is cut, as a convolution with stride does.
        columns = max(1, int(image.width * scale / patch + 1e-9))
        rows = max(1, int(image.height * scale / patch + 1e-9))
        if patches_max and columns * rows > patches_max:  # an extreme panorama, one patch high
            columns, rows = min(columns, patches_max // rows or 1), min(rows, patches_max)
        if scale != 1.0 or min(image.size) < patch:
            width, height = round(image.width * scale), round(image.height * scale)
            image = self._resized(image, max(width, columns * patch), max(height, rows * patch))
        return np.asarray(image.crop((0, 0, columns * patch, rows * patch)), dtype=np.uint8)


def centre_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle (width, height) of an image; a smaller one is padded with black.

    Odd rests go as in transformers: a crop starts at floor(rest / 2), padding at ceil(rest / 2).
    """
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if (left, top) == (0, 0) and image.size == (width, height):
        return image
    return image.crop((left, top, left + width, top + height))


def from_processor_config(
    config: Mapping[str, Any], *, image_side: int | None, patch: int, where: str
) -> Preprocessing:
    """The rules of a preprocessor_config.json.

    Args:
        config: its content; empty when the checkpoint has none.
        image_side: side of the vision tower's picture, None for native resolution.
        patch: side of a patch.
        where: the checkpoint, for messages.

    Raises:
        CheckpointError: the file asks for something photoseek does not know, or for a picture that does not
            fit the vision tower.
    """
    try:
        rules = _parse(config, image_side, patch)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: preprocessor_config.json is malformed: {error}") from error
    if image_side is not None:
        result = (rules.crop_height, rules.crop_width) if rules.crop_height else (rules.height, rules.width)
        if result != (image_side, image_side) or (rules.resize == "shortest_edge" and not rules.crop_height):
            raise CheckpointError(
                f"{where}: its preprocessor_config.json makes pictures of another size than {image_side} pixels"
            )
    return rules


def _parse(config: Mapping[str, Any], image_side: int | None, patch: int) -> Preprocessing:
    if config.get("do_rescale", True) is not True or config.get("do_normalize", True) is not True:
        raise ValueError("do_rescale and do_normalize must not be off")
    levels: dict[str, Any] = {
        "resample": int(config.get("resample", 3)),
        "rescale": float(config.get("rescale_factor", 1 / 255)),
        "mean": tuple(float(value) for value in config.get("image_mean", CLIP_MEAN)),
        "std": tuple(float(value) for value in config.get("image_std", CLIP_STD)),
    }
    Image.Resampling(levels["resample"])
    if image_side is None:
        return Preprocessing("native", patch, patch, patches_max=NATIVE_PATCHES_MAX, **levels)
    size = _size(config.get("size", {"shortest_edge": image_side}))
    crop: dict[str, Any] = {}
    if config.get("do_center_crop", True):
        height, width = _size(config.get("crop_size", {"height": image_side, "width": image_side}))
        crop = {"crop_height": height, "crop_width": width if width is not None else height}
    if config.get("do_resize", True) is not True:
        raise ValueError("do_resize is off, but the vision tower has one picture size")
    side, width = size
    if width is None:
        return Preprocessing("shortest_edge", side, side, **crop, **levels)
    return Preprocessing("exact", side, width, **crop, **levels)


def _size(size: Mapping[str, int] | int) -> tuple[int, int | None]:
    """(height, width) of an exact size, (side, None) of a shortest edge."""
    if isinstance(size, int):
        return size, None
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), None
    return int(size["height"]), int(size["width"])
