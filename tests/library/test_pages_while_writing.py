"""Paging while another process indexes and removes: nothing twice, nothing lost that was there from the start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_library import write_photos

from photoseek import IndexSettings, PhotoLibrary

pytestmark = pytest.mark.slow

WRITER = """
import shutil, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fakes import install_fakes
from small_library import write_photos
install_fakes()
from photoseek import PhotoLibrary

photos, removed = Path(sys.argv[3]), Path(sys.argv[3]) / "removed"
with PhotoLibrary.open(sys.argv[2], model=sys.argv[4]) as library:
    for turn in range(6):
        write_photos(photos / f"new{turn}", 12, first_seed=1000 + 100 * turn)
        library.index()
        for name in sorted(removed.iterdir())[:4]:
            name.unlink()
        library.index()
        library.forget(missing=True)
        print(turn, flush=True)
"""


def test_pages_hold_while_another_process_indexes_and_removes(
    open_library: Callable[..., PhotoLibrary], photos: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_photos(photos / "stays", 60)
    write_photos(photos / "removed", 30, first_seed=500)
    library = open_library()
    # Small bounds, so that the index is written, becomes IVF and is merged into while the pages are read.
    library.index(photos, settings=IndexSettings(ivf_min_rows=95, generation_min_rows=20, delta_max_rows=10))
    stays = {match.id for match in library.search("red", limit=1000) if "stays" in os.fspath(match.path or "")}
    assert len(stays) == 60

    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(Path(__file__).parents[1]), library.path, photos, tiny_checkpoint],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
    )
    assert writer.stdout is not None
    shown: list[str] = []
    paths: list[str] = []
    after, turns = None, 0
    while True:
        page = library.search("red", limit=7, after=after)
        shown += [match.id for match in page]
        paths += [os.fspath(match.path or "") for match in page]
        after = page.next
        if after is None:
            break
        turns += bool(writer.stdout.readline())
    writer.stdout.read()
    writer.stdout.close()
    assert writer.wait() == 0
    assert turns == 6, "the writer was done before the pages were"
    assert len(shown) == len(set(shown)), "a photo was shown twice"
    assert stays <= set(shown), "a photo that was there from the start was lost"
    assert not [path for path in paths if "/new" in path], "a newer photo came in between"
    assert library.status().index.kind == "ivf"


def test_a_page_goes_on_in_another_library_object_and_two_of_ten_are_one_of_twenty(
    open_library: Callable[..., PhotoLibrary], photos: Path
) -> None:
    write_photos(photos, 33)
    library = open_library()
    library.index(photos)
    twenty = [match.id for match in library.search("red", limit=20)]
    first = library.search("red", limit=10)
    second = open_library(library.path).search("red", limit=10, after=first.next)
    assert [match.id for match in [*first, *second]] == twenty
    assert [match.rank for match in second] == list(range(11, 21))
