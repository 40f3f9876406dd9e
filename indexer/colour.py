"""From any mode that Pillow decodes to an opaque sRGB picture.

The order matters: first to 8 bits, then on white, then through the colour profile. Every step keeps the
picture's own colour space until the profile, which speaks of just that space, has been used.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

PROFILE_BYTES_MAX = 4 << 20
"""Larger colour profiles are not used; those of printing presses have up to 3 MiB, of cameras a few KiB."""

# Modes as one of which a picture meets its profile, and all that have no other way to RGB.
_PLAIN_MODES = frozenset({"L", "RGB", "CMYK", "LAB"})


def to_srgb(image: Image.Image) -> Image.Image:
    """Turn a loaded picture of any mode into an opaque one of mode RGB in sRGB.

    Transparency is laid on white. A colour profile that is damaged, too large, or for another kind of
    picture is left out, and the numbers count as sRGB. Without a profile CMYK is converted naively.
    """
    profile = image.info.get("icc_profile")
    flat = _on_white(_to_eight_bits(image))
    if isinstance(profile, bytes) and (converted := _through_profile(flat, profile)) is not None:
        return converted
    if flat.mode == "LAB":
        return _from_lab(flat)
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits, 32 bits or floating point to 8 bits; other modes are returned as they are.

    16 bits count as 0 to 65,535, floating point within 0 to 1 as it is; anything else has no fixed range and
    is stretched from its least to its greatest value. Pillow's own conversions clip instead.
    """
    if not (image.mode in ("I", "F") or image.mode.startswith("I;16")):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    least, greatest = float(values.min()), float(values.max())
    if image.mode != "F" and least >= 0 and greatest <= 65535:
        least, greatest = 0.0, 65535.0
    elif image.mode == "F" and least >= 0 and greatest <= 1:
        least, greatest = 0.0, 1.0
    span = (greatest - least) or 1.0
    return Image.fromarray(((values - least) * (255.0 / span) + 0.5).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """The picture without transparency, in one of `_PLAIN_MODES`."""
    if image.mode in _PLAIN_MODES and "transparency" not in image.info:
        return image
    if image.mode in ("LA", "La"):
        grey, alpha = image.convert("LA").split()
        return _paste_on_white(grey, alpha)
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        return _paste_on_white(opaque.convert("RGB"), opaque.getchannel("A"))
    return image.convert("L" if image.mode == "1" else "RGB")


def _paste_on_white(image: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new(image.mode, image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert by the embedded profile; None where it cannot be used."""
    if len(profile) > PROFILE_BYTES_MAX:
        return None
    try:
        return _transform(profile, image.mode).apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a bad profile is no reason to lose the photo


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """The way from a profile to sRGB; photos of one camera share it, and building it takes milliseconds."""
    return ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), _srgb(), mode, "RGB")


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _from_lab(image: Image.Image) -> Image.Image:
    """CIE L*a*b*, which Pillow itself does not convert."""
    converted = _lab_transform().apply(image)
    assert converted is not None
    return converted
