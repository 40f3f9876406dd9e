"""The example programs run, and the example photos are what their lists say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = EXAMPLES / "photos"
EXPECTED_OUTPUT = {
    "app_pictures": "13 files indexed; 1 embedded",
    "label_photos": "cat.jpg",
    "move_vectors": "laptop: 13 indexed, 0 embedded",
    "search_photos": "13 photos indexed, 0 failed",
    "try_queries": "Of 39 queries among 13 photos:",
}


def test_every_program_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED_OUTPUT)


@pytest.mark.parametrize("name", sorted(EXPECTED_OUTPUT))
def test_program_runs(name, tiny_checkpoint, capsys):
    specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    program.main(str(tiny_checkpoint))
    assert EXPECTED_OUTPUT[name] in capsys.readouterr().out


def test_every_photo_has_a_source_and_a_licence():
    rows = re.findall(r"^\| `(\S+)` \| (.+) \| (.+) \| (.+) \|$", (PHOTOS / "ATTRIBUTION.md").read_text("utf-8"), re.M)
    assert [row[0] for row in rows] == sorted(path.name for path in PHOTOS.glob("*.jpg"))


def test_every_photo_has_three_queries():
    lines = (PHOTOS / "queries.tsv").read_text("utf-8").splitlines()
    names = [line.split("\t")[0] for line in lines]
    assert len(set(lines)) == len(lines)
    assert {name: names.count(name) for name in names} == {path.name: 3 for path in PHOTOS.glob("*.jpg")}


@pytest.mark.parametrize("path", sorted(PHOTOS.glob("*.jpg")), ids=lambda path: path.stem)
def test_photos_are_small(path):
    with Image.open(path) as image:
        assert max(image.size) <= 800
    assert path.stat().st_size <= 150_000
