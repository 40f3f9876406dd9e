"""Contents that no file has any more: they go, with the pictures and vectors that nothing else shows.

A file that changes loses its content. That goes at the end of the run, not with the file: where photos were swapped,
or renamed in a row, what one file loses is what another one has, and is not embedded again. Until then `NOTE` stands in
the settings, for a run that does not come to its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from photoseek.storage.database import Database
from photoseek.storage.masking import touch_contents
from photoseek.storage.schema import settings

NOTE = "lost_contents"
"""Set while contents may be there that no file has."""
CONTENTS_PER_TRANSACTION = 20_000

# By the rows: by an index, a million files take ten times as long.
_LOST = """
    SELECT c.id FROM contents c NOT INDEXED WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.content_id = c.id)
"""


def note_lost(connection: sa.Connection) -> bool:
    """Say that files lost their contents; False where an earlier run has said so and did not come to its end."""
    note = insert(settings).values(key=NOTE, value="1").on_conflict_do_nothing()
    return connection.execute(note).rowcount == 1


def is_noted(connection: sa.Connection) -> bool:
    return connection.scalar(sa.select(settings.c.value).where(settings.c.key == NOTE)) is not None


def lost_contents(connection: sa.Connection) -> list[int]:
    """All contents that no file has: a third of a second for a million photos."""
    return list(connection.exec_driver_sql(_LOST).scalars())


def touch_lost(connection: sa.Connection) -> None:
    """Add what an earlier run may have left to the touched contents."""
    if is_noted(connection):
        connection.exec_driver_sql(f"INSERT OR IGNORE INTO temp.touched {_LOST}")
        _drop_note(connection)


def prune_contents(database: Database, content_ids: Sequence[int]) -> None:
    """Drop those of the contents that no file has, in several transactions; with the last of them the note goes."""
    for first in range(0, len(content_ids) or 1, CONTENTS_PER_TRANSACTION):
        after = first + CONTENTS_PER_TRANSACTION
        with database.writing() as connection:
            touch_contents(connection, content_ids[first:after])
            prune(connection)
            if after >= len(content_ids):
                _drop_note(connection)


def _drop_note(connection: sa.Connection) -> None:
    connection.execute(sa.delete(settings).where(settings.c.key == NOTE))


def prune(connection: sa.Connection) -> None:
    """Drop the touched contents that no file has, then their pictures and vectors.

    Vectors that the current generation still holds leave their id in `masked`, so that no search finds them.
    """
    gone = (
        "SELECT content_id FROM temp.touched t"
        " WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.content_id = t.content_id)"
    )
    connection.exec_driver_sql(
        "CREATE TEMP TABLE IF NOT EXISTS gone_pictures"
        " (digest BLOB, preprocessing TEXT, PRIMARY KEY (digest, preprocessing))"
    )
    connection.exec_driver_sql("DELETE FROM temp.gone_pictures")
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO temp.gone_pictures SELECT picture_digest, preprocessing FROM prepared"
        f" WHERE content_digest IN (SELECT digest FROM contents WHERE id IN ({gone}))"
    )
    connection.exec_driver_sql(
        f"DELETE FROM prepared WHERE content_digest IN (SELECT digest FROM contents WHERE id IN ({gone}))"
    )
    connection.exec_driver_sql(f"DELETE FROM contents WHERE id IN ({gone})")
    unshown = (
        "SELECT e.id FROM temp.gone_pictures g CROSS JOIN spaces s ON s.preprocessing = g.preprocessing"
        " CROSS JOIN embeddings e ON e.space_id = s.id AND e.picture_digest = g.digest"
        " WHERE NOT EXISTS (SELECT 1 FROM prepared p WHERE p.picture_digest = g.digest"
        "  AND p.preprocessing = g.preprocessing)"
    )
    connection.exec_driver_sql(
        f"INSERT OR IGNORE INTO masked SELECT id, space_id FROM embeddings WHERE id IN ({unshown})"
    )
    connection.exec_driver_sql(f"DELETE FROM embeddings WHERE id IN ({unshown})")
