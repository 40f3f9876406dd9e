"""The catalog's tables and triggers, and nothing else.

`docs/on-disk-format.md` says what each column means to a reader of the file. A change here raises
`SCHEMA_VERSION` and adds a step to `migrations`.
"""

from __future__ import annotations

from sqlalchemy import (
    BLOB,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Connection

SCHEMA_VERSION = 2
APPLICATION_ID = 0x50534B31
"""SQLite's `application_id` of a catalog ("PSK1"): tells it from any other SQLite file."""

metadata = MetaData()

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

roots = Table(
    "roots",
    metadata,
    Column("id", Integer, primary_key=True),
    # Absolute path as the file system gives it; the one root of app pictures has kind 'app' and no path.
    Column("path", BLOB, nullable=False, unique=True),
    Column("kind", Text, CheckConstraint("kind IN ('folder', 'app')"), nullable=False),
    Column("state", Text, CheckConstraint("state IN ('online', 'offline')"), nullable=False),
    Column("scanned_at", Text),
)

contents = Table(
    "contents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", BLOB, nullable=False, unique=True),  # SHA-256 of all bytes
    Column("size", Integer, nullable=False),
    Column("format", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("orientation", Integer, nullable=False),
    Column("taken_at", Text),
    Column("taken_source", Text),
    Column("taken_offset_minutes", Integer),
    Column("camera_make", Text),
    Column("camera_model", Text),
    Column("lens", Text),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("rating", Integer),
    Column("title", Text),
    Column("keywords", Text),  # JSON list of strings
    Column("captions", Text),  # JSON list of strings; since version 2
    Index("contents_size", "size"),
)

files = Table(
    "files",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("root_id", ForeignKey("roots.id"), nullable=False),
    # Bytes, so that any name survives; folder is relative to the root, without slashes at its ends.
    Column("folder", BLOB, nullable=False),
    Column("name", BLOB, nullable=False),
    Column("size", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("content_id", ForeignKey("contents.id")),
    Column("state", Text, CheckConstraint("state IN ('indexed', 'failed', 'skipped', 'ignored')"), nullable=False),
    Column("missing", Integer, nullable=False),
    Column("trouble", Text),
    Column("reason", Text),
    Column("added_at", Text, nullable=False),
    UniqueConstraint("root_id", "folder", "name"),
    Index("files_content", "content_id"),
    sqlite_autoincrement=True,
)

prepared = Table(
    "prepared",
    metadata,
    Column("content_digest", BLOB, nullable=False),
    Column("preprocessing", Text, nullable=False),
    Column("picture_digest", BLOB, nullable=False),
    Column("fingerprint", Integer),  # NULL: stored before there were any, or imported
    PrimaryKeyConstraint("content_digest", "preprocessing"),
    Index("prepared_picture", "picture_digest"),
    sqlite_with_rowid=False,
)

spaces = Table(
    "spaces",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", Text, nullable=False),  # what the user named: builtin, a Hub name, an absolute folder
    Column("checkpoint_digest", Text, nullable=False),
    Column("preprocessing", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("has_text", Integer, nullable=False),
    Column("state", Text, CheckConstraint("state IN ('active', 'building', 'retired')"), nullable=False),
    Column("probe", BLOB, nullable=False),  # float32 vectors of the probe pictures
    Column("created_at", Text, nullable=False),
    UniqueConstraint("checkpoint_digest", "preprocessing"),
)
Index("one_active_space", spaces.c.state, unique=True, sqlite_where=spaces.c.state == "active")

space_texts = Table(
    "space_texts",
    metadata,
    Column("space_id", ForeignKey("spaces.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("vector", BLOB, nullable=False),  # float32
    PrimaryKeyConstraint("space_id", "position"),
    sqlite_with_rowid=False,
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("id", Integer, primary_key=True),  # AUTOINCREMENT: the FAISS id, never reused
    Column("space_id", ForeignKey("spaces.id"), nullable=False),
    Column("picture_digest", BLOB, nullable=False),
    Column("vector", BLOB, nullable=False),  # float16 of the unit vector
    UniqueConstraint("space_id", "picture_digest"),
    sqlite_autoincrement=True,
)

# Embeddings that must not be found: no visible file shows their picture (missing, excluded), or they are
# forgotten and only a generation still holds them.
masked = Table(
    "masked",
    metadata,
    Column("embedding_id", Integer, primary_key=True),
    Column("space_id", Integer, nullable=False),
)

generations = Table(
    "generations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("space_id", ForeignKey("spaces.id"), nullable=False, unique=True),  # the current one of each space
    Column("folder", Text, nullable=False),  # relative to the library
    Column("rows", Integer, nullable=False),
    Column("last_embedding_id", Integer, nullable=False),
    Column("nlist", Integer, nullable=False),  # 0: flat
    Column("nprobe", Integer, nullable=False),
    Column("recall", Float),  # recall@10 on the held-out half of the space's texts; NULL: flat, exact
    Column("trained_rows", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    sqlite_autoincrement=True,
)

# Since version 2: files of which something that filters ask for changed, was removed, or that show another picture
# now. A generation's columns are out of date for those named here by a newer id than they know (`column_files`).
changed_files = Table(
    "changed_files",
    metadata,
    Column("id", Integer, primary_key=True),  # AUTOINCREMENT: grows with every change
    Column("file_id", Integer, nullable=False, unique=True),
    sqlite_autoincrement=True,
)

# Deleted and inserted, since the conflict clause of the statement that fires a trigger replaces the trigger's own.
_NOTE_FILES = (
    "DELETE FROM changed_files WHERE file_id IN ({files});"
    " INSERT INTO changed_files (file_id) SELECT file_id FROM ({files});"
)
_OF_CONTENT = "SELECT id AS file_id FROM files WHERE content_id = NEW.id"
_OF_PICTURE = (
    "SELECT f.id AS file_id FROM contents c CROSS JOIN files f ON f.content_id = c.id"
    " WHERE c.digest = NEW.content_digest"
)
CHANGE_TRIGGERS = (
    "CREATE TRIGGER file_changed AFTER UPDATE ON files"
    " WHEN OLD.root_id IS NOT NEW.root_id OR OLD.folder IS NOT NEW.folder OR OLD.content_id IS NOT NEW.content_id"
    " OR OLD.state IS NOT NEW.state OR OLD.missing IS NOT NEW.missing OR OLD.added_at IS NOT NEW.added_at"
    f" BEGIN {_NOTE_FILES.format(files='SELECT OLD.id AS file_id')} END",
    "CREATE TRIGGER file_forgotten AFTER DELETE ON files"
    f" BEGIN {_NOTE_FILES.format(files='SELECT OLD.id AS file_id')} END",
    f"CREATE TRIGGER content_changed AFTER UPDATE ON contents BEGIN {_NOTE_FILES.format(files=_OF_CONTENT)} END",
    f"CREATE TRIGGER picture_linked AFTER INSERT ON prepared BEGIN {_NOTE_FILES.format(files=_OF_PICTURE)} END",
    "CREATE TRIGGER picture_changed AFTER UPDATE OF picture_digest ON prepared"
    " WHEN OLD.picture_digest IS NOT NEW.picture_digest"
    f" BEGIN {_NOTE_FILES.format(files=_OF_PICTURE)} END",
)
"""They fill `changed_files`, whoever writes."""


def create_all(connection: Connection) -> None:
    """Make what is not there yet of an empty or half-made catalog, and say what it is."""
    metadata.create_all(connection)
    for trigger in CHANGE_TRIGGERS:
        connection.exec_driver_sql(trigger.replace("CREATE TRIGGER", "CREATE TRIGGER IF NOT EXISTS", 1))
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
