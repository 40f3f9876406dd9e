"""`words`: what stands in and about each photo, in a full-text table (FTS5), so that quoted words find it.

One row a file that could be read, `rowid` = `files.id`. It is derived from `files`, `contents` and `roots`, but kept
in the same transaction as every change of these. "Exact" means whole words in their order: FTS5's `unicode61` takes
letters and digits as words and everything else as space between them, and ignores case and accents. So IMG_2041
is `img 2041`, which is found in IMG_2041.JPG, and is not found in IMG_20411.JPG.

A writer whose SQLite has no FTS5 sets `STALE` instead; the next one that has it makes the table anew.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from photoseek.errors import LibraryError
from photoseek.storage.masking import touch_files
from photoseek.storage.schema import settings
from photoseek.storage.word_texts import plain_text

FIELDS = {
    "name": "file name",
    "folder": "folder",
    "camera": "camera",
    "lens": "lens",
    "title": "title",
    "captions": "caption",
    "keywords": "keywords",
}
"""The table's columns, and what people call them."""

STALE = "words_stale"
"""Set where a writer without FTS5 left `words` behind the files."""

_COLUMNS = ", ".join(FIELDS)
# No sizes of rows: only ranking by bm25 would need them.
_CREATE = (
    f"CREATE VIRTUAL TABLE words USING fts5({_COLUMNS}, columnsize = 0, tokenize = 'unicode61 remove_diacritics 2')"
)
_TEXTS = """
    SELECT f.id AS id, photoseek_text(f.name) AS name,
           photoseek_folder(CASE r.kind WHEN 'folder' THEN r.path END, f.folder) AS folder,
           photoseek_text(coalesce(c.camera_make, '') || ' ' || coalesce(c.camera_model, '')) AS camera,
           photoseek_text(c.lens) AS lens, photoseek_text(c.title) AS title,
           photoseek_list(c.captions) AS captions, photoseek_list(c.keywords) AS keywords
    FROM files f CROSS JOIN contents c ON c.id = f.content_id CROSS JOIN roots r ON r.id = f.root_id
"""
_INSERT = f"INSERT INTO words (rowid, {_COLUMNS}) {_TEXTS}"
_TOUCHED = "(SELECT file_id FROM temp.touched_files)"


@functools.cache
def has_fts5() -> bool:
    """Was this Python's SQLite built with FTS5?"""
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
    finally:
        connection.close()


# Keeping it


def rebuild(connection: sa.Connection) -> None:
    """Make the table anew, of all files."""
    if not has_fts5():
        _mark_stale(connection)
        return
    connection.exec_driver_sql("DROP TABLE IF EXISTS words")
    connection.exec_driver_sql(_CREATE)
    connection.exec_driver_sql(_INSERT)
    connection.execute(sa.delete(settings).where(settings.c.key == STALE))


def is_behind(connection: sa.Connection) -> bool:
    """Could and should the table be made anew?"""
    return has_fts5() and not _is_whole(connection)


def refresh_files(connection: sa.Connection) -> None:
    """Bring the rows of `temp.touched_files` in line, after the files were written or deleted."""
    if not has_fts5():
        _mark_stale(connection)
    else:
        connection.exec_driver_sql(f"DELETE FROM words WHERE rowid IN {_TOUCHED}")
        connection.exec_driver_sql(f"{_INSERT} WHERE f.id IN {_TOUCHED}")


def refresh_places(connection: sa.Connection, places: Sequence[tuple[int, bytes, bytes]]) -> None:
    """The same for files by (root id, folder, name)."""
    touch_files(connection, [])
    if places:
        connection.exec_driver_sql(
            "INSERT OR IGNORE INTO temp.touched_files"
            " SELECT id FROM files WHERE root_id = ? AND folder = ? AND name = ?",
            list(places),
        )
    refresh_files(connection)


def refresh_root(connection: sa.Connection, root_id: int) -> None:
    """The same for all files of a root whose name has changed."""
    ids = connection.exec_driver_sql("SELECT id FROM files WHERE root_id = ?", (root_id,)).scalars().all()
    touch_files(connection, ids)
    refresh_files(connection)


def _is_whole(connection: sa.Connection) -> bool:
    """Is the table there, and was it there at every change of the files?"""
    there = "SELECT count(*) FROM sqlite_master WHERE name = 'words'"
    stale = sa.select(settings.c.key).where(settings.c.key == STALE)
    return bool(connection.exec_driver_sql(there).scalar_one()) and connection.scalar(stale) is None


def _mark_stale(connection: sa.Connection) -> None:
    connection.execute(insert(settings).values(key=STALE, value="1").on_conflict_do_nothing())


def problems(connection: sa.Connection) -> Iterator[str]:
    """How the table differs from the files, a sentence each. Needs a connection that may write."""
    if not has_fts5():
        return  # nothing to look into, and nothing asks it
    if not _is_whole(connection):
        yield "there are no words to find the photos by, or not of all"
        return
    try:
        connection.exec_driver_sql("INSERT INTO words (words) VALUES ('integrity-check')")
        differs = " OR ".join(f"w.{name} IS NOT t.{name}" for name in FIELDS)
        wrong = connection.exec_driver_sql(
            f"SELECT count(*) FROM ({_TEXTS}) t LEFT JOIN words w ON w.rowid = t.id WHERE {differs}"
        ).scalar_one()
        rows = connection.exec_driver_sql("SELECT count(*) FROM words").scalar_one()
    except sa.exc.DatabaseError as error:
        yield f"the words of the photos are damaged: {error.orig}"
        return
    read = connection.exec_driver_sql("SELECT count(*) FROM files WHERE content_id NOT NULL").scalar_one()
    if wrong or rows != read:
        yield f"the words of {max(wrong, abs(rows - read))} photos are not those of their files"


# Asking it


def match_text(phrase: str) -> str:
    """A phrase in FTS5's language: nothing in it can be an operator there. Without a word in it, it finds nothing."""
    return '"' + plain_text(phrase).replace('"', " ") + '"'


def files_with(phrase: str) -> sa.Select[tuple[int]]:
    """Ids of the files with the phrase in one of the fields, as a subquery."""
    words = sa.table("words", sa.column("rowid", sa.Integer))
    return sa.select(words.c.rowid).where(sa.literal_column("words").op("MATCH")(match_text(phrase)))


def fields_with(connection: sa.Connection, phrase: str, file_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """In which fields of these files the phrase stands, by file; files without it are left out."""
    ids = ", ".join(str(int(id)) for id in file_ids)
    found: dict[int, tuple[str, ...]] = {}
    for column, name in FIELDS.items():
        statement = f"SELECT rowid FROM words WHERE words MATCH ? AND rowid IN ({ids})"
        for id in connection.exec_driver_sql(statement, (f"{column} : {match_text(phrase)}",)).scalars():
            found[id] = (*found.get(id, ()), name)
    return found


def check_usable(connection: sa.Connection) -> None:
    """Raises:
    LibraryError: this SQLite, or this library, cannot answer quoted words.
    """
    if not has_fts5():
        raise LibraryError(
            "quoted words need FTS5, which this Python's SQLite was built without",
            hint="search without quotes, or use another build of Python",
        )
    if not _is_whole(connection):
        raise LibraryError(
            "an older photoseek, or one without FTS5, wrote this library: quoted words would not find its photos",
            hint='run "photoseek index" once, which collects the words',
        )
