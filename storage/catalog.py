"""The catalog: creating, opening, settings, roots and counts. Files, spaces and rows live in sibling modules."""

from __future__ import annotations

import functools
import json
import os
import shutil
import stat
import uuid
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from photoseek.contracts import Root
from photoseek.errors import (
    LibraryNotFoundError,
    LibraryUnreadableError,
    StorageFullError,
    UnsupportedSchemaError,
    UsageError,
)
from photoseek.paths import mtime_ns
from photoseek.storage import pruning, schema, words
from photoseek.storage.database import VALUES_PER_STATEMENT, Database
from photoseek.storage.masking import refresh_mask, touch_files
from photoseek.storage.word_texts import root_name

CATALOG_NAME = "catalog.sqlite"
FREE_SHARE = 0.1
"""Below this, what the file would lose is not worth writing it anew; new photos fill it soon."""
SHRINK_COPIES = 2.5
"""Room that VACUUM takes: a temporary copy and the same in the WAL, each with a little beside."""
UNENDED = "unended_roots"
"""The setting with the roots of `Catalog.unended_roots`."""


def utc_now() -> str:
    """Now, as ISO 8601 in UTC with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class FileTrouble:
    """A file without an embedding, and why."""

    path: bytes
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Files by state; every file is counted once."""

    indexed: int
    failed: int
    skipped: int
    missing: int
    offline: int
    """How many of the indexed ones lie in a root that cannot be reached."""


_COPIED = """
    SELECT count(*), total(EXISTS (
        SELECT 1 FROM files f
        WHERE f.root_id = :root AND f.content_id = o.content_id AND f.state = 'indexed' AND f.missing = 0
    ))
    FROM files o WHERE o.root_id = :other AND o.state = 'indexed' AND o.missing = 0
"""


