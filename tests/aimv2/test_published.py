"""Apple's published checkpoints against values that transformers' own tests record; only where they are on disk.

Put the checkpoints in the models folder (`photoseek models download ...`) and the picture's path into
PHOTOSEEK_COCO_CATS: COCO val2017 000000039769, two cats on a sofa.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from photoseek.aimv2 import features, open_checkpoint, similarity
from photoseek.errors import CheckpointError

# Source: huggingface/transformers, tests/models/aimv2/test_modeling_aimv2.py
FIRST_STATES = {
    "apple/aimv2-large-patch14-224": (
        256,
        [[0.0510, 0.0806, -0.0990, -0.0154], [2.7850, -2.5143, -0.3320, 2.4196]],
    ),
    "apple/aimv2-large-patch14-native": (
        1530,
        [[-1.3342, 0.3720, 0.0963, 0.4159], [-1.5328, 0.4677, 0.0936, 0.4321]],
    ),
}


@pytest.fixture
def cats():
    from PIL import Image

    path = os.environ.get("PHOTOSEEK_COCO_CATS")
    if not path:
        pytest.skip("PHOTOSEEK_COCO_CATS does not name the picture")
    return Image.open(path).convert("RGB")


def downloaded(name):
    try:
        return open_checkpoint(name)
    except CheckpointError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST_STATES)
def test_last_hidden_states_begin_as_recorded(name, cats):
    checkpoint = downloaded(name)
    rules = dataclasses.replace(checkpoint.preprocessing, patches_max=None)
    patches, expected = FIRST_STATES[name]
    states = features(checkpoint, pictures=[rules.prepare(cats)]).last_hidden_state[0]
    assert states.shape[0] == patches
    np.testing.assert_allclose(states[:2, :4], expected, atol=1e-3)


@pytest.mark.slow
def test_logits_of_two_prompts(cats):
    """The recorded values come perhaps from attention both ways (two texts of equal length), hence the width."""
    checkpoint = downloaded("apple/aimv2-large-patch14-224-lit")
    picture = checkpoint.preprocessing.prepare(cats)
    found = similarity(checkpoint, [picture], ["a photo of a cat", "a photo of a dog"])
    np.testing.assert_allclose(found.logits_per_image, [[33.3550, 26.4255]], atol=1.0)
