"""What a search says beside its matches: likely ones first, nothing where nothing is, and the same in JSON."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_library import write_photos

from photoseek.hints import date_hint
from photoseek.show_matches import CLOSEST

pytestmark = pytest.mark.slow

Command = Callable[..., Any]


@pytest.fixture
def calibrated(tiny_checkpoint: Path, tmp_path: Path, photos: Path, command: Command) -> Path:
    folder = tmp_path / "calibrated"
    shutil.copytree(tiny_checkpoint, folder)
    numbers = {"log_odds_weight": 1.0, "clarity_weight": 0.0, "generality_weight": 0.0, "bias": -3.0, "near": 0.99}
    numbers |= {
        "threshold_generality_weight": 0.0,
        "threshold_words_weight": 0.0,
        "threshold_bias": math.log(0.2 / 0.8),
    }
    (folder / "calibration.json").write_text(json.dumps({"version": 2, **numbers}))
    write_photos(photos, 8)
    command("index", photos, "--model", folder)
    return photos


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch, calibrated: Path) -> Path:
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _stream: True)
    return calibrated


def test_on_a_terminal_the_list_has_what_is_likely(command: Command, on_terminal: Path) -> None:
    lines = command("search", "red").lines
    likely = [match for match in command("search", "red", "--json").matches if match["confidence"] >= 0.2]
    assert 0 < len(likely) < 8
    assert len(lines) == 1 + len(likely) + 1
    assert lines[-1] == 'The others are less likely; "--all" shows them.'
    assert len(command("search", "red", "--all").lines) == 1 + 8


def test_pages_of_what_is_likely_follow_one_another(command: Command, on_terminal: Path) -> None:
    asked = ("search", "red", "--min-confidence", 0.0001)
    likely = json.loads(command(*asked, "--json").out)["total_above"]
    assert likely == 8
    first = command(*asked, "--limit", 5).lines
    assert [line.split()[0] for line in first[1:6]] == ["1", "2", "3", "4", "5"]
    assert first[6:] == ['3 more are likely: "--offset 5" goes on.']
    assert [line.split()[0] for line in command(*asked, "--limit", 5, "--offset", 5).lines[1:]] == ["6", "7", "8"]


def test_what_was_excluded_does_not_come_back_for_being_likely(command: Command, on_terminal: Path) -> None:
    asked = ("search", "red", "--without", "red", "--weight", 0.5, "--weight", 1)
    everything = command(*asked, "--json").matches
    assert [match["confidence"] >= 0.2 for match in everything][:2] == [False, False]
    assert any(match["confidence"] >= 0.2 for match in everything)
    assert command(*asked, "--limit", 2).lines == [
        "None of these is likely.",
        '2 less likely left out; "--all" shows them.',
    ]


def test_past_the_last_likely_photo_this_is_said(command: Command, on_terminal: Path) -> None:
    lines = command("search", "red", "--offset", 7).lines
    assert lines == ["No more photos are likely.", 'The others are less likely; "--all" shows them.']


def test_beside_a_picture_the_words_alone_hide_no_photo(command: Command, on_terminal: Path) -> None:
    lines = command("search", "a submarine", "--like", on_terminal / "00.png", "--weight", 0.1, "--weight", 1).lines
    assert len(lines) == 1 + 8
    assert lines[1].endswith("00.png")
    assert "Nothing" not in command("search", "a submarine", "--like", on_terminal / "00.png", "--paths").err


def test_with_nothing_likely_the_newest_are_not_an_empty_library(command: Command, on_terminal: Path) -> None:
    lines = command("search", "a submarine", "--order", "newest").lines
    assert lines[0] == 'Nothing looks like "a submarine"; closest:'
    assert len(lines) == 1 + 1 + CLOSEST + 1
    assert len(command("search", "a submarine", "--order", "newest", "--all").lines) == 1 + 8
    assert command("search", "a submarine", "--order", "newest", "--json").matches == []


def test_nothing_that_looks_like_it_is_said_and_the_closest_are_shown(command: Command, on_terminal: Path) -> None:
    lines = command("search", "a submarine", "--without", "blue").lines
    assert lines[0] == 'Nothing looks like "a submarine" without "blue"; closest:'
    assert len(lines) == 1 + 1 + CLOSEST + 1
    assert len(command("search", "a submarine", "--all").lines) == 1 + 8


def test_scripts_get_every_match_and_the_verdict_beside_them(command: Command, calibrated: Path) -> None:
    answer = json.loads(command("search", "a submarine", "--json").out)
    assert (answer["verdict"], answer["threshold"], answer["total_above"], len(answer["matches"])) == (
        "nothing",
        pytest.approx(0.2),
        0,
        8,
    )
    ended = command("search", "a submarine", "--paths")
    assert len(ended.lines) == 8
    assert ended.err == 'Nothing looks like "a submarine"; closest:\n'
    assert command("search", "a submarine", "--json", "--min-confidence", "0.5").matches == []
    ended = command("search", "a submarine", "--min-confidence", "0.5")
    assert ended.err == "No photos found that fit: at least 50% likely.\n"


def test_what_filters_alone_leave_has_pages_too(command: Command, on_terminal: Path) -> None:
    asked = ("search", "--format", "png", "--limit", 3)
    first = command(*asked).lines
    assert [line.split()[0] for line in first[1:4]] == ["1", "2", "3"]
    assert first[4:] == ['5 more: "--offset 3" goes on.']
    last = command(*asked, "--offset", 6).lines
    assert [line.split()[0] for line in last[1:]] == ["7", "8"]
    listing, answer = json.loads(command(*asked, "--json").out), json.loads(command("search", "red", "--json").out)
    assert (listing["total"], len(listing["matches"]), listing["undated"]) == (8, 3, 0)
    assert set(answer) == set(listing) - {"total"}


def test_a_program_that_reads_the_lines_gets_photos_only(command: Command, calibrated: Path) -> None:
    lines = command("search", "--format", "png", "--limit", 3).lines
    assert [line.split("\t")[0] for line in lines] == ["-", "-", "-"]


def test_undated_photos_are_counted_with_and_without_words(command: Command, calibrated: Path) -> None:
    told = "8 photos without a date left out.\n"
    assert command("search", "--taken", "2024").err.endswith(told)
    assert command("search", "red", "--taken", "2024").err.endswith(told)
    assert json.loads(command("search", "--taken", "2024", "--json").out)["undated"] == 8


def test_a_name_that_was_typed_without_quotes_is_offered_with_them(command: Command, calibrated: Path) -> None:
    told = "1 photo has these very words in the name, the folder or the keywords: put them in quotes, '\"03.png\"'.\n"
    assert told in command("search", "03.png").err
    assert "very words" not in command("search", "1999.png").err, "no photo has it"
    assert "very words" not in command("search", "red").err, "found as a picture"
    assert told not in command("search", "03.png", "--json").err
    assert "very words" not in command("search", '"03.png"').err


@pytest.mark.parametrize("words", ["red without blue", "a beach, no blue", "not a blue one", "red without any blue"])
def test_an_exclusion_within_the_words_is_pointed_out(command: Command, calibrated: Path, words: str) -> None:
    assert '--without "blue" leaves such photos out.' in command("search", words).err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("beach last July", ("last July", "2026-07")),
        ("last december", ("last december", "2025-12")),
        ("people in May", ("in May", "2026-05")),
        ("the party of 3 November, 2019", ("November, 2019", "2019-11")),
        ("November", ("November", "2026-11")),
        ("last November", ("last November", "2025-11")),
        ("Yesterday", ("Yesterday", "2026-11-27")),
        ("a walk today", ("today", "2026-11-28")),
        ("snow last month", ("last month", "2026-10")),
        ("this year", ("this year", "2026")),
        ("the wedding 2018", ("2018", "2018")),
        ("soldiers march", None),
        ("may I", None),
        ("a car from 2077", None),
        ("IMG_2019.jpg", None),
        ("2019-05.png", None),
        ('"july" a dog', None),
        ("a dog", None),
    ],
)
def test_dates_among_the_words_are_pointed_at(words: str, hint: tuple[str, str] | None) -> None:
    said = hint and f'The model sees no dates: leave out "{hint[0]}", and ask with --taken {hint[1]}.'
    assert date_hint(words, date(2026, 11, 28)) == said


def test_a_date_among_the_words_is_answered_with_a_hint_once(command: Command, calibrated: Path) -> None:
    assert "--taken 2019." in command("search", "red in 2019").err
    assert "--taken" not in command("search", "red in 2019", "--taken", "2018..").err
    assert "--taken" not in command("search", "red in 2019", "--json").err


def test_other_words_are_taken_as_they_are(command: Command, calibrated: Path) -> None:
    for words in ("notes on a piano", "a knot", "nobody"):
        assert "--without" not in command("search", words).err


def test_a_page_goes_on_from_the_json_of_the_one_before(command: Command, calibrated: Path) -> None:
    whole = [match["id"] for match in command("search", "red", "--json").matches]
    first = json.loads(command("search", "red", "--json", "--limit", 5).out)
    second = json.loads(command("search", "red", "--json", "--limit", 5, "--after", first["next"]).out)
    assert [match["id"] for match in first["matches"] + second["matches"]] == whole
    assert second["next"] is None
    refused = command("search", "blue", "--after", first["next"])
    assert refused.code == 2
    assert "another search" in refused.err


def test_weights_belong_to_the_parts_in_their_order(command: Command, calibrated: Path) -> None:
    found = command("search", "red", "--query", "blue", "--weight", 0.1, "--weight", 2, "--json").matches
    assert Path(found[0]["path"]).name == "02.png"
    assert set(found[0]["why"]) == {"red", "blue"}
    refused = command("search", "red", "--like", calibrated / "00.png", "--weight", 1)
    assert refused.code == 2
    assert "1 weights were given for 2 parts" in refused.err


def test_copies_in_other_sizes_fold_into_one_row(command: Command, photos: Path, tiny_checkpoint: Path) -> None:
    scene = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((400, 400))
    scene.save(photos / "shot.jpg", quality=90)
    scene.resize((200, 200)).save(photos / "small.jpg", quality=70)
    scene.save(photos / "shot.png")
    write_photos(photos, 4)
    command("index", photos, "--model", tiny_checkpoint)
    plain, folded = command("search", "red", "--json").matches, command("search", "red", "--collapse", "--json").matches
    assert (len(plain), len(folded)) == (7, 5)
    (moment,) = [match for match in folded if match["similar"]]
    assert len(moment["similar"]) == 2
    assert {match["id"] for match in plain} == {id for match in folded for id in (match["id"], *match["similar"])}
