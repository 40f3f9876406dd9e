"""A shorter type is taken only where it is faster and finds the same photos; the answer is remembered."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checkpoints import make_checkpoint

from photoseek.aimv2 import load_vision_tower, open_checkpoint, run_trial
from photoseek.aimv2.trial import SHORTER, Trial, best_of, judge, remembered_trial, synthetic_pictures

pytestmark = pytest.mark.slow


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def space():
    """200 pictures and 20 probes in 64 dimensions."""
    rng = np.random.default_rng(0)
    return unit(rng.normal(size=(200, 64))), unit(rng.normal(size=(20, 64)))


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("PHOTOSEEK_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("photoseek.aimv2.trial.PICTURES_MAX", 20)  # enough for the course of things
    return tmp_path / "models"


def turned(pictures, amount):
    return unit(pictures + amount * np.random.default_rng(1).normal(size=pictures.shape))


def test_the_same_vectors_faster_are_taken(space):
    trial = judge("bfloat16", space[0], space[0], space[1], gain=3.0)
    assert (trial.precision, trial.recall_at_10, trial.score_shift) == ("bfloat16", 1.0, 0.0)
    assert trial.pictures == 200


@pytest.mark.parametrize(
    ("amount", "gain", "why"),
    [
        (0.0, 1.05, "no faster"),
        (0.1, 3.0, "cosine"),
        (0.004, 3.0, "moves a score"),
    ],
)
def test_each_rule_keeps_float32_by_itself(space, amount, gain, why):
    trial = judge("int8", space[0], turned(space[0], amount), space[1], gain)
    assert trial.precision == "float32"
    assert why in trial.reason


def test_photos_that_change_places_by_more_than_a_tie_keep_float32(space):
    """Scores move by less than 0.005, but worse photos come among the ten best."""
    alike = unit(space[0][:1] + 0.02 * space[0])
    trial = judge("bfloat16", alike, turned(alike, 0.0015), space[1], gain=3.0)
    assert trial.score_shift < 0.005
    assert trial.precision == "float32"
    assert "ten best" in trial.reason


def test_near_duplicates_may_change_places(space):
    alike = unit(space[0][:1] + 0.001 * space[0])
    trial = judge("bfloat16", alike, turned(alike, 0.0002), space[1], gain=3.0)
    found, best = (np.argsort(-space[1] @ each.T, axis=1)[:, :10] for each in (turned(alike, 0.0002), alike))
    assert any(set(a) != set(b) for a, b in zip(found.tolist(), best.tolist(), strict=True))
    assert (trial.precision, trial.recall_at_10) == ("bfloat16", 1.0)


@pytest.mark.parametrize(
    ("bfloat16", "int8", "chosen"),
    [
        (("bfloat16", 2.0), ("int8", 3.0), "int8"),
        (("bfloat16", 2.0), ("int8", 2.1), "bfloat16"),
        (("bfloat16", 2.0), ("float32", 3.0), "bfloat16"),
        (("float32", 0.2), ("int8", 3.0), "int8"),
        (("float32", 0.2), ("float32", 0.9), "float32"),
    ],
)
def test_the_fastest_that_may_serve_is_taken(bfloat16, int8, chosen):
    """Less exact it must be faster by a tenth than what is more exact."""
    tried = [Trial(*name, gain=gain) for *name, gain in ((bfloat16[0], "one", bfloat16[1]), (int8[0], "two", int8[1]))]
    best = best_of(tried)
    assert (best.precision, best.reason) == (chosen, "one; two")
    assert best.gain in (bfloat16[1], int8[1])


def test_nothing_shorter_leaves_float32():
    assert best_of([]).precision == "float32"


def test_a_trial_is_run_once_and_remembered(models, tiny_checkpoint, pictures):
    pytest.importorskip("openvino")
    checkpoint = open_checkpoint(tiny_checkpoint)
    assert remembered_trial(checkpoint) is None
    assert load_vision_tower(checkpoint).precision == "float32"
    trial = run_trial(checkpoint, pictures)
    assert remembered_trial(checkpoint) == trial
    assert trial.reason
    content = json.loads((models / "trials.json").read_text())
    assert [Trial(**each) for each in content.values()] == [trial]
    assert [file.name for file in models.iterdir()] == ["trials.json"]


def test_a_remembered_answer_decides_what_auto_means(models, tiny_checkpoint):
    pytest.importorskip("openvino")
    checkpoint = open_checkpoint(tiny_checkpoint)
    run_trial(checkpoint)
    file = models / "trials.json"
    (key, content) = json.loads(file.read_text()).popitem()
    file.write_text(json.dumps({key: content | {"precision": "bfloat16"}}))
    assert load_vision_tower(checkpoint).precision == "bfloat16"
    assert load_vision_tower(checkpoint, precision="float32").precision == "float32"


def test_trials_of_other_checkpoints_do_not_count(models, tiny_checkpoint, tmp_path):
    pytest.importorskip("openvino")
    run_trial(open_checkpoint(tiny_checkpoint))
    assert remembered_trial(open_checkpoint(make_checkpoint(tmp_path / "other", seed=9))) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 5}'])
def test_a_damaged_memory_is_as_none(models, tiny_checkpoint, content):
    pytest.importorskip("openvino")
    models.mkdir()
    (models / "trials.json").write_text(content)
    checkpoint = open_checkpoint(tiny_checkpoint)
    assert remembered_trial(checkpoint) is None
    assert run_trial(checkpoint) == remembered_trial(checkpoint)


def test_a_folder_that_cannot_be_written_is_no_error(models, tiny_checkpoint):
    pytest.importorskip("openvino")
    models.write_text("a file where the folder should be")
    assert run_trial(open_checkpoint(tiny_checkpoint)).precision in ("float32", *SHORTER)


def test_vision_only_checkpoints_are_tried_on_pictures(models, tmp_path):
    pytest.importorskip("openvino")
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "vision", text=False, native=True, head=False))
    assert run_trial(checkpoint).reason


def test_synthetic_pictures_fit_and_differ(tiny_checkpoint):
    checkpoint = open_checkpoint(tiny_checkpoint)
    made = synthetic_pictures(checkpoint, 20)
    assert {picture.shape for picture in made} == {(32, 32, 3)}
    assert len({picture.tobytes() for picture in made}) == 20
    assert [p.tobytes() for p in synthetic_pictures(checkpoint, 20)] == [p.tobytes() for p in made]
