"""What the parts of photoseek hand to each other.

Frozen dataclasses and Protocols only, on numpy alone: `indexer` and `search` know the towers and the
storage through this file and nothing else, so that either side can be replaced by a test or an app.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = NDArray[np.uint8]
"""An upright sRGB picture, shape (height, width, 3)."""

FORMATS = ("jpeg", "png", "webp", "tiff", "gif", "bmp", "avif", "heic", "raw")
"""Formats that are read; `indexer.formats` knows their extensions."""

Embeddings: TypeAlias = NDArray[np.float32]
"""Unit vectors, one a row, shape (n, dim): an inner product of two rows is their cosine."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a checkpoint's reading of a photo into a probability (`search.confidence`).

    Fitted on labelled photos by `training/calibrate.py`; a checkpoint's `calibration.json` holds it.
    """

    log_odds_weight: float
    """Of the query's log odds against the bank of neutral texts, above 0."""
    clarity_weight: float
    """Of how clearly the photo reads among the bank's texts."""
    generality_weight: float
    """Of the mean cosine of query and bank."""
    bias: float
    near: float
    """Texts of the bank with a higher cosine to the query mean the same and are left out."""
    threshold_generality_weight: float
    """A photo counts as found from a confidence that grows with the query's generality by this,"""
    threshold_words_weight: float
    """with the logarithm of its number of words by this,"""
    threshold_bias: float
    """and is the logistic of this where both are 0; `search.confidence.HIGHEST_THRESHOLD` ends it."""


class Preprocessing(Protocol):
    """The checkpoint's own way from a decoded photo to the picture its vision tower sees.

    A small value (numpy and Pillow only): decode workers make a copy of their own from `spec`.
    """

    @property
    def digest(self) -> str:
        """Hexadecimal digest of every rule; two equal digests give equal pictures."""
        ...

    @property
    def draft_size(self) -> tuple[int, int] | None:
        """(width, height) that a scaled decoding must not fall below, or None for full decoding only."""
        ...

    def prepare(self, image: Image.Image) -> Picture:
        """Resize and crop an upright RGB image; the tower itself rescales and normalises."""
        ...

    def spec(self) -> tuple[str, dict[str, object]]:
        """How another process makes this value: ("module:Class", keyword arguments that JSON can carry)."""
        ...


class VisionTower(Protocol):
    """Embeds prepared pictures. Threads may share one."""

    @property
    def dim(self) -> int: ...

    @property
    def batch_size(self) -> int:
        """How many pictures one call of `encode` should bring at least, where there are so many."""
        ...

    @property
    def batches_at_once(self) -> int:
        """How many threads may call `encode` at once with gain: 1 on a processor, whose cores one call keeps busy;
        on GPUs more, so that one batch is copied while another is computed."""
        ...

    def encode(self, pictures: Sequence[Picture]) -> Embeddings:
        """Embed prepared pictures; returns float32 (n, dim) of unit length, n may be 0."""
        ...


class TextTower(Protocol):
    """Embeds words."""

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts; returns float32 (n, dim) of unit length, n may be 0."""
        ...


class CameraFacts(NamedTuple):
    """What the camera (or a photo manager) wrote into the file; unknown stays None."""

    orientation: int = 1
    """EXIF orientation 1 to 8; anything else in the file counts as 1."""
    taken_at: str | None = None
    """Local time as ISO 8601 without an offset: `2022-08-22T20:30:46.023`."""
    taken_source: str | None = None
    """Where taken_at stands: `DateTimeOriginal`, `DateTimeDigitized`, `XMP` or `DateTime`."""
    taken_offset_minutes: int | None = None
    """Minutes east of UTC, where the file says so."""
    camera_make: str | None = None
    camera_model: str | None = None
    lens: str | None = None
    latitude: float | None = None
    """Degrees, north positive."""
    longitude: float | None = None
    """Degrees, east positive."""
    rating: int | None = None
    """0 to 5; -1 is a rejected photo."""
    title: str | None = None
    """Title, headline or description from XMP, IPTC or EXIF."""
    captions: tuple[str, ...] = ()
    """Those of these texts that are not the title, none twice."""
    keywords: tuple[str, ...] = ()
    """Keywords from XMP (dc:subject) and IPTC, in the file's order, none twice."""


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One photo for a decode worker."""

    key: int
    """The caller's number for the photo; comes back with the answer."""
    path: bytes
    """Absolute path as the file system gives it (`os.fsencode`); empty when `data` is given."""
    data: bytes | None = None
    """The photo itself, for pictures that are not files."""
    known: frozenset[bytes] = frozenset()
    """SHA-256 digests of contents that need no decoding: such a file is only hashed."""