class Catalog:
    """The SQLite file that holds all that must not be lost.

    Threads may share it. Only the holder of the library's `WriterLock` calls the methods that write.
    """

    def __init__(self, database: Database, version: int = schema.SCHEMA_VERSION) -> None:
        self.database = database
        self.version = version
        """Of the schema, as it was when the catalog was opened; older ones lack what came later."""

    @classmethod
    def open(cls, folder: Path) -> Catalog:
        """Open the catalog of the library in `folder`.

        Raises:
            LibraryNotFoundError: there is none.
            LibraryUnreadableError: the file is no catalog, damaged, or may not be looked at.
            UnsupportedSchemaError: a newer photoseek wrote it.
        """
        path = folder / CATALOG_NAME
        try:
            there = stat.S_ISREG(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except OSError as error:
            raise LibraryUnreadableError(
                f"the library {folder} cannot be opened: {error.strerror}", hint="name another library with --library"
            ) from error
        if not there:
            raise LibraryNotFoundError(folder)
        database = Database(path)
        try:
            return cls(database, _version(database, folder))
        except BaseException:
            database.close()
            raise

    @classmethod
    def create(cls, folder: Path) -> Catalog:
        """Make an empty catalog; a half-made one of a killed process is completed."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryUnreadableError(f"the library {folder} cannot be made: {error.strerror}") from error
        database = Database(folder / CATALOG_NAME, new=True)
        with database.writing() as connection:
            schema.create_all(connection)
            words.rebuild(connection)
            values = [{"key": "library_id", "value": uuid.uuid4().hex}, {"key": "created_at", "value": utc_now()}]
            connection.execute(insert(schema.settings).on_conflict_do_nothing(), values)
        return cls(database)

    def close(self) -> None:
        self.database.close()

    # Settings

    def setting(self, key: str) -> str | None:
        with self.database.reading() as connection:
            return connection.scalar(sa.select(schema.settings.c.value).where(schema.settings.c.key == key))

    def set_setting(self, key: str, value: str) -> None:
        statement = insert(schema.settings).values(key=key, value=value)
        with self.database.writing() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": value}))

    def drop_setting(self, key: str) -> None:
        with self.database.writing() as connection:
            connection.execute(sa.delete(schema.settings).where(schema.settings.c.key == key))

    def unended_roots(self) -> set[int]:
        """Roots, by id, of which a run found photos to read and did not come to their end."""
        return set(json.loads(self.setting(UNENDED) or "[]"))

    def note_unended(self, roots: set[int]) -> None:
        """Write down what `unended_roots` is to say from now on."""
        if roots:
            self.set_setting(UNENDED, json.dumps(sorted(roots)))
        elif self.setting(UNENDED) is not None:
            self.drop_setting(UNENDED)

    def backup(self, folder: Path) -> Catalog:
        """Copy the catalog into the existing `folder` with SQLite's online backup, while anybody reads or writes.

        Raises:
            StorageFullError: the target's disk is full.
        """
        copy = Database(folder / CATALOG_NAME, new=True)
        with self.database.raw() as source, copy.raw() as target:
            source.backup(target)
        return Catalog(copy)

    def shrink(self) -> None:
        """Give the file's free pages back to the disk, where they are much of it; the caller holds the writer's lock.

        SQLite writes the file anew, beside it and then into its WAL, and needs room for that; a process killed
        meanwhile leaves it as it was. What stays free is used for new rows.

        Raises:
            StorageFullError: the room was not there; nothing changed.
        """
        with self.database.raw() as connection:
            pages, free, page_bytes = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            if free < FREE_SHARE * pages:
                return
            needed = SHRINK_COPIES * (pages - free) * page_bytes
            if shutil.disk_usage(self.database.path.parent).free < needed:
                raise StorageFullError(f"making {self.database.path} smaller takes {needed:,} free bytes for a while")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # Roots

    def roots(self) -> list[Root]:
        """All roots, folders by path, the app's last."""
        table = schema.roots
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.kind.desc(), table.c.path)).all()
        return [Root(row.id, row.path, row.kind, row.state == "online", row.scanned_at) for row in rows]

    def add_root(self, path: bytes, kind: str = "folder") -> Root:
        """The root at `path` (absolute), made if need be."""
        with self.database.writing() as connection:
            connection.execute(
                insert(schema.roots).values(path=path, kind=kind, state="online").on_conflict_do_nothing()
            )
        return next(root for root in self.roots() if root.path == path)

    def set_root_online(self, root_id: int, online: bool) -> None:
        values: dict[str, str] = {"state": "online" if online else "offline"}
        if online:
            values["scanned_at"] = utc_now()
        with self.database.writing() as connection:
            connection.execute(sa.update(schema.roots).where(schema.roots.c.id == root_id).values(values))

    def move_root(self, root_id: int, path: bytes) -> None:
        """Say that the same folder is found at another path now."""
        with self.database.writing() as connection:
            taken = connection.scalar(sa.select(schema.roots.c.id).where(schema.roots.c.path == path))
            if taken is not None and taken != root_id:
                raise UsageError(
                    f"{os.fsdecode(path)} is a root of this library already",
                    hint='where it has the same photos, "photoseek roots remove" forgets the old place',
                )
            old = connection.scalar(sa.select(schema.roots.c.path).where(schema.roots.c.id == root_id))
            connection.execute(sa.update(schema.roots).where(schema.roots.c.id == root_id).values(path=path))
            if old is not None and root_name(old) != root_name(path):
                words.refresh_root(connection, root_id)

    def has_all_of(self, root_id: int, other_id: int) -> bool:
        """Has a root a copy of every indexed file of another one, which has some?"""
        with self.database.reading() as connection:
            total, copied = connection.execute(sa.text(_COPIED), {"root": root_id, "other": other_id}).one()
        return bool(total) and total == copied

    def remove_root(self, root_id: int) -> None:
        """Drop the root's row; its files must have been forgotten before."""
        with self.database.writing() as connection:
            connection.execute(sa.delete(schema.roots).where(schema.roots.c.id == root_id))

    # Counts

    def counts(self, away: Collection[int] = ()) -> Counts:
        """`away`: roots that cannot be reached, by id."""
        files = schema.files.c
        statement = sa.select(files.state, files.missing, files.root_id, sa.func.count()).group_by(
            files.state, files.missing, files.root_id
        )
        totals = dict.fromkeys(("indexed", "failed", "skipped", "missing", "offline", "ignored"), 0)
        with self.database.reading() as connection:
            for state, missing, root_id, number in connection.execute(statement):
                if state == "ignored":
                    continue
                totals["missing" if missing else state] += number
                if state == "indexed" and not missing and root_id in away:
                    totals["offline"] += number
        totals.pop("ignored")
        return Counts(**totals)

    def troubles(self, states: Sequence[str] = ("failed", "skipped")) -> list[FileTrouble]:
        """Files that have no embedding, with their reasons, by path."""
        files, roots = schema.files.c, schema.roots.c
        statement = (
            sa.select(roots.path, roots.kind, files.folder, files.name, files.state, files.reason)
            .join_from(schema.files, schema.roots)
            .where(files.state.in_(states), files.missing == 0)
            .order_by(roots.path, files.folder, files.name)
        )
        with self.database.reading() as connection:
            rows = connection.execute(statement).all()
        return [FileTrouble(full_path(row.path, row.folder, row.name), row.state, row.reason or "") for row in rows]

    def missing_folders(self) -> list[tuple[bytes, int]]:
        """Folders with missing files, by path, and how many each has."""
        files, roots = schema.files.c, schema.roots.c
        statement = (
            sa.select(roots.path, files.folder, sa.func.count())
            .join_from(schema.files, schema.roots)
            .where(files.missing == 1, files.state != "ignored", roots.kind == "folder")
            .group_by(roots.path, files.folder)
            .order_by(roots.path, files.folder)
        )
        with self.database.reading() as connection:
            found = connection.execute(statement).all()
        return [(os.path.join(root, folder) if folder else root, count) for root, folder, count in found]

    # Finding files

    def file_ids(self, root_id: int) -> list[int]:
        with self.database.reading() as connection:
            return list(connection.scalars(sa.select(schema.files.c.id).where(schema.files.c.root_id == root_id)))

    def iter_places(self, root_id: int) -> Generator[bytes, None, None]:
        """Where the root's indexed files stood, relative to it; close it when it is not read to its end."""
        files = schema.files.c
        statement = sa.select(files.folder, files.name).where(files.root_id == root_id, files.state == "indexed")
        with self.database.reading() as connection:
            for folder, name in connection.execute(statement):
                yield os.path.join(folder, name)

    def missing_ids(self) -> list[int]:
        with self.database.reading() as connection:
            return list(connection.scalars(sa.select(schema.files.c.id).where(schema.files.c.missing == 1)))

    def app_file_ids(self, root_path: bytes, names: Sequence[bytes]) -> list[int]:
        """Files of the root of app pictures by name, in the order of the names; unknown ones are left out."""
        files = schema.files.c
        of_root = (
            sa.select(files.name, files.id)
            .join_from(schema.files, schema.roots)
            .where(schema.roots.c.path == root_path)
        )
        found: dict[bytes, int] = {}
        with self.database.reading() as connection:
            for first in range(0, len(names), VALUES_PER_STATEMENT):
                part = names[first : first + VALUES_PER_STATEMENT]
                found.update((name, id) for name, id in connection.execute(of_root.where(files.name.in_(part))))
        return [found[name] for name in names if name in found]

    def file_ids_at(self, path: bytes) -> list[int]:
        """The file at an absolute path, or every file in and below a folder."""
        files = schema.files.c
        found: list[int] = []
        for root, relative in self._places(path):
            folder, name = os.path.split(relative)
            inside = (files.folder == relative) | below(relative) if relative else sa.true()
            itself = (files.folder == folder) & (files.name == name)
            statement = sa.select(files.id).where(files.root_id == root.id, inside | itself)
            with self.database.reading() as connection:
                found += connection.scalars(statement)
        return found

    def file_ids_unchanged(self, path: bytes) -> list[int]:
        """The indexed file at an absolute path, if it still has the size and time that it was read with."""
        try:
            status = os.stat(path)
        except OSError:
            return []
        files = schema.files.c
        found: list[int] = []
        for root, relative in self._places(path):
            folder, name = os.path.split(relative)
            statement = sa.select(files.id).where(
                files.root_id == root.id,
                files.folder == folder,
                files.name == name,
                files.size == status.st_size,
                files.mtime_ns == mtime_ns(status),
                files.state == "indexed",
            )
            with self.database.reading() as connection:
                found += connection.scalars(statement)
        return found

    def _places(self, path: bytes) -> list[tuple[Root, bytes]]:
        """(root, relative path) for every root that `path` is, or lies in."""
        return [
            (root, path[len(root.path) :].strip(b"/"))
            for root in self.roots()
            if root.kind == "folder" and (path == root.path or path.startswith(root.path.rstrip(b"/") + b"/"))
        ]

    # Forgetting

    def forget_files(self, file_ids: Sequence[int]) -> int:
        """Remove files from the library, with contents, pictures and vectors that nothing else shows.

        The photos themselves are not touched. Returns how many files were removed.
        """
        with self.database.writing() as connection:
            touch_files(connection, file_ids)
            removed = connection.exec_driver_sql(
                "DELETE FROM files WHERE id IN (SELECT file_id FROM temp.touched_files)"
            ).rowcount
            words.refresh_files(connection)
            refresh_mask(connection)
            pruning.touch_lost(connection)
            pruning.prune(connection)
        return removed


