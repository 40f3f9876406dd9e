"""Camera RAW: the preview, the sensor's picture where that does not do, and what the camera wrote."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_photos import cr3, dng, raf
from read_once import STORED, failure, read
from small_photos import BLUE, GREEN, RED, YELLOW, Squash, encoded, exif_block, four_colours

from photoseek.contracts import DecodeJob, PhotoRead, ReadFailure, Trouble
from photoseek.indexer.containers import metadata_blocks
from photoseek.indexer.formats import raw_name, sniff
from photoseek.indexer.metadata import camera_facts
from photoseek.indexer.workers import DecodeWorkers

TURNS = (1, 3, 6, 8)
"""Orientations that LibRaw tells."""
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>"""


def grey(width: int = 640, height: int = 480) -> Image.Image:
    return Image.new("RGB", (width, height), (90, 90, 90))


def stored(orientation: int, width: int = 400, height: int = 300) -> Image.Image:
    turn = STORED[orientation]
    upright = four_colours(width, height)
    return upright if turn is None else upright.transpose(turn)


def assert_upright(photo: PhotoRead, near: int) -> None:
    for (x, y), colour in {(9, 9): RED, (-9, 9): GREEN, (9, -9): BLUE, (-9, -9): YELLOW}.items():
        assert photo.picture[y, x].tolist() == pytest.approx(colour, abs=near)


@pytest.mark.parametrize("orientation", TURNS)
def test_the_preview_is_read_upright(orientation: int) -> None:
    preview = stored(orientation)
    sensor = grey(*preview.size)
    photo = read(dng(sensor, preview, orientation=orientation, taken_at=b"2024:07:01 12:30:00"))
    assert_upright(photo, near=40)
    assert (photo.format, photo.width, photo.height) == ("raw", 400, 300)
    assert photo.camera.camera_model == "Test 1"
    assert photo.camera.taken_at == "2024-07-01T12:30:00"


def test_a_preview_that_stands_upright_already_is_not_turned() -> None:
    photo = read(dng(grey(400, 300), four_colours(300, 400), orientation=6))
    assert_upright(photo, near=40)
    assert (photo.width, photo.height) == (300, 400)


def test_a_large_preview_is_decoded_at_a_smaller_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    preview = four_colours(2000, 1500)
    scaled = []
    draft = Image.Image.draft
    monkeypatch.setattr(
        "PIL.JpegImagePlugin.JpegImageFile.draft",
        lambda image, mode, size: scaled.append(size) or draft(image, mode, size),
    )
    assert_upright(read(dng(grey(), preview)), near=40)
    assert scaled == [(128, 128)]


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("preview", [None, grey(160, 120)], ids=["no preview", "a stamp"])
def test_without_a_preview_of_enough_size_the_sensor_is_developed(
    orientation: int, preview: Image.Image | None
) -> None:
    photo = read(dng(stored(orientation), preview, orientation=orientation), Squash(80))
    corners = [photo.picture[y, x].argmax() for x, y in ((9, 9), (-9, 9), (9, -9))]
    assert corners == [0, 1, 2]
    assert (photo.width, photo.height) == (400, 300)


def test_content_wins_over_the_name() -> None:
    data = dng(grey(), four_colours(400, 300))
    assert read(data, name=b"photo.tif").format == "raw"
    assert read(encoded(four_colours(), "JPEG"), name=b"photo.nef").format == "jpeg"


def test_a_raw_file_of_an_unknown_camera_is_skipped() -> None:
    skipped = failure(exif_block({0x0110: "Camera of 2040"}) + bytes(100_000), b"photo.nef")
    assert skipped.trouble is Trouble.SKIPPED
    assert skipped.reason == "LibRaw cannot read this Nikon RAW: an unknown camera, or damage"


def test_a_raw_file_without_its_pixels_is_damaged() -> None:
    whole = dng(grey())
    cut = failure(whole[: len(whole) - 2 * 640 * 480 + 5000], b"IMG_1.dng")
    assert cut.trouble is Trouble.FILE
    assert cut.reason.startswith("the RAW is damaged")


@pytest.mark.parametrize(("head", "word"), [(b"", "empty"), (b"some text", "text"), (bytes(600), "zero bytes")])
def test_what_is_raw_by_its_name_alone_is_no_picture(head: bytes, word: str) -> None:
    verdict = failure(head, b"photo.cr2")
    assert verdict.trouble is Trouble.FILE
    assert word in verdict.reason


def test_without_the_extra_raw_files_are_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in (b"photo.dng", b"photo.tif"):
        skipped = failure(dng(grey()), name)
        assert skipped.trouble is Trouble.SKIPPED
        assert skipped.reason == 'no reader for DNG RAW pictures ("photoseek[raw]" brings it)'


