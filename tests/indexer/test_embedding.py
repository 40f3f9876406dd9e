"""The tower computes while photos are collected and stored; what is stored keeps its order and its vectors."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from photoseek.contracts import CameraFacts, Embeddings, Outcome, PhotoRead, Picture, ReadFailure, Trouble, WorkItem
from photoseek.indexer import embedding
from photoseek.indexer.embedding import EmbeddingRun, TowerSource


class Tower:
    """Embeds a picture as its first pixel; may be made to wait, and to fail."""

    dim, batch_size, batches_at_once = 3, 1, 1

    def __init__(self, at_once: int = 1, batch_size: int = 1) -> None:
        self.batches_at_once, self.batch_size = at_once, batch_size
        self.may_go = threading.Event()
        self.may_go.set()
        self.calls: list[int] = []
        self.running = self.running_max = 0
        self.lock = threading.Lock()

    def encode(self, pictures: Sequence[Picture]) -> Embeddings:
        with self.lock:
            self.calls.append(len(pictures))
            self.running += 1
            self.running_max = max(self.running_max, self.running)
        assert self.may_go.wait(10)
        with self.lock:
            self.running -= 1
        return np.array([picture[0, 0] for picture in pictures], dtype=np.float32)


class Store:
    """Knows the pictures that were stored; used by one thread only."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.embedded: set[bytes] = set()
        self.thread = threading.get_ident()

    def embedded_pictures(self, digests: Sequence[bytes]) -> set[bytes]:
        assert threading.get_ident() == self.thread
        return self.embedded & set(digests)

    def commit(self, outcomes: list[Outcome], count: int) -> None:
        assert threading.get_ident() == self.thread
        new = {o.result.picture_digest for o in outcomes if o.vector is not None and isinstance(o.result, PhotoRead)}
        assert len(new) == count
        self.outcomes += outcomes
        self.embedded |= new


def item(number: int) -> WorkItem:
    return WorkItem(1, b"", str(number).encode(), 1, 1)


def photo(number: int, picture: int | None = None) -> PhotoRead:
    """A photo whose pixels say which picture it is."""
    shown = number if picture is None else picture
    pixels = np.full((2, 2, 3), shown, np.uint8)
    digests = str(number).encode(), str(shown).encode()
    return PhotoRead(digests[0], 1, 1, "jpeg", 2, 2, CameraFacts(), pixels, digests[1])


@pytest.fixture
def store() -> Store:
    return Store()


