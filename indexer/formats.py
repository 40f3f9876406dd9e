"""What a file is: first by its name, cheaply, then by the bytes it begins with.

The scan asks `judge_name` which files are worth a look, and `looks_like_picture` about those whose name
says nothing. The decoder asks `sniff`, whose answer is either a format that is read here or the reason
why the file has no embedding. Content wins over the name: a JPEG called `.png` is a JPEG.
"""

from __future__ import annotations

import importlib.util
import os.path
from enum import Enum

from photoseek.contracts import ReadFailure, Trouble

SNIFF_BYTES = 512
"""Bytes of a file's beginning that `sniff` wants; fewer are fine, with fewer formats told apart."""

PEEK_BYTES = 32
"""Bytes of a file's beginning that are enough for `looks_like_picture`."""

RAW_EXTENSIONS = {
    "3fr": "Hasselblad RAW",
    "arq": "Sony RAW",
    "arw": "Sony RAW",
    "cr2": "Canon RAW",
    "cr3": "Canon RAW",
    "crw": "Canon RAW",
    "dcr": "Kodak RAW",
    "dng": "DNG RAW",
    "erf": "Epson RAW",
    "fff": "Hasselblad RAW",
    "gpr": "GoPro RAW",
    "iiq": "Phase One RAW",
    "k25": "Kodak RAW",
    "kdc": "Kodak RAW",
    "mef": "Mamiya RAW",
    "mos": "Leaf RAW",
    "mrw": "Minolta RAW",
    "nef": "Nikon RAW",
    "nrw": "Nikon RAW",
    "orf": "Olympus RAW",
    "pef": "Pentax RAW",
    "raf": "Fujifilm RAW",
    "rw2": "Panasonic RAW",
    "rwl": "Leica RAW",
    "sr2": "Sony RAW",
    "srf": "Sony RAW",
    "srw": "Samsung RAW",
    "x3f": "Sigma RAW",
}
"""Camera RAW: extension to the format's name for people. `.raw` is not among them: it may be anything."""

EXTENSIONS_BY_FORMAT = {
    "jpeg": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "png": ("png", "apng"),
    "webp": ("webp",),
    "tiff": ("tif", "tiff"),
    "gif": ("gif",),
    "bmp": ("bmp", "dib"),
    "avif": ("avif", "avifs"),
    "heic": ("heic", "heif", "heics", "heifs", "hif"),
    "raw": tuple(RAW_EXTENSIONS),
}
"""Formats that are read, with the extensions that promise them."""

UNREAD_EXTENSIONS = {
    "raw": "RAW",
    "dcm": "DICOM",
    "dds": "DirectDraw Surface",
    "djvu": "DjVu",
    "emf": "Windows metafile",
    "exr": "OpenEXR",
    "hdr": "Radiance HDR",
    "ico": "Windows icon",
    "j2k": "JPEG 2000",
    "jp2": "JPEG 2000",
    "jpf": "JPEG 2000",
    "jpx": "JPEG 2000",
    "jxl": "JPEG XL",
    "jxr": "JPEG XR",
    "pbm": "Netpbm",
    "pcx": "PCX",
    "pgm": "Netpbm",
    "pnm": "Netpbm",
    "ppm": "Netpbm",
    "psb": "Photoshop",
    "psd": "Photoshop",
    "qoi": "QOI",
    "svg": "SVG",
    "svgz": "SVG",
    "tga": "Targa",
    "wdp": "JPEG XR",
    "wmf": "Windows metafile",
    "xcf": "GIMP",
}
"""Pictures without a reader here: extension to the format's name for people."""

