"""Stored names and texts as plain text for the table `words`, and phrases in the same form."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable

# Of the private use area, which unicode61 takes for a letter: stands between the texts of a list, so that no phrase
# reaches from one into the next. It is taken out of texts and phrases.
_LIST_BREAK = "\ue000"
_NO_TEXT = str.maketrans(dict.fromkeys((_LIST_BREAK, "\0"), " "))


def plain_text(value: bytes | str | None) -> str:
    """A stored name or text as it goes into the table, and a phrase as it is looked for.

    Bytes that are no UTF-8 separate words. Composed and decomposed letters (NFC, NFD) become the same.
    """
    if value is None:
        return ""
    data = value if isinstance(value, bytes) else value.encode(errors="replace")
    return unicodedata.normalize("NFC", data.decode(errors="replace")).translate(_NO_TEXT)


def root_name(root: bytes) -> bytes:
    """The last name of a root's path: all of it that stands in `words`."""
    return os.path.basename(os.path.normpath(root))


def _folder_text(root: bytes | None, folder: bytes) -> str:
    """The folder below its root, the root's own name in front."""
    return plain_text(os.path.join(root_name(root), folder)) if root is not None else ""


def _list_text(value: str | None) -> str:
    return f" {_LIST_BREAK} ".join(plain_text(text) for text in json.loads(value)) if value else ""


TEXT_FUNCTIONS: dict[str, tuple[int, Callable[..., str]]] = {
    "photoseek_text": (1, plain_text),
    "photoseek_folder": (2, _folder_text),
    "photoseek_list": (1, _list_text),
}
"""The functions with which SQL turns stored values into texts for `words`: by name, the number of arguments and the
function."""
