"""PhotoLibrary: the verbs of photoseek, and the wiring of its parts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from photoseek import care, indexing, model_change
from photoseek.binding import EngineOptions, ModelBinding
from photoseek.conditions import Condition
from photoseek.contracts import Embeddings
from photoseek.errors import LibraryNotFoundError, UsageError, check_id, check_ids, check_whole
from photoseek.grouping import DUPLICATE_KINDS, find_clusters, find_duplicates
from photoseek.indexer.pipeline import IndexOptions
from photoseek.indexer.report import IndexReport, Progress
from photoseek.model_change import ModelChange
from photoseek.paths import absolute, absolute_path, library_path
from photoseek.picture_reader import PictureReader, picture_bytes
from photoseek.search.groups import Cluster, ClusterKind, DuplicateKind, Duplicates
from photoseek.search.query import WITHOUT_WEIGHT, Example, Part, PictureLike, Query, Words
from photoseek.search.ranking import FILE_ID_PREFIX, Collapse, Order, PageOptions
from photoseek.search.results import Photo, Results
from photoseek.searching import Searcher
from photoseek.status import LibraryStatus, RootStatus, SpaceStatus, read_roots, read_spaces, read_status
from photoseek.storage.backup import back_up
from photoseek.storage.exchange import export_vectors, import_vectors
from photoseek.storage.generations import IndexSettings
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store
from photoseek.thumbnails import Thumbnail, iter_thumbnails

if TYPE_CHECKING:
    from PIL import Image

    from photoseek.storage.verify import VerifyReport

LIBRARY_VARIABLE = "PHOTOSEEK_LIBRARY"


def default_library_path() -> Path:
    """`PHOTOSEEK_LIBRARY`, or the place of the system for a user's data."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return Path(os.path.expanduser(named))
    import platformdirs

    return Path(platformdirs.user_data_dir("photoseek", appauthor=False)) / "library"


