"""Every engine agrees with the plain reference, for every kind of checkpoint, in either layout."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from checkpoints import make_checkpoint
from numpy.typing import NDArray
from reference import TEXTS, normalised, with_prefix
from safetensors.numpy import load_file

from photoseek.aimv2 import load_text_tower, load_vision_tower, open_checkpoint
from photoseek.errors import CheckpointError, ModelError, NoTextTowerError, UsageError

KINDS = {
    "dual": {},
    "vision only, no head": {"text": False, "head": False},
    "vision only, head": {"text": False},
    "native, no head": {"text": False, "head": False, "native": True},
    "native, head": {"native": True},
    "four heads, three layers": {"width": 64, "heads": 4, "layers": 3},
}


def reference_pictures(folder, pictures, *, heads=2, layers=2):
    p = with_prefix(load_file(folder / "model.safetensors"))
    vectors = []
    for picture in pictures:
        pooled, _, _ = reference.vision(p, normalised(picture), heads=heads, layers=layers)
        vectors.append(reference.projected(p, "visual_projection", pooled))
    return np.array(vectors)


def reference_texts(folder, token_ids, end, *, heads=2, layers=2):
    p = with_prefix(load_file(folder / "model.safetensors"))
    pooled = [reference.text(p, ids, end=end, heads=heads, layers=layers) for ids in token_ids]
    return np.array([reference.projected(p, "text_projection", vector) for vector in pooled])


@pytest.mark.parametrize("layout", ["transformers", "apple"])
@pytest.mark.parametrize("kind", KINDS)
def test_picture_vectors_equal_the_reference(tmp_path, engine, kind, layout, pictures):
    options = KINDS[kind]
    sizes = {"heads": options.get("heads", 2), "layers": options.get("layers", 2)}
    expected = reference_pictures(make_checkpoint(tmp_path / "plain", **options), pictures[:2], **sizes)
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model", layout=layout, **options))
    tower = load_vision_tower(checkpoint, engine=engine, device="cpu", precision="float32")
    vectors = tower.encode(pictures[:2])
    assert vectors.dtype == np.float32
    assert vectors.shape == (2, tower.dim) == (2, checkpoint.dim)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("layout", ["transformers", "apple"])
@pytest.mark.parametrize("kind", ["dual", "four heads, three layers"])
def test_text_vectors_equal_the_reference(tmp_path, engine, kind, layout):
    options = KINDS[kind]
    sizes = {"heads": options.get("heads", 2), "layers": options.get("layers", 2)}
    plain = make_checkpoint(tmp_path / "plain", **options)
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model", layout=layout, **options))
    tower = load_text_tower(checkpoint, engine=engine, device="cpu", precision="float32")
    from tokenizers import Tokenizer

    token_ids = [Tokenizer.from_file(str(plain / "tokenizer.json")).encode(text).ids for text in TEXTS]
    expected = reference_texts(plain, token_ids, checkpoint.text.end_token, **sizes)
    np.testing.assert_allclose(tower.encode(TEXTS), expected, atol=1e-4)
    np.testing.assert_array_equal(tower.encode_ids(token_ids), tower.encode(TEXTS))


def test_native_pictures_of_several_shapes_keep_their_order(tmp_path, engine):
    folder = make_checkpoint(tmp_path, native=True, text=False, head=False)
    rng = np.random.default_rng(3)
    shapes = [(16, 24, 3), (32, 8, 3), (16, 24, 3), (8, 8, 3)]
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    vectors = load_vision_tower(open_checkpoint(folder), engine=engine, device="cpu").encode(pictures)
    np.testing.assert_allclose(vectors, reference_pictures(folder, pictures), atol=1e-4)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_storage_is_read_exactly(tmp_path, engine, dtype, pictures):
    """Rounded weights stored in 16 bits give what the same rounded weights give stored in 32."""
    narrow = open_checkpoint(make_checkpoint(tmp_path / "narrow", dtype=dtype))
    tensors = narrow.parameters()
    from checkpoints import write_weights

    wide_folder = make_checkpoint(tmp_path / "wide")
    write_weights(wide_folder, {name: np.array(tensors.read(name)) for name in tensors})
    wide = open_checkpoint(wide_folder)
    for load, inputs in ((load_vision_tower, pictures), (load_text_tower, TEXTS)):
        a, b = (load(c, engine=engine, device="cpu", precision="float32").encode(inputs) for c in (narrow, wide))
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("engine", "precision"), [("openvino", "bfloat16"), ("torch", "bfloat16")])
def test_bfloat16_points_the_same_way(tiny_checkpoint, engine, precision, pictures):
    for package in ("openvino",) if engine == "openvino" else ("torch", "transformers"):
        pytest.importorskip(package)
    checkpoint = open_checkpoint(tiny_checkpoint)
    for load, inputs in ((load_vision_tower, pictures), (load_text_tower, TEXTS)):
        exact = load(checkpoint, engine="numpy").encode(inputs)
        tower = load(checkpoint, engine=engine, device="cpu", precision=precision)
        assert tower.precision == precision
        assert ((tower.encode(inputs) * exact).sum(axis=1) > 0.999).all()


@pytest.mark.parametrize("mlp", [48, 512], ids=["a scale for a row", "scales for its parts"])
def test_int8_points_nearly_the_same_way(tmp_path, mlp, pictures):
    pytest.importorskip("openvino")
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "wide", mlp=mlp))
    exact = load_vision_tower(checkpoint, engine="numpy").encode(pictures)
    tower = load_vision_tower(checkpoint, precision="int8", device="cpu")
    assert (tower.engine, tower.precision) == ("openvino", "int8")
    cosines = (tower.encode(pictures) * exact).sum(axis=1)
    assert (cosines > 0.998).all()
    assert (cosines < 1 - 1e-6).any(), "computed in 8 bits"


def test_a_vector_does_not_depend_on_its_neighbours(tiny_checkpoint, engine, pictures):
    checkpoint = open_checkpoint(tiny_checkpoint)
    tower = load_vision_tower(checkpoint, engine=engine, device="cpu", precision="float32")
    together, alone = tower.encode(pictures), [tower.encode([picture])[0] for picture in pictures]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_more_inputs_than_a_batch_come_back_in_order(tiny_checkpoint, pictures):
    tower = load_vision_tower(open_checkpoint(tiny_checkpoint), engine="numpy")
    many = pictures * 60  # 300 pictures of 16 patches: three batches
    np.testing.assert_allclose(tower.encode(many), np.tile(tower.encode(pictures), (60, 1)), atol=1e-6)


def test_no_inputs_give_no_rows(tiny_checkpoint, engine):
    checkpoint = open_checkpoint(tiny_checkpoint)
    for load in (load_vision_tower, load_text_tower):
        empty = load(checkpoint, engine=engine, device="cpu").encode([])
        assert empty.shape == (0, 16)
        assert empty.dtype == np.float32


def test_towers_say_what_computes_them(tiny_checkpoint, engine):
    tower = load_text_tower(open_checkpoint(tiny_checkpoint), engine=engine, device="cpu")
    assert (tower.engine, tower.device, tower.precision, tower.dim) == (engine, "cpu", "float32", 16)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((32, 40, 3), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((32, 32), np.uint8),
        "picture.jpg",
    ],
)
def test_a_picture_that_does_not_fit_is_refused(tiny_checkpoint, picture):
    tower = load_vision_tower(open_checkpoint(tiny_checkpoint), engine="numpy")
    with pytest.raises(ValueError, match="picture 1"):
        tower.encode([np.zeros((32, 32, 3), np.uint8), picture])


@pytest.mark.parametrize("shape", [(7, 8, 3), (0, 8, 3), (8, 12, 3)])
def test_a_native_picture_must_be_whole_patches(tmp_path, shape):
    tower = load_vision_tower(open_checkpoint(make_checkpoint(tmp_path, native=True, text=False)), engine="numpy")
    with pytest.raises(ValueError, match="whole patches"):
        tower.encode([np.zeros(shape, np.uint8)])


@pytest.mark.parametrize("ids", [[], [1, 2, 3], [520] * 77 + [521], [520, 9999, 521], [520, -1, 521]])
def test_token_ids_that_are_no_text_are_refused(tiny_checkpoint, engine, ids):
    tower = load_text_tower(open_checkpoint(tiny_checkpoint), engine=engine, device="cpu")
    with pytest.raises(ValueError, match="text"):
        tower.encode_ids([ids])


def test_one_string_is_not_taken_for_many(tiny_checkpoint):
    with pytest.raises(TypeError, match="sequence of texts"):
        load_text_tower(open_checkpoint(tiny_checkpoint)).encode("a red car")


def test_weights_that_are_not_finite_are_an_error_not_a_vector(tmp_path, engine, pictures):
    from checkpoints import write_weights

    folder = make_checkpoint(tmp_path)
    tensors = {name: np.array(value) for name, value in load_file(folder / "model.safetensors").items()}
    tensors["visual_projection.weight"][3, 3] = np.nan
    write_weights(folder, tensors)
    tower = load_vision_tower(open_checkpoint(folder), engine=engine, device="cpu")
    with pytest.raises(ModelError, match="no finite vector"):
        tower.encode(pictures)


def test_a_missing_tower_is_named(tmp_path):
    vision = open_checkpoint(make_checkpoint(tmp_path / "vision", text=False))
    with pytest.raises(NoTextTowerError, match="no text tower"):
        load_text_tower(vision)
    text = open_checkpoint(make_checkpoint(tmp_path / "text", vision=False))
    assert load_text_tower(text).encode(["dog"]).shape == (1, 32)
    with pytest.raises(CheckpointError, match="no vision tower"):
        load_vision_tower(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "onnx"}, "unknown engine"),
        ({"precision": "int4"}, "unknown precision"),
        ({"engine": "numpy", "device": "cuda"}, "runs on the CPU"),
        ({"engine": "numpy", "precision": "bfloat16"}, "float32"),
        ({"engine": "openvino", "precision": "float16"}, "not in float16"),
        ({"engine": "torch", "precision": "int8"}, "not in int8"),
    ],
)
def test_options_that_exclude_each_other_are_refused(tiny_checkpoint, options, message):
    with pytest.raises(UsageError, match=message):
        load_vision_tower(open_checkpoint(tiny_checkpoint), **options)


def test_threads_are_taken_by_every_engine(tiny_checkpoint, engine, pictures):
    checkpoint = open_checkpoint(tiny_checkpoint)
    tower = load_vision_tower(checkpoint, engine=engine, device="cpu", threads=1)
    exact: NDArray[np.float32] = load_vision_tower(checkpoint, engine="numpy").encode(pictures)
    np.testing.assert_allclose(tower.encode(pictures), exact, atol=1e-5)
