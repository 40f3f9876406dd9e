"""Every error that photoseek raises on purpose, as one tree.

    PhotoseekError                        (exit code)
      UsageError                          2  wrong argument or option
      LibraryError                        3
        LibraryNotFoundError              3
        LibraryUnreadableError            3
        ModelMismatchError                3
        UnsupportedSchemaError            3
      LibraryBusyError                    4
      DamageError                         5
      ModelError                          1
        CheckpointError                   1  missing, truncated or foreign checkpoint
        NoTextTowerError                  1
        MissingExtraError                 1
      PhotoUnreadableError                1  a picture given to a search or to `add`
      StorageFullError                    1
      Cancelled                           130

A message is one sentence that names the file or option; `hint` says what to do next. A photo that cannot
be read during indexing is a value in the report (`contracts.ReadFailure`), never one of these.
"""

from __future__ import annotations

import errno
import operator
from collections.abc import Iterable
from pathlib import Path


class PhotoseekError(Exception):
    """Base of all errors; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(PhotoseekError):
    """An argument or option is wrong."""

    exit_code = 2


class LibraryError(PhotoseekError):
    """A library cannot be opened or used."""

    exit_code = 3


class LibraryNotFoundError(LibraryError):
    """There is no library at this path."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no photo library at {path}",
            hint='make one with "photoseek index FOLDER", or name another with --library',
        )
        self.path = path


class LibraryUnreadableError(LibraryError):
    """The catalog of a library is no photoseek catalog, or is damaged."""


class UnsupportedSchemaError(LibraryError):
    """The catalog was written by a newer photoseek."""


class ModelMismatchError(LibraryError):
    """The library was made with another model than the one asked for or found."""


class LibraryBusyError(PhotoseekError):
    """Another process is writing this library, or changing its model."""

    exit_code = 4

    def __init__(self, path: Path, pid: int | None, doing: str = "being written") -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"the library {path} is {doing} by {who}",
            hint="wait until it ends; searching is possible meanwhile",
        )
        self.path, self.pid = path, pid


class DamageError(PhotoseekError):
    """Verification found damage, or stored data does not have the digest it should have."""

    exit_code = 5


class ModelError(PhotoseekError):
    """A model cannot do what is asked."""


class CheckpointError(ModelError):
    """A checkpoint is missing, truncated or not an AIMv2 checkpoint."""


class NoTextTowerError(ModelError):
    """Words were given, but the checkpoint has no text tower."""


class MissingExtraError(ModelError):
    """A package that an optional feature needs is not installed."""


class PhotoUnreadableError(PhotoseekError):
    """A picture given to a search, to `add` or to `classify` cannot be read."""


class StorageFullError(PhotoseekError):
    """A write did not fit on the disk; what was stored before is whole."""


class Cancelled(PhotoseekError):
    """The caller cancelled; everything committed so far is kept."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("stopped; everything done so far is kept", hint="run the same command again to go on")


def check_whole(least: int, *, optional: bool = False, **numbers: object) -> None:
    """Refuse an argument that is no whole number of at least `least`; None is fine where they are optional.

    Raises:
        UsageError: naming the argument.
    """
    for name, number in numbers.items():
        if optional and number is None:
            continue
        try:
            fits = operator.index(number) >= least  # type: ignore[arg-type] # that is the question
        except TypeError:
            fits = False
        if not fits:
            raise UsageError(f"{name} must be a whole number, {least} or more, not {number!r}")


def disk_full(error: OSError) -> bool:
    """Is this the system's way of saying that a disk or quota is exhausted?"""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_ids(ids: Iterable[str], of: str) -> tuple[str, ...]:
    """The ids of photos that `of`, an argument or a method, was given.

    Raises:
        UsageError: it is no list of texts.
    """
    check_list(ids, of, "ids")
    found = tuple(ids)
    for id in found:
        check_id(id)
    return found


def check_list(values: Iterable[str], of: str, what: str) -> None:
    """Refuse a text, which would be read letter by letter, where `of`, an argument or a method, takes a list of them.

    Raises:
        UsageError: it is a text, or nothing that has several of `what`.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UsageError(f"{of} takes a list of {what}, not {values!r}", hint=f"a list of one is [{values!r}]")


def check_id(id: str) -> None:
    """Refuse what is no id of a photo.

    Raises:
        UsageError: it is no text.
    """
    if not isinstance(id, str):
        raise UsageError(f"the id of a photo is a text, not {type(id).__name__}", hint="a Photo has it as photo.id")
