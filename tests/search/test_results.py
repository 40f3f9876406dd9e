"""Photos as apps get them."""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoseek.contracts import CameraFacts, PhotoRow
from photoseek.search.ranking import photo_of
from photoseek.search.results import Photo


def rows_of(files: list[bytes], *, of_app: bool = False) -> list[PhotoRow]:
    kind = "app" if of_app else "folder"
    return [
        PhotoRow(1, number, b"/", kind, True, file, False, 9, 0, b"d", "jpeg", 4, 3, CameraFacts())
        for number, file in enumerate(files)
    ]


@given(names=st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name), min_size=1, max_size=3))
def test_paths_are_there_however_a_photo_is_used(names: list[bytes]) -> None:
    files = [b"/photos/" + name for name in names]
    expected = tuple(Path(os.fsdecode(file)) for file in files)

    def photo() -> Photo:
        return photo_of(rows_of(files), lambda root: True)

    assert photo().path == expected[0]
    assert photo().paths == expected
    assert photo() == photo() == copy.deepcopy(photo()) == copy.copy(photo())
    assert dataclasses.asdict(photo())["paths"] == expected
    assert dataclasses.replace(photo(), id="other").path == expected[0]
    assert repr(expected[0]) in repr(photo())


def test_a_picture_of_an_app_has_no_path() -> None:
    photo = photo_of(rows_of([b"holiday-1"], of_app=True), lambda root: True)
    assert (photo.id, photo.path, photo.paths) == ("holiday-1", None, ())
    with pytest.raises(AttributeError, match="'Photo' object has no attribute 'pathes'"):
        _ = photo.pathes  # type: ignore[attr-defined]
