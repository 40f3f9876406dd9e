"""`photoseek duplicates` as a person and a script see it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scenes import encoded, scene

from photoseek.cli import cli


@pytest.fixture
def run(tmp_path: Path, tiny_checkpoint: Path, fake_model: None):
    """Index a copy of a file, a smaller one and another photo; then run commands on that library."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(encoded(scene(1), quality=95))
    shutil.copy2(photos / "a.jpg", photos / "same\nfile.jpg")
    (photos / "small.jpg").write_bytes(encoded(scene(1).resize((160, 120)), quality=95))
    (photos / "other.jpg").write_bytes(encoded(scene(2)))
    (photos / "other small.jpg").write_bytes(encoded(scene(2).resize((160, 120))))

    def run_(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--library", str(tmp_path / "library"), *arguments])

    indexed = run_("index", str(photos), "--model", str(tiny_checkpoint))
    assert indexed.exit_code == 0, indexed.output
    return run_


def test_a_script_gets_one_line_a_file(run):
    result = run("duplicates")
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(group, kind, word, Path(path).name) for group, kind, word, _size, path in lines] == [
        ("1", "bytes", "best", "a.jpg"),
        ("1", "bytes", "other", "same\\nfile.jpg"),
        ("2", "near", "best", "a.jpg"),
        ("2", "near", "other", "small.jpg"),
        ("3", "near", "best", "other.jpg"),
        ("3", "near", "other", "other small.jpg"),
    ]
    assert "3 groups" in result.stderr
    assert "the same file: 1" in result.stderr


def test_kinds_and_a_limit(run):
    kinds = {line.split("\t")[1] for line in run("duplicates", "--kind", "near").stdout.splitlines()}
    assert kinds == {"near"}
    result = run("duplicates", "--kind", "near", "--limit", "1")
    assert {line.split("\t")[0] for line in result.stdout.splitlines()} == {"1"}
    assert "1 of them not shown" in result.stderr
    assert run("duplicates", "--kind", "pictures").stderr == "No duplicates found.\n"
    assert run("duplicates", "--kind", "moments").exit_code == 2


def test_json_holds_groups_counts_and_sums(run):
    found = json.loads(run("duplicates", "--json").stdout)
    assert found["counts"] == {"bytes": 1, "pictures": 0, "near": 2}
    assert sum(found["saveable_bytes"].values()) == sum(group["saveable_bytes"] for group in found["groups"])
    group = found["groups"][0]
    assert group["kind"] == "bytes"
    assert [Path(photo["path"]).name for photo in group["photos"]] == ["a.jpg", "same\nfile.jpg"]
    assert group["saveable_bytes"] == group["photos"][1]["size"]


def test_a_person_sees_the_best_marked(run, monkeypatch):
    monkeypatch.setattr("photoseek.show_groups._on_terminal", lambda: True)
    paragraphs = run("duplicates").stdout.split("\n\n")
    assert len(paragraphs) == 3
    heading, best, other = paragraphs[1].splitlines()
    assert heading.startswith("one moment: 2 files, ")
    assert best.startswith("* 320 x 240  jpeg ")
    assert best.endswith("a.jpg  (2 files)")
    assert other.startswith("  160 x 120  jpeg ")


def test_no_library_is_an_error_with_a_hint(tmp_path):
    result = CliRunner().invoke(cli, ["--library", str(tmp_path / "none"), "duplicates"])
    assert result.exit_code == 3
    assert "Traceback" not in result.output
