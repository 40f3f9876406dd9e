"""Is what is stored what was stored? Reports damage and drift; rebuilds what is derived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from photoseek.errors import DamageError
from photoseek.storage import schema, words
from photoseek.storage.catalog import Catalog
from photoseek.storage.faissfile import flat_rows, open_index
from photoseek.storage.generations import Generation, Generations, IndexSettings, read_ids
from photoseek.storage.list_files import open_lists
from photoseek.storage.manifest import VECTORS_FILE, check_digests, read_reach
from photoseek.storage.masking import refresh_mask, touch_contents
from photoseek.storage.spaces import Space, Spaces
from photoseek.storage.vectors import LENGTH_TOLERANCE, from_blobs, read_blobs

CHUNK_ROWS = 8192


@dataclass(slots=True)
class VerifyReport:
    """What a check found."""

    problems: list[str] = field(default_factory=list)
    """Damage and drift, a sentence each; empty when the library is whole."""
    litter: list[Path] = field(default_factory=list)
    """Left by a killed process; harmless, the next writer removes it."""
    repaired: list[str] = field(default_factory=list)
    """What `repair` did."""
    vectors: int = 0
    """How many stored vectors were checked."""


def verify(catalog: Catalog, library: Path) -> VerifyReport:
    """Check the catalog, every vector, the mask, and each generation against its manifest and the catalog."""
    report = VerifyReport()
    report.problems += _database_problems(catalog)
    if report.problems:
        return report  # nothing below can be trusted to read what it thinks it reads
    generations = Generations(catalog, library)
    report.litter = generations.litter()
    report.problems += _row_problems(catalog)
    report.problems += _mask_problems(catalog)
    report.problems += _word_problems(catalog)
    for space in Spaces(catalog).all():
        bad = _bad_vectors(catalog, space, report)
        if bad:
            report.problems.append(f"{len(bad)} vectors of {space.model} are damaged, the first has id {bad[0]}")
        generation = generations.current(space)
        while generation is not None:
            problems = list(_generation_problems(catalog, space, generation))
            newest = generations.current(space)
            if newest == generation:
                report.problems += problems
                break
            generation = newest  # a writer replaced it, and its files, while they were read
    return report


def repair(catalog: Catalog, library: Path, report: VerifyReport) -> None:
    """Rebuild what is derived, and let damaged vectors be computed anew by the next run.

    Raises:
        DamageError: the SQLite file itself is damaged; only a backup helps.
    """
    if _database_problems(catalog):
        raise DamageError(
            f"{catalog.database.path} is damaged and cannot be repaired",
            hint="restore it from a backup, or index the photos into a new library",
        )
    generations = Generations(catalog, library)
    settings = IndexSettings.load(catalog)
    with catalog.database.writing() as connection:
        unreadable = _reread(connection)
        touch_contents(connection, connection.scalars(sa.select(schema.contents.c.id)).all())
        refresh_mask(connection)
    if any(_word_problems(catalog)):
        with catalog.database.writing() as connection:
            words.rebuild(connection)
        report.repaired.append("the words of the photos were collected again")
    if unreadable:
        report.repaired.append(f"{unreadable} files lost their content row: the next index run reads them again")
    for space in Spaces(catalog).all():
        bad = _bad_vectors(catalog, space, VerifyReport())
        if bad:
            with catalog.database.writing() as connection:
                _drop_vectors(connection, space, bad)
            again = "the next index run" if space.state == "active" else f'"models use {space.model}"'
            report.repaired.append(f"{len(bad)} damaged vectors removed: {again} computes them again")
        generation = generations.current(space)
        if generation is not None and (bad or any(_generation_problems(catalog, space, generation))):
            with catalog.database.writing() as connection:
                connection.execute(sa.delete(schema.generations).where(schema.generations.c.space_id == space.id))
            generations.build(space, settings)
            report.repaired.append(f"the index of {space.model} was rebuilt from the catalog")
    generations.remove_litter()


def _database_problems(catalog: Catalog) -> list[str]:
    with catalog.database.raw() as connection:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
        foreign = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    # Newer SQLites look into `words` too; it can be rebuilt, the rest cannot.
    found = [f"SQLite: {text}" for text in problems if text != "ok" and "FTS5 table" not in text]
    return found + [
        f"SQLite: a row of {table} names a row of {parent} that is not there" for table, _, parent, _ in foreign
    ]


def _row_problems(catalog: Catalog) -> Iterator[str]:
    """Rows that contradict each other, each kind as one sentence."""
    checks = {
        "files are called indexed but have no content": "SELECT count(*) FROM files"
        " WHERE state = 'indexed' AND content_id IS NULL",
        "contents have a digest of the wrong length": "SELECT count(*) FROM contents WHERE length(digest) <> 32",
        "visible photos have no vector": "SELECT count(*) FROM files f JOIN contents c ON c.id = f.content_id"
        " JOIN spaces s ON s.state = 'active' WHERE f.state = 'indexed' AND f.missing = 0"
        " AND NOT EXISTS (SELECT 1 FROM settings WHERE key = 'incomplete_space')"
        " AND NOT EXISTS (SELECT 1 FROM prepared p JOIN embeddings e ON e.picture_digest = p.picture_digest"
        "  AND e.space_id = s.id WHERE p.content_digest = c.digest AND p.preprocessing = s.preprocessing)",
    }
    with catalog.database.reading() as connection:
        for text, statement in checks.items():
            number = connection.exec_driver_sql(statement).scalar_one()
            if number:
                yield f"{number} {text}"


def _mask_problems(catalog: Catalog) -> Iterator[str]:
    statement = (
        "SELECT count(*) FROM embeddings e JOIN spaces s ON s.id = e.space_id"
        " WHERE EXISTS (SELECT 1 FROM masked m WHERE m.embedding_id = e.id) = EXISTS ("
        "  SELECT 1 FROM prepared p CROSS JOIN contents c ON c.digest = p.content_digest"
        "  CROSS JOIN files f ON f.content_id = c.id"
        "  WHERE p.picture_digest = e.picture_digest AND p.preprocessing = s.preprocessing"
        "  AND f.state = 'indexed' AND f.missing = 0)"
    )
    with catalog.database.reading() as connection:
        wrong = connection.exec_driver_sql(statement).scalar_one()
    if wrong:
        yield f"{wrong} vectors are hidden although a photo shows them, or the other way round"


def _word_problems(catalog: Catalog) -> list[str]:
    if catalog.version < 2:
        return []
    with catalog.database.writing() as connection:  # FTS5's own check is a statement that may write
        return list(words.problems(connection))


def _bad_vectors(catalog: Catalog, space: Space, report: VerifyReport) -> list[int]:
    """Ids of vectors with the wrong width, numbers that are not finite, or another length than 1."""
    bad: list[int] = []
    after = 0
    while True:
        with catalog.database.reading() as connection:
            rows = read_blobs(connection, space.id, after=after, rows=CHUNK_ROWS)
        if not rows:
            return bad
        after = rows[-1][0]
        report.vectors += len(rows)
        whole = {id: vector for id, vector in rows if len(vector) == 2 * space.dim}
        bad += [id for id, _vector in rows if id not in whole]
        norms = np.linalg.norm(from_blobs(list(whole.values()), space.dim).astype(np.float32), axis=1)
        bad += [id for id, norm in zip(whole, norms, strict=True) if not abs(norm - 1) <= LENGTH_TOLERANCE]


def _generation_problems(catalog: Catalog, space: Space, generation: Generation) -> Iterator[str]:
    folder = generation.folder
    try:
        check_digests(folder)
        flat = open_index(folder / VECTORS_FILE, mapped=True)
        ids = read_ids(folder, mapped=False)
        lists = open_lists(folder, mapped=True) if read_reach(folder) is not None else None
    except (OSError, DamageError) as error:
        yield f"the index {folder} is not whole: {error}"
        return
    if not (len(ids) == flat.ntotal == generation.rows) or (lists is not None and lists.ntotal != len(ids)):
        yield f"the index {folder} holds another number of vectors than the catalog says"
        return
    rows = flat_rows(flat)
    different = 0
    for first in range(0, len(ids), CHUNK_ROWS):
        part = ids[first : first + CHUNK_ROWS]
        with catalog.database.reading() as connection:
            stored = dict(read_blobs(connection, space.id, after=int(part[0]) - 1, last=int(part[-1])))
        held = {id: rows[first + position].tobytes() for position, id in enumerate(part.tolist())}
        different += sum(held.get(id) != vector for id, vector in stored.items())
    if different:
        yield f"{different} vectors in the index {folder} are not those of the catalog"


def _reread(connection: sa.Connection) -> int:
    """Let the next run read files again whose row claims a content that is not there."""
    return connection.exec_driver_sql(
        "UPDATE files SET state = 'failed', trouble = 'surroundings', reason = 'lost its content row'"
        " WHERE state = 'indexed' AND content_id IS NULL"
    ).rowcount


def _drop_vectors(connection: sa.Connection, space: Space, ids: list[int]) -> None:
    """Remove vectors. Where the space answers, their files look changed then, so that the next run embeds them."""
    of_vector = (
        "SELECT c.id FROM embeddings e CROSS JOIN prepared p ON p.picture_digest = e.picture_digest"
        " CROSS JOIN contents c ON c.digest = p.content_digest WHERE e.id = ? AND p.preprocessing = ?"
    )
    touched: list[int] = []
    for id in ids:
        touched += connection.exec_driver_sql(of_vector, (id, space.preprocessing)).scalars()
        connection.exec_driver_sql("INSERT OR IGNORE INTO masked VALUES (?, ?)", (id, space.id))
        connection.exec_driver_sql("DELETE FROM embeddings WHERE id = ?", (id,))
    touch_contents(connection, touched)
    if space.state == "active":
        connection.exec_driver_sql(
            "UPDATE files SET state = 'failed', trouble = 'surroundings', reason = 'its stored vector was damaged'"
            " WHERE state = 'indexed' AND content_id IN (SELECT content_id FROM temp.touched)"
        )
    refresh_mask(connection)
