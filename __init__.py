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
    from photoseek.conditions import Condition
    from photoseek.errors import PhotoseekError
    from photoseek.indexer.report import IndexReport, PhotoTrouble, Progress
    from photoseek.library import PhotoLibrary
    from photoseek.model_change import ModelChange
    from photoseek.search.filters import where
    from photoseek.search.groups import Cluster, DuplicateGroup, Duplicates
    from photoseek.search.query import Query
    from photoseek.search.results import Match, Photo, Results
    from photoseek.status import BuildStatus, IndexStatus, LibraryStatus, RootStatus, SpaceStatus
    from photoseek.storage.generations import IndexSettings
    from photoseek.storage.verify import VerifyReport
    from photoseek.thumbnails import Thumbnail

__version__ = "0.1.0"

_HOMES = {
    "BuildStatus": "status",
    "Cluster": "search.groups",
    "Condition": "conditions",
    "DuplicateGroup": "search.groups",
    "Duplicates": "search.groups",
    "IndexReport": "indexer.report",
    "IndexSettings": "storage.generations",
    "IndexStatus": "status",
    "LibraryStatus": "status",
    "Match": "search.results",
    "ModelChange": "model_change",
    "Photo": "search.results",
    "PhotoLibrary": "library",
    "PhotoTrouble": "indexer.report",
    "PhotoseekError": "errors",
    "Progress": "indexer.report",
    "Query": "search.query",
    "Results": "search.results",
    "RootStatus": "status",
    "SpaceStatus": "status",
    "Thumbnail": "thumbnails",
    "VerifyReport": "storage.verify",
    "where": "search.filters",
}

__all__ = [
    "BuildStatus",
    "Cluster",
    "Condition",
    "DuplicateGroup",
    "Duplicates",
    "IndexReport",
    "IndexSettings",
    "IndexStatus",
    "LibraryStatus",
    "Match",
    "ModelChange",
    "Photo",
    "PhotoLibrary",
    "PhotoTrouble",
    "PhotoseekError",
    "Progress",
    "Query",
    "Results",
    "RootStatus",
    "SpaceStatus",
    "Thumbnail",
    "VerifyReport",
    "__version__",
    "where",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
