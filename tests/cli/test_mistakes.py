"""What users get wrong: one sentence, a hint, the right exit code, never a traceback, nothing made by accident."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_library import write_photo

from photoseek.storage.lock import WriterLock

pytestmark = pytest.mark.slow

Command = Callable[..., Any]


@pytest.fixture
def indexed(command: Command, photos: Path, tiny_checkpoint: Path) -> Path:
    for colour in ("red", "blue"):
        write_photo(photos / f"{colour}.png", colour)
    (photos / "text.txt").write_text("no picture")
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    return photos


def refused(answer: Any, code: int) -> str:
    """The answer is an error with this code, in a few lines on standard error; returns them."""
    assert (answer.code, answer.out) == (code, ""), answer
    assert "Error: " in answer.err
    assert len(answer.err.splitlines()) <= 6, answer.err
    return str(answer.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["index", "{photos}/nothing"],
        ["index", "{photos}/red.png"],
        ["index", ""],
        ["index", "{photos}", "--workers", "0"],
        ["index", "{photos}", "--batch-size", "-3"],
        ["index", "{photos}", "--precision", "float8"],
        ["search"],
        ["search", ""],
        ["search", "   "],
        ["search", "red", "--limit", "0"],
        ["search", "red", "--limit", "many"],
        ["search", "red", "--offset", "-1"],
        ["search", "red", "--json", "--paths"],
        ["search", "red", "--json", "-0"],
        ["search", "--without", "red"],
        ["search", "red", "--without", "blue", "--weight", "nan", "--weight", "1"],
        ["search", "red", "--weight", "inf"],
        ["classify", "{photos}/red.png", "--label", "one"],
        ["classify", "{photos}/red.png", "--label", "a", "--label", "b", "--template", "{{x}}"],
        ["classify", "{photos}/red.png", "--label", "a", "--label", "b", "--template", "{{"],
        ["forget"],
        ["forget", "{photos}/nothing.png"],
        ["roots", "move", "{photos}/nothing", "{photos}"],
        ["roots", "move", "{photos}", "{photos}/nothing"],
        ["roots", "remove", "{photos}/nothing"],
        ["backup", "{photos}"],
        ["backup"],
        ["models", "download", "not-a-name"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(command: Command, indexed: Path, arguments: list[str]) -> None:
    refused(command(*(argument.format(photos=indexed) for argument in arguments)), 2)


def test_a_backup_makes_no_folders_above_its_own(command: Command, indexed: Path, tmp_path: Path) -> None:
    told = refused(command("backup", tmp_path / "drive" / "backups" / "monday"), 2)
    assert f"there is no folder {tmp_path / 'drive' / 'backups'}" in told
    assert not (tmp_path / "drive").exists()


def test_a_backup_that_cannot_be_written_ends_with_1(command: Command, indexed: Path) -> None:
    refused(command("backup", indexed / "red.png" / "copy"), 1)


@pytest.mark.parametrize("example", ["nothing.png", "text.txt", "."])
def test_an_example_that_is_no_picture_ends_with_1(command: Command, indexed: Path, example: str) -> None:
    assert example in refused(command("search", "--like", indexed / example), 1) or example == "."


@pytest.mark.parametrize(
    "arguments", [["search", "red"], ["status"], ["verify"], ["backup", "copy"], ["roots", "list"], ["forget", "x"]]
)
def test_a_library_that_does_not_exist_ends_with_3_and_is_not_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no photo library" in refused(command(*arguments), 3)
    assert not (tmp_path / "library").exists()
    assert not (tmp_path / "copy").exists()


def test_models_use_without_a_library_ends_with_3(command: Command, tmp_path: Path, tiny_checkpoint: Path) -> None:
    refused(command("models", "use", tiny_checkpoint), 3)
    assert not (tmp_path / "library").exists()


def test_another_model_is_refused_with_a_hint(command: Command, indexed: Path, turned_checkpoint: Path) -> None:
    assert "models use" in refused(command("index", "--model", turned_checkpoint), 3)


@pytest.mark.parametrize("damage", ["gone", "empty", "truncated"])
def test_a_bad_model_is_a_clear_error(
    command: Command, photos: Path, tmp_path: Path, tiny_checkpoint: Path, damage: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, model)
    if damage == "gone":
        shutil.rmtree(model)
    elif damage == "empty":
        shutil.rmtree(model)
        model.mkdir()
    else:
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    write_photo(photos / "a.png", "red")
    refused(command("index", photos, "--model", model), 1)
    answer = command("search", "red")
    assert answer.code in (0, 3)


def test_the_model_of_a_library_that_is_gone_is_named(
    command: Command, photos: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, model)
    write_photo(photos / "a.png", "red")
    command("index", photos, "--model", model)
    command("search", "red")
    shutil.rmtree(model)
    assert command("search", "red").code == 0, "a repeated query needs no model"
    assert str(model) in refused(command("search", "green"), 1)
    assert command("index").code == 0, "nor does an unchanged tree"


def _text(catalog: Path) -> None:
    catalog.write_text("this is no database, it only has its name\n" * 100)


def _other(catalog: Path) -> None:
    catalog.unlink()
    connection = sqlite3.connect(catalog)
    connection.execute("CREATE TABLE letters (a)")
    connection.close()


def _newer(catalog: Path) -> None:
    connection = sqlite3.connect(catalog)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def _torn(catalog: Path) -> None:
    whole = catalog.read_bytes()
    catalog.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))


@pytest.mark.parametrize("damage", [_text, _other, _newer, _torn])
@pytest.mark.parametrize("arguments", [["search", "red"], ["status"], ["index"], ["verify"]], ids=" ".join)
def test_a_damaged_or_foreign_catalog_ends_with_3(
    command: Command, indexed: Path, tmp_path: Path, damage: Callable[[Path], None], arguments: list[str]
) -> None:
    catalog = tmp_path / "library" / "catalog.sqlite"
    damage(catalog)
    before = catalog.read_bytes()
    answer = command(*arguments)
    assert answer.code in ((3, 5) if damage is _torn else (3,)), answer
    assert "catalog.sqlite" in answer.err + answer.out or "format 99" in answer.err
    assert catalog.read_bytes() == before, "nothing is written over what is not understood"


def test_a_library_path_that_is_a_file_ends_with_3(command: Command, indexed: Path) -> None:
    refused(command("search", "red", library=indexed / "red.png"), 3)
    refused(command("index", indexed, library=indexed / "red.png"), 3)
    refused(command("index", indexed, library=indexed / "red.png" / "deeper"), 3)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that even root cannot write."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    shutil.copytree(tmp_path / "library", folder / "library")
    commands = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,bind,ro", folder]]
    if sys.platform != "linux" or any(subprocess.run(line, capture_output=True).returncode for line in commands):
        subprocess.run(["umount", "-l", folder], capture_output=True)
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_library_in_a_read_only_place(command: Command, indexed: Path, read_only: Path) -> None:
    for arguments in (["search", "red"], ["status"]):
        answer = command(*arguments, library=read_only / "library")
        assert answer.code in (0, 3), answer
    refused(command("index", library=read_only / "library"), 3)
    refused(command("index", indexed, library=read_only / "new"), 3)
    refused(command("backup", read_only / "copy"), 1)


def test_a_library_being_written_ends_with_4_and_is_searched_meanwhile(
    command: Command, indexed: Path, tmp_path: Path
) -> None:
    with WriterLock(tmp_path / "library"):
        assert str(os.getpid()) in refused(command("index"), 4)
        assert command("forget", indexed / "red.png").code == 4
        assert command("search", "red").code == 0
        assert command("status").code == 0
        assert command("verify").code == 0
    assert command("index").code == 0


def test_words_without_quotes_are_answered_with_quotes(command: Command, indexed: Path) -> None:
    assert 'put the words in quotes, as one: "a red car"' in refused(command("search", "a", "red", "car"), 2)


@pytest.mark.parametrize(
    "option", [["--after", "x"], ["--min-confidence", "0.5"], ["--collapse"], ["--missing"]], ids=" ".join
)
def test_what_a_list_cannot_do_is_refused(command: Command, indexed: Path, option: list[str]) -> None:
    assert f"{option[0]} needs words or an example" in refused(command("search", "--format", "png", *option), 2)


OPTIONS_WITH_TEXT = [
    *("taken", "camera", "lens", "rating", "folder", "near", "place", "format", "shape", "min-width"),
    *("query", "like", "without", "weight", "html", "after", "limit", "device", "library"),
]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        *((["search", "red", f"--{option}", ""], f"--{option}") for option in OPTIONS_WITH_TEXT),
        (["--library", "", "status"], "--library"),
        (["search", "red", "--camera", "  "], "--camera"),
        (["search", "", "--format", "png"], "QUERY"),
        (["index", "{photos}", "--model", ""], "--model"),
        (["index", "{photos}", ""], "PATH"),
        (["classify", "{photos}/red.png", "--label", "a", "--label", ""], "--label"),
        (["classify", "", "--label", "a", "--label", "b"], "PHOTO"),
        (["roots", "move", "{photos}", ""], "NEW"),
        (["roots", "move", "", "{photos}"], "OLD"),
        (["roots", "remove", ""], "PATH"),
        (["models", "use", ""], "NAME"),
        (["models", "prune", ""], "NAME"),
        (["backup", ""], "TARGET"),
        (["forget", ""], "PATH"),
    ],
)
def test_an_empty_value_is_refused_by_its_name(
    command: Command, indexed: Path, arguments: list[str], name: str
) -> None:
    said = refused(command(*(argument.format(photos=indexed) for argument in arguments)), 2)
    assert f"Error: {name} is empty\n" in said


def test_paths_that_are_too_long_are_no_tracebacks(command: Command, indexed: Path) -> None:
    long = indexed / ("x" * 300)
    for arguments in (["status"], ["search", "red"], ["index", indexed]):
        assert "File name too long" in refused(command(*arguments, library=long), 3)
    refused(command("index", "--model", long), 1)
    refused(command("models", "use", long), 1)
    refused(command("backup", long), 1)
    refused(command("index", long), 2)
    refused(command("roots", "move", indexed, long), 2)
    answer = command("search", "red", "--html", f"{long}.html")
    assert (answer.code, answer.out) == (1, "")
    assert "could not be written: File name too long" in answer.err


def test_a_user_who_does_not_exist_has_no_folder(command: Command, indexed: Path) -> None:
    assert "there is no photo library" in refused(command("status", library="~nobody-of-that-name/x"), 3)
    assert "there is no model" in refused(command("models", "use", "~nobody-of-that-name/x"), 1)


def test_a_backup_is_not_written_over_a_link(command: Command, indexed: Path) -> None:
    (indexed / "link").symlink_to(indexed / "nowhere")
    assert "exists" in refused(command("backup", indexed / "link"), 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--taken", "2024-13"], ["--taken 2024-13: ", "as in 2024, 2024-06"]),
        (["--taken", "2024..2023"], ["--taken 2024..2023: 2024 is later than 2023"]),
        (["--rating", "4..2"], ["--rating 4..2: ", "as in --rating 2..3"]),
        (["--near", "91,0,1km"], ["--near 91,0,1km: ", "as in 45.44"]),
        (["--near", "0,0,0"], ["--near 0,0,0: "]),
        (["--camera", os.fsdecode(b"\xff")], [r"--camera \udcff: "]),
        (["--format", "heic,png"], ["--format heic,png: ", "jpeg, png"]),
        (["--format", os.fsdecode(b"\xff")], [r"--format \udcff: "]),
        (["--min-width", "9" * 20], [f"--min-width {'9' * 20}: "]),
        (["--folder", os.fsdecode(b"a"), "--place", "Nocitylikethis"], ["--place Nocitylikethis: "]),
        (["red", "--weight", "nan"], ["--weight", "nan is no finite number"]),
        (["red", "--min-confidence", "nan"], ["--min-confidence", "nan is no finite number"]),
        (["red", "--after", "zz"], ["no place to go on from", "--after"]),
        (["--like", "{photos}/red.png", "--min-confidence", ".5"], ["--min-confidence"]),
        (["red", "--device", "foo"], ["unknown device 'foo'"]),
        (["red", "--device", "cuda:-1"], ["unknown device 'cuda:-1'"]),
    ],
    ids=lambda value: ascii(value),
)
def test_a_wrong_value_is_refused_by_its_option(
    command: Command, indexed: Path, arguments: list[str], said: list[str]
) -> None:
    answer = refused(command("search", *(argument.format(photos=indexed) for argument in arguments)), 2)
    assert [part for part in said if part not in answer] == [], answer


def test_an_example_that_cannot_be_read_says_so_once(command: Command, indexed: Path) -> None:
    (indexed / "loop.jpg").symlink_to(indexed / "loop.jpg")
    for example in (indexed / "loop.jpg", indexed / ("x" * 300)):
        assert refused(command("search", "--like", example), 1).count("cannot be read") == 1


def test_a_backup_in_the_library_itself_is_refused(command: Command, indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "library")
    for target in (tmp_path / "library" / "copy", tmp_path / "link" / "deep" / "copy"):
        assert "lies in the library itself" in refused(command("backup", target), 2)
    assert command("backup", tmp_path / "library-copy").code == 0


def test_a_root_is_not_moved_to_where_none_of_its_photos_stand(command: Command, indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_photo(tmp_path / "other" / "photo.png", "green")
    for target in ("empty", "other"):
        assert f"none of the photos of {indexed} stand in" in refused(
            command("roots", "move", indexed, tmp_path / target), 2
        )
    shutil.move(indexed, tmp_path / "empty" / "inner")
    (tmp_path / "empty" / "inner" / "red.png").unlink()
    assert command("roots", "move", indexed, tmp_path / "empty" / "inner").code == 0
    command("index", tmp_path / "other")
    (tmp_path / "other" / "photo.png").unlink()
    command("forget", tmp_path / "other" / "photo.png")
    (tmp_path / "new").mkdir()
    assert command("roots", "move", tmp_path / "other", tmp_path / "new").code == 0, "nothing to be missed"
