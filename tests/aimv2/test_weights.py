"""safetensors files that are cut off, lie, or come from somewhere else never get as far as a tensor."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from checkpoints import make_checkpoint, safetensors_bytes, with_header
from hypothesis import given
from hypothesis import strategies as st

from photoseek.aimv2.weights import Weights, parse_header, weight_files
from photoseek.errors import CheckpointError

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def open_bytes(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    return Weights(tmp_path)


def entry(**changes):
    return {"a": GOOD | changes}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        b"PK\x03\x04 a zip file, as torch.save writes",
        b"\x80\x02}q\x00.  a pickle",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 4) + b"\xff\xfe{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 1) + b"{",
        with_header("text", b""),
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 60_005) + b'{"a":' + b"[" * 30_000 + b"]" * 30_000,
        struct.pack("<Q", 15) + b'{"a":1,"a":{}} ',
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        open_bytes(tmp_path, content)


@pytest.mark.parametrize(
    "header",
    [
        entry(dtype="F33"),
        entry(dtype=4),
        entry(dtype=["F32"]),
        entry(shape=[3]),
        entry(shape=[-2]),
        entry(shape=[2.0]),
        entry(shape=[True, 2]),
        entry(shape=[2**62, 2**62]),
        entry(shape="2"),
        entry(shape=None),
        entry(data_offsets=[8, 0]),
        entry(data_offsets=[0, 16]),
        entry(data_offsets=[-8, 0]),
        entry(data_offsets=[0]),
        entry(data_offsets=[0, 8, 8]),
        entry(data_offsets=[4, 12]),
        entry(data_offsets=[2**64, 2**64 + 8]),
        entry(data_offsets=None),
        {"a": [1, 2]},
        {"a": {}},
        {"a": GOOD, "b": GOOD},
        {"a": GOOD, "b": GOOD | {"data_offsets": [4, 12]}},
        {"a": GOOD | {"shape": [1], "data_offsets": [0, 4]}},
        {"a": GOOD, "b": GOOD | {"data_offsets": [12, 20]}},
    ],
)
def test_an_entry_that_lies_is_refused(tmp_path, header):
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        open_bytes(tmp_path, with_header(header, bytes(8)))


def test_a_file_with_more_or_less_data_than_its_header_says_is_refused(tmp_path):
    whole = safetensors_bytes({"a": np.arange(6, dtype=np.float32)})
    assert open_bytes(tmp_path, whole).read("a").tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(CheckpointError, match="truncated"):
        open_bytes(tmp_path, whole[:-1])
    with pytest.raises(CheckpointError, match="no tensor owns"):
        open_bytes(tmp_path, whole + b"x")


@given(st.binary(max_size=200))
def test_any_header_gives_entries_or_a_checkpoint_error(tmp_path_factory, header):
    file = tmp_path_factory.getbasetemp() / "model.safetensors"
    try:
        entries = parse_header(file, header, data_start=8 + len(header), file_bytes=8 + len(header) + 8)
    except CheckpointError:
        return
    assert sum(entry.stop - entry.start for entry in entries.values()) == 8


names = st.sampled_from(["a", "b", "__metadata__", ""])
numbers = st.integers(-1, 9) | st.floats() | st.none() | st.booleans()
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "?"]),
        "shape": st.lists(numbers, max_size=2),
        "data_offsets": st.lists(numbers, max_size=3),
    }
)


@given(st.dictionaries(names, entries))
def test_entries_that_pass_cover_the_data_exactly_once(tmp_path_factory, header):
    file = tmp_path_factory.getbasetemp() / "model.safetensors"
    try:
        found = parse_header(file, json.dumps(header).encode(), data_start=100, file_bytes=108)
    except CheckpointError:
        return
    owners = np.zeros(108, dtype=int)
    for each in found.values():
        owners[each.start : each.stop] += 1
    assert owners.tolist() == [0] * 100 + [1] * 8


def test_metadata_and_tensors_of_other_types_do_no_harm(tmp_path):
    header = {"__metadata__": {"format": "pt"}, "ids": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}
    weights = open_bytes(tmp_path, with_header(header, bytes(8)))
    assert list(weights) == ["ids"]
    with pytest.raises(CheckpointError, match="I64"):
        weights.read("ids")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_values_come_back_as_stored(tmp_path, dtype):
    values = np.array([[0.5, -1.25], [3.0, 1e-3], [65504, 0]], dtype=np.float32)
    weights = open_bytes(tmp_path, safetensors_bytes({"odd": np.ones(1, np.float32), "a": values}, dtype))
    relative = {"F32": 0, "F16": 2**-11, "BF16": 2**-8}[dtype]
    np.testing.assert_allclose(weights.read("a"), values, rtol=relative)
    np.testing.assert_array_equal(weights.read("a", slice(1, 2)), weights.read("a")[1:2])
    assert weights.read("a").dtype == np.float32


@pytest.mark.parametrize("padding", range(4))
def test_a_header_of_any_length_gives_aligned_values(tmp_path, padding):
    """Unpadded files exist; BLAS and OpenVINO take aligned memory only."""
    header = json.dumps({"a": GOOD}).encode() + b" " * padding
    values = np.array([1.5, -2], dtype=np.float32)
    weights = open_bytes(tmp_path, struct.pack("<Q", len(header)) + header + values.tobytes())
    assert weights.read("a").flags.aligned
    assert weights.read("a").tolist() == [1.5, -2]
    assert weights.is_view("a") == ((8 + len(header)) % 4 == 0)


def test_writing_into_a_parameter_never_reaches_the_file(tmp_path):
    content = safetensors_bytes({"a": np.ones(4, np.float32)})
    open_bytes(tmp_path, content).read("a")[:] = 5
    assert (tmp_path / "model.safetensors").read_bytes() == content


def test_sharded_weights_hold_what_one_file_holds(tmp_path):
    one, three = (Weights(make_checkpoint(tmp_path / str(n), shards=n)) for n in (1, 3))
    assert set(one) == set(three)
    assert {entry.file.name for entry in three.entries.values()} == {
        f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)
    }
    for name in one:
        np.testing.assert_array_equal(one.read(name), three.read(name))


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", 5, ".."])
def test_an_index_cannot_lead_out_of_the_folder(tmp_path, name):
    (tmp_path.parent / "outside.safetensors").write_bytes(safetensors_bytes({}))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="no file of this folder"):
        weight_files(tmp_path)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 5}', "\xff"])
def test_a_malformed_index_is_refused(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"index\.json"):
        weight_files(tmp_path)


def test_a_missing_shard_and_a_tensor_in_two_shards_are_named(tmp_path):
    folder = make_checkpoint(tmp_path / "model", shards=2)
    second = folder / "model-00002-of-00002.safetensors"
    second.rename(tmp_path / "kept")
    with pytest.raises(CheckpointError, match="lacks model-00002"):
        Weights(folder)
    second.write_bytes((folder / "model-00001-of-00002.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="is already in"):
        Weights(folder)


def test_a_folder_without_weights_is_named(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        Weights(tmp_path)
