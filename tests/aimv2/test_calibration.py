"""`calibration.json`: optional, checked, and no part of what a space is bound to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from photoseek.aimv2 import open_checkpoint
from photoseek.contracts import Calibration
from photoseek.errors import CheckpointError

NUMBERS = {
    "log_odds_weight": 0.4,
    "clarity_weight": 0.7,
    "generality_weight": 5,
    "bias": -3.5,
    "near": 0.8,
    "threshold_generality_weight": 2.5,
    "threshold_words_weight": 0.25,
    "threshold_bias": -2,
}


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def write(folder: Path, content: object) -> None:
    (folder / "calibration.json").write_text(json.dumps(content))


def test_a_checkpoint_without_one_is_not_calibrated(folder: Path):
    assert open_checkpoint(folder).calibration is None


def test_it_is_read_and_leaves_the_digest_alone(folder: Path):
    before = open_checkpoint(folder).digest
    write(folder, {"version": 2, **NUMBERS, "fitted": {"photos": 1494}})
    checkpoint = open_checkpoint(folder)
    assert checkpoint.calibration == Calibration(0.4, 0.7, 5.0, -3.5, 0.8, 2.5, 0.25, -2.0)
    assert checkpoint.digest == before


@pytest.mark.parametrize("version", [1, 3])
def test_one_of_another_formula_counts_as_none(folder: Path, version: int):
    write(folder, {"version": version, "something": "else"})
    assert open_checkpoint(folder).calibration is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bias": None}, "bias"),
        ({"near": True}, "near"),
        ({"generality_weight": float("nan")}, "generality_weight"),
        ({"threshold_bias": "high"}, "threshold_bias"),
        ({"log_odds_weight": -1}, "log_odds_weight"),
    ],
)
def test_numbers_that_make_no_sense_are_named(folder: Path, change: dict[str, object], said: str):
    write(folder, {"version": 2, **NUMBERS, **change})
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(folder)


def test_the_built_in_checkpoint_is_calibrated():
    assert open_checkpoint("builtin").calibration is not None
