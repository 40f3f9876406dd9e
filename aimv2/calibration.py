"""`calibration.json` of a checkpoint: how sure its matches are. Optional, and no part of the checkpoint's digest."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

from photoseek.aimv2.weights import read_json
from photoseek.contracts import Calibration
from photoseek.errors import CheckpointError

CALIBRATION_FILE = "calibration.json"
VERSION = 2
"""Of the formula that the numbers belong to (`search.confidence`); another one is another number here."""


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of the checkpoint in a folder; None where there is none, or one of a formula unknown here.

    Raises:
        CheckpointError: the file cannot be read, or holds numbers that make no sense.
    """
    file = folder / CALIBRATION_FILE
    if not file.is_file():
        return None
    content = read_json(file)
    if content.get("version") != VERSION:
        return None
    values = {field.name: content.get(field.name) for field in fields(Calibration)}
    for name, value in values.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise CheckpointError(f"{file}: {name} is no number but {value!r}")
    calibration = Calibration(**{name: float(value) for name, value in values.items() if value is not None})
    if calibration.log_odds_weight <= 0:
        raise CheckpointError(f"{file}: log_odds_weight must be above 0, not {calibration.log_odds_weight}")
    return calibration
