"""The cache of query vectors may be deleted, damaged or out of reach: that costs time, never an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from photoseek.storage import query_cache
from photoseek.storage.query_cache import CACHE_NAME, QueryCache

VECTOR = np.arange(4, dtype=np.float32)


def _remove(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("no database\n" * 1000)


def _torn(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def test_a_vector_comes_back_as_it_was_for_its_model_and_text_only(tmp_path: Path) -> None:
    cache = QueryCache(tmp_path)
    assert cache.get("model", "red") is None
    cache.put("model", "red", VECTOR)
    cache.put("model", "red", VECTOR + 1)
    cache.close()
    cache = QueryCache(tmp_path)
    assert cache.get("model", "red").tolist() == VECTOR.tolist()  # type: ignore[union-attr]
    assert (cache.get("other", "red"), cache.get("model", "Red")) == (None, None)
    cache.close()


@pytest.mark.parametrize("damage", [_remove, _empty, _text, _torn])
def test_a_damaged_cache_heals(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = QueryCache(tmp_path)
    cache.put("model", "red", VECTOR)
    cache.close()
    damage(tmp_path / CACHE_NAME)
    for _attempt in range(2):  # the first may find the damage and throw the file away
        cache.get("model", "blue")
        cache.put("model", "blue", VECTOR)
    cache.close()
    cache = QueryCache(tmp_path)
    assert cache.get("model", "blue") is not None
    cache.close()


def test_a_cache_out_of_reach_is_no_error(tmp_path: Path) -> None:
    (tmp_path / CACHE_NAME).mkdir()
    cache = QueryCache(tmp_path)
    cache.put("model", "red", VECTOR)
    assert cache.get("model", "red") is None
    cache.close()


def test_the_oldest_texts_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_cache, "ROWS_MAX", 3)
    cache = QueryCache(tmp_path)
    for number in range(6):
        cache.put("model", str(number), VECTOR)
    assert [cache.get("model", str(number)) is not None for number in range(6)] == [False] * 3 + [True] * 3
    cache.close()


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = QueryCache(tmp_path)

    def work(number: int) -> None:
        for text in range(5):
            cache.put("model", f"{number}-{text}", VECTOR)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(cache.get("model", f"{number}-{text}") is not None for number in range(4) for text in range(5))
    cache.close()
