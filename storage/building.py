"""Storing vectors of a new model beside the active one, while others write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from photoseek.contracts import Outcome, PhotoRead, ReadFailure, Recorded, Trouble
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
        """Store the vectors of those photos that the catalog still knows, in one transaction.

        Photos that changed, vanished or were forgotten since they were listed come back as `VANISHED`.
        """
        self._check_vectors(outcomes)
        digests = [outcome.result.digest for outcome in outcomes if isinstance(outcome.result, PhotoRead)]
        with self._committing(), self._database.writing() as connection:
            known = self._content_ids(connection, digests)
            stored = [outcome for outcome in outcomes if self._recorded(outcome, known) is Recorded.INDEXED]
            if stored:
                _content_ids, touched = self._store_photos(connection, stored)
                touch_contents(connection, touched)  # the photo may have gone missing since it was listed
                refresh_mask(connection)
        return [self._recorded(outcome, known) for outcome in outcomes]

    def _recorded(self, outcome: Outcome, known: dict[bytes, int]) -> Recorded:
        result = outcome.result
        if isinstance(result, ReadFailure):
            return Recorded.VANISHED if result.trouble is Trouble.VANISHED else Recorded.FAILED
        return Recorded.INDEXED if isinstance(result, PhotoRead) and result.digest in known else Recorded.VANISHED
