"""Copies a library while others read or write it."""

from __future__ import annotations

import os
from pathlib import Path

from photoseek.errors import UsageError
from photoseek.storage.durable import new_folder
from photoseek.storage.generations import Generations, IndexSettings
from photoseek.storage.migrations import migrate
from photoseek.storage.spaces import Spaces
from photoseek.storage.store import Store


def back_up(store: Store, target: Path) -> None:
    """Copy the catalog to the new folder `target`, whole or not at all, and build its index there.

    Raises:
        UsageError: `target` exists, or lies in the library, or the folder that it is to lie in does not exist.
        StorageFullError: the target's disk is full.
    """
    if os.path.lexists(target):
        raise UsageError(f"{target} exists; name a folder that does not, and it will be made")
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(store.folder)):
        raise UsageError(f"{target} lies in the library itself", hint="name a folder elsewhere, best on another disk")
    if not os.path.lexists(target.parent):  # made with all above it, it would fill the disk below an empty mount point
        raise UsageError(f"there is no folder {target.parent}", hint="make it, or mount its drive first")
    with new_folder(target) as folder:
        catalog = store.catalog.backup(folder)
        try:
            migrate(catalog)  # nobody else knows the copy
            generations = Generations(catalog, folder)
            for space in Spaces(catalog).all():
                if generations.current(space) is not None:
                    generations.build(space, IndexSettings.load(catalog))
        finally:
            catalog.close()
