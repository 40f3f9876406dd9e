"""Made photos with something in them, and what people do to photos: for tests of copies and bursts."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def scene(seed: int, *, width: int = 320, height: int = 240) -> Image.Image:
    """A picture of soft coloured blobs before a sloping background; another seed makes another one."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    slope = rng.normal(0, 60, (3, 2))
    pixels = 120 + slope[:, :1, None] * (x - 0.5) + slope[:, 1:, None] * (y - 0.5)  # (3, height, width)
    for _ in range(40):
        centre_x, centre_y, size = rng.random(), rng.random(), rng.uniform(0.02, 0.12)
        blob = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * size**2))
        pixels = pixels + rng.uniform(-110, 110, (3, 1, 1)) * blob
    pixels = pixels + rng.normal(0, 3, pixels.shape)
    pixels = 20 + 180 * (pixels - pixels.min()) / np.ptp(pixels)  # room to make it brighter
    return Image.fromarray(pixels.astype(np.uint8).transpose(1, 2, 0))


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    """The picture as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def through(image: Image.Image, format: str, quality: int) -> Image.Image:
    """Saved and opened again."""
    with Image.open(io.BytesIO(encoded(image, format, quality=quality))) as saved:
        return saved.convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "JPEG, quality 30": lambda image: through(image, "JPEG", 30),
    "AVIF": lambda image: through(image, "AVIF", 60),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "white frame": lambda image: ImageOps.expand(image, round(0.05 * image.width), "white"),
    "black frame": lambda image: ImageOps.expand(image, round(0.05 * image.width), "black"),
}
"""Edits that leave everything in its place."""