class PhotoLibrary:
    """Photos that can be found by words and by example.

    A library is one folder: `catalog.sqlite` with all that must not be lost, and files that can be rebuilt
    from it. It may be opened by many processes at the same time; one of them can write, the others search and
    see every finished transaction. Threads may share a PhotoLibrary: searches run side by side, a second
    writer gets `LibraryBusyError`. A process forked from the one that opened it must open its own.

    Photos are only ever read. Nothing is printed; `logging` has what a developer may want to know.
    """

    def __init__(self, path: Path, binding_model: str | Path | None, options: EngineOptions) -> None:
        self.path = path
        self._store = Store(path)
        self._binding = ModelBinding(lambda: self._store.spaces, binding_model, options)
        self._reader = PictureReader()
        self._searcher = Searcher(self._store, self._binding, self._reader)
        self._pid = os.getpid()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        threads: int | None = None,
    ) -> PhotoLibrary:
        """Open the library at `path`; one that does not exist is made by the first `index` or `add`.

        Args:
            path: the library's folder; by default `default_library_path()`.
            model: `auto`, `builtin`, a downloaded model's name or a checkpoint folder. Chooses the model of a
                new library; must agree with the one that an existing library was made with.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            precision: `auto`, `float32`, `bfloat16`, `float16`, `int8`.
            engine: `auto`, or one named by `photoseek doctor`.
            threads: for the model; None leaves it to the engine.
        Raises:
            LibraryError: what lies there is no library, or is made by a newer photoseek.
            ModelMismatchError: the library was made with another model.
            UsageError, MissingExtraError: the engine is unknown, not installed, or cannot do what is asked.
            UsageError: the path is empty, or not in UTF-8.
        """
        check_whole(1, optional=True, threads=threads)
        folder = library_path(os.path.expanduser(path) if path is not None else default_library_path())
        library = cls(folder, model, EngineOptions(device, precision, engine, threads))
        try:
            library._binding.check_options()
            if library._store.exists and (space := library._active()) is not None:
                library._binding.check_request(space)
        except LibraryNotFoundError:
            pass  # an empty catalog of a killed process: as if it were not there
        except BaseException:
            library.close()
            raise
        return library

    def close(self) -> None:
        """Release files and the model; the library cannot be used afterwards."""
        self._closed = True
        self._reader.close()
        self._store.close()

    def __enter__(self) -> PhotoLibrary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def exists(self) -> bool:
        """Was anything ever stored here?"""
        return self._store.exists

    # Indexing

    def index(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        *,
        retry_failed: bool = False,
        dry_run: bool = False,
        workers: int | None = None,
        batch_size: int | None = None,
        settings: IndexSettings | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> IndexReport:
        """Bring the library in line with the folders: only new and changed photos are read.

        Args:
            paths: folders; new ones become roots, one inside a root rescans that part. None: every root.
            retry_failed: read broken and skipped files again although they have not changed.
            dry_run: say what would be read, and change nothing.
            workers: decoding processes; by default one for each core.
            batch_size: pictures embedded together; by default found by itself.
            settings: when derived index files are written; kept for later runs.
            on_progress: called from this thread, a few times a second at most.
            cancel: set it from anywhere to stop; what was done is kept.
        Raises:
            UsageError: a path is not there or is no folder, a new library is given none, or a number is too small.
            LibraryBusyError: somebody else is writing.
            StorageFullError: the disk is full; everything committed before is kept.
        """
        self._check_usable()
        check_whole(1, optional=True, workers=workers, batch_size=batch_size)
        if settings is not None:
            check_whole(1, **asdict(settings))
        options = IndexOptions(retry_failed=retry_failed, dry_run=dry_run, batch_size=batch_size)
        return indexing.index_folders(
            self._store,
            self._binding,
            _as_paths(paths),
            options,
            workers=workers,
            settings=settings,
            on_progress=on_progress,
            cancel=cancel,
        )

    def add(self, picture: bytes | Image.Image, *, id: str) -> Photo:
        """Add a picture that is no file, under the app's own id; an id given before gets the new picture.

        Raises:
            UsageError: an empty id, one that looks like that of a file, or none.
            PhotoUnreadableError: the picture cannot be read.
        """
        self._check_usable()
        check_id(id)
        if not id or id.startswith(FILE_ID_PREFIX):
            raise UsageError(f"{id!r} cannot be the id of a picture: it is empty or begins with {FILE_ID_PREFIX!r}")
        indexing.add_picture(self._store, self._binding, self._reader, picture_bytes(picture), id)
        photo = self.get(id)
        assert photo is not None
        return photo

    def use_model(
        self,
        model: str | Path,
        *,
        leave_waiting: bool = False,
        workers: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> ModelChange:
        """Embed every photo anew with another model, then let it answer. The old one answers until then, and is kept.

        Others may write meanwhile, in this process too: the library is locked for moments only. What they add is
        embedded before the switch. May be stopped, or killed, and started again.

        Photos that cannot be read now (their drive is away, they changed since the last `index`) would be lost from
        searches: while there are such, nothing is switched unless `leave_waiting` is set; later runs of `index` fill
        them in.

        Raises:
            LibraryNotFoundError: there is no library.
            LibraryBusyError: somebody is changing the model, or was writing when this began.
            CheckpointError: the model is not on this machine, or damaged.
        """
        self._check_usable()
        check_whole(1, optional=True, workers=workers)
        return model_change.change_model(
            self._store,
            self._binding,
            model,
            leave_waiting=leave_waiting,
            workers=workers,
            on_progress=on_progress,
            cancel=cancel,
        )

    def spaces(self) -> tuple[SpaceStatus, ...]:
        """The vectors of every model that this library holds, in the order in which the models came."""
        self._check_usable()
        return read_spaces(self._existing())

    def prune_models(self, model: str | None = None, *, dry_run: bool = False) -> tuple[SpaceStatus, ...]:
        """Remove the vectors of models that no longer answer; returns what went. The active model's always stay.

        Args:
            model: remove this one's, also where they were never completed; by default those of every model that
                answered before.
            dry_run: only say what would go.
        Raises:
            UsageError: the named model answers, or has no vectors here.
            LibraryBusyError: somebody else is writing, or changing the model.
        """
        self._check_usable()
        return model_change.prune_models(self._existing(), model, dry_run=dry_run)

    # Searching

    def search(
        self,
        query: str | Query | None = None,
        *,
        like: PictureLike | Sequence[PictureLike] | None = None,
        without: str | Sequence[str] | None = None,
        limit: int = 20,
        offset: int = 0,
        after: str | None = None,
        order: Order = "relevance",
        min_confidence: float | None = None,
        collapse: Collapse | None = None,
        where: Condition | None = None,
        ids: Sequence[str] | None = None,
        include_missing: bool = False,
        exact: bool = False,
    ) -> Results:
        """Photos by words, by example, or both; best first.

        Args:
            query: what the photo should show, in English; or words and pictures with weights, as in
                `Query("dog") + 2 * Query(image) - Query("snow")`. Words in quotes must stand in or about the photo.
            like: example pictures: paths, bytes, PIL images, or photos of an earlier answer. Several share the
                weight of one.
            without: what it should not show.
            limit, offset: the page; a shorter answer is always the beginning of a longer one.
            after: `next` of an earlier page of the same search: goes on from there, repeating and losing nothing
                while photos come and go.
            order: `relevance`, or `newest` first among the photos that reach the least confidence (the model's own
                threshold, where none is given).
            min_confidence: leave out photos less likely than this to show what the words say, 0 to 1.
            collapse: `similar` shows one photo of each moment, the best; `Match.similar` names the others (bursts,
                copies in another size or format, edits).
            where: search only among photos on which this holds (`photoseek.where`); always the true best of them.
            ids: search only among these photos.
            include_missing: also photos whose file the last scan did not find.
            exact: score every photo, also where the index would answer faster.
        Raises:
            LibraryNotFoundError: there is no library; nothing is made.
            NoTextTowerError: words, for a model that has none.
            PhotoUnreadableError: an example cannot be read.
            UsageError: nothing to search for, or an argument that cannot be.
        """
        self._check_usable()
        examples = _as_list(like)
        parts: list[Part] = []
        if isinstance(query, Query):
            parts += query.parts
        elif query is not None and query != "":
            parts.append(Words(query))
        parts += [Example(picture, 1 / len(examples)) for picture in examples]
        parts += [Words(text, -WITHOUT_WEIGHT) for text in _as_list(without)]
        options = PageOptions(
            limit=limit,
            offset=offset,
            after=after,
            order=order,
            min_confidence=min_confidence,
            collapse=collapse,
            exact=exact,
            include_missing=include_missing,
        )
        return self._searcher.search(Query.of(parts), options, where=where, ids=ids)

    def search_many(self, texts: Sequence[str], *, limit: int = 20, exact: bool = False) -> list[Results]:
        """One answer for each text, in order, from one consistent view of the library."""
        self._check_usable()
        return self._searcher.search_many(texts, PageOptions(limit=limit, exact=exact))

    def classify(self, picture: PictureLike, labels: Sequence[str], *, template: str = "{}") -> list[tuple[str, float]]:
        """Which label fits a picture best: (label, probability), best first; the probabilities add up to 1.

        Zero-shot, as AIMv2 does it: softmax over the labels of cosine times the model's logit scale. Needs no
        photos in the library; with one, its model answers.
        """
        self._check_usable()
        return self._searcher.classify(picture, labels, template)

    # Single photos

    def photos(self, *, where: Condition | None = None, limit: int = 20, offset: int = 0) -> list[Photo]:
        """Photos without a query, the newest by date taken first, undated ones last."""
        self._check_usable()
        return self._searcher.newest(where, PageOptions(limit=limit, offset=offset))

    def count(self, *, where: Condition | None = None) -> int:
        """How many photos satisfy a condition, copies counted once; all that searches find, without one."""
        self._check_usable()
        return self._searcher.count(where)

    def iter_thumbnails(self, photos: Sequence[Photo], *, side: int = 320) -> Iterator[Thumbnail]:
        """Small pictures of photos, in their order: upright, sRGB, decoded in worker processes.

        A file that is gone, broken or on a drive that is away gives a reason instead of a picture.

        Args:
            side: pixels of the longer side, 1 to 4096; smaller photos are not enlarged.
        """
        self._check_usable()
        return iter_thumbnails(photos, side)

    def get(self, id: str) -> Photo | None:
        """The photo with this id, whatever its state; None when there is none with an embedding."""
        self._check_usable()
        check_id(id)
        return self._searcher.photo(id)

    def remove(self, ids: str | Sequence[str]) -> int:
        """Take photos out of the library (never off the disk); returns how many files or pictures that were."""
        self._check_usable()
        wanted = check_ids(_as_list(ids), "remove")
        with indexing.writing(self._existing()):
            return self._store.catalog.forget_files(self._searcher.file_ids(wanted))

    def vectors(self, ids: Sequence[str]) -> Embeddings:
        """Stored vectors of photos, float32 (n, dim), in the order of the ids.

        Raises:
            KeyError: an id has no vector.
        """
        self._check_usable()
        return self._searcher.vectors(ids)

    def export_vectors(self, target: str | os.PathLike[str]) -> int:
        """Write all vectors with their digests to a new folder (`docs/on-disk-format.md`); returns how many."""
        self._check_usable()
        space = self._existing().spaces.active()
        return export_vectors(self._store.catalog, space, absolute_path(target)) if space is not None else 0

    def import_vectors(self, source: str | os.PathLike[str]) -> int:
        """Add the vectors of an exported folder: photos with these contents are then indexed without the model."""
        self._check_usable()
        with indexing.writing_space(self._store, self._binding) as space:
            return import_vectors(self._store.catalog, space, absolute_path(source))

    # Groups

    def duplicates(
        self,
        kinds: DuplicateKind | Sequence[DuplicateKind] = DUPLICATE_KINDS,
        *,
        limit: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Duplicates:
        """Groups of files of which one would do; nothing is deleted, and files that are missing are left out.

        Args:
            kinds: `bytes` (copies of a file), `pictures` (other bytes, the same picture), `near` (one moment).
            limit: at most so many groups, those that save most; the counts are of all.
            on_progress: called from this thread while all photos are compared.
        """
        self._check_usable()
        return find_duplicates(self._existing(), _as_list(kinds), limit, on_progress)

    def clusters(self, by: ClusterKind, *, limit: int = 50, offset: int = 0) -> list[Cluster]:
        """A page of groups that together hold every photo once.

        Args:
            by: `day` (the newest first), `place` (circles of 5 km, most photos first) or `similar` (one moment, the
                largest first).
        """
        self._check_usable()
        return find_clusters(self._existing(), by, limit, offset)

    # Care

    def status(self) -> LibraryStatus:
        """Counts, what is not searchable and why, roots, model and index."""
        self._check_usable()
        return read_status(self._existing())

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check everything that is stored; with `repair`, rebuild what is derived and check again.

        Raises:
            DamageError: with `repair`, damage that only a backup can mend.
        """
        self._check_usable()
        return care.verify_library(self._existing(), repair=repair)

    def backup(self, target: str | os.PathLike[str]) -> None:
        """Copy the library to the new folder `target`, at any time, also while it is being written.

        Raises:
            UsageError: `target` exists, lies in the library or is not in UTF-8, or there is no folder for it to lie in.
        """
        self._check_usable()
        back_up(self._existing(), library_path(target))

    def roots(self) -> tuple[RootStatus, ...]:
        """The indexed folders."""
        self._check_usable()
        return tuple(read_roots(self._existing().catalog).values())

    def move_root(self, old: str | os.PathLike[str], new: str | os.PathLike[str]) -> None:
        """Say that a root's folder has another path now; nothing is read again.

        Raises:
            UsageError: there is no such root or folder, or none of the root's photos stand in the folder.
        """
        self._check_usable()
        care.move_root(self._existing(), absolute(old), absolute(new))

    def remove_root(self, path: str | os.PathLike[str]) -> int:
        """Forget a root and its photos (never the files); returns how many."""
        self._check_usable()
        return care.remove_root(self._existing(), absolute(path))

    def forget(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
        *,
        missing: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Take photos or whole sub-folders out of the library by path; returns how many files that were.

        They come back with the next `index` if they are still there and no rule excludes them.

        Args:
            missing: forget every photo that is missing, too.
            dry_run: only say how many it would be.
        """
        self._check_usable()
        return care.forget(self._existing(), _as_paths(paths) or [], missing=missing, dry_run=dry_run)

    # Inside

    def _check_usable(self) -> None:
        if self._closed:
            raise UsageError("this library was closed")
        if os.getpid() != self._pid:
            raise UsageError("a PhotoLibrary does not survive a fork", hint="open it anew in the child process")

    def _existing(self) -> Store:
        self._store.catalog  # noqa: B018 - raises when there is none
        return self._store

    def _active(self) -> Space | None:
        return self._store.spaces.active()


def _as_list(value: Any) -> list[Any]:
    """None, one thing, or several, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _as_paths(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None) -> list[bytes] | None:
    """Absolute paths as bytes; links are left as they are."""
    return [absolute(path) for path in _as_list(paths)] if paths is not None else None
