"""Our preprocessing against transformers' image processors, and its value semantics."""

from __future__ import annotations

import importlib
import json
import pickle

import numpy as np
import pytest
from checkpoints import default_processor, make_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from photoseek.aimv2 import Preprocessing, load_vision_tower, open_checkpoint
from photoseek.aimv2.preprocessing import CLIP_MEAN, centre_crop, from_processor_config
from photoseek.errors import CheckpointError

SQUASH = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "do_center_crop": False,
    "resample": 3,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}
PROCESSORS = {
    "Apple's": default_processor(32, native=False),
    "squash": SQUASH,
    "shortest edge above the crop": default_processor(32, native=False) | {"size": {"shortest_edge": 36}},
    "shortest edge below the crop": default_processor(32, native=False) | {"size": {"shortest_edge": 27}},
    "bilinear": default_processor(32, native=False) | {"resample": 2},
    "size as a number": default_processor(32, native=False) | {"size": 32, "crop_size": 32},
}
SIZES = [(32, 32), (64, 48), (47, 101), (300, 33), (31, 17), (1, 1), (640, 480), (1, 9), (225, 224)]


def photo(width, height, seed=0):
    """A smooth picture with some grain, as photos are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height), 2)
    grain = rng.integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse).astype(int) + grain, 0, 255).astype(np.uint8))


def rules(config, side=32, patch=8):
    return from_processor_config(config, image_side=side, patch=patch, where="here")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_equal_those_of_transformers_pillow_processor(name, size):
    transformers = pytest.importorskip("transformers")
    image = photo(*size)
    theirs = transformers.CLIPImageProcessorPil(**PROCESSORS[name])(image, return_tensors="np").pixel_values[0]
    ours = rules(PROCESSORS[name])
    np.testing.assert_array_equal(ours.normalise(ours.prepare(image)).transpose(2, 0, 1), theirs)


def test_embeddings_equal_those_after_transformers_tensor_processor(tiny_checkpoint):
    """Its resizing differs in rounding; the embedding must not care."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torchvision", reason="transformers' tensor processor needs torchvision")
    checkpoint = open_checkpoint(tiny_checkpoint)
    processor = transformers.CLIPImageProcessor(**default_processor(32, native=False))
    tower = load_vision_tower(checkpoint, engine="numpy")
    for size in [(640, 480), (47, 101), (225, 224)]:
        image = photo(*size)
        pixels = np.asarray(processor(image, return_tensors="np").pixel_values[0]).transpose(1, 2, 0)
        std, mean = np.array(checkpoint.preprocessing.std), np.array(checkpoint.preprocessing.mean)
        theirs = np.clip(np.rint((pixels * std + mean) * 255), 0, 255).astype(np.uint8)
        ours, others = tower.encode([checkpoint.preprocessing.prepare(image), theirs])
        assert ours @ others > 0.999


def test_native_pixels_equal_transformers_up_to_the_cut_rest(tmp_path):
    transformers = pytest.importorskip("transformers")
    image = photo(100, 61)
    theirs = transformers.CLIPImageProcessorPil(**default_processor(32, native=True))(image, return_tensors="np")
    ours = rules(default_processor(32, native=True), side=None)
    prepared = ours.prepare(image)
    assert prepared.shape == (56, 96, 3)
    np.testing.assert_array_equal(ours.normalise(prepared).transpose(2, 0, 1), theirs.pixel_values[0][:, :56, :96])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([None, 1, 5, 64, 1024]))
def test_native_pictures_are_whole_patches_within_the_limit(width, height, limit):
    ours = Preprocessing("native", 14, 14, patches_max=limit)
    rows, columns, _ = (np.array(ours.prepare(Image.new("RGB", (width, height))).shape) / 14).tolist()
    assert rows.is_integer()
    assert columns.is_integer()
    assert 1 <= rows * columns <= (limit or 10**6)
    if limit is None and min(width, height) >= 14:
        assert (columns, rows) == (width // 14, height // 14)


def test_a_12_megapixel_photo_is_scaled_to_the_native_limit_keeping_its_shape():
    ours = Preprocessing("native", 14, 14, patches_max=1024)
    height, width, _ = ours.prepare(Image.new("RGB", (4000, 3000))).shape
    assert 900 * 196 < height * width <= 1024 * 196
    assert width / height == pytest.approx(4 / 3, rel=0.05)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(sorted(PROCESSORS)))