def _version(database: Database, folder: Path) -> int:
    """The version of the schema, of a library's catalog that this photoseek can read."""
    with database.reading() as connection:
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
    if application != schema.APPLICATION_ID:
        if not application and not version and not tables:
            raise LibraryNotFoundError(folder)  # a process was killed before it had made the tables
        raise LibraryUnreadableError(
            f"{database.path} is not a photoseek catalog", hint="name another library with --library"
        )
    if version > schema.SCHEMA_VERSION:
        raise UnsupportedSchemaError(
            f"the library {folder} has format {version}; this photoseek knows formats up to {schema.SCHEMA_VERSION}",
            hint="use a newer photoseek",
        )
    return version


def below(folder: bytes) -> sa.ColumnElement[bool]:
    """Is a file's folder below `folder` (relative)? "0" is the byte after "/"."""
    return (schema.files.c.folder >= folder + b"/") & (schema.files.c.folder < folder + b"0")


def full_path(root: bytes, folder: bytes, name: bytes) -> bytes:
    """Absolute path of a file; for app pictures (root without a path) their id."""
    return _folder_path(root, folder) + name


@functools.lru_cache(maxsize=4096)
def _folder_path(root: bytes, folder: bytes) -> bytes:
    """With the separator at its end: for a page of rows, joining takes as long as reading half of them."""
    return os.path.join(root, folder, b"")