def run(store: Store, tower: Tower, **options: object) -> EmbeddingRun:
    options = {"total": 100} | options
    return EmbeddingRun(store, TowerSource(lambda: tower), store.commit, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_photo_is_stored_in_order_with_its_own_vector(store: Store, at_once: int) -> None:
    embeddings = run(store, Tower(at_once))
    for number in range(200):
        embeddings.add(item(number), photo(number))
    embeddings.finish()
    embeddings.close()
    assert [outcome.item.name for outcome in store.outcomes] == [str(number).encode() for number in range(200)]
    assert all(outcome.vector[0] == number for number, outcome in enumerate(store.outcomes))  # type: ignore[index]


def test_collecting_goes_on_while_the_tower_computes(store: Store) -> None:
    tower = Tower()
    tower.may_go.clear()
    embeddings = run(store, tower, size=4)
    for number in range(11):  # one batch in the tower, one that waits, most of a third
        embeddings.add(item(number), photo(number))
    assert store.outcomes == []
    tower.may_go.set()
    embeddings.finish()
    embeddings.close()
    assert tower.calls == [4, 4, 3]
    assert tower.running_max == 1
    assert len(store.outcomes) == 11


def test_a_tower_of_several_devices_gets_several_batches_at_once(store: Store) -> None:
    tower = Tower(at_once=3)
    embeddings = run(store, tower, size=2)
    for number in range(4):
        embeddings.add(item(number), photo(number))
    while not store.outcomes:  # the first batch tells how many may follow at once
        embeddings.add(item(99), ReadFailure(Trouble.FILE, "broken"))
        time.sleep(0.001)
    tower.may_go.clear()
    for number in range(10, 16):
        embeddings.add(item(number), photo(number))
    deadline = time.monotonic() + 5
    while tower.running < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert tower.running == 3
    tower.may_go.set()
    embeddings.finish()
    embeddings.close()


def test_a_picture_on_its_way_is_not_embedded_twice(store: Store) -> None:
    tower = Tower()
    tower.may_go.clear()
    embeddings = run(store, tower, size=2)
    for number in range(4):
        embeddings.add(item(number), photo(number, picture=number % 2))
    tower.may_go.set()
    embeddings.finish()
    embeddings.close()
    assert sum(tower.calls) == 2
    assert [outcome.vector is None for outcome in store.outcomes] == [False, False, True, True]


def test_known_pictures_and_failures_open_no_tower(store: Store) -> None:
    def never() -> Tower:
        raise AssertionError("nothing to embed")

    store.embedded = {b"7"}
    embeddings = EmbeddingRun(store, TowerSource(never), store.commit, total=2)  # type: ignore[arg-type]
    embeddings.add(item(1), photo(1, picture=7))
    embeddings.add(item(2), ReadFailure(Trouble.FILE, "broken"))
    embeddings.finish()
    embeddings.close()
    assert [outcome.vector for outcome in store.outcomes] == [None, None]


def test_batches_grow_to_what_the_tower_asks_for(store: Store) -> None:
    tower = Tower(batch_size=100)
    embeddings = run(store, tower)
    for number in range(1000):
        embeddings.add(item(number), photo(number, picture=number % 250))
        store.embedded.clear()  # 250 pictures that are new again and again
    embeddings.finish()
    embeddings.close()
    assert tower.calls[0] == embedding.BATCH_START
    assert max(tower.calls) == 100


def test_an_error_of_the_tower_ends_the_run_with_what_came_before_stored(store: Store) -> None:
    class Failing(Tower):
        def encode(self, pictures: Sequence[Picture]) -> Embeddings:
            if len(self.calls) == 2:
                raise ArithmeticError("no finite vector")
            return super().encode(pictures)

    embeddings = run(store, Failing(), size=5)

    def add_all() -> None:
        for number in range(100):
            embeddings.add(item(number), photo(number))

    with pytest.raises(ArithmeticError):
        add_all()
    embeddings.close()
    assert len(store.outcomes) == 10


def test_a_tower_that_does_not_open_is_an_error_of_the_run(store: Store) -> None:
    def fail() -> Tower:
        raise LookupError("no model")

    embeddings = EmbeddingRun(store, TowerSource(fail), store.commit, total=2)  # type: ignore[arg-type]
    embeddings.add(item(1), photo(1))
    with pytest.raises(LookupError):
        embeddings.finish()
    embeddings.close()


@pytest.mark.parametrize(("total", "changes"), [(10, False), (10_000_000, True)])
def test_a_long_run_changes_to_a_faster_tower_once(
    store: Store, total: int, changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Tower):
        def encode(self, pictures: Sequence[Picture]) -> Embeddings:
            time.sleep(0.002)
            return super().encode(pictures)

    first, second = Slow(), Tower()
    asked: list[tuple[int, float]] = []

    def open_for_long_run(pictures: Sequence[Picture], seconds: float) -> Tower:
        assert first.running == 0, "the trial has the machine to itself"
        asked.append((len(pictures), seconds))
        return second

    source = TowerSource(lambda: first, open_for_long_run)
    embeddings = EmbeddingRun(store, source, store.commit, total=total, size=4)  # type: ignore[arg-type]
    for number in range(40):
        embeddings.add(item(number), photo(number))
    embeddings.finish()
    embeddings.close()
    assert len(store.outcomes) == 40
    assert len(asked) == changes
    assert bool(second.calls) == changes
    assert all(seconds > embedding.LONG_RUN_SECONDS for _count, seconds in asked)
