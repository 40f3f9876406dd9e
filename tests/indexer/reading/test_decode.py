"""From the bytes of one photo to a prepared picture, or to the reason why not."""

from __future__ import annotations

import hashlib
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from read_once import STORED, failure, read
from small_photos import BLUE, GREEN, RED, YELLOW, Squash, encoded, exif_block, four_colours, noise_jpeg

from photoseek.contracts import PhotoRead, Trouble
from photoseek.indexer import decode
from photoseek.indexer.containers import jpeg_without_metadata, png_without_text
from photoseek.indexer.decode import digest_of_picture, read_photo

FORMATS = ["jpeg", "png", "webp", "tiff", "gif", "bmp", "avif"]
CORNERS = {(5, 5): RED, (-6, 5): GREEN, (5, -6): BLUE, (-6, -6): YELLOW}  # (x, y)


def assert_upright(photo: PhotoRead, *, near: int = 40) -> None:
    for (x, y), colour in CORNERS.items():
        assert photo.picture[y, x].tolist() == pytest.approx(colour, abs=near)


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format(format_name: str) -> None:
    data = encoded(four_colours(), format_name.upper())
    photo = read(data)
    assert (photo.format, photo.width, photo.height, photo.size) == (format_name, 120, 80, len(data))
    assert photo.digest == hashlib.sha256(data).digest()
    assert photo.picture.shape == (64, 64, 3)
    assert photo.picture_digest == digest_of_picture(photo.picture)
    assert_upright(photo)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "tiff"])
