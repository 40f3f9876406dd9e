"""`features` and `similarity` against the plain reference and against transformers' classes."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from checkpoints import make_checkpoint
from reference import TEXTS, normalised, with_prefix
from safetensors.numpy import load_file

from photoseek.aimv2 import features, load_text_tower, load_vision_tower, open_checkpoint, similarity
from photoseek.errors import CheckpointError, NoTextTowerError

pytestmark = pytest.mark.slow

KINDS = [{}, {"text": False, "head": False}, {"native": True}, {"native": True, "text": False, "head": False}]


@pytest.mark.parametrize("options", KINDS)
def test_picture_states_equal_the_reference(tmp_path, options, pictures):
    folder = make_checkpoint(tmp_path, **options)
    p = with_prefix(load_file(folder / "model.safetensors"))
    found = features(open_checkpoint(folder), pictures=pictures[:2], attentions=True)
    for index, picture in enumerate(pictures[:2]):
        pooled, states, last = reference.vision(p, normalised(picture), heads=2, layers=2)
        np.testing.assert_allclose(found.pooled[index], pooled, atol=1e-4)
        np.testing.assert_allclose(found.last_hidden_state[index], last, atol=1e-4)
        assert len(found.hidden_states) == len(states) == 3
        for ours, expected in zip(found.hidden_states, states, strict=True):
            np.testing.assert_allclose(ours[index], expected, atol=1e-4)
    assert [a.shape for a in found.attentions] == [(2, 2, 16, 16)] * 2
    for attention in found.attentions:
        np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)
    assert found.lengths == (16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("options", KINDS)
def test_picture_states_equal_those_of_transformers(tmp_path, options, pictures):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = make_checkpoint(tmp_path, **options)
    checkpoint = open_checkpoint(folder)
    model_class = transformers.Aimv2Model if checkpoint.has_text else transformers.Aimv2VisionModel
    model = model_class.from_pretrained(folder, attn_implementation="eager").eval()
    model = model.vision_model if checkpoint.has_text else model
    pixels = torch.from_numpy(checkpoint.preprocessing.normalise(np.stack(pictures)).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        theirs = model(pixels, output_hidden_states=True, output_attentions=True)
    ours = features(checkpoint, pictures=pictures, attentions=True)
    np.testing.assert_allclose(ours.last_hidden_state, theirs.last_hidden_state, atol=1e-4)
    if theirs.pooler_output is not None:
        np.testing.assert_allclose(ours.pooled, theirs.pooler_output.flatten(1), atol=1e-4)
    for mine, other in (
        *zip(ours.hidden_states, theirs.hidden_states, strict=True),
        *zip(ours.attentions, theirs.attentions, strict=True),
    ):
        np.testing.assert_allclose(mine, other, atol=1e-4)


@pytest.mark.slow
def test_text_states_equal_those_of_transformers_given_a_causal_mask(tiny_checkpoint):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    checkpoint = open_checkpoint(tiny_checkpoint)
    model = transformers.Aimv2Model.from_pretrained(tiny_checkpoint, attn_implementation="eager").eval()
    tokens = transformers.CLIPTokenizerFast.from_pretrained(tiny_checkpoint)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():  # eager with a padding mask is causal in transformers, too
        theirs = model.text_model(**tokens, output_hidden_states=True, output_attentions=True)
    ours = features(checkpoint, texts=TEXTS, attentions=True)
    assert list(ours.lengths) == tokens["attention_mask"].sum(dim=1).tolist()
    np.testing.assert_allclose(ours.pooled, theirs.pooler_output, atol=1e-4)
    for row, length in enumerate(ours.lengths):
        for mine, other in zip(ours.hidden_states, theirs.hidden_states, strict=True):
            np.testing.assert_allclose(mine[row, :length], other[row, :length], atol=1e-4)
        for mine, other in zip(ours.attentions, theirs.attentions, strict=True):
            np.testing.assert_allclose(mine[row, :, :length, :length], other[row, :, :length, :length], atol=1e-4)
            assert (np.triu(mine[row, 0], k=1) == 0).all()


def test_pooled_states_lead_to_the_embeddings(tiny_checkpoint, pictures):
    checkpoint = open_checkpoint(tiny_checkpoint)
    parameters = checkpoint.parameters()
    for pooled, name, embeddings in (
        (features(checkpoint, pictures=pictures).pooled, "visual", load_vision_tower(checkpoint).encode(pictures)),
        (features(checkpoint, texts=TEXTS).pooled, "text", load_text_tower(checkpoint).encode(TEXTS)),
    ):
        projected = pooled @ parameters.read(f"{name}_projection.weight").T
        projected /= np.linalg.norm(projected, axis=1, keepdims=True)
        np.testing.assert_allclose(projected, embeddings, atol=1e-5)


def test_attentions_are_kept_only_when_asked_for(tiny_checkpoint, pictures):
    assert features(open_checkpoint(tiny_checkpoint), pictures=pictures).attentions == ()


@pytest.mark.parametrize("engine_name", ["numpy", "openvino", "torch"])
def test_logits_equal_those_of_transformers(tiny_checkpoint, pictures, engine_name):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    if engine_name == "openvino":
        pytest.importorskip("openvino")
    checkpoint = open_checkpoint(tiny_checkpoint)
    model = transformers.Aimv2Model.from_pretrained(tiny_checkpoint, attn_implementation="eager").eval()
    tokens = transformers.CLIPTokenizerFast.from_pretrained(tiny_checkpoint)(TEXTS, padding=True, return_tensors="pt")
    pixels = torch.from_numpy(checkpoint.preprocessing.normalise(np.stack(pictures)).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        theirs = model(**tokens, pixel_values=pixels)
    towers = {
        "vision_tower": load_vision_tower(checkpoint, engine=engine_name, device="cpu", precision="float32"),
        "text_tower": load_text_tower(checkpoint, engine=engine_name, device="cpu", precision="float32"),
    }
    ours = similarity(checkpoint, pictures, TEXTS, **towers)
    np.testing.assert_allclose(ours.logits_per_image, theirs.logits_per_image, atol=1e-4)
    np.testing.assert_allclose(ours.logits_per_text, theirs.logits_per_text, atol=1e-4)
    np.testing.assert_allclose(ours.probabilities, theirs.logits_per_image.softmax(dim=1), atol=1e-4)


def test_probabilities_are_a_softmax_over_the_prompts(tiny_checkpoint, pictures):
    found = similarity(open_checkpoint(tiny_checkpoint), pictures, TEXTS)
    assert found.probabilities.shape == (len(pictures), len(TEXTS))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), found.logits_per_image.argmax(axis=1))
    cosines = found.image_embeddings @ found.text_embeddings.T
    np.testing.assert_allclose(found.logits_per_image, cosines * np.exp(2.5), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_computed_is_said(tiny_checkpoint, tmp_path, pictures):
    checkpoint = open_checkpoint(tiny_checkpoint)
    for arguments in ({}, {"pictures": pictures, "texts": TEXTS}):
        with pytest.raises(ValueError, match="either pictures or texts"):
            features(checkpoint, **arguments)
    for arguments in ({"pictures": []}, {"pictures": [*pictures, np.zeros((8, 8, 3), np.uint8)]}):
        with pytest.raises(ValueError, match="one shape"):
            features(checkpoint, **arguments)
    with pytest.raises(ValueError, match="do not fit"):
        features(checkpoint, pictures=[np.zeros((40, 32, 3), np.uint8)])
    with pytest.raises(ValueError, match="at least one text"):
        features(checkpoint, texts=[])
    vision = open_checkpoint(make_checkpoint(tmp_path / "vision", text=False))
    text = open_checkpoint(make_checkpoint(tmp_path / "text", vision=False))
    with pytest.raises(NoTextTowerError):
        features(vision, texts=TEXTS)
    with pytest.raises(CheckpointError):
        features(text, pictures=pictures)
    with pytest.raises(NoTextTowerError):
        similarity(vision, pictures, TEXTS)
