"""One photo from its bytes: format, camera facts and the prepared picture, or the reason why not.

Decoders meet hostile bytes here, so this runs in a worker process (`worker`) when folders are indexed. It
also serves single pictures inside an app's process, and therefore touches no setting of Pillow: formats are
opened by their own classes, never through the openers that an app may have registered.
"""

from __future__ import annotations

import hashlib
import io
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from PIL import Image

from photoseek.contracts import CameraFacts, PhotoRead, Picture, Preprocessing, ReadFailure, Trouble
from photoseek.indexer.colour import to_srgb
from photoseek.indexer.containers import (
    MetadataBlocks,
    avif_without_exif,
    jpeg_without_metadata,
    metadata_blocks,
    png_without_text,
)
from photoseek.indexer.exif import read_exif
from photoseek.indexer.fingerprint import fingerprint
from photoseek.indexer.formats import SNIFF_BYTES, raw_name, raw_or_why_not, sniff
from photoseek.indexer.metadata import camera_facts, orientation_of
from photoseek.indexer.raw import RawFile, UnknownRawError

_logger = logging.getLogger(__name__)

PIXELS_MAX = 220_000_000
"""Pixels of a picture that is decoded: the largest phone sensors have 200 million (16,320 x 12,240). Checked
against the header before anything is decoded, also where a JPEG would be decoded at a smaller scale."""

DRAFT_PIXELS_MIN = 1_000_000
"""Smaller JPEGs are decoded whole: that takes milliseconds, and gives exactly the picture that others compute."""

RAW_PREVIEW_MIN = (448, 448)
"""A RAW's preview is used from this size on where the preprocessing names none."""

REASON_CHARACTERS_MAX = 200
"""Length of a reason that comes from a decoder's own words."""

_DNG_VERSION = 0xC612

_PILLOW_CLASSES = {
    "jpeg": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "png": ("PIL.PngImagePlugin", "PngImageFile"),
    "webp": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "tiff": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "gif": ("PIL.GifImagePlugin", "GifImageFile"),
    "bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "avif": ("PIL.AvifImagePlugin", "AvifImageFile"),
}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each EXIF orientation upright."""


def read_photo(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    name: bytes = b"",
    mtime_ns: int = 0,
    digest: bytes | None = None,
) -> PhotoRead | ReadFailure:
    """Read one photo from all its bytes.

    Args:
        data: the whole file.
        preprocessing: makes the prepared picture, and says how small a JPEG may be decoded.
        name: file name or path; says what the file should be where its content is no picture.
        mtime_ns: handed on into the answer.
        digest: SHA-256 of `data`, where the caller has it.
    Returns:
        The photo; or a failure whose reason is one line. Of an animation or a file with several pages
        the first picture counts.
    Raises:
        Whatever `preprocessing.prepare` raises: that is no fault of the photo.
    """
    digest = digest or hashlib.sha256(data).digest()
    head = data[:SNIFF_BYTES]
    format_name = sniff(head, name)
    if format_name == "tiff" and _DNG_VERSION in read_exif(data).image:
        format_name = raw_or_why_not(head, name)
    if isinstance(format_name, ReadFailure):
        return ReadFailure(format_name.trouble, format_name.reason, digest)
    try:
        upright = _decode(data, format_name, preprocessing.draft_size)
    except UnknownRawError:
        reason = f"LibRaw cannot read this {raw_name(head, name)}: an unknown camera, or damage"
        return ReadFailure(Trouble.SKIPPED, reason, digest)
    except MemoryError:
        return ReadFailure(Trouble.SURROUNDINGS, "needs more memory than there is for one photo", digest)
    except Exception as error:  # decoders raise anything when they meet damage; it is the file's fault here
        _logger.debug("a %s of %d bytes was not decoded", format_name, len(data), exc_info=True)
        return ReadFailure(Trouble.FILE, _reason(error, format_name, len(data)), digest)
    picture = _checked(preprocessing.prepare(upright.image))
    return PhotoRead(
        digest=digest,
        size=len(data),
        mtime_ns=mtime_ns,
        format=format_name,
        width=upright.width,
        height=upright.height,
        camera=upright.camera,
        picture=picture,
        picture_digest=digest_of_picture(picture),
        fingerprint=fingerprint(picture),
    )


def digest_of_picture(picture: Picture) -> bytes:
    """SHA-256 of a prepared picture's shape and pixels: equal exactly for equal pictures."""
    digest = hashlib.sha256(struct.pack("<3I", *picture.shape))
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


class _UnreadablePhotoError(Exception):
    """The photo breaks a rule of ours; the message is the reason."""


@dataclass(frozen=True, slots=True)
class _Upright:
    """An upright sRGB picture, and the size it has at full scale."""

    image: Image.Image
    width: int
    height: int
    camera: CameraFacts


def _decode(data: bytes, format_name: str, draft_size: tuple[int, int] | None) -> _Upright:
    """Decode the first picture and make it upright and sRGB.

    Raises:
        Exception: anything that a decoder says about damage.
    """
    if format_name == "raw":
        return _decode_raw(data, draft_size)
    if format_name == "heic":
        image, blocks = _open_heic(data)
    else:
        image, blocks = _open_with_pillow(data, format_name)
    camera = camera_facts(blocks)
    turn = _turn(image, format_name, camera)
    width, height = image.size
    upright = _loaded(image, turn, draft_size if format_name == "jpeg" else None)
    if format_name == "tiff":  # Pillow turns these itself while it loads them
        width, height = image.size
    if turn >= 5:
        width, height = height, width
    return _Upright(upright, width, height, camera)


