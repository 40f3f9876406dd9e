"""Fixtures that every part of the tests shares."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests may say `from checkpoints import make_checkpoint`

from checkpoints import make_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random dual encoder: 32 px pictures, 16 dimensions; treat it as read-only."""
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny")
