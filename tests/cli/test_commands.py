"""Every command, what it prints and how it ends."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from small_library import write_photo, write_photos

from photoseek.cli import cli

Command = Callable[..., Any]


@pytest.fixture
def indexed(command: Command, photos: Path, tiny_checkpoint: Path) -> Path:
    """A folder with a red, a green and a blue photo, and a broken one, in the library."""
    for colour in ("red", "green", "blue"):
        write_photo(photos / f"{colour}.png", colour)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    return photos


def all_commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, inner in group.commands.items():
        found += all_commands(inner, (*path, name)) if isinstance(inner, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_command_explains_itself_and_its_options(command: Command, path: tuple[str, ...]) -> None:
    answer = command(*path, "--help", library=None)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Usage: photoseek")
    found: click.Command = cli
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    assert found.help


def test_index_says_what_it_did(command: Command, indexed: Path) -> None:
    answer = command("index")
    assert answer.code == 0
    assert answer.lines[0] == "4 photos seen: 0 indexed, 3 unchanged, 1 failed."
    (report,) = command("index", "--retry-failed", "--json").objects
    assert report["seen"] == report["indexed"] + report["unchanged"] + report["failed"] + report["skipped"] == 4
    assert {"embedded", "moved", "missing", "ignored", "failures", "offline"} <= report.keys()
    assert report["failures"][0]["path"].endswith("broken.jpg")


def test_index_names_lines_that_are_no_rules(command: Command, indexed: Path) -> None:
    (indexed / ".photoseekignore").write_text("[z-a]\nred.*\n")
    answer = command("index")
    assert answer.code == 0
    told = f"Rule not understood: {indexed / '.photoseekignore'}: line 1 is no rule and is left out: [z-a]"
    assert told in answer.lines
    assert str(indexed / "red.png") not in command("search", "red", "--paths").lines


def test_strict_ends_with_1_while_a_photo_is_broken(command: Command, indexed: Path) -> None:
    assert command("index").code == 0
    assert command("index", "--strict").code == 1
    (indexed / "broken.jpg").unlink()
    assert command("index", "--strict").code == 0


def test_a_run_that_reaches_no_root_ends_with_1(command: Command, indexed: Path) -> None:
    indexed.rename(indexed.with_name("away"))
    answer = command("index")
    assert (answer.code, "Offline" in answer.out) == (1, True)
    assert command("search", "red", "--json").matches[0]["offline"] is True


def test_search_prints_scores_and_paths(command: Command, indexed: Path) -> None:
    answer = command("search", "red", "--limit", 2)
    assert (answer.code, answer.err, len(answer.lines)) == (0, "", 2)
    score, path = answer.lines[0].split("\t")
    assert (float(score) > 0.5, path) == (True, str(indexed / "red.png"))


def test_search_in_json_has_the_promised_names(command: Command, indexed: Path) -> None:
    found = command("search", "blue", "--json").matches
    assert [match["rank"] for match in found] == [1, 2, 3]
    assert found[0]["path"] == str(indexed / "blue.png")
    assert found[0]["paths"] == [found[0]["path"]]
    assert {"score", "size", "taken_at", "offline", "missing", "id"} <= found[0].keys()


def test_pages_begin_where_the_last_one_ended(command: Command, indexed: Path) -> None:
    whole = command("search", "blue", "--paths").lines
    pages = [command("search", "blue", "--paths", "--limit", 1, "--offset", n).lines for n in range(4)]
    assert [line for page in pages for line in page] == whole


def test_search_by_example_and_without(command: Command, indexed: Path) -> None:
    assert command("search", "--like", indexed / "green.png", "--paths").lines[0] == str(indexed / "green.png")
    mixed = command("search", "red", "--like", indexed / "green.png", "--weight", 1, "--weight", 3, "--paths").lines
    assert mixed[0] == str(indexed / "green.png")
    assert command("search", "red", "--without", "red blue", "--paths").code == 0


def test_names_that_are_no_text_are_escaped_in_json_and_exact_with_0(
    fake_model: None, photos: Path, tiny_checkpoint: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    name = os.path.join(os.fsencode(photos), b"caf\xe9\n.png")
    write_photo(name, "red")
    from photoseek.cli import main

    library = ["--library", str(photos.parent / "library")]
    for arguments in (["index", str(photos), "--model", str(tiny_checkpoint)], ["search", "red", "--json"]):
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main([*library, *arguments])
        assert end.value.code == 0
    out = capfdbinary.readouterr().out
    assert b"caf\\udce9\\n.png" in out
    assert os.fsencode(json.loads(out)["matches"][0]["path"]) == name
    with pytest.raises(SystemExit):
        main([*library, "search", "red", "--paths", "-0"])
    assert capfdbinary.readouterr().out == name + b"\0"
    for plain in (["search", "red"], ["status"], ["roots", "list"]):
        with pytest.raises(SystemExit) as end:
            main([*library, *plain])
        assert end.value.code == 0
    assert b"caf\xe9" not in capfdbinary.readouterr().out


def test_no_match_ends_with_0_and_says_so(command: Command, photos: Path, tiny_checkpoint: Path) -> None:
    command("index", photos, "--model", tiny_checkpoint)
    answer = command("search", "anything")
    assert (answer.code, answer.out, answer.err) == (0, "", "No photos found.\n")


def test_status_adds_up_and_has_the_promised_names(command: Command, indexed: Path) -> None:
    status = json.loads(command("status", "--json").out)
    assert status["photos"] == status["indexed"] + status["failed"] + status["skipped"] + status["missing"] == 4
    assert status["failures"][0]["path"].endswith("broken.jpg")
    assert status["failures"][0]["reason"]
    text = command("status").out
    assert "4: 3 indexed, 1 failed" in text
    assert "broken.jpg" in text


def test_verify_finds_damage_and_repairs_it(command: Command, indexed: Path, tmp_path: Path) -> None:
    assert command("verify").code == 0
    with sqlite3.connect(tmp_path / "library" / "catalog.sqlite") as connection:
        connection.execute("UPDATE embeddings SET vector = zeroblob(32) WHERE id = 1")
    connection.close()
    answer = command("verify")
    assert (answer.code, "Damaged" in answer.out) == (5, True)
    assert command("verify", "--repair").code == 0
    assert "3 unchanged" not in command("index").lines[0]
    assert json.loads(command("status", "--json").out)["indexed"] == 3
    assert command("verify").code == 0


def test_backup_is_a_library(command: Command, indexed: Path, tmp_path: Path) -> None:
    assert command("backup", tmp_path / "copy").code == 0
    assert command("search", "red", library=tmp_path / "copy").out == command("search", "red").out
    assert command("backup", tmp_path / "copy").code == 2


def test_roots_are_listed_moved_and_removed(command: Command, indexed: Path) -> None:
    elsewhere = indexed.with_name("elsewhere")
    indexed.rename(elsewhere)
    assert command("roots", "move", indexed, elsewhere).code == 0
    (root,) = json.loads(command("roots", "list", "--json").out)
    assert root["path"] == str(elsewhere)
    assert command("index").lines[0].startswith("4 photos seen: 0 indexed, 3 unchanged")
    assert command("roots", "remove", elsewhere).code == 0
    assert json.loads(command("status", "--json").out)["photos"] == 0
    assert command("roots", "remove", elsewhere).code == 2


def test_forget_takes_photos_out_of_the_library_only(command: Command, indexed: Path) -> None:
    assert command("forget", indexed, "--dry-run").out == "Would forget 4 photos; nothing was done.\n"
    assert command("forget", indexed / "red.png").code == 0
    assert (indexed / "red.png").exists()
    assert str(indexed / "red.png") not in command("search", "red", "--paths").lines
    assert command("forget", indexed / "red.png").code == 2
    (indexed / "blue.png").unlink()
    command("index")
    assert "Forgot 1 photo;" in command("forget", "--missing").out


def test_classify_needs_no_library(command: Command, photos: Path, tmp_path: Path) -> None:
    photo = write_photo(photos / "a.png", "red")
    answer = command("classify", photo, "--label", "blue", "--label", "red", "--json", "--template", "{}")
    if answer.code == 0:
        shares = json.loads(answer.out)
        assert shares[0]["label"] == "red"
        assert sum(share["probability"] for share in shares) == pytest.approx(1)
    assert not (tmp_path / "library").exists()


def test_doctor_and_models_list_work_without_a_library(command: Command, tmp_path: Path) -> None:
    assert command("doctor").code == 0
    assert isinstance(json.loads(command("doctor", "--json").out), dict)
    assert "apple/aimv2-large-patch14-224-lit" in command("models", "list").out
    assert not (tmp_path / "library").exists()


def test_models_use_switches_the_model(command: Command, indexed: Path, turned_checkpoint: Path) -> None:
    before = command("search", "red", "--paths").out
    answer = command("models", "use", turned_checkpoint)
    assert (answer.code, "answers now" in answer.out) == (0, True)
    assert json.loads(command("status", "--json").out)["model"] == str(turned_checkpoint)
    assert command("search", "red", "--paths").out == before


def test_the_library_may_be_named_before_or_after_the_command_or_by_the_environment(
    command: Command, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "library"
    expected = command("search", "red").out
    assert command("search", "red", "--library", here, library=None).out == expected
    assert command("roots", "list", "--library", here, library=None).code == 0
    monkeypatch.setenv("PHOTOSEEK_LIBRARY", str(here))
    assert command("search", "red", library=None).out == expected
    assert command("search", "red", library=tmp_path / "other").code == 3, "an option beats the environment"


def test_ivf_from_is_kept_and_searched(command: Command, photos: Path, tiny_checkpoint: Path) -> None:
    write_photos(photos, 60)
    assert command("index", photos, "--model", tiny_checkpoint, "--ivf-from", 1).code == 0
    status = json.loads(command("status", "--json").out)["index"]
    assert (status["kind"], status["rows"]) == ("ivf", 60)
    assert status["recall_at_10"] >= 0.99
    exact = [match["path"] for match in command("search", "red", "--json", "--exact").matches]
    assert [match["path"] for match in command("search", "red", "--json").matches] == exact
