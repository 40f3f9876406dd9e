"""Where a page ended: an opaque text from which the next page goes on, in any process, while indexing goes on.

The cursor holds which photos were shown and the newest one of that moment, not a position: what is removed
meanwhile shifts nothing, what is added meanwhile pushes nothing in between.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass

import numpy as np

from photoseek.errors import UsageError

_VERSION = 1
_INFLATED_MAX = 8_000_000
"""Bytes; a cursor after a million photos stays below. A made-up one must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page."""

    question: str
    """Digest of the query with its filters, order and model: a cursor serves no other."""
    newest: int
    """Highest embedding id at the first page; photos added later do not come in between."""
    shown: frozenset[int]
    """Embedding ids of all photos on the pages before."""
    exact: bool
    """Every photo was scored: later pages are, too, though the library may have got lists meanwhile."""

    def encode(self) -> str:
        """ASCII, fit for a URL: about two bytes for each photo shown."""
        ids = np.sort(np.fromiter(self.shown, dtype=np.int64, count=len(self.shown)))
        head = json.dumps([_VERSION, self.question, self.newest, int(self.exact), np.diff(ids, prepend=0).tolist()])
        return base64.urlsafe_b64encode(zlib.compress(head.encode())).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, question: str) -> Cursor:
        """The cursor that `encode` wrote.

        Raises:
            UsageError: it is none, or belongs to another question.
        """
        try:
            packed = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            inflater = zlib.decompressobj()
            version, asked, newest, exact, steps = json.loads(inflater.decompress(packed, _INFLATED_MAX))
            if version != _VERSION or not inflater.eof:
                raise ValueError("another version")
            ids = np.cumsum(np.asarray(steps, dtype=np.int64)).tolist()
            cursor = cls(str(asked), int(np.int64(newest)), frozenset(ids), bool(exact))
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error, zlib.error) as error:
            raise UsageError(
                "this is no place to go on from",
                hint="give `after` (--after) what `next` of an earlier page said, unchanged",
            ) from error
        if cursor.question != question:
            raise UsageError(
                "this place to go on from belongs to another search",
                hint="ask with the same words, filters, order and model as for the first page, or begin anew",
            )
        return cursor
