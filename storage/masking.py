"""Which embeddings no search may find: those without a visible file.

`masked` is derived from `files`, but kept in the same transaction as every change of a file's state, so that
opening a library reads a short list instead of joining every row.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

# CROSS JOIN keeps SQLite to this order: from the few touched contents to their embeddings, each by an index.
_AFFECTED = """
    SELECT e.id, e.space_id, EXISTS (
        SELECT 1 FROM prepared p CROSS JOIN contents c ON c.digest = p.content_digest
        CROSS JOIN files f ON f.content_id = c.id
        WHERE p.picture_digest = e.picture_digest AND p.preprocessing = s.preprocessing
          AND f.state = 'indexed' AND f.missing = 0
    ) AS visible
    FROM temp.touched t
    CROSS JOIN contents touched ON touched.id = t.content_id
    CROSS JOIN prepared shown ON shown.content_digest = touched.digest
    CROSS JOIN spaces s ON s.preprocessing = shown.preprocessing
    CROSS JOIN embeddings e ON e.space_id = s.id AND e.picture_digest = shown.picture_digest
"""


def touch_contents(connection: sa.Connection, content_ids: Sequence[int]) -> None:
    """Start a list of contents whose visibility may change in this transaction."""
    connection.exec_driver_sql("CREATE TEMP TABLE IF NOT EXISTS touched (content_id INTEGER PRIMARY KEY)")
    connection.exec_driver_sql("DELETE FROM temp.touched")
    if content_ids:
        connection.exec_driver_sql("INSERT OR IGNORE INTO temp.touched VALUES (?)", [(id,) for id in content_ids])


def touch_files(connection: sa.Connection, file_ids: Sequence[int]) -> None:
    """The same for the contents of files; the files' ids stay in `temp.touched_files`."""
    connection.exec_driver_sql("CREATE TEMP TABLE IF NOT EXISTS touched_files (file_id INTEGER PRIMARY KEY)")
    connection.exec_driver_sql("DELETE FROM temp.touched_files")
    if file_ids:
        connection.exec_driver_sql("INSERT OR IGNORE INTO temp.touched_files VALUES (?)", [(id,) for id in file_ids])
    touch_contents(connection, [])
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO temp.touched SELECT content_id FROM files"
        " WHERE id IN (SELECT file_id FROM temp.touched_files) AND content_id NOT NULL"
    )


def refresh_mask(connection: sa.Connection) -> None:
    """Bring `masked` in line for the touched contents, after their files were changed."""
    connection.exec_driver_sql(f"INSERT OR IGNORE INTO masked SELECT id, space_id FROM ({_AFFECTED}) WHERE NOT visible")
    connection.exec_driver_sql(f"DELETE FROM masked WHERE embedding_id IN (SELECT id FROM ({_AFFECTED}) WHERE visible)")