def test_fixed_pictures_always_have_the_towers_size(width, height, name):
    prepared = rules(PROCESSORS[name]).prepare(Image.new("RGB", (width, height), (10, 20, 30)))
    assert prepared.shape == (32, 32, 3)
    assert prepared.dtype == np.uint8


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000), (20_000, 3)])
def test_an_extreme_panorama_costs_no_gigabytes(size):
    """Resized as a whole, 30,000 x 1 would become 6,720,000 x 224."""
    ours = Preprocessing("shortest_edge", 224, 224, crop_height=224, crop_width=224)
    middle = Image.new("RGB", size, (200, 0, 0))
    middle.paste((0, 200, 0), (size[0] // 2 - 2, size[1] // 2 - 2, size[0] // 2 + 2, size[1] // 2 + 2))
    prepared = ours.prepare(middle)
    assert prepared.shape == (224, 224, 3)
    assert prepared[112, 112, 1] > 150  # the middle is still the middle


def test_a_panorama_that_is_only_wide_is_not_cut_before_resizing():
    transformers = pytest.importorskip("transformers")
    image, config = photo(400, 52), PROCESSORS["Apple's"]
    theirs = transformers.CLIPImageProcessorPil(**config)(image, return_tensors="np").pixel_values[0]
    ours = rules(config)
    np.testing.assert_array_equal(ours.normalise(ours.prepare(image)).transpose(2, 0, 1), theirs)


def test_affine_is_what_normalise_does():
    ours = rules(SQUASH)
    scale, shift = ours.affine()
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    np.testing.assert_allclose(levels * scale + shift, ours.normalise(levels), atol=2e-6)


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_value_survives_pickle_json_and_comparison(name):
    ours = rules(PROCESSORS[name])
    assert pickle.loads(pickle.dumps(ours)) == ours
    where, fields = ours.spec()
    module, made = where.split(":")
    rebuilt = getattr(importlib.import_module(module), made)(**json.loads(json.dumps(fields)))
    assert rebuilt == ours
    assert rebuilt.digest == ours.digest
    assert hash(rebuilt) == hash(ours)


def test_digests_differ_when_any_rule_does():
    made = [rules(config) for config in PROCESSORS.values()]
    distinct = set(made)
    assert len({each.digest for each in made}) == len(distinct) == len(PROCESSORS) - 1  # "as a number" says the same


def test_draft_size_is_twice_the_target():
    assert rules(PROCESSORS["Apple's"]).draft_size == (64, 64)
    assert rules(SQUASH).draft_size == (64, 64)
    assert Preprocessing("native", 14, 14, patches_max=1024).draft_size == (896, 896)
    assert Preprocessing("native", 14, 14).draft_size is None


@pytest.mark.parametrize("name", ["Apple's", "squash"])
def test_a_scaled_decoding_gives_nearly_the_same_embedding(tmp_path, name):
    import io

    checkpoint = open_checkpoint(make_checkpoint(tmp_path, processor=PROCESSORS[name]))
    stream = io.BytesIO()
    photo(1200, 900).save(stream, "JPEG", quality=95)
    full, draft = Image.open(stream), Image.open(io.BytesIO(stream.getvalue()))
    draft.draft("RGB", checkpoint.preprocessing.draft_size)
    assert full.size > draft.size >= checkpoint.preprocessing.draft_size
    a, b = load_vision_tower(checkpoint, engine="numpy").encode(
        [checkpoint.preprocessing.prepare(image) for image in (full, draft)]
    )
    assert a @ b > 0.999


def test_a_checkpoint_without_the_file_gets_aimv2s_own_rules(tmp_path):
    folder = make_checkpoint(tmp_path, processor={})
    assert not (folder / "preprocessor_config.json").exists()
    ours = open_checkpoint(folder).preprocessing
    assert ours == Preprocessing("shortest_edge", 32, 32, 32, 32)
    assert ours.mean == CLIP_MEAN


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"shortest_edge": "x"}},
        {"size": {"longest_edge": 32}},
        {"size": []},
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 48}},
        {"do_center_crop": False},
        {"do_resize": False},
        {"do_normalize": False},
        {"do_rescale": False},
        {"resample": 9},
        {"image_std": [0, 1, 1]},
        {"image_mean": [0.5]},
        {"image_mean": 0.5},
        {"size": {"height": 10**9, "width": 32}, "do_center_crop": False},
    ],
)
def test_settings_that_do_not_fit_the_tower_are_refused(changes):
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        rules(default_processor(32, native=False) | changes)


@pytest.mark.parametrize("size", [(5, 5), (4, 9), (9, 4), (6, 6), (7, 8)])
def test_centre_crop_pads_what_is_too_small(size):
    image = Image.new("RGB", size, (255, 255, 255))
    cropped = np.asarray(centre_crop(image, 6, 6))
    assert cropped.shape == (6, 6, 3)
    assert (cropped[..., 0] > 0).sum() == min(size[0], 6) * min(size[1], 6)