def test_every_orientation_comes_out_upright(format_name: str, orientation: int) -> None:
    turn = STORED[orientation]
    stored = four_colours() if turn is None else four_colours().transpose(turn)
    if format_name == "tiff":
        data = encoded(stored, "TIFF", tiffinfo={0x0112: orientation})
    else:
        data = encoded(stored, format_name.upper(), exif=b"Exif\0\0" + exif_block({0x0112: orientation}))
    photo = read(data)
    assert (photo.width, photo.height, photo.camera.orientation) == (120, 80, orientation)
    assert_upright(photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_turns_by_its_container(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation  # Pillow writes it as irot and imir, and into the EXIF block
    turn = STORED[orientation]
    stored = four_colours() if turn is None else four_colours().transpose(turn)
    photo = read(encoded(stored, "AVIF", exif=exif, quality=90))
    assert (photo.width, photo.height) == (120, 80)
    assert_upright(photo)


def test_damaged_exif_does_not_cost_an_avif_its_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker"
    data = encoded(four_colours(), "AVIF", exif=exif)
    at = data.index(exif.tobytes()[6:14])
    photo = read(data[:at] + b"\xff" * 8 + data[at + 8 :])
    assert (photo.width, photo.camera.camera_make) == (80, None)


def test_a_jpeg_is_decoded_small_where_nothing_is_lost() -> None:
    data = noise_jpeg(1600, 1200)
    sizes = []

    class Watching(Squash):
        def prepare(self, image: Image.Image) -> np.ndarray:
            sizes.append(image.size)
            return super().prepare(image)

    small, full = read(data, Watching(size=64)), read(data, Watching(size=64, drafts=False))
    assert sizes == [(200, 150), (1600, 1200)]
    assert (small.width, small.height) == (full.width, full.height) == (1600, 1200)
    read(data, Watching(size=76))
    assert sizes[-1] == (400, 300)  # 200 x 150 would be less than 152 on one side


@pytest.mark.parametrize("cut", [7, 9, 20, 40])
def test_damaged_exif_costs_a_jpeg_neither_its_picture_nor_a_warning(cut: int) -> None:
    exif = b"Exif\0\0" + exif_block({0x010F: "Maker", 0x011A: ((72, 1),), 0x0110: "Model"})[:cut]
    photo = read(encoded(four_colours(), "JPEG", exif=exif))  # warnings are errors here
    assert_upright(photo)


def test_dropping_metadata_keeps_every_other_byte_of_a_jpeg() -> None:
    plain = encoded(four_colours(), "JPEG")
    assert jpeg_without_metadata(plain) is plain
    tagged = encoded(four_colours(), "JPEG", exif=b"Exif\0\0" + exif_block({0x010F: "Maker"}), xmp=b"<x/>")
    assert jpeg_without_metadata(tagged) == plain


def test_a_draft_minds_the_turn() -> None:
    class Tall(Squash):
        @property
        def draft_size(self) -> tuple[int, int]:
            return 200, 600

        def prepare(self, image: Image.Image) -> np.ndarray:
            assert image.size == (400, 800)
            return super().prepare(image)

    # Half of the upright 800 x 1600 is above 200 x 600; of the stored 1600 x 800 no smaller scale is.
    stored = Image.new("RGB", (1600, 800), RED)
    photo = read(encoded(stored, "JPEG", exif=b"Exif\0\0" + exif_block({0x0112: 6})), Tall())
    assert (photo.width, photo.height) == (800, 1600)


def test_equal_pixels_in_other_files_have_equal_picture_digests() -> None:
    plain = encoded(four_colours(), "PNG")
    tagged = encoded(four_colours(), "PNG", exif=exif_block({0x010F: "Maker"}))
    assert read(plain).digest != read(tagged).digest
    assert read(plain).picture_digest == read(tagged).picture_digest
    assert read(plain).picture_digest != read(plain, Squash(size=32)).picture_digest


@pytest.mark.parametrize("format_name", ["gif", "webp", "png", "tiff", "avif"])
def test_of_several_pictures_the_first_counts(format_name: str) -> None:
    others = [Image.new("RGB", (120, 80), "black")] * 2
    photo = read(encoded(four_colours(), format_name.upper(), save_all=True, append_images=others))
    assert_upright(photo)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_cut_off_picture_fails(format_name: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8))
    data = encoded(noise, format_name.upper())
    assert failure(data[: len(data) // 2], b"x." + format_name.encode()).trouble is Trouble.FILE


def test_reasons_are_for_people() -> None:
    data = noise_jpeg(64, 64)
    assert (
        failure(data[:1000]).reason
        == "the JPEG is cut off: the file ends after 1,000 bytes, in the middle of the picture"
    )
    png = bytearray(encoded(four_colours(), "PNG"))
    png[20] ^= 1
    assert "damaged" in failure(bytes(png)).reason
    assert failure(b"").reason == "the file is empty"


def test_too_many_pixels_fail_before_they_are_decoded() -> None:
    header = b"\0\0\0\rIHDR" + (30_000).to_bytes(4, "big") * 2 + b"\x01\0\0\0\0"
    png = b"\x89PNG\r\n\x1a\n" + header + zlib.crc32(header[4:]).to_bytes(4, "big") + b"\0\0\0\x01IDAT\0" + bytes(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's own limit is lower and would warn
        assert failure(png).reason == "30,000 x 30,000 pixels are more than the limit of 220 million"


def test_text_bombs_are_not_unpacked() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    picture = encoded(four_colours(), "PNG")
    chunks = {
        b"zTXt": b"Comment\0\0" + bomb,
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + bomb,
        b"iCCP": b"icc\0\0" + bomb,
    }
    for name, content in chunks.items():
        chunk = len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
        data = picture[:33] + chunk + picture[33:]  # after IHDR
        assert png_without_text(data) == picture
        assert_upright(read(data))


def test_a_png_without_text_stays_as_it_is() -> None:
    picture = encoded(four_colours(), "PNG")
    assert png_without_text(picture) is picture


def test_memory_that_runs_out_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decode, "to_srgb", no_memory)
    assert failure(encoded(four_colours(), "PNG")).trouble is Trouble.SURROUNDINGS


def test_a_preprocessing_that_breaks_the_contract_is_told() -> None:
    class Grey(Squash):
        def prepare(self, image: Image.Image) -> np.ndarray:
            return np.zeros((4, 4), dtype=np.float32)

    with pytest.raises(ValueError, match="float32"):
        read_photo(encoded(four_colours(), "PNG"), Grey())


def test_nothing_of_pillow_is_changed_in_this_process() -> None:
    from PIL import AvifImagePlugin, ImageFile

    def settings() -> tuple[object, ...]:
        return (
            Image.MAX_IMAGE_PIXELS,
            ImageFile.LOAD_TRUNCATED_IMAGES,
            AvifImagePlugin.DEFAULT_MAX_THREADS,
            list(warnings.filters),
        )

    before = settings()
    for format_name in FORMATS:
        read(encoded(four_colours(), format_name.upper()))
    failure(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), b"x.heic")
    assert settings() == before
    assert "HEIF" not in Image.OPEN
    assert "pi_heif" in sys.modules


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(["jpeg", "png", "webp", "gif", "bmp"]))
def test_damaged_files_give_a_photo_or_a_reason(data: st.DataObject, format_name: str) -> None:
    whole = encoded(four_colours(24, 16), format_name.upper())
    at = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=8))
    photo = read_photo(whole[:at] + noise + whole[at + len(noise) :], Squash(size=8), name=b"x.jpg")
    assert isinstance(photo, PhotoRead) or photo.reason.isprintable()
