"""Every mode becomes opaque sRGB: nothing clipped, nothing inverted, no profile believed blindly."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms
from small_photos import BLUE, GREEN, RED, four_colours

from photoseek.indexer.colour import PROFILE_BYTES_MAX, to_srgb


def pixel(image: Image.Image, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    assert image.mode == "RGB"
    value = image.getpixel(at)
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "P", "PA"])
def test_colours_stay(mode: str) -> None:
    source = four_colours()
    image = source.convert("P", palette=Image.Palette.ADAPTIVE).convert("PA") if mode == "PA" else source.convert(mode)
    upright = to_srgb(image)
    for at, colour in {(5, 5): RED, (100, 5): GREEN, (5, 70): BLUE}.items():
        near = 40 if mode == "P" else 8  # the web palette is coarse
        assert pixel(upright, at) == pytest.approx(colour, abs=near)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "I", "F", "I;16", "I;16B"])
def test_grey_stays_grey_and_in_order(mode: str) -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(4, axis=0)
    match mode:
        case "I" | "I;16" | "I;16B":
            image = Image.fromarray(ramp.astype(np.uint16) * 257)
            image = (
                image
                if mode == "I;16"
                else image.convert("I")
                if mode == "I"
                else Image.frombytes("I;16B", image.size, (ramp.astype(">u2") * 257).astype(">u2").tobytes())
            )
        case "F":
            image = Image.fromarray(ramp.astype(np.float32) / 255)
        case "La":
            image = Image.fromarray(ramp).convert("LA").convert("La")
        case _:
            image = Image.fromarray(ramp).convert(mode)
    values = np.asarray(to_srgb(image))
    assert (values[..., 0] == values[..., 1]).all()
    assert (values[..., 1] == values[..., 2]).all()
    if mode == "1":
        assert set(np.unique(values)) == {0, 255}
    else:
        assert np.abs(values[0, :, 0].astype(int) - ramp[0]).max() <= 1


def test_float_and_integer_without_a_fixed_range_are_stretched() -> None:
    values = np.array([[-5.0, 0.0, 5.0, np.nan, np.inf]], dtype=np.float32)
    assert np.asarray(to_srgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 128, 255, 128, 128]
    values = np.array([[0, 50_000, 100_000]], dtype=np.int32)
    assert np.asarray(to_srgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 128, 255]
    assert np.asarray(to_srgb(Image.fromarray(np.full((1, 2), 7, dtype=np.float32)))).max() == 0


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    half = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    assert pixel(to_srgb(clear)) == (255, 255, 255)
    assert pixel(to_srgb(half)) == pytest.approx((255, 127, 127), abs=1)
    assert pixel(to_srgb(clear.convert("RGBa"))) == (255, 255, 255)
    assert pixel(to_srgb(clear.convert("LA"))) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "transparency"), [("P", 0), ("P", b"\0\xff"), ("RGB", (0, 0, 0)), ("L", 0), ("1", 0)])
def test_transparent_colours_of_palettes_and_keys(mode: str, transparency: object) -> None:
    image = Image.new(mode, (2, 1), 0)
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 20, 30])
    image.info["transparency"] = transparency
    assert pixel(to_srgb(image)) == (255, 255, 255)


def test_lab() -> None:
    # L* 53, a* 80, b* 67 is sRGB red; Pillow holds a* and b* with 128 added.
    red = Image.merge("LAB", [Image.new("L", (1, 1), value) for value in (136, 208, 195)])
    assert pixel(to_srgb(red)) == pytest.approx((255, 0, 0), abs=12)


def linear_profile() -> bytes:
    """An RGB profile that is plainly not sRGB: sRGB's own bytes with its tone curve tag taken from linear XYZ."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def swapped_profile() -> bytes:
    """The sRGB profile with the red and blue primaries exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def test_a_profile_is_used() -> None:
    image = Image.new("RGB", (2, 2), (255, 0, 0))
    image.info["icc_profile"] = swapped_profile()
    assert pixel(to_srgb(image)) == pytest.approx((0, 0, 255), abs=2)


def test_transparency_and_profile_together() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.info["icc_profile"] = swapped_profile()
    assert pixel(to_srgb(image), (0, 0)) == pytest.approx((0, 0, 255), abs=2)
    assert pixel(to_srgb(image), (1, 0)) == pytest.approx((255, 255, 255), abs=1)


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"garbage"),
        ("RGB", b""),
        ("RGB", swapped_profile()[:200]),
        ("RGB", swapped_profile() + bytes(PROFILE_BYTES_MAX)),
        ("L", swapped_profile()),
        ("CMYK", swapped_profile()),
        ("RGB", linear_profile()),
        ("RGB", "no bytes at all"),
    ],
    ids=["garbage", "empty", "cut off", "too long", "of RGB for L", "of RGB for CMYK", "abstract", "no bytes"],
)
def test_a_profile_that_cannot_be_used_is_left_out(mode: str, profile: object) -> None:
    image = Image.new("RGB", (2, 2), (200, 0, 0)).convert(mode)
    expected = pixel(to_srgb(image))
    image.info["icc_profile"] = profile
    assert pixel(to_srgb(image)) == expected
