"""Reading safetensors files: checked as a whole before use, then tensor by tensor.

A file is `uint64 header length | JSON header | tensor bytes`. The header is the only part of a checkpoint that
is interpreted, and it may come from anywhere: every length and offset is checked against the file's size, and
the tensors must cover the data exactly once, before a single byte of them is read. Nothing is ever executed.

Source: the safetensors format specification (huggingface/safetensors, README, "Format").
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoseek.errors import CheckpointError

HEADER_BYTES_MAX = 100_000_000
"""Limit of the format itself; a checkpoint's header is about 0.1 MB."""

SAMPLE_BYTES = 1024
"""Bytes of every tensor that go into the digest; smaller tensors go in whole."""

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}
FLOAT_DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
"""How the bytes of each readable dtype are seen by NumPy, which has no bfloat16."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte, counted from the beginning of the file; like stop."""
    stop: int


class Weights:
    """All tensors of a checkpoint folder, in one file or in shards; each is read when it is asked for.

    Files are mapped, not loaded: a tower pays only for the tensors it reads. The files must not be
    changed while a Weights is in use. Threads may share one.

    Raises:
        CheckpointError: no weights in the folder, or a file is truncated, damaged or no safetensors file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, TensorEntry] = {}
        self._maps: dict[Path, NDArray[np.uint8]] = {}
        self._headers = hashlib.sha256()
        for file in weight_files(folder):
            for name, entry in self._read_file(file).items():
                if name in self.entries:
                    raise CheckpointError(f"{file}: tensor {name} is already in {self.entries[name].file.name}")
                self.entries[name] = entry

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.entries[name].shape

    def read(self, name: str, rows: slice | NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """One tensor, or some of its first axis, as float32.

        float32 on disk comes as a view of the file, others converted. Treat both as read-only.

        Raises:
            CheckpointError: the tensor is not stored as a floating-point type.
        """
        entry = self.entries[name]
        if entry.dtype not in FLOAT_DTYPES:
            raise CheckpointError(f"{entry.file}: tensor {name} is stored as {entry.dtype}, not as a float")
        stored = self._map(entry.file)[entry.start : entry.stop].view(FLOAT_DTYPES[entry.dtype]).reshape(entry.shape)
        part = stored if rows is None else stored[rows]
        if entry.dtype == "BF16":
            return (part.astype(np.uint32) << np.uint32(16)).view(np.float32)
        if entry.dtype == "F32" and not self.is_view(name):
            return part.copy()
        return part.astype(np.float32, copy=False)

    def is_view(self, name: str) -> bool:
        """Whether `read` gives a view of the file: float32, and at an address that fits it.

        Writers pad the header so that it does; matrix products would copy the rest at every call.
        """
        entry = self.entries[name]
        return entry.dtype == "F32" and entry.start % 4 == 0

    def fingerprint(self) -> bytes:
        """SHA-256 over all headers and, in order of name, a sample of each tensor's bytes.

        The sample is SAMPLE_BYTES from the tensor's middle, or the whole of a smaller one: retrained,
        truncated or rounded weights differ in nearly every number, so that this sees them in milliseconds
        where hashing 2 GB takes seconds. It is no protection against someone who hides a change on purpose.
        """
        digest = self._headers.copy()
        for name in sorted(self.entries):
            entry = self.entries[name]
            size = entry.stop - entry.start
            start = entry.start + max(0, size - SAMPLE_BYTES) // 2
            digest.update(self._map(entry.file)[start : start + min(size, SAMPLE_BYTES)].tobytes())
        return digest.digest()

    def _map(self, file: Path) -> NDArray[np.uint8]:
        if file not in self._maps:
            # Copy-on-write: OpenVINO shares only arrays that could be written to; the file never is.
            self._maps[file] = np.asarray(np.memmap(file, dtype=np.uint8, mode="c"))
        return self._maps[file]

    def _read_file(self, file: Path) -> dict[str, TensorEntry]:
        try:
            file_bytes = file.stat().st_size
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                if file_bytes < 8 or not 2 <= length <= min(HEADER_BYTES_MAX, file_bytes - 8):
                    raise CheckpointError(f"{file} is no safetensors file, or is truncated")
                header = stream.read(length)
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
        self._headers.update(header)
        return parse_header(file, header, data_start=8 + length, file_bytes=file_bytes)


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or the shards that model.safetensors.index.json names, sorted.

    Raises:
        CheckpointError: neither is there, a shard is missing, or the index is malformed.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise CheckpointError(
            f"{folder} holds no model.safetensors",
            hint="a checkpoint folder holds config.json, model.safetensors and the processor's and tokenizer's files",
        )
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map")
    files = set()
    for name in weight_map.values():
        # A plain file name: the index must not lead out of the checkpoint's folder.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index} names {name!r}, which is no file of this folder")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}, which its index names")
        files.add(folder / name)
    return sorted(files)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint.

    Raises:
        CheckpointError: the file is missing or holds something else.
    """
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{file.parent} holds no {file.name}") from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not valid JSON") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no JSON object")
    return content


def parse_header(file: Path, header: bytes, *, data_start: int, file_bytes: int) -> dict[str, TensorEntry]:
    """Tensor entries of one header, after every check that the format allows.

    Raises:
        CheckpointError: the header is malformed, an entry lies about its size, entries overlap or leave
            holes, or the file is shorter or longer than they say.
    """
    try:
        content = json.loads(header, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: the safetensors header is not valid JSON") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: the safetensors header is no JSON object")
    content.pop("__metadata__", None)
    entries = {name: _parse_entry(file, name, entry, data_start) for name, entry in content.items()}
    end = data_start
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
        if entry.start != end:
            raise CheckpointError(f"{file}: tensors overlap or leave holes at byte {entry.start}")
        end = entry.stop
    if end != file_bytes:
        problem = "is truncated" if end > file_bytes else "has bytes that no tensor owns"
        raise CheckpointError(f"{file} {problem}: it has {file_bytes} bytes, its header says {end}")
    return entries


def _parse_entry(file: Path, name: str, entry: object, data_start: int) -> TensorEntry:
    try:
        if not isinstance(entry, dict):
            raise TypeError
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, start, stop]
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError
        if stop - start != math.prod(shape) * DTYPE_BYTES[dtype]:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: the header's entry of tensor {name[:80]!r} is malformed") from error
    return TensorEntry(file, dtype, tuple(shape), data_start + start, data_start + stop)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name occurs twice")
    return content
