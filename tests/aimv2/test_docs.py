"""Every example of docs/aimv2.md runs, in order, with small checkpoints under the names of the large ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from checkpoints import make_checkpoint
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "aimv2.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def examples():
    """(line number, code) of each runnable block."""
    text = PAGE.read_text(encoding="utf-8")
    return [(text[: match.start()].count("\n") + 1, match[1]) for match in BLOCK.finditer(text)]


@pytest.fixture
def documented_world(tmp_path, monkeypatch):
    """A working folder with a photo, the built-in checkpoint and three downloaded ones, all tiny."""
    models = tmp_path / "models"
    monkeypatch.setenv("PHOTOSEEK_MODELS", str(models))
    monkeypatch.setattr("photoseek.aimv2.models.__file__", str(tmp_path / "package" / "models.py"))
    monkeypatch.setattr("photoseek.aimv2.trial.PICTURES_MAX", 20)
    monkeypatch.chdir(tmp_path)
    make_checkpoint(tmp_path / "package" / "builtin")
    make_checkpoint(models / "apple" / "aimv2-large-patch14-224-lit", layout="apple")
    make_checkpoint(models / "apple" / "aimv2-large-patch14-224", layout="apple", text=False, head=False)
    make_checkpoint(models / "apple" / "aimv2-large-patch14-native", text=False, head=False, native=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save("cats.jpg")


def run(found):
    names: dict[str, object] = {}
    for line, code in found:
        exec(compile("\n" * line + code, str(PAGE), "exec"), names)


def test_every_example_runs(documented_world):
    found = [(line, code) for line, code in examples() if "import torch" not in code]
    assert len(found) == len(examples()) - 1 >= 8
    run(found)


@pytest.mark.slow
def test_every_example_runs_with_transformers(documented_world):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    run(examples())


def test_the_examples_show_what_transformers_documentation_shows():
    code = "\n".join(code for _, code in examples())
    for shown in ("Aimv2Config()", "Aimv2VisionConfig()", "Aimv2TextConfig()", "probabilities", "native", "pooled"):
        assert shown in code
