"""Storing vectors of a new model beside the active one, while others write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa

from photoseek.contracts import Outcome, PhotoRead, ReadFailure, Recorded, Trouble
from photoseek.storage import schema
from photoseek.storage.catalog import Catalog
from photoseek.storage.files import Files
from photoseek.storage.masking import refresh_mask, touch_contents
from photoseek.storage.spaces import Space

Committing = Callable[[], AbstractContextManager[object]]


class BuildingFiles(Files):
    """`Files` of a space that does not answer yet: stores vectors, and changes no file's row.

    What has become of a photo since it was indexed is for the next run of the indexer to find. Meanwhile its old
    content has no vector here, which is what `Spaces.count_unembedded` says.
    """

    def __init__(self, catalog: Catalog, space: Space, committing: Committing) -> None:
        """`committing` makes the lock that is held around each transaction."""
        super().__init__(catalog, space)
        self._committing = committing

    def record(self, outcomes: Sequence[Outcome]) -> list[Recorded]:
        """Store the vectors of contents that the catalog knows, in one transaction.

        Photos that changed, vanished or were forgotten since they were listed come back as `VANISHED`: also a photo
        that is now a copy of another one, whose vector would not be the one that is wanting. It is stored all the
        same: of photos with one picture only the first that is read carries the vector. So each one that comes back
        as `INDEXED` is one less to embed.
        """
        self._check_vectors(outcomes)
        photos = [outcome.result for outcome in outcomes if isinstance(outcome.result, PhotoRead)]
        with self._committing():
            with self._database.writing() as connection:
                listed = self._digests_of_files(connection, [outcome.item.file_id for outcome in outcomes])
                known = self._content_ids(connection, [photo.digest for photo in photos])
                stored = [
                    outcome
                    for outcome in outcomes
                    if isinstance(outcome.result, PhotoRead) and outcome.result.digest in known
                ]
                if stored:
                    _content_ids, touched = self._store_photos(connection, stored)
                    touch_contents(connection, touched)  # the photo may have gone missing since it was listed
                    refresh_mask(connection)
            there = self.embedded_pictures([photo.picture_digest for photo in photos])
        return [_recorded(outcome, listed, there) for outcome in outcomes]

    def _digests_of_files(self, connection: sa.Connection, file_ids: Sequence[int | None]) -> dict[int | None, bytes]:
        """Digest of the content that each file had when it was last indexed."""
        files, contents = schema.files, schema.contents
        statement = sa.select(files.c.id, contents.c.digest).join_from(files, contents).where(files.c.id.in_(file_ids))
        return {id: digest for id, digest in connection.execute(statement)}  # noqa: C416 - rows are no pairs to mypy


def _recorded(outcome: Outcome, listed: dict[int | None, bytes], there: set[bytes]) -> Recorded:
    result = outcome.result
    if isinstance(result, ReadFailure):
        return Recorded.VANISHED if result.trouble is Trouble.VANISHED else Recorded.FAILED
    is_same = isinstance(result, PhotoRead) and result.digest == listed.get(outcome.item.file_id)
    is_there = isinstance(result, PhotoRead) and result.picture_digest in there
    return Recorded.INDEXED if is_same and is_there else Recorded.VANISHED
