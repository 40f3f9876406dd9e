"""Any order of adding, changing, moving, deleting, excluding and bringing back, with runs in between, ends in the
library that one run over the final folder makes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from checkpoints import make_checkpoint
from fakes import install_fakes
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small_library import stored_files, write_photo

from photoseek import IndexSettings, PhotoLibrary

pytestmark = pytest.mark.slow

NAMES = st.sampled_from(["a.png", "b.png", "x/a.png", "x/y/c.png", "z/d.png"])
COLOURS = st.sampled_from(["red", "green", "blue", "yellow"])
RULES = st.sampled_from(["", "x/\n", "*.png\n!anchor.png\n", "a.png\n", "/z/d.png\n", "x/*\n!x/a.png\n"])
TINY = IndexSettings(ivf_min_rows=5, generation_min_rows=1, delta_max_rows=1)
"""A generation is written by nearly every run, with inverted lists from five vectors on."""


class Folder(RuleBasedStateMachine):
    """A folder of photos that its owner keeps changing."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="photoseek-"))
        self.patch = pytest.MonkeyPatch()
        install_fakes(self.patch.setattr)
        self.model = make_checkpoint(self.place / "tiny")
        self.photos, self.aside = self.place / "photos", self.place / "aside"
        self.library = PhotoLibrary.open(self.place / "library", model=self.model)
        self.clock = 10**18

    @initialize()
    def begin(self) -> None:
        self.write("anchor.png", "grey")  # always there, so that the folder never looks like an unmounted drive
        self.aside.mkdir()
        self.index()

    def teardown(self) -> None:
        self.check_equals_one_run()
        self.library.close()
        self.patch.undo()
        shutil.rmtree(self.place)

    def write(self, name: str, colour: str) -> None:
        path = write_photo(self.photos / name, colour)
        self.clock += 10**9
        os.utime(path, ns=(self.clock, self.clock))

    @rule(name=NAMES, colour=COLOURS)
    def add_or_change(self, name: str, colour: str) -> None:
        self.write(name, colour)

    @rule(name=NAMES)
    def take_away(self, name: str) -> None:
        if (self.photos / name).exists():
            (self.photos / name).replace(self.aside / name.replace("/", "-"))

    @rule(name=NAMES)
    def bring_back(self, name: str) -> None:
        if (self.aside / name.replace("/", "-")).exists():
            (self.photos / name).parent.mkdir(parents=True, exist_ok=True)
            (self.aside / name.replace("/", "-")).replace(self.photos / name)

    @rule(source=NAMES, destination=NAMES)
    def move(self, source: str, destination: str) -> None:
        if (self.photos / source).exists() and source != destination:
            (self.photos / destination).parent.mkdir(parents=True, exist_ok=True)
            (self.photos / source).replace(self.photos / destination)

    @rule(source=NAMES, destination=NAMES)
    def copy(self, source: str, destination: str) -> None:
        if (self.photos / source).exists() and source != destination:
            (self.photos / destination).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.photos / source, self.photos / destination)

    @rule(name=NAMES)
    def break_(self, name: str) -> None:
        if (self.photos / name).exists():
            (self.photos / name).write_bytes(b"\x89PNG\r\n\x1a\n and no more")

    @rule(rules=RULES)
    def exclude(self, rules: str) -> None:
        (self.photos / ".photoseekignore").write_text(rules)

    @rule()
    def index(self) -> None:
        before = self.pictures("embeddings")
        report = self.library.index(self.photos, settings=TINY, batch_size=2)
        assert report.seen == report.indexed + report.unchanged + report.failed + report.skipped
        assert report.offline == []
        assert report.embedded <= len(self.pictures("embeddings") - before), "what a file has is embedded once"

    @rule(name=NAMES)
    @precondition(lambda self: self.library.exists)
    def forget(self, name: str) -> None:
        if os.fsencode(self.photos / name) in stored_files(self.library.path):
            self.library.forget(self.photos / name)

    @rule()
    def forget_missing(self) -> None:
        self.library.forget(missing=True)

    @invariant()
    def the_library_is_whole(self) -> None:
        if self.library.exists:
            report = self.library.verify()  # which compares the mask with its definition
            assert report.problems == []
            status = self.library.status()
            assert status.photos == status.indexed + status.failed + status.skipped + status.missing

    @invariant()
    def the_vectors_are_those_of_the_files(self) -> None:
        if self.library.exists:
            assert self.pictures("embeddings") == self.pictures(
                "prepared p JOIN contents c ON c.digest = p.content_digest JOIN files f ON f.content_id = c.id"
            )

    def pictures(self, source: str) -> set[bytes]:
        """Digests of the pictures in a table, or a join, of the catalog."""
        if not self.library.exists:
            return set()
        with self.library._store.catalog.database.reading() as connection:
            return set(connection.exec_driver_sql(f"SELECT picture_digest FROM {source}").scalars())

    def check_equals_one_run(self) -> None:
        self.index()
        with PhotoLibrary.open(self.place / "fresh", model=self.model) as fresh:
            fresh.index(self.photos)
            assert _visible(self.library) == _visible(fresh)
            for words in ("red", "something else"):
                assert _told(self.library, words) == _told(fresh, words)


def _told(library: PhotoLibrary, words: str) -> list[object]:
    # An index sums products in another order than a scan of the catalog does.
    return [(match.paths, match.digest, round(match.score, 5)) for match in library.search(words)]


def _visible(library: PhotoLibrary) -> dict[bytes, object]:
    return {
        path: (state, digest)
        for path, (state, missing, digest) in stored_files(library.path).items()
        if not missing and state != "ignored"
    }


_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large]
TestAnyOrder = Folder.TestCase
TestAnyOrder.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=_HEALTH, derandomize=True
)


@pytest.mark.slow
class TestManyOrders(Folder.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=_HEALTH)
