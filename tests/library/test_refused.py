"""Arguments that cannot be: one sentence that names them, never an error of some library below."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_library import write_photo

from photoseek import IndexSettings, PhotoLibrary, Query, where
from photoseek.conditions import Condition
from photoseek.errors import PhotoseekError, UsageError

pytestmark = pytest.mark.slow


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def filled(library: PhotoLibrary, photos: Path) -> PhotoLibrary:
    for colour in ("red", "blue"):
        write_photo(photos / f"{colour}.png", colour)
    library.index(photos)
    return library


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": -1},
        {"workers": "two"},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"settings": IndexSettings(ivf_min_rows=-1)},
        {"settings": IndexSettings(delta_max_rows=0)},
    ],
    ids=str,
)
def test_numbers_with_which_nothing_would_be_read_are_refused(
    library: PhotoLibrary, photos: Path, options: dict[str, Any]
) -> None:
    write_photo(photos / "red.png", "red")
    with pytest.raises(UsageError, match=r"(workers|batch_size|\w+_rows) must be a whole number, 1 or more"):
        library.index(photos, **options)
    assert not library.exists


@pytest.mark.parametrize(
    "call",
    [
        lambda library: library.search("red", limit=None),
        lambda library: library.search("red", limit=-1),
        lambda library: library.search("red", offset="1"),
        lambda library: library.photos(limit=2.5),
        lambda library: library.duplicates(limit=-1),
        lambda library: library.clusters("day", limit=None),
    ],
)
def test_pages_have_whole_numbers(filled: PhotoLibrary, call: Callable[[PhotoLibrary], object]) -> None:
    with pytest.raises(UsageError, match=r"(limit|offset) must be a whole number, 0 or more"):
        call(filled)


@pytest.mark.parametrize("wrong", ["0.5", 1.5, -0.1, float("nan")])
def test_a_least_confidence_is_a_share(filled: PhotoLibrary, wrong: float) -> None:
    with pytest.raises(UsageError, match="min_confidence must be a number from 0 to 1"):
        filled.search("red", min_confidence=wrong)


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
@pytest.mark.parametrize(
    "call",
    [
        lambda library, path: PhotoLibrary.open(path),
        lambda library, path: library.index(path),
        lambda library, path: library.forget(path),
        lambda library, path: library.move_root(path, "."),
        lambda library, path: library.remove_root(path),
        lambda library, path: library.backup(path),
        lambda library, path: library.export_vectors(path),
        lambda library, path: library.import_vectors(path),
        lambda library, path: library.search(like=path),
        lambda library, path: library.classify(path, ["a", "b"]),
        lambda library, path: where.under(path),
    ],
)
def test_what_cannot_be_a_path_is_refused(
    filled: PhotoLibrary, call: Callable[[PhotoLibrary, str], object], path: str
) -> None:
    with pytest.raises(UsageError, match=r"an empty path was given|is no path"):
        call(filled, path)


@pytest.mark.parametrize(
    "call",
    [lambda library, path: PhotoLibrary.open(path / "library"), lambda library, path: library.backup(path / "copy")],
)
def test_a_library_whose_index_faiss_could_not_open_is_refused(
    filled: PhotoLibrary, photos: Path, call: Callable[[PhotoLibrary, Path], object]
) -> None:
    folder = Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9"))
    with pytest.raises(UsageError, match="its name is not in UTF-8") as caught:
        call(filled, folder)
    str(caught.value).encode()
    assert not folder.exists()


def test_a_model_without_a_name_is_refused(filled: PhotoLibrary) -> None:
    with pytest.raises(UsageError, match="name of the model is empty"):
        filled.use_model("")


@pytest.mark.parametrize(
    "condition",
    [
        lambda: where.rating >= 2**63,
        lambda: where.width == -(2**70),
        lambda: where.size < 10**30,
        lambda: where.camera.contains("\ud800"),
        lambda: where.title.contains("a\0"),
    ],
)
def test_what_the_catalog_cannot_look_for_is_refused(condition: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match=r"is out of reach|is no text to look for"):
        condition()


@pytest.mark.slow
def test_a_search_takes_any_number_of_ids(filled: PhotoLibrary) -> None:
    ids = [filled.add(png(), id="mine").id, *(f"file-{number}" for number in range(1000, 40_000))]
    ids += [f"picture-{number}" for number in range(300_000)]
    assert [match.id for match in filled.search("red", ids=ids)] == ["mine"]


def test_an_id_that_is_no_text_is_nobodys(filled: PhotoLibrary) -> None:
    assert filled.get("\ud800") is None
    assert filled.remove(["\ud800", "\udcff"]) == 0
    assert list(filled.search("red", ids=["\ud800"])) == []
    assert filled.photos(where=where.ids(["\ud800", "a\0b"])) == []
    with pytest.raises(KeyError):
        filled.vectors(["\ud800"])
    with pytest.raises(UsageError, match="it is no text"):
        filled.add(b"", id="\ud800")


@pytest.mark.parametrize("text", ["\ud800", "a\ud800b", "a\0b"])
def test_words_may_be_any_text(filled: PhotoLibrary, text: str) -> None:
    filled.search(f'red "{text}"')
    filled.search("red", without=text)
    filled.classify(png(), [text, "b"])
    for build in (where.words, where.taken.on, where.format):
        with suppress(UsageError):
            filled.photos(where=build(text))
    with suppress(UsageError):
        filled.prune_models(text)
    with suppress(PhotoseekError):
        filled.use_model(text)


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "condition",
    [
        lambda: reduce(or_, [where.width == number for number in range(500)]),
        lambda: reduce(and_, [~(where.width == number) for number in range(100, 600)]),
        lambda: reduce(or_, [where.words(f"red{number}") for number in range(499)]) | where.format("png"),
        lambda: reduce(or_, [where.under(f"/{number}") for number in range(499)]) | where.format("png"),
        lambda: ~(reduce(lambda inner, _: ~(inner & where.landscape()), range(9), where.landscape())),
    ],
)
def test_hundreds_of_conditions_are_answered(
    filled: PhotoLibrary, photos: Path, condition: Callable[[], Condition], exact: bool
) -> None:
    shutil.copy(photos / "red.png", photos / "copy.png")
    filled.index()
    filled.photos(where=condition())
    filled.search("red", where=condition(), exact=exact, include_missing=exact)


def test_thousands_of_conditions_are_refused() -> None:
    for combine in (or_, and_):
        with pytest.raises(UsageError, match="at most 500 conditions"):
            reduce(combine, [where.width == number for number in range(5000)])
    with pytest.raises(UsageError, match="at most 500 conditions"):
        where.under(*map(str, range(1000)))
    with pytest.raises(UsageError, match="nested 20 deep"):
        reduce(lambda inner, _: ~(inner & where.landscape()), range(1000), where.landscape())


def test_the_id_of_a_file_is_one_exact_text(filled: PhotoLibrary) -> None:
    (first, _second) = filled.photos()
    for id in (first.id.replace("file-", "file-0"), first.id.translate({0x31: 0x661, 0x32: 0x662}), f"{first.id} "):
        assert id != first.id
        assert filled.get(id) is None
    assert filled.get(first.id) is not None


@pytest.mark.parametrize(
    "options", [{"query": 5}, {"query": b"red"}, {"without": 5}, {"without": ["a", None]}, {"after": 5}], ids=str
)
def test_words_and_places_are_text(filled: PhotoLibrary, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="text, not"):
        filled.search(**{"query": "red", **options})


@pytest.mark.parametrize(
    "call",
    [
        lambda library: library.search("red", ids="file-1"),
        lambda library: library.photos(where=where.ids("file-1")),
        lambda library: library.vectors("file-1"),
        lambda library: library.search("red", ids=1),
        lambda library: library.search_many("red"),
    ],
)
def test_one_text_is_no_list_of_them(filled: PhotoLibrary, call: Callable[[PhotoLibrary], object]) -> None:
    with pytest.raises(UsageError, match=r"takes a list of (ids|texts), not ") as refused:
        call(filled)
    assert "a list of one is [" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "call",
    [
        lambda library: library.get(5),
        lambda library: library.remove(library.photos()[0]),
        lambda library: library.remove(library.photos()),
        lambda library: library.remove(5),
        lambda library: library.search("red", ids=library.photos()),
        lambda library: library.photos(where=where.ids([5])),
        lambda library: library.vectors([5]),
        lambda library: library.add(png(), id=5),
    ],
)
def test_ids_are_text(filled: PhotoLibrary, call: Callable[[PhotoLibrary], object]) -> None:
    with pytest.raises(UsageError, match=r"the id of a photo is a text, not (int|Photo)"):
        call(filled)
    assert filled.status().photos == 2


@pytest.mark.parametrize(
    "put_together",
    [
        lambda: Query("a street") + "people",
        lambda: Query("a street") - "people",
        lambda: "people" + Query("a street"),
        lambda: "people" - Query("a street"),
    ],
)
def test_a_query_is_put_together_with_queries(put_together: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match="not with str") as refused:
        put_together()
    assert refused.value.hint == "say Query('people')"


def test_a_condition_alone_is_answered_with_what_lists_photos(filled: PhotoLibrary) -> None:
    with pytest.raises(UsageError, match="nothing to search for") as refused:
        filled.search(where=where.width > 0)
    assert "library.photos(where=...)" in (refused.value.hint or "")
