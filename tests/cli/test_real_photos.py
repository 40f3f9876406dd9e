"""Real camera photos and hostile files through the command line: each ends as the table beside it says.

The files are not in the repository; PHOTOSEEK_TEST_DATA names the folder with photos.tar and broken.tar.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Process = Callable[..., "subprocess.Popen[bytes]"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` and `broken`, read-only for the tests, and their tables."""
    data = Path(os.environ.get("PHOTOSEEK_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (data / "photos.tar").is_file():
        pytest.skip(f"no photos.tar in {data} (PHOTOSEEK_TEST_DATA names another folder)")
    target = tmp_path_factory.mktemp("real")
    for name in ("photos", "broken"):
        with tarfile.open(data / f"{name}.tar") as archive:
            archive.extractall(target, filter="data")
        shutil.copy(data / f"{name}.md", target)
    return target


@pytest.fixture
def photoseek(process: Process, tmp_path: Path) -> Callable[..., str]:
    """Runs a command on the test's library; returns its output, after it ended with 0 and without a traceback."""

    def run(*arguments: object) -> str:
        running = process("--library", tmp_path / "library", *arguments)
        out, err = running.communicate(timeout=300)
        assert (running.returncode, b"Traceback" in err) == (0, False), err.decode()
        return out.decode()

    return run


def rules(table: Path, column: str) -> dict[str, str]:
    """By file name, one column of the table."""
    rows = [line[2:-2].split(" | ") for line in table.read_text().splitlines() if line.startswith("| ")]
    title = next(number for number, row in enumerate(rows) if row[0] == "file")
    place = rows[title].index(column)
    return {row[0].replace("\\n", "\n"): row[place].strip() for row in rows[title + 2 :]}


def states(folder: Path, photoseek: Callable[..., str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The library's status, and the reason of each file that is not indexed, by its name in `folder`."""
    status = json.loads(photoseek("status", "--json"))
    assert status["photos"] == status["indexed"] + status["failed"] + status["skipped"] + status["missing"]
    assert (len(status["failures"]), len(status["skips"])) == (status["failed"], status["skipped"])
    troubles = [*status["failures"], *status["skips"]]
    return status, {str(Path(trouble["path"]).relative_to(folder)): trouble["reason"] for trouble in troubles}


@pytest.mark.slow
def test_every_camera_photo_is_indexed(unpacked: Path, photoseek: Callable[..., str]) -> None:
    photos = unpacked / "photos"
    report = json.loads(photoseek("index", photos, "--model", "builtin", "--json"))
    expected = rules(unpacked / "photos.md", "file")
    assert (report["indexed"], report["failed"], report["ignored"]) == (len(expected), 0, 1) == (59, 0, 1)
    status, troubles = states(photos, photoseek)
    assert (status["indexed"], troubles) == (59, {})
    found = json.loads(photoseek("search", "a", "--limit", "100", "--json"))["matches"]
    assert {os.path.relpath(path, photos) for match in found for path in match["paths"]} == expected.keys()
    turned = [photos / "orientation" / f"landscape_{number}.jpg" for number in range(1, 9)]
    alike = json.loads(photoseek("search", "--like", turned[0], "--limit", "20", "--json"))["matches"]
    # Each of them shows its own large number, so that they are alike and not the same.
    assert {path for match in alike[:8] for path in match["paths"]} == set(map(str, turned))
    again = json.loads(photoseek("index", "--json"))
    assert (again["unchanged"], again["embedded"]) == (59, 0)


@pytest.mark.slow
def test_every_hostile_file_ends_as_its_table_says(
    unpacked: Path, photoseek: Callable[..., str], tiny_checkpoint: Path
) -> None:
    broken = unpacked / "broken"
    report = json.loads(photoseek("index", broken, "--model", tiny_checkpoint, "--json"))
    expected = rules(unpacked / "broken.md", "what to do")
    assert len(expected) == 79
    status, troubles = states(broken, photoseek)
    assert report["seen"] + report["ignored"] == status["photos"] + report["ignored"] >= 79
    for name, rule in expected.items():
        may_fail = rule.startswith("fail") or " or fail" in rule
        may_be_indexed = rule.startswith("index")
        if name in troubles:
            assert may_fail, f"{name!r} failed ({troubles[name]}), but: {rule}"
            assert troubles[name]
            assert "\n" not in troubles[name]
        else:
            assert may_be_indexed, f"{name!r} was indexed, but: {rule}"
    lines = photoseek("status").splitlines()
    assert sum("new\\nline.jpg" in line for line in lines) == 1
    assert json.loads(photoseek("index", "--json"))["failed"] == status["failed"]