def _decode_raw(data: bytes, draft_size: tuple[int, int] | None) -> _Upright:
    """The preview in a camera RAW file; the sensor's picture where that is smaller than what is needed."""
    with RawFile(data) as raw:
        _check_size(raw.size)
        blocks = metadata_blocks(data, "raw")
        preview = raw.preview()
        image = None
        if preview is not None:
            image, written = _open_with_pillow(preview, "jpeg")
            blocks = blocks if blocks.exif else written
        if image is None or min(image.size) < min(draft_size or RAW_PREVIEW_MIN):
            upright = raw.develop()
        else:
            upright = _loaded(image, raw.turn_of(image.size), draft_size)
        return _Upright(upright, *raw.size, camera_facts(blocks))


def _loaded(image: Image.Image, turn: int, draft_size: tuple[int, int] | None) -> Image.Image:
    """Load an opened picture, a JPEG no larger than it has to be, and make it sRGB and upright."""
    if draft_size is not None and image.width * image.height >= DRAFT_PIXELS_MIN:
        # The size that must stay is that of the upright picture.
        image.draft(None, draft_size[::-1] if turn >= 5 else draft_size)
    image.load()
    upright = to_srgb(image)
    return upright.transpose(_TURNS[turn]) if turn in _TURNS else upright


def _open_with_pillow(data: bytes, format_name: str) -> tuple[Image.Image, MetadataBlocks]:
    """Read the header with the one decoder of this format; no pixels yet."""
    module, class_name = _PILLOW_CLASSES[format_name]
    open_image: Callable[[io.BytesIO], Image.Image] = getattr(import_module(module), class_name)
    match format_name:
        case "jpeg":
            image = open_image(io.BytesIO(jpeg_without_metadata(data)))
        case "png":
            image = open_image(io.BytesIO(png_without_text(data)))
        case "avif":
            try:
                image = open_image(io.BytesIO(data))
            except Exception:  # of any kind, and perhaps only for the sake of the EXIF block
                image = open_image(io.BytesIO(avif_without_exif(data)))
        case _:
            image = open_image(io.BytesIO(data))
    _check_size(image.size)
    if format_name == "avif":
        return image, MetadataBlocks(image.info.get("exif"), image.info.get("xmp"))
    return image, metadata_blocks(data, format_name)


def _open_heic(data: bytes) -> tuple[Image.Image, MetadataBlocks]:
    """Decode the primary picture; libheif turns it upright itself."""
    import pi_heif  # most folders have no HEIC, and the library takes its time to load

    container = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
    primary = container[container.primary_index]
    _check_size(primary.size)
    pixels = primary.data  # decodes; the size is known for certain only afterwards
    image = Image.frombytes(primary.mode, primary.size, pixels, "raw", primary.mode, primary.stride)
    profile = primary.info.get("icc_profile")
    if profile:
        image.info["icc_profile"] = bytes(profile)
    return image, MetadataBlocks(primary.info.get("exif"), primary.info.get("xmp"))


def _turn(image: Image.Image, format_name: str, camera: CameraFacts) -> int:
    """The EXIF orientation that is still to be undone once the picture is loaded."""
    if format_name in ("heic", "tiff"):
        return 1
    if format_name == "avif":  # Pillow puts the container's own turn (irot, imir) into the EXIF block it hands out
        return orientation_of(read_exif(image.info.get("exif", b"")))
    return camera.orientation


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > PIXELS_MAX:
        raise _UnreadablePhotoError(
            f"{width:,} x {height:,} pixels are more than the limit of {PIXELS_MAX // 1_000_000} million"
        )


def _checked(picture: Picture) -> Picture:
    """The prepared picture as the contract wants it; another shape is a mistake in the preprocessing."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a prepared picture must be uint8 (height, width, 3), not {picture.dtype} {picture.shape}")
    return np.ascontiguousarray(picture)


def _reason(error: Exception, format_name: str, size: int) -> str:
    """What a decoder complained about, as one line for a person."""
    if isinstance(error, _UnreadablePhotoError):
        return str(error)
    label = "WebP" if format_name == "webp" else format_name.upper()
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than the limit for one photo"
    # Decoders put their own words there; other exceptions are slips on damaged bytes that tell a person nothing.
    words = [argument for argument in error.args if isinstance(argument, str)] if _speaks(error) else []
    detail = " ".join(" ".join(words).split())[:REASON_CHARACTERS_MAX]
    if "truncated" in detail.lower() or "end of file" in detail.lower():
        return f"the {label} is cut off: the file ends after {size:,} bytes, in the middle of the picture"
    return f"the {label} is damaged ({detail})" if detail else f"the {label} is damaged"


def _speaks(error: Exception) -> bool:
    return isinstance(error, (OSError, SyntaxError, ValueError, RuntimeError)) and len(error.args) < 3
