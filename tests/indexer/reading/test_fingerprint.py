"""Fingerprints: the same for a picture and its copies, another for another picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scenes import COPIES, scene

from photoseek.contracts import Picture
from photoseek.indexer.fingerprint import fingerprint

pytestmark = pytest.mark.slow

SEEDS = range(8)
MOST_BITS = 6
"""`search.similar` takes pictures with so few differing bits for copies, whatever the model says."""


def prepared(image: Image.Image, side: int = 128) -> Picture:
    """Shorter side scaled, middle cut out, as the built-in checkpoint wants it."""
    scale = side / min(image.size)
    resized = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    return np.asarray(resized.crop((left, top, left + side, top + side)), dtype=np.uint8)


def differing(left: int, right: int) -> int:
    return (left ^ right).bit_count()


@pytest.mark.parametrize("name", COPIES)
def test_copies_keep_the_fingerprint(name: str) -> None:
    for seed in SEEDS:
        original = scene(seed)
        assert differing(fingerprint(prepared(original)), fingerprint(prepared(COPIES[name](original)))) <= MOST_BITS


def test_other_pictures_have_others() -> None:
    marks = [fingerprint(prepared(scene(seed))) for seed in SEEDS]
    assert min(differing(a, b) for a in marks for b in marks if a is not b) > 2 * MOST_BITS


def test_another_models_size_changes_little() -> None:
    for seed in SEEDS:
        original = scene(seed, width=480, height=360)
        assert differing(fingerprint(prepared(original)), fingerprint(prepared(original, 224))) <= MOST_BITS


def test_a_wide_plain_strip_is_no_frame() -> None:
    """A white wall around a thing must not be cut off, or all things on white would look alike."""
    sheet = Image.new("RGB", (200, 200), "white")
    sheet.paste(scene(0, width=100, height=100), (50, 50))
    assert fingerprint(np.asarray(sheet)) != fingerprint(np.asarray(scene(0, width=100, height=100)))


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_any_picture_has_one(picture: Picture) -> None:
    mark = fingerprint(picture)
    assert 0 < mark < 2**63
    assert mark == fingerprint(picture.copy())