OTHER_EXTENSIONS = frozenset(
    extension
    for subject in (
        # What lies beside photos: sidecars, catalogues, albums' leavings.
        "aae arp cos dop exif ini json lnk lrcat lrprev lrdata mie nfo on1 pp3 thm url vrd xmp",
        # Moving pictures and sound.
        "3g2 3gp aac aif aiff avi caf f4v flac flv insv lrv m2t m2ts m2v m3u m4a m4p m4v mid mka mkv mov mp3 "
        "mp4 mpeg mpg mts mxf oga ogg ogv opus ra rm swf ts vob wav webm wma wmv",
        # Texts, tables, documents.
        "css csv doc docm docx eml epub htm html ics key log md mobi msg numbers odp ods odt pages pdf ppt "
        "pptx ps rst rtf tex tsv txt vcf xhtml xls xlsm xlsx xml yaml yml",
        # Archives, disks, data bases.
        "7z ape bz2 cab cue db db-journal db-shm db-wal deb dmg gz iso jar lz4 lzma mdb parquet pkg rar rpm "
        "sqlite sqlite-journal sqlite-shm sqlite-wal sqlite3 tar tbz2 tgz torrent txz vdi vmdk wim xz zip zst",
        # Programs, settings, models, fonts.
        "a apk app bash bat c cc cfg class cmd conf cpp cs dll dylib env exe faiss go gguf h hpp ipynb java "
        "js jsx lock lua mjs msi npy npz o onnx otf pdb php pl plist properties ps1 pt pth py pyc pyd r rb rs "
        "safetensors sh so sql swift sys tmp toml tsx ttf vue wasm woff woff2",
        # Unfinished downloads: they become pictures under another name.
        "crdownload download part partial",
    )
    for extension in subject.split()
)
"""Extensions of files that are no photos for certain; they are never opened."""

_FORMAT_BY_EXTENSION = {
    extension: name for name, extensions in EXTENSIONS_BY_FORMAT.items() for extension in extensions
}

# ISO base media brands (ISO/IEC 23008-12, AVIF 1.1). Generic brands say only "a still picture".
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_GENERIC_BRANDS = frozenset({b"mif1", b"mif2", b"msf1"})

_RAW_MAGIC = (
    (b"II*\0\x10\0\0\0CR", "Canon RAW"),
    (b"II\x1a\0\0\0HEAPCCDR", "Canon RAW"),
    (b"FUJIFILMCCD-RAW", "Fujifilm RAW"),
    (b"IIU\0", "Panasonic RAW"),
    (b"IIRO", "Olympus RAW"),
    (b"IIRS", "Olympus RAW"),
    (b"MMOR", "Olympus RAW"),
    (b"\0MRM", "Minolta RAW"),
    (b"FOVb", "Sigma RAW"),
)
"""Beginnings of camera RAW files that do not look like TIFF; all others do."""

_UNREAD_MAGIC = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"8BPS", "Photoshop"),
    (b"gimp xcf", "GIMP"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"DDS ", "DirectDraw Surface"),
    (b"AT&TFORM", "DjVu"),
)
"""Beginnings of pictures without a reader here."""

_OTHER_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"SQLite format 3\0", "an SQLite data base"),
    (b"\x7fELF", "a program"),
    (b"OggS", "Ogg sound or video"),
    (b"ID3", "MP3 sound"),
)
"""Beginnings of files that are no pictures, for the reason when such a file bears a picture's name."""

# Beside each photo, macOS writes `._NAME` with its own attributes to disks of other systems.
_APPLE_DOUBLE = b"\0\x05\x16\x07"


class NameVerdict(Enum):
    """What a file's name alone says."""

    PICTURE = "picture"
    """A picture by its extension, readable here or not: the file counts."""
    OTHER = "other"
    """Certainly no photo (`OTHER_EXTENSIONS`): the file is never opened."""
    UNKNOWN = "unknown"
    """The name says nothing: `looks_like_picture` decides on the first `PEEK_BYTES` bytes."""


def judge_name(name: bytes) -> NameVerdict:
    """Say what a file is by its name, or path, without opening it."""
    extension = extension_of(name)
    if extension in _FORMAT_BY_EXTENSION or extension in UNREAD_EXTENSIONS:
        return NameVerdict.PICTURE
    return NameVerdict.OTHER if extension in OTHER_EXTENSIONS else NameVerdict.UNKNOWN


def looks_like_picture(head: bytes) -> bool:
    """Say whether the first bytes of a file with an unknown name are those of a picture.

    Args:
        head: at least `PEEK_BYTES` bytes, or the whole file.
    Returns:
        True for the formats read here and for those known but not read.
    """
    verdict = sniff(head, b"")
    return isinstance(verdict, str) or verdict.trouble is Trouble.SKIPPED