@dataclass(frozen=True, slots=True)
class PhotoRead:
    """A photo read once: its digest, facts and prepared picture come from the same bytes."""

    digest: bytes
    """SHA-256 of all bytes."""
    size: int
    mtime_ns: int
    """From the open file, so that a file replaced meanwhile shows; 0 for pictures without a file."""
    format: str
    """Lower-case name by content: jpeg, png, webp, tiff, gif, bmp, avif, heic, raw."""
    width: int
    """Pixels of the upright picture, like height."""
    height: int
    camera: CameraFacts
    picture: Picture
    picture_digest: bytes
    """SHA-256 of the prepared picture's shape and pixels."""
    fingerprint: int | None = None
    """63 bits by which nearly equal prepared pictures are known (`indexer/fingerprint.py`), never 0."""


@dataclass(frozen=True, slots=True)
class PhotoKnown:
    """A photo whose digest was among the job's known ones; it was not decoded."""

    digest: bytes
    size: int
    mtime_ns: int


class Trouble(Enum):
    """Why a photo has no embedding, as far as trying again is concerned."""

    FILE = "file"
    """The bytes are at fault: try again when they change."""
    SURROUNDINGS = "surroundings"
    """Permission, I/O, time-out, killed worker: try again at every run."""
    SKIPPED = "skipped"
    """A rule leaves this picture out: no reader for the format, bytes not on this machine."""
    NO_PICTURE = "no picture"
    """Neither name nor content is a picture: the file is ignored."""
    VANISHED = "vanished"
    """The file is gone since the scan saw it."""


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """A photo that could not be read: a value, not an exception, since the run goes on."""

    trouble: Trouble
    reason: str
    """One line for a person; never contains a line break."""
    digest: bytes | None = None
    """SHA-256 of the bytes, where they could be read."""


ReadResult: TypeAlias = PhotoRead | PhotoKnown | ReadFailure


class PhotoReader(Protocol):
    """Reads photos in worker processes."""

    def read(self, jobs: Iterable[DecodeJob]) -> Iterator[tuple[DecodeJob, ReadResult]]:
        """Answer every job once, in the order that answers come; pulls jobs lazily."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Root:
    """A folder whose photos belong to the library, or the place of pictures that an app added."""

    id: int
    path: bytes
    kind: str
    """`folder` or `app`."""
    online: bool
    scanned_at: str | None


KnownRow: TypeAlias = tuple[bytes, int, int, int, str, int, str | None]
"""The fields of a `KnownFile` without its names: a rescan reads millions and looks closely at few."""


class KnownFile(NamedTuple):
    """What the catalog knows of one file, as far as a scan needs it."""

    name: bytes
    id: int
    size: int
    mtime_ns: int
    state: str
    """`indexed`, `failed`, `skipped` or `ignored`."""
    missing: int
    """0 or 1."""
    trouble: str | None


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A file to be read, or a picture that an app hands over."""

    root_id: int
    folder: bytes
    name: bytes
    size: int
    mtime_ns: int
    file_id: int | None = None
    """The file's row, where it has one (changed, or tried again)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item with what came of it, ready to be stored."""

    item: WorkItem
    result: ReadResult
    vector: NDArray[np.float32] | None = None
    """Shape (dim,), unit length; None when the picture has an embedding already."""


class Recorded(Enum):
    """What storing an outcome did to its file."""

    INDEXED = "indexed"
    MOVED = "moved"
    FAILED = "failed"
    SKIPPED = "skipped"
    IGNORED = "ignored"
    VANISHED = "vanished"


