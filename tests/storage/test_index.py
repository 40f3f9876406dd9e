"""The derived index: generations, delta and mask together answer as a plain scan of the catalog does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from photoseek.contracts import CameraFacts, Embeddings, Outcome, PhotoRead, WorkItem
from photoseek.search.filters import where
from photoseek.storage import verify as checks
from photoseek.storage.column_files import COLUMNS_FOLDER, HEADER_FILE
from photoseek.storage.generations import Generation, IndexSettings
from photoseek.storage.list_files import LISTS_FILE, ROWS_FILE, SHAPES_FILE, SIZES_FILE, has_lists
from photoseek.storage.manifest import IDS_FILE, MANIFEST_FILE, VECTORS_FILE
from photoseek.storage.snapshot import Snapshot
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store

DIM = 24
FLAT = IndexSettings(ivf_min_rows=10**6, generation_min_rows=1, delta_max_rows=1)
IVF = IndexSettings(ivf_min_rows=1, generation_min_rows=1, delta_max_rows=1)


def unit(rows: int, seed: int) -> Embeddings:
    """Clustered unit vectors (rows, DIM), as photos are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (12, DIM))
    vectors = centres[rng.integers(0, 12, rows)] + rng.normal(0, 0.6, (rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Shelf:
    """A store filled with vectors, one made-up photo each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.store = Store(folder)
        self.store.create()
        texts = unit(60, 1000)
        self.space: Space = self.store.spaces.create(
            model="model",
            checkpoint_digest="c",
            preprocessing="p",
            probe=unit(2, 0),
            texts=[str(number) for number in range(60)],
            text_vectors=texts,
            state="active",
        )
        self.root = self.store.catalog.add_root(b"/photos")
        self.count = 0

    def add(self, vectors: Embeddings) -> None:
        outcomes = []
        for vector in vectors:
            self.count += 1
            digest = self.count.to_bytes(32, "big")
            read = PhotoRead(digest, 10, 1, "png", 4, 4, CameraFacts(), np.zeros((4, 4, 3), np.uint8), digest[::-1])
            outcomes.append(Outcome(WorkItem(self.root.id, b"", b"%06d" % self.count, 10, 1), read, vector))
        for first in range(0, len(outcomes), 200):
            self.store.files(self.space).record(outcomes[first : first + 200])

    def miss(self, *numbers: int, back: bool = False) -> None:
        files = self.store.files(self.space)
        ids = [files.known_files(self.root.id, b"")[b"%06d" % number][1] for number in numbers]
        change: dict[str, list[int]] = {"missing": [], "returned": [], "excluded": []}
        files.apply_scan(self.root.id, **{**change, "returned" if back else "missing": ids})

    def forget(self, *numbers: int) -> None:
        known = self.store.files(self.space).known_files(self.root.id, b"")
        self.store.catalog.forget_files([known[b"%06d" % number][1] for number in numbers])

    def build(self, settings: IndexSettings) -> Generation:
        return self.store.generations.build(self.space, settings)

    def filled(self, settings: IndexSettings) -> Path:
        """The folder of a new generation of 300 photos."""
        self.add(unit(300, 1))
        return self.build(settings).folder

    @property
    def snapshot(self) -> Snapshot:
        view = self.store.view()
        assert view is not None
        return view.snapshot

    def truth(self, query: NDArray[np.float32], count: int) -> tuple[list[int], NDArray[np.float32]]:
        """Ids and scores by NumPy over the catalog's own rows."""
        with self.store.catalog.database.reading() as connection:
            rows = connection.exec_driver_sql(
                "SELECT id, vector FROM embeddings WHERE id NOT IN (SELECT embedding_id FROM masked) ORDER BY id"
            ).fetchall()
        ids = np.array([row[0] for row in rows])
        vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f2").astype(np.float32).reshape(-1, DIM)
        scores = vectors @ query
        order = np.lexsort((ids, -scores))[:count]
        return ids[order].tolist(), scores[order]

    def check(self, *, exact: bool = False, count: int = 15) -> None:
        """Every query is answered as NumPy answers it."""
        snapshot = self.snapshot
        for query in unit(12, 77):
            found = snapshot.search(query, count, exact=exact)
            ids, scores = self.truth(query, count)
            assert found.ids.tolist() == ids
            np.testing.assert_allclose(found.scores, scores, atol=1e-5)

    def verify(self) -> checks.VerifyReport:
        return checks.verify(self.store.catalog, self.store.folder)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "library")
    yield made
    made.store.close()


@pytest.fixture(params=[FLAT, IVF], ids=["flat", "ivf"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> IndexSettings:
    """Both kinds of index; the lists are all probed, so that IVF too must answer exactly."""
    from photoseek.storage import generations
    from photoseek.storage.lists import Reach
    from photoseek.storage.tuning import Tuned

    monkeypatch.setattr(generations, "tune", lambda *_: Tuned(Reach(2.0, 4096, 0.2), 1, 1, 1.0))
    return request.param  # type: ignore[no-any-return]


def test_without_a_generation_the_catalog_answers(shelf: Shelf) -> None:
    assert len(shelf.snapshot.search(unit(1, 5)[0], 10).ids) == 0
    shelf.add(unit(30, 1))
    shelf.check()


def test_generation_delta_and_mask_answer_as_numpy_does(shelf: Shelf, settings: IndexSettings) -> None:
    shelf.add(unit(400, 1))
    shelf.build(settings)
    shelf.check()
    shelf.add(unit(50, 2))
    shelf.check()
    shelf.miss(3, 7, 9, 410, 411)
    shelf.check()
    shelf.miss(7, 411, back=True)
    shelf.check()
    shelf.forget(1, 2, 405)
    shelf.check()
    shelf.build(settings)
    shelf.check()
    assert shelf.verify().problems == []
    assert shelf.snapshot.rows == 447


def test_restricting_to_ids_is_exact(shelf: Shelf, settings: IndexSettings) -> None:
    shelf.add(unit(300, 1))
    shelf.build(settings)
    shelf.add(unit(20, 2))
    wanted = np.array([2, 5, 100, 299, 305, 10_000], dtype=np.int64)
    query = unit(1, 9)[0]
    snapshot = shelf.snapshot
    found = snapshot.search(query, 10, allowed=snapshot.id_set(wanted))
    whole, _scores = shelf.truth(query, 1000)
    assert found.ids.tolist() == [id for id in whole if id in set(wanted.tolist())]
    assert found.exact
    assert len(snapshot.search(query, 10, allowed=snapshot.id_set(wanted[:0])).ids) == 0


@pytest.mark.parametrize("settings", [FLAT, IVF], ids=["flat", "ivf"])
def test_a_short_answer_is_the_beginning_of_a_longer_one(shelf: Shelf, settings: IndexSettings) -> None:
    shelf.add(unit(700, 1))
    shelf.build(settings)
    shelf.add(unit(40, 2))
    shelf.miss(*range(100, 140))
    for query in unit(30, 78):
        longest = shelf.snapshot.search(query, 40).ids.tolist()
        for count in (1, 5, 15):
            assert shelf.snapshot.search(query, count).ids.tolist() == longest[:count]


@pytest.mark.slow
def test_lists_reach_the_recall_that_is_stored(shelf: Shelf) -> None:
    shelf.add(unit(3000, 1))
    generation = shelf.build(IVF)
    assert 1 <= generation.nprobe <= generation.nlist
    assert generation.recall is not None
    assert generation.recall >= 0.99
    hits = [
        len(set(shelf.snapshot.search(query, 10).ids.tolist()) & set(shelf.truth(query, 10)[0]))
        for query in unit(100, 1001)
    ]
    assert np.mean(hits) / 10 >= 0.97


def test_a_merge_appends_and_outgrown_lists_are_trained_anew(shelf: Shelf) -> None:
    shelf.add(unit(200, 1))
    first = shelf.build(IVF)
    shelf.add(unit(300, 2))
    second = shelf.build(IVF)
    shelf.add(unit(600, 3))
    third = shelf.build(IVF)
    assert (first.trained_rows, second.trained_rows, third.trained_rows) == (200, 200, 1100)
    assert (second.nlist, second.rows) == (first.nlist, 500)
    assert third.nlist > second.nlist
    assert shelf.verify().problems == []
    assert [path.name for path in (shelf.store.folder / "index" / "1").iterdir()] == [third.folder.name]


def test_a_reader_keeps_its_generation_while_a_new_one_is_made(shelf: Shelf, settings: IndexSettings) -> None:
    shelf.add(unit(300, 1))
    shelf.build(settings)
    reader = Store(shelf.store.folder)
    view = reader.view()
    assert view is not None
    query = unit(1, 9)[0]
    before = view.search(query, 20).ids.tolist()
    shelf.forget(*range(1, 100))
    shelf.add(unit(50, 4))
    shelf.build(settings)
    assert view.search(query, 20).ids.tolist() == before
    fresh = reader.view()
    assert fresh is not None
    assert fresh.search(query, 20).ids.tolist() == shelf.snapshot.search(query, 20).ids.tolist() != before
    reader.close()


def test_filters_and_rows_outlive_their_generation(shelf: Shelf, settings: IndexSettings) -> None:
    """A model may load for seconds between the look at the catalog and the search."""
    shelf.add(unit(300, 1))
    shelf.build(settings)
    view = shelf.store.view()
    assert view is not None
    shelf.add(unit(50, 4))
    shelf.build(settings)
    assert sorted(row.embedding_id for row in view.rows([1, 2, 3])) == [1, 2, 3]
    allowed = view.allowed(where.width >= 4, include_missing=False)
    assert allowed is not None
    assert len(allowed) == 300
    assert len(view.newest_first(where.width >= 4, 20, 0)) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["file_id", "width", "taken_at.ends"])
@pytest.mark.parametrize("damage", ["zeroed", "swapped"])
def test_damaged_columns_leave_searches_to_the_catalog(
    shelf: Shelf, name: str, damage: str, settings: IndexSettings
) -> None:
    folder = shelf.filled(settings)
    path = folder / COLUMNS_FOLDER / f"{name}.npy"
    if damage == "zeroed":
        path.write_bytes(bytes(path.stat().st_size))
    else:  # an array of another length in a file of the same size
        size = path.stat().st_size
        np.save(path, np.zeros(1, dtype=np.int8))
        with path.open("ab") as stream:
            stream.truncate(size)
    view = shelf.store.view()
    assert view is not None
    assert sorted(row.embedding_id for row in view.rows([1, 2, 3])) == [1, 2, 3]
    allowed = view.allowed(where.width >= 4, include_missing=False)
    assert allowed is not None
    assert len(allowed) == 300
    shelf.check()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 2, min(len(data) // 2 + 64, len(data))):
        data[position] ^= 0x11
    path.write_bytes(data)


def _head(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[:16] = b"\xff" * 16
    path.write_bytes(data)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [IVF], indirect=True, ids=["ivf"])
@pytest.mark.parametrize("damage", [Path.unlink, _truncate, _flip, _head, _folder])
@pytest.mark.parametrize("name", [VECTORS_FILE, IDS_FILE, LISTS_FILE, ROWS_FILE, SIZES_FILE, MANIFEST_FILE])
def test_a_damaged_index_is_told_and_repaired(
    shelf: Shelf, name: str, damage: Callable[[Path], None], settings: IndexSettings
) -> None:
    folder = shelf.filled(settings)
    damage(folder / name)
    if damage is not _flip:  # bits that turned inside a file show in its digest only
        shelf.check()
    report = shelf.verify()
    assert report.problems
    settings.save(shelf.store.catalog)
    checks.repair(shelf.store.catalog, shelf.store.folder, report)
    assert shelf.verify().problems == []
    shelf.check()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [IVF], indirect=True, ids=["ivf"])
@pytest.mark.parametrize("damage", [_flip, _head, _folder])
@pytest.mark.parametrize(
    "name", [VECTORS_FILE, IDS_FILE, LISTS_FILE, ROWS_FILE, SIZES_FILE, SHAPES_FILE, f"{COLUMNS_FOLDER}/{HEADER_FILE}"]
)
def test_a_merge_takes_nothing_over_from_a_damaged_index(
    shelf: Shelf, name: str, damage: Callable[[Path], None], settings: IndexSettings
) -> None:
    folder = shelf.filled(settings)
    damage(folder / name)
    shelf.add(unit(50, 4))
    assert shelf.store.generations.merge_if_due(shelf.space, settings, finishing=True)
    assert shelf.verify().problems == []
    shelf.check()


@pytest.mark.parametrize("name", [f"{COLUMNS_FOLDER}/{HEADER_FILE}", MANIFEST_FILE])
def test_an_index_with_a_damaged_head_is_due_though_nothing_came(
    shelf: Shelf, name: str, settings: IndexSettings
) -> None:
    folder = shelf.filled(settings)
    path = folder / name
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert shelf.store.generations.merge_if_due(shelf.space, settings, finishing=True)
    assert shelf.verify().problems == []


@pytest.mark.parametrize(
    "content", ["{}", "[]", "null", '{"files": {}}', '{"files": {"vectors.faiss": {}}}', '{"files": []}', "\xff"]
)
def test_a_manifest_of_nonsense_is_damage(shelf: Shelf, content: str, settings: IndexSettings) -> None:
    folder = shelf.filled(settings)
    (folder / MANIFEST_FILE).write_text(content, encoding="latin-1")
    assert shelf.verify().problems
    shelf.check()


@pytest.mark.parametrize("lacking", [(SHAPES_FILE,), (ROWS_FILE, SIZES_FILE, SHAPES_FILE)], ids=["0.1", "before"])
@pytest.mark.parametrize("settings", [IVF], indirect=True, ids=["ivf"])
def test_lists_of_an_older_photoseek_are_left_alone_until_the_next_run(
    shelf: Shelf, settings: IndexSettings, lacking: tuple[str, ...]
) -> None:
    """It wrote no shapes, and before that all into one file."""
    folder = shelf.filled(settings)
    manifest = folder / MANIFEST_FILE
    content = json.loads(manifest.read_text())
    for name in lacking:
        (folder / name).unlink()
        del content["files"][name]
    manifest.write_text(json.dumps(content))
    shelf.store.close()
    shelf.check()
    assert shelf.verify().problems == []
    settings.save(shelf.store.catalog)
    assert shelf.store.generations.merge_if_due(shelf.space, settings, finishing=True)
    newest = shelf.store.generations.current(shelf.space)
    assert newest is not None
    assert has_lists(newest.folder)
    shelf.check()


def test_all_derived_files_may_be_deleted(shelf: Shelf, settings: IndexSettings) -> None:
    shelf.add(unit(300, 1))
    shelf.build(settings)
    shelf.store.close()
    shutil.rmtree(shelf.store.folder / "index")
    shelf.check()
    settings.save(shelf.store.catalog)
    assert shelf.store.generations.merge_if_due(shelf.space, settings, finishing=True)
    shelf.check()
    assert shelf.verify().problems == []


def test_litter_is_mentioned_and_removed_by_the_next_writer(shelf: Shelf) -> None:
    shelf.add(unit(50, 1))
    litter = shelf.store.folder / "index" / "1" / ".00000009.photoseek-unfinished"
    litter.mkdir(parents=True)
    (litter / "half").write_text("x")
    report = shelf.verify()
    assert (report.problems, report.litter) == ([], [litter])
    shelf.store.generations.remove_litter()
    assert shelf.verify().litter == []


def test_damaged_vectors_in_the_catalog_are_found(shelf: Shelf) -> None:
    shelf.add(unit(20, 1))
    for id, blob in ((3, b"\0" * 2 * DIM), (5, b"\x00\x7e" * DIM), (7, b"short")):
        with shelf.store.catalog.database.writing() as connection:
            connection.exec_driver_sql("UPDATE embeddings SET vector = ? WHERE id = ?", (blob, id))
    (problem,) = shelf.verify().problems
    assert problem.startswith("3 vectors of model are damaged")


@pytest.mark.parametrize(
    "vectors",
    [np.full((1, DIM), np.nan), np.zeros((1, DIM)), np.ones((1, DIM)), unit(1, 1)[:, :-1]],
    ids=["not finite", "zero", "long", "narrow"],
)
def test_what_is_no_unit_vector_is_never_stored(shelf: Shelf, vectors: Embeddings) -> None:
    with pytest.raises(ValueError, match="vectors"):
        shelf.add(vectors.astype(np.float32))
    assert shelf.store.catalog.counts().indexed == 0


def test_the_manifest_names_every_file(shelf: Shelf) -> None:
    shelf.add(unit(50, 1))
    generation = shelf.build(IVF)
    manifest = json.loads((generation.folder / MANIFEST_FILE).read_text())
    on_disk = {
        path.relative_to(generation.folder).as_posix() for path in generation.folder.rglob("*") if path.is_file()
    }
    assert set(manifest["files"]) == on_disk - {MANIFEST_FILE}
    assert on_disk >= {
        VECTORS_FILE,
        IDS_FILE,
        LISTS_FILE,
        ROWS_FILE,
        SIZES_FILE,
        SHAPES_FILE,
        f"{COLUMNS_FOLDER}/{HEADER_FILE}",
    }