def sniff(head: bytes, name: bytes) -> str | ReadFailure:
    """Name the format of a file by its first bytes, or say why it is not read.

    Args:
        head: the first `SNIFF_BYTES` bytes, or the whole file where it is shorter.
        name: file name or path; decides only what the content leaves open.
    Returns:
        One of `EXTENSIONS_BY_FORMAT`'s names; or a failure with `Trouble.SKIPPED` for a picture
        without a reader here, `Trouble.FILE` for a file that is a picture by its name only, and
        `Trouble.NO_PICTURE` where neither name nor content is one.
    """
    extension = extension_of(name)
    found = _format_of(head)
    if _raw_name_of(head) is not None or (found == "tiff" and extension in RAW_EXTENSIONS):
        return raw_or_why_not(head, name)  # most RAW files are TIFF around data that only their own reader understands
    if found is not None:
        return found
    unread = _unread_format_of(head) or UNREAD_EXTENSIONS.get(extension)
    if unread is not None:
        return ReadFailure(Trouble.SKIPPED, f"no reader for {unread} pictures")
    if extension not in _FORMAT_BY_EXTENSION or head.startswith(_APPLE_DOUBLE):
        return ReadFailure(Trouble.NO_PICTURE, "not a picture")
    return ReadFailure(Trouble.FILE, _why_no_picture(head))


def raw_or_why_not(head: bytes, name: bytes) -> str | ReadFailure:
    """The format of a camera RAW file; or that the extra which reads it is not installed."""
    if importlib.util.find_spec("rawpy") is not None:
        return "raw"
    reason = f'no reader for {raw_name(head, name)} pictures ("photoseek[raw]" brings it)'
    return ReadFailure(Trouble.SKIPPED, reason)


def raw_name(head: bytes, name: bytes) -> str:
    """What people call a camera RAW file with this beginning and this name or path."""
    return _raw_name_of(head) or RAW_EXTENSIONS.get(extension_of(name)) or "DNG RAW"


def extension_of(name: bytes) -> str:
    """The extension of a name or path in lower case without its dot; empty where there is none."""
    stem, _, extension = os.path.basename(name).rpartition(b".")
    return extension.decode("ascii", "replace").lower() if stem else ""


def _format_of(head: bytes) -> str | None:
    """The readable format that these bytes begin."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if _is_bmp(head):
        return "bmp"
    return _media_format_of(head) if head[4:8] == b"ftyp" else None


def _media_format_of(head: bytes) -> str | None:
    """AVIF or HEIC by the brands of a `ftyp` box; the major brand goes first, generic ones say nothing."""
    for brand in _brands(head):
        if brand in _AVIF_BRANDS:
            return "avif"
        if brand in _HEIC_BRANDS:
            return "heic"
    return None


def _brands(head: bytes) -> list[bytes]:
    """Major brand, then compatible brands, of the `ftyp` box that begins the file."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]


def _is_bmp(head: bytes) -> bool:
    """Whether this is a Windows or OS/2 bitmap; two letters alone would match many a text."""
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)


def _raw_name_of(head: bytes) -> str | None:
    """The name, for people, of a camera RAW format that these bytes begin."""
    if head[4:8] == b"ftyp" and _brands(head)[0] == b"crx ":
        return "Canon RAW"
    return next((name for magic, name in _RAW_MAGIC if head.startswith(magic)), None)


def _unread_format_of(head: bytes) -> str | None:
    """The name, for people, of a picture format without a reader here that these bytes begin."""
    for magic, name in _UNREAD_MAGIC:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp" and _GENERIC_BRANDS.intersection(_brands(head)):
        return "HEIF (neither HEVC nor AV1)"
    return None


def _why_no_picture(head: bytes) -> str:
    """Why a file with a picture's name is none, as a sentence for a person."""
    if not head:
        return "the file is empty"
    for magic, name in _OTHER_MAGIC:
        if head.startswith(magic):
            return f"is {name}, not a picture"
    if head[4:8] == b"ftyp":
        return "is a video, not a picture"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is HTML, not a picture"
    if b"<svg" in text:
        return "is an SVG drawing under a photo's name"
    if not any(head):
        return "begins with zero bytes: no picture"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "is text, not a picture"
    return "is not a picture of any known format"
