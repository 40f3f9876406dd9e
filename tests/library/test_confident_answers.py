"""A library whose model is calibrated says how likely its matches are, and when nothing is."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_library import write_photos

from photoseek import PhotoLibrary, Query
from photoseek.errors import UsageError

# The colour model knows eight colours: any of them reads far above the everyday texts, an unknown word does not.
CALIBRATION = {
    "version": 2,
    "log_odds_weight": 1.0,
    "clarity_weight": 0.0,
    "generality_weight": 0.0,
    "bias": -3.0,
    "near": 0.99,
    "threshold_generality_weight": 0.0,
    "threshold_words_weight": 0.0,
    "threshold_bias": math.log(0.2 / 0.8),
}


@pytest.fixture
def calibrated(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "calibrated"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "calibration.json").write_text(json.dumps(CALIBRATION))
    return folder


def test_confidence_verdict_and_threshold_come_with_the_answer(
    open_library: Callable[..., PhotoLibrary], calibrated: Path, photos: Path
) -> None:
    write_photos(photos, 8)
    library = open_library(model=calibrated)
    library.index(photos)
    page = library.search("red")
    assert (page.verdict, page.threshold) == ("found", pytest.approx(0.2))
    assert page[0].confidence is not None
    assert page[0].confidence > 0.2 > (page[-1].confidence or 0)
    assert page.total_above == sum((match.confidence or 0) >= 0.2 for match in page)
    assert page[0].why == {"red": pytest.approx(page[0].score, abs=1e-5)}

    cut = library.search("red", min_confidence=0.2)
    assert [match.id for match in cut] == [match.id for match in page if (match.confidence or 0) >= 0.2]
    newest = library.search("red", order="newest")
    assert {match.id for match in newest} == {match.id for match in cut}
    assert library.search("red", min_confidence=0.99999).verdict == "nothing"


def test_only_words_that_are_wanted_are_read(
    open_library: Callable[..., PhotoLibrary], calibrated: Path, photos: Path
) -> None:
    write_photos(photos, 8)
    library = open_library(model=calibrated)
    library.index(photos)
    plain = {match.id: match.confidence for match in library.search("red")}
    beside = library.search(Query("red") + 0.1 * Query(photos / "02.png"), without="pink")
    assert {match.id: match.confidence for match in beside} == plain
    assert set(beside[0].why) == {"red", f"like {photos / '02.png'}", "pink"}
    by_example = library.search(like=photos / "02.png")
    assert (by_example.verdict, by_example[0].confidence) == ("uncalibrated", None)
    with pytest.raises(UsageError, match="no words"):
        library.search(like=photos / "02.png", min_confidence=0.5)


def test_the_threshold_counts_the_words_that_are_wanted(
    open_library: Callable[..., PhotoLibrary], calibrated: Path, photos: Path
) -> None:
    (calibrated / "calibration.json").write_text(
        json.dumps(CALIBRATION | {"threshold_words_weight": 1.0, "threshold_bias": -3.0})
    )
    write_photos(photos, 8)
    library = open_library(model=calibrated)
    library.index(photos)

    def needed(query: str | Query, without: str | None = None) -> float | None:
        return library.search(query, without=without).threshold

    odds = math.exp(-3)  # for one word; three have three times as much
    assert needed("red") == needed("  red ", without="blue and green") == pytest.approx(odds / (1 + odds))
    assert (
        needed("red or green") == needed(Query("red") + Query("blue sea")) == pytest.approx(3 * odds / (1 + 3 * odds))
    )


def test_a_calibration_added_later_serves_the_library_as_it_is(
    open_library: Callable[..., PhotoLibrary], calibrated: Path, photos: Path
) -> None:
    content = (calibrated / "calibration.json").read_bytes()
    (calibrated / "calibration.json").unlink()
    write_photos(photos, 3)
    library = open_library(model=calibrated)
    library.index(photos)
    assert library.search("red").verdict == "uncalibrated"
    (calibrated / "calibration.json").write_bytes(content)
    again = open_library(library.path)
    assert again.search("red").verdict == "found"
