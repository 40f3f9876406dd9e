"""Shared by the tests of the model: engines at hand, pictures, and the plain reference."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # so that tests may say `import reference`

PACKAGES = {"numpy": (), "openvino": ("openvino",), "torch": ("torch", "transformers")}


def engine_params() -> list[object]:
    """Every engine; one whose package is missing is skipped with a reason."""
    params = []
    for engine, packages in PACKAGES.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        marks = [pytest.mark.skip(reason=f"{missing[0]} is not installed")] if missing else []
        params.append(pytest.param(engine, marks=marks))
    return params


@pytest.fixture(params=engine_params())
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pictures() -> list[NDArray[np.uint8]]:
    """Five prepared pictures of 32 x 32."""
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(5)]
