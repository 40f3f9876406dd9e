"""Messages between the library and its decode workers: a JSON header and raw bytes, each with its length.

    8 bytes   length of the header, length of the payload (two unsigned 32-bit numbers, big-endian)
    header    JSON object, ASCII
    payload   bytes as they are: a photo, pixels

Nothing in a message can run code, so that a decoder taken over by a hostile photo gains no hold on the library.
"""

from __future__ import annotations

import json
import struct
from io import BufferedReader, BufferedWriter
from typing import Any

import numpy as np

from photoseek.contracts import CameraFacts, PhotoKnown, PhotoRead, ReadFailure, ReadResult, Trouble

HEADER_BYTES_MAX = 16 << 20
"""A longer header is no message of ours: 500 keywords and 21 other texts of 2,000 characters, each at most 12 bytes in
ASCII JSON, are the longest content."""

_LENGTHS = struct.Struct(">II")
_LISTS = ("captions", "keywords")

Header = dict[str, Any]


class FrameError(Exception):
    """What came is no message: the other side is damaged, or wrote something else into the pipe."""


def write_frame(stream: BufferedWriter, header: Header, payload: bytes | memoryview = b"") -> None:
    """Write one message and flush it.

    Raises:
        OSError: the other side is gone.
    """
    text = json.dumps(header).encode("ascii")
    stream.write(_LENGTHS.pack(len(text), len(payload)) + text)
    stream.write(payload)
    stream.flush()


def read_frame(stream: BufferedReader, *, payload_bytes_max: int) -> tuple[Header, bytearray] | None:
    """Read one message; None where the other side has closed the pipe.

    Raises:
        FrameError: the bytes are no message, or its payload is larger than allowed.
    """
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_length, payload_length = _LENGTHS.unpack(lengths)
    if header_length > HEADER_BYTES_MAX or payload_length > payload_bytes_max:
        raise FrameError(f"a message of {header_length} and {payload_length} bytes")
    text = stream.read(header_length)
    payload = bytearray(payload_length)  # writable, as the memory of a picture should be
    if len(text) < header_length or _fill(stream, payload) < payload_length:
        return None
    try:
        header = json.loads(text)
    except ValueError as error:
        raise FrameError("a header that is no JSON") from error
    if not isinstance(header, dict):
        raise FrameError("a header that is no JSON object")
    return header, payload


def _fill(stream: BufferedReader, target: bytearray) -> int:
    """Read until the target is full or the stream ends; returns the number of bytes read."""
    view = memoryview(target)
    filled = 0
    while filled < len(view) and (count := stream.readinto(view[filled:])):
        filled += count
    return filled


def encode_result(result: ReadResult) -> tuple[Header, bytes | memoryview]:
    """The message that carries a worker's answer."""
    match result:
        case PhotoRead():
            header = {
                "kind": "read",
                "digest": result.digest.hex(),
                "size": result.size,
                "mtime_ns": result.mtime_ns,
                "format": result.format,
                "width": result.width,
                "height": result.height,
                "camera": result.camera._asdict(),
                "shape": result.picture.shape,
                "picture_digest": result.picture_digest.hex(),
                "fingerprint": result.fingerprint,
            }
            return header, result.picture.reshape(-1).data
        case PhotoKnown():
            known = {"kind": "known", "digest": result.digest.hex(), "size": result.size, "mtime_ns": result.mtime_ns}
            return known, b""
        case ReadFailure():
            digest = result.digest.hex() if result.digest is not None else None
            return {"kind": "failure", "trouble": result.trouble.name, "reason": result.reason, "digest": digest}, b""


def decode_result(header: Header, payload: bytearray) -> ReadResult:
    """A worker's answer out of its message; a picture shares the payload's memory.

    Raises:
        FrameError: the message is no answer.
    """
    try:
        match header["kind"]:
            case "read":
                camera = header["camera"]
                return PhotoRead(
                    digest=bytes.fromhex(header["digest"]),
                    size=header["size"],
                    mtime_ns=header["mtime_ns"],
                    format=header["format"],
                    width=header["width"],
                    height=header["height"],
                    camera=CameraFacts(**{**camera, **{name: tuple(camera[name]) for name in _LISTS}}),
                    picture=np.frombuffer(payload, dtype=np.uint8).reshape(header["shape"]),
                    picture_digest=bytes.fromhex(header["picture_digest"]),
                    fingerprint=header["fingerprint"],
                )
            case "known":
                return PhotoKnown(bytes.fromhex(header["digest"]), header["size"], header["mtime_ns"])
            case "failure":
                digest = bytes.fromhex(header["digest"]) if header["digest"] is not None else None
                return ReadFailure(Trouble[header["trouble"]], header["reason"], digest)
            case kind:
                raise FrameError(f"an answer of unknown kind {kind!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError("an answer with missing or wrong fields") from error
