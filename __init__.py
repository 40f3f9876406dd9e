"""photoseek finds photos by words, on your own machine.

    from photoseek import PhotoLibrary

    with PhotoLibrary.open("my-library") as library:
        library.index(["photos/"])
        for match in library.search("a red car", limit=20):
            print(match.score, match.path)

The names below are the public interface; each is loaded at first use, so that importing costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from photoseek.errors import PhotoseekError
    from photoseek.indexer.report import IndexReport, Progress
    from photoseek.library import PhotoLibrary
    from photoseek.search.filters import where
    from photoseek.search.groups import Cluster, DuplicateGroup, Duplicates
    from photoseek.search.query import Query
    from photoseek.search.results import Match, Photo, Results
    from photoseek.status import LibraryStatus
    from photoseek.storage.generations import IndexSettings
    from photoseek.thumbnails import Thumbnail

__version__ = "0.1.0"

_HOMES = {
    "Cluster": "search.groups",
    "DuplicateGroup": "search.groups",
    "Duplicates": "search.groups",
    "IndexReport": "indexer.report",
    "IndexSettings": "storage.generations",
    "LibraryStatus": "status",
    "Match": "search.results",
    "Photo": "search.results",
    "PhotoLibrary": "library",
    "PhotoseekError": "errors",
    "Progress": "indexer.report",
    "Query": "search.query",
    "Results": "search.results",
    "Thumbnail": "thumbnails",
    "where": "search.filters",
}

__all__ = [
    "Cluster",
    "DuplicateGroup",
    "Duplicates",
    "IndexReport",
    "IndexSettings",
    "LibraryStatus",
    "Match",
    "Photo",
    "PhotoLibrary",
    "PhotoseekError",
    "Progress",
    "Query",
    "Results",
    "Thumbnail",
    "__version__",
    "where",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