class FileStore(Protocol):
    """What the indexer needs from storage."""

    def known_folders(self, root_id: int, under: bytes) -> set[bytes]:
        """Folders at or below `under` (relative; empty for the whole root) that hold known files."""
        ...

    def known_files(self, root_id: int, folder: bytes) -> dict[bytes, KnownRow]:
        """Known files directly in a folder, by name; `KnownFile._make` names a row's fields."""
        ...

    def known_stats(self, root_id: int) -> set[tuple[int, int]]:
        """(size, mtime_ns) of every file of the root that is not missing."""
        ...

    def apply_scan(
        self,
        root_id: int,
        *,
        missing: Sequence[int],
        returned: Sequence[int],
        excluded: Sequence[int],
    ) -> None:
        """Store, in one transaction, which file ids are gone, back, or left out by a rule now."""
        ...

    def set_root_online(self, root_id: int, online: bool) -> None: ...

    def digests_of_sizes(self, sizes: Sequence[int]) -> dict[int, frozenset[bytes]]:
        """By size, the digests of the contents that need no decoding in the active space."""
        ...

    def embedded_pictures(self, digests: Sequence[bytes]) -> set[bytes]:
        """Which of these picture digests have an embedding in the active space."""
        ...

    def record(self, outcomes: Sequence[Outcome]) -> list[Recorded]:
        """Store outcomes and their vectors in one transaction: all of them or none."""
        ...


@dataclass(frozen=True, slots=True)
class Candidates:
    """Embeddings that may answer a query, best first, ties by id."""

    ids: NDArray[np.int64]
    """Embedding ids, shape (n,)."""
    scores: NDArray[np.float32]
    """Exact cosines of the stored vectors, shape (n,)."""
    exact: bool
    """True when every allowed embedding was scored, false when inverted lists were probed."""


class PhotoRow(NamedTuple):
    """One file that shows an embedding's picture, with what is known of its content."""

    embedding_id: int
    file_id: int
    root_path: bytes
    root_kind: str
    root_online: bool
    path: bytes
    """Absolute path; for app pictures the app's id."""
    missing: bool
    size: int
    mtime_ns: int
    digest: bytes
    format: str
    width: int
    height: int
    camera: CameraFacts


@dataclass(frozen=True, slots=True)
class Census:
    """Every visible indexed file of a library, one entry a file in each array, ascending by file id."""

    file_ids: NDArray[np.int64]
    content_ids: NDArray[np.int64]
    """Equal for files with the same bytes."""
    embedding_ids: NDArray[np.int64]
    """Equal for files with the same prepared picture."""
    sizes: NDArray[np.int64]
    """Bytes."""
    pixels: NDArray[np.int64]
    """Width times height."""
    originals: NDArray[np.int64]
    """2 for RAW, 1 for HEIC, from which a JPEG beside it was made; 0 for others."""
    facts: NDArray[np.int64]
    """How many of date, camera, lens, place, title and keywords are known."""
    ratings: NDArray[np.int64]
    """-1 to 5; 0 where there is none."""
    mtimes_ns: NDArray[np.int64]
    online: NDArray[np.bool_]
    """Can be opened, as far as is known."""
    taken_at: NDArray[np.datetime64]
    """Local time in milliseconds; NaT where nobody knows."""
    cameras: NDArray[np.int64]
    """A number for each make and model; 0 where it is unknown."""
    latitudes: NDArray[np.float64]
    """Degrees, like longitudes; NaN where unknown."""
    longitudes: NDArray[np.float64]
    fingerprints: NDArray[np.uint64]
    """0 where there is none."""

    def __len__(self) -> int:
        return len(self.file_ids)

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Census:
        """Some of the files."""
        return Census(*(getattr(self, field.name)[places] for field in fields(self)))


class IdSet(Protocol):
    """Embedding ids that a search is limited to; only the store that made it can read more of it than this."""

    def __len__(self) -> int: ...

    def ids(self) -> NDArray[np.int64]:
        """The ids, ascending."""
        ...


class VectorStore(Protocol):
    """What a search needs from storage: candidates, vectors and rows."""

    @property
    def last_id(self) -> int:
        """The newest embedding of this view; 0 when there is none."""
        ...

    def search(
        self, query: NDArray[np.float32], count: int, *, allowed: IdSet | None = None, exact: bool = False
    ) -> Candidates: ...

    def rows(self, embedding_ids: Sequence[int], *, include_missing: bool = False) -> list[PhotoRow]: ...

    def vectors(self, embedding_ids: Sequence[int]) -> Embeddings: ...

    def by_date(self, embedding_ids: Sequence[int], *, include_missing: bool = False) -> list[int]:
        """The same embeddings by date taken, the newest first; undated ones last, by id.

        The date of an embedding is the newest of its visible files, or of all with `include_missing`.
        """
        ...

    def fingerprints(self, embedding_ids: Sequence[int]) -> NDArray[np.uint64]:
        """Fingerprints of the embeddings' pictures, shape (n,); 0 where there is none."""
        ...
