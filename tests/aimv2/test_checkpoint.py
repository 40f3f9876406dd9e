"""What a checkpoint folder says, what is missing or foreign in it, and its fingerprint."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import time

import numpy as np
import pytest
from checkpoints import make_checkpoint, safetensors_bytes, write_weights
from safetensors.numpy import load_file

from photoseek.aimv2 import load_text_tower, open_checkpoint
from photoseek.errors import CheckpointError


def edit_config(folder, change):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))
    return folder


def edit_weights(folder, change):
    tensors = {name: np.array(value) for name, value in load_file(folder / "model.safetensors").items()}
    change(tensors)
    write_weights(folder, tensors)
    return folder


@pytest.mark.parametrize("layout", ["transformers", "apple"])
def test_sizes_are_read_in_either_layout(tmp_path, layout):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model", layout=layout, width=64, heads=4, layers=3))
    assert checkpoint.name == "model"
    assert checkpoint.has_vision
    assert checkpoint.has_text
    assert checkpoint.dim == checkpoint.projection_dim == 16
    assert checkpoint.context_length == 77
    assert checkpoint.logit_scale == pytest.approx(np.exp(2.5))
    vision, text = checkpoint.vision, checkpoint.text
    assert (vision.width, vision.mlp, vision.layers, vision.heads, vision.eps) == (64, 48, 3, 4, 1e-5)
    assert (vision.patch, vision.image, vision.has_head, vision.native) == (8, 32, True, False)
    assert (text.width, text.layers, text.heads, text.vocabulary, text.end_token) == (64, 3, 4, 522, 521)


@pytest.mark.parametrize("layout", ["transformers", "apple"])
@pytest.mark.parametrize(("head", "native"), [(True, False), (False, False), (False, True), (True, True)])
def test_the_tensors_decide_about_head_and_resolution(tmp_path, layout, head, native):
    folder = make_checkpoint(tmp_path, layout=layout, text=False, head=head, native=native)
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.vision.has_head, checkpoint.vision.native) == (head, native)
    assert (checkpoint.has_text, checkpoint.logit_scale, checkpoint.context_length) == (False, None, None)
    assert checkpoint.dim == checkpoint.vision.width
    assert checkpoint.preprocessing.resize == ("native" if native else "shortest_edge")


def test_apples_first_configs_are_understood(tmp_path):
    """model_type `aimv2` for a vision tower alone, and no word about the head."""
    folder = make_checkpoint(tmp_path, layout="apple", text=False, head=False)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "aimv2"
    assert not {"use_head", "is_native", "vision_config"} & set(config)
    assert open_checkpoint(folder).vision.has_head is False


def test_layouts_hold_the_same_parameters(tmp_path):
    a, b = (
        open_checkpoint(make_checkpoint(tmp_path / layout, layout=layout)).parameters()
        for layout in ("transformers", "apple")
    )
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a.read(name), b.read(name))


def test_a_logit_scale_is_clamped(tmp_path):
    folder = make_checkpoint(tmp_path)
    for stored, expected in ((9.0, 100.0), (-3.0, 1.0), (np.log(50), 50.0)):
        edit_weights(folder, lambda tensors, value=stored: tensors.update(logit_scale=np.float32(value)))
        assert open_checkpoint(folder).logit_scale == pytest.approx(expected)
    edit_weights(folder, lambda tensors: tensors.update(logit_scale=np.float32("nan")))
    with pytest.raises(CheckpointError, match="logit scale"):
        open_checkpoint(folder)


def test_the_processor_settings_may_lie_in_transformers_5s_file(tmp_path):
    folder = make_checkpoint(tmp_path)
    settings = json.loads((folder / "preprocessor_config.json").read_text()) | {"image_mean": [0.1, 0.2, 0.3]}
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    assert open_checkpoint(folder).preprocessing.mean == (0.1, 0.2, 0.3)
    (folder / "processor_config.json").write_text('{"image_processor": 5}')
    with pytest.raises(CheckpointError, match="no object"):
        open_checkpoint(folder)


MISSING = ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_file_is_named(tmp_path, name):
    (make_checkpoint(tmp_path) / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff", "null", "[" * 100_000])
def test_a_malformed_config_is_named(tmp_path, content):
    (make_checkpoint(tmp_path) / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_checkpoint(tmp_path)


def test_a_missing_tokenizer_is_named_when_words_come(tmp_path):
    folder = make_checkpoint(tmp_path)
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink()
    tower = load_text_tower(open_checkpoint(folder))
    assert tower.encode_ids([[520, 3, 521]]).shape == (1, 16)
    with pytest.raises(CheckpointError, match=r"tokenizer"):
        tower.encode(["a red car"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("vision_model.rms_norm.weight"), "lack vision_model.rms_norm.weight"),
        (lambda t: t.pop("text_model.encoder.layers.1.ffn.up_proj.weight"), "lack text_model"),
        (lambda t: [t.pop(n) for n in list(t) if ".layers.0." in n], "layers of the vision_model are missing"),
        (lambda t: t.pop("visual_projection.weight"), "visual_projection"),
        (lambda t: [t.pop(n) for n in ("visual_projection.weight", "text_projection.weight")], "no projections"),
        (lambda t: t.update({"vision_model.rms_norm.weight": np.ones(31, np.float32)}), r"shape \(31,\)"),
        (lambda t: t.update({"text_projection.weight": np.ones((15, 32), np.float32)}), r"shape \(15, 32\)"),
        (
            lambda t: t.update({"vision_model.embeddings.position_embedding.weight": np.ones((15, 32), np.float32)}),
            "15",
        ),
        (
            lambda t: t.update({"vision_model.embeddings.patch_embed.weight": np.ones((32, 4, 8, 8), np.float32)}),
            "3 ch",
        ),
        (lambda t: t.update({"vision_model.embeddings.class_embedding": np.ones(32, np.float32)}), "class_embedding"),
        (lambda t: t.update({"decoder.weight": np.ones(32, np.float32)}), "not an AIMv2 checkpoint"),
        (lambda t: [t.pop(n) for n in list(t)], "no AIMv2 tower"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, change, message):
    edit_weights(make_checkpoint(tmp_path), change)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("vision_config", "num_attention_heads", 5, "do not divide"),
        ("vision_config", "num_attention_heads", "2", "do not divide"),
        ("vision_config", "hidden_size", 48, "hidden_size"),
        ("text_config", "num_hidden_layers", 9, "num_hidden_layers"),
        ("text_config", "rms_norm_eps", 0, "rms_norm_eps"),
        ("text_config", "eos_token_id", 522, "end token"),
        ("text_config", "hidden_act", "gelu", "silu"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(tmp_path, part, field, value, message):
    edit_config(make_checkpoint(tmp_path), lambda config: config[part].update({field: value}))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_a_foreign_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    names = ["text_model.embeddings.token_embedding.weight", "text_model.final_layer_norm.weight"]
    content = safetensors_bytes({name: np.ones((4, 4), np.float32) for name in names})
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="final_layer_norm"):
        open_checkpoint(tmp_path)


def test_a_checkpoint_is_a_value_that_travels(tiny_checkpoint):
    checkpoint = open_checkpoint(tiny_checkpoint)
    copy = pickle.loads(pickle.dumps(checkpoint))
    assert copy == checkpoint
    assert hash(copy.digest) == hash(checkpoint.digest)
    np.testing.assert_array_equal(copy.parameters().read("logit_scale"), np.float32(2.5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        checkpoint.name = "other"


def test_the_digest_follows_every_part_and_nothing_else(tmp_path):
    folder = make_checkpoint(tmp_path / "a")
    digest = open_checkpoint(folder).digest
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("a card")
    assert open_checkpoint(copy).digest == digest
    seen = {digest, open_checkpoint(make_checkpoint(tmp_path / "b", seed=1)).digest}
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json", "merges.txt"):
        original = (copy / name).read_bytes()
        (copy / name).write_bytes(original + b"\n")
        seen.add(open_checkpoint(copy).digest)
        (copy / name).write_bytes(original)
    assert len(seen) == 6


def test_the_digest_sees_a_change_in_any_tensor(tmp_path):
    folder = make_checkpoint(tmp_path)
    names = list(load_file(folder / "model.safetensors"))
    digests = {open_checkpoint(folder).digest}
    for name in names[::7]:
        edit_weights(folder, lambda tensors, name=name: tensors.update({name: tensors[name] * np.float32(1.01)}))
        digests.add(open_checkpoint(folder).digest)
    assert len(digests) == 1 + len(names[::7])


def test_opening_reads_a_sample_of_large_weights(tmp_path):
    """A file of 2 GB (sparse) is opened and fingerprinted without being read."""
    folder = make_checkpoint(tmp_path, text=False)
    tensors = load_file(folder / "model.safetensors")
    content = safetensors_bytes({name: np.array(value) for name, value in tensors.items()})
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    end = max(entry["data_offsets"][1] for entry in header.values())
    header["embeddings.position_ids"] = {"dtype": "F32", "shape": [2**29], "data_offsets": [end, end + 2**31]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text + content[8 + length :])
        stream.truncate(8 + len(text) + end + 2**31)
    started = time.perf_counter()
    checkpoint = open_checkpoint(folder)
    assert time.perf_counter() - started < 0.5  # reading it would take a second at least
    assert checkpoint.vision.width == 32