def test_more_pixels_than_the_limit_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photoseek.indexer.decode.PIXELS_MAX", 100_000)
    refused = failure(dng(grey(), four_colours(400, 300)), b"IMG_1.dng")
    assert refused.trouble is Trouble.FILE
    assert "640 x 480" in refused.reason


def test_damage_costs_one_photo() -> None:
    with DecodeWorkers(Squash(), workers=1) as worker:  # for all examples, and gone before the next test

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(data=st.data())
        def damage(data: st.DataObject) -> None:
            whole = bytearray(dng(grey(64, 48), four_colours(400, 300), taken_at=b"2024:07:01 12:30:00"))
            for _change in range(data.draw(st.integers(0, 6))):
                whole[data.draw(st.integers(8, 700))] = data.draw(st.integers(0, 255))
            damaged = bytes(whole[: data.draw(st.integers(8, len(whole)))])
            ((_job, result),) = worker.read([DecodeJob(0, b"", data=damaged)])
            assert isinstance(result, PhotoRead | ReadFailure)
            if isinstance(result, ReadFailure):
                assert "could not be prepared" not in result.reason  # which would be a mistake of ours

        damage()


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        (b"a.CR2", b"II*\0\x10\0\0\0CR\2\0", "Canon RAW"),
        (b"a.nef", b"MM\0*\0\0\0\x08", "Nikon RAW"),
        (b"a.dng", b"II*\0\x08\0\0\0", "DNG RAW"),
        (b"a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "Canon RAW"),
        (b"a", b"FUJIFILMCCD-RAW 0201", "Fujifilm RAW"),
        (b"a.raw", b"IIU\0\x18\0\0\0", "Panasonic RAW"),
    ],
)
def test_raw_by_content_and_name(name: bytes, head: bytes, kind: str) -> None:
    assert sniff(head, name) == "raw"
    assert raw_name(head, name) == kind


def test_canon_keeps_the_parts_of_exif_apart() -> None:
    image = exif_block({0x010F: "Canon", 0x0110: "Canon EOS R6", 0x0112: 8})
    photo = exif_block({0x9003: "2021:05:12 12:21:21", 0xA434: "RF70-200mm"})
    gps = exif_block({1: "N", 2: ((48, 1), (30, 1), (0, 1)), 3: "E", 4: ((2, 1), (15, 1), (0, 1))})
    facts = camera_facts(metadata_blocks(cr3(image, photo, gps, XMP), "raw"))
    assert (facts.camera_model, facts.orientation, facts.lens) == ("Canon EOS R6", 8, "RF70-200mm")
    assert (facts.taken_at, facts.latitude, facts.longitude) == ("2021-05-12T12:21:21", 48.5, 2.25)
    assert facts.rating == 4


def test_fujifilm_writes_in_its_jpeg() -> None:
    jpeg = encoded(four_colours(), "JPEG", exif=b"Exif\0\0" + exif_block({0x0110: "X-T5"}))
    assert camera_facts(metadata_blocks(raf(jpeg), "raw")).camera_model == "X-T5"


@given(st.binary(max_size=200), st.integers(0, 400))
def test_metadata_of_any_bytes(noise: bytes, cut: int) -> None:
    whole = cr3(exif_block({0x0112: 1}), noise, noise, noise)
    for data in (whole[:cut] + noise, raf(noise)[: cut + 80], b"\0\0\0\0ftypcrx " + noise):
        camera_facts(metadata_blocks(data, "raw"))


@pytest.mark.slow
def test_a_jpeg_and_its_raw_are_one_moment(tmp_path: Path) -> None:
    from photoseek import PhotoLibrary

    with Image.open(Path(__file__).parents[3] / "examples" / "photos" / "mountains.jpg") as image:
        photo = image.convert("RGB").resize((640, 480))
    photos = tmp_path / "photos"
    photos.mkdir()
    taken = "2024:07:01 12:30:00"
    (photos / "IMG_1.dng").write_bytes(dng(grey(642, 482), photo, taken_at=taken.encode()))
    exif = b"Exif\0\0" + exif_block(photo={0x9003: taken})
    (photos / "IMG_1.jpg").write_bytes(encoded(photo, "JPEG", quality=92, exif=exif))
    with PhotoLibrary.open(tmp_path / "library") as library:
        assert library.index(photos).embedded == 2
        (match,) = library.search("mountains", collapse="similar")
        assert len(match.similar) == 1
        (group,) = library.duplicates().groups
        assert [photo.path.name for photo in group.photos] == ["IMG_1.dng", "IMG_1.jpg"]
        assert [photo.format for photo in group.photos] == ["raw", "jpeg"]
