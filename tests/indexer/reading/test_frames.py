"""Messages between library and workers: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

import io
import json
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoseek.contracts import CameraFacts, PhotoKnown, PhotoRead, ReadFailure, ReadResult, Trouble
from photoseek.indexer.frames import FrameError, decode_result, encode_result, read_frame, write_frame

PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
CAMERA = CameraFacts(
    orientation=6,
    taken_at="2020-01-02T03:04:05",
    latitude=1.5,
    rating=-1,
    title="é🏖",
    captions=("ç",),
    keywords=("a", "b"),
)
READ = PhotoRead(bytes(32), 10, 20, "jpeg", 30, 40, CAMERA, PICTURE, bytes(range(32)))


def through_a_pipe(result: ReadResult) -> ReadResult:
    stream = io.BytesIO()
    write_frame(stream, *encode_result(result))
    frame = read_frame(io.BytesIO(stream.getvalue()), payload_bytes_max=1000)
    assert frame is not None
    return decode_result(*frame)


def test_a_photo_comes_through() -> None:
    result = through_a_pipe(READ)
    assert isinstance(result, PhotoRead)
    assert (result.picture == PICTURE).all()
    assert result.picture.flags.writeable
    assert (result.camera, result.digest, result.picture_digest) == (CAMERA, READ.digest, READ.picture_digest)
    assert (result.size, result.mtime_ns, result.format, result.width, result.height) == (10, 20, "jpeg", 30, 40)


@pytest.mark.parametrize(
    "result",
    [
        PhotoKnown(bytes(32), 1 << 40, -1),
        ReadFailure(Trouble.SURROUNDINGS, "é", None),
        ReadFailure(Trouble.NO_PICTURE, "no", bytes(32)),
    ],
)
def test_other_answers_come_through(result: ReadResult) -> None:
    assert through_a_pipe(result) == result


def frame(header: object, payload: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack(">II", len(text), len(payload)) + text + payload


@pytest.mark.parametrize("length", range(len(frame({"kind": "x"}, b"payload"))))
def test_a_cut_message_is_the_end(length: int) -> None:
    assert read_frame(io.BytesIO(frame({"kind": "x"}, b"payload")[:length]), payload_bytes_max=100) is None


@pytest.mark.parametrize(
    "stray", [b"a decoder that prints a line\n", frame([1]), struct.pack(">II", 3, 0) + b"{a}", frame({}, bytes(101))]
)
def test_what_is_no_message_is_refused(stray: bytes) -> None:
    with pytest.raises(FrameError):
        read_frame(io.BytesIO(stray), payload_bytes_max=100)


def test_answers_with_wrong_fields_are_refused() -> None:
    header, payload = encode_result(READ)
    for change in ({"kind": "other"}, {"shape": [9, 9, 9]}, {"digest": "x"}, {"camera": {"age": 7}}, {"camera": None}):
        with pytest.raises(FrameError):
            decode_result({**header, **change}, bytearray(payload))
    for key in header:
        with pytest.raises(FrameError):
            decode_result({name: value for name, value in header.items() if name != key}, bytearray(payload))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_an_end_or_refused(noise: bytes) -> None:
    with suppress(FrameError):
        read_frame(io.BytesIO(noise), payload_bytes_max=100)
