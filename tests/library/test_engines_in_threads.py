"""Threads that share a library and ask new words at the same time, on every engine that is installed."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest
from fakes import OneByOne
from small_library import write_photos

from photoseek import PhotoLibrary, indexing

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("engine", ["numpy", "openvino", pytest.param("torch", marks=pytest.mark.slow)])
def test_answers_do_not_depend_on_other_threads(
    tmp_path: Path, photos: Path, tiny_checkpoint: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine != "numpy" and importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    monkeypatch.setattr(indexing, "DecodeWorkers", OneByOne)
    write_photos(photos, 6)
    example = (photos / "03.png").read_bytes()
    words = [f"{word} {number}" for number in range(6) for word in ("a red car", "dog", "two dogs at the beach")]
    with PhotoLibrary.open(tmp_path / "library", model=tiny_checkpoint, engine=engine, device="cpu") as library:
        library.index(photos)
        alone = [[(m.id, m.score) for m in library.search(text)] for text in words]
        by_example = [(m.id, m.score) for m in library.search(like=example)]
        (library.path / "queries.sqlite").unlink()
    found: dict[str, list[tuple[str, float]]] = {}
    troubles: list[BaseException] = []
    with PhotoLibrary.open(tmp_path / "library", engine=engine, device="cpu") as library:
        start = threading.Barrier(4)

        def ask(part: int) -> None:
            try:
                start.wait()
                for text in words[part::4]:
                    found[text] = [(match.id, match.score) for match in library.search(text)]
                    assert [m.id for m in library.search(like=example)] == [id for id, _score in by_example]
            except BaseException as error:
                troubles.append(error)

        threads = [threading.Thread(target=ask, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert troubles == []
    for text, expected in zip(words, alone, strict=True):
        assert [id for id, _score in found[text]] == [id for id, _score in expected]
        assert [score for _id, score in found[text]] == pytest.approx([score for _id, score in expected], abs=1e-4)
