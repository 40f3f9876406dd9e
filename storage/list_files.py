"""Inverted lists on the disk: codes and positions of all lists in one file, of which a search reads what it probes.

FAISS's own file of such an index holds the lists as well, and FAISS reads it whole into memory: 80 MB for a million
photos, of which a search needs a twentieth. So the index is written without its lists, and these beside it in the form
that FAISS maps (`OnDiskInvertedLists`; its scan takes packed codes from there as it does from memory).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from photoseek.errors import DamageError
from photoseek.storage.column_files import read_array
from photoseek.storage.durable import synced_file
from photoseek.storage.faissfile import open_index, write_index
from photoseek.storage.ivf import centroids_of

LISTS_FILE = "lists.faiss"
"""The index without its lists: axes, centroids, codebooks."""
ROWS_FILE = "lists.rows"
"""The lists, one after the other: the codes of each, and the positions of its vectors."""
SIZES_FILE = "lists.sizes.npy"
"""How many vectors each list has, int64 (nlist,)."""
SHAPES_FILE = "lists.means.npy"
"""Where they lie, float32 (nlist, k + 1), as `list_shapes` makes it."""

BLOCK_ROWS = 32
"""FAISS packs the codes of so many vectors together; the last block of a list is filled up with zeros."""
POSITION_BYTES = 8


def write_lists(index: faiss.IndexPreTransform, shapes: NDArray[np.float32], folder: Path) -> None:
    """Write four new files, durable on return; the index is empty afterwards."""
    ivf = faiss.downcast_index(index.index)
    sizes = np.array([ivf.invlists.list_size(number) for number in range(ivf.nlist)], dtype=np.int64)
    with synced_file(folder / ROWS_FILE) as stream:
        for number in np.flatnonzero(sizes).tolist():
            size, rows = int(sizes[number]), int(_filled(sizes[number]))
            stream.write(faiss.rev_swig_ptr(ivf.invlists.get_codes(number), rows * ivf.code_size).tobytes())
            stream.write(faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).tobytes())
            stream.write(bytes(POSITION_BYTES * (rows - size)))
    for name, array in ((SIZES_FILE, sizes), (SHAPES_FILE, shapes)):
        with synced_file(folder / name) as stream:
            np.save(stream, array)
    index.reset()
    write_index(index, folder / LISTS_FILE)


def has_lists(folder: Path) -> bool:
    """Has a generation lists that can be read? An older photoseek made others, with a file of another name or none."""
    return (folder / SHAPES_FILE).exists()


def open_lists(folder: Path, *, mapped: bool) -> faiss.IndexPreTransform:
    """Read an index with its lists; to mapped ones nothing can be added.

    Raises:
        FileNotFoundError: a file is not there.
        DamageError: the files cannot be read, or do not fit each other.
    """
    index = open_index(folder / LISTS_FILE, mapped=False)
    ivf = faiss.downcast_index(index.index)
    sizes = read_array(folder / SIZES_FILE, mapped=False)
    path = folder / ROWS_FILE
    row_bytes = ivf.code_size + POSITION_BYTES
    if sizes.shape != (ivf.nlist,) or sizes.dtype != np.int64 or sizes.min() < 0:
        raise DamageError(f"{folder / SIZES_FILE} is damaged")
    if path.stat().st_size != _filled(sizes).sum() * row_bytes:
        raise DamageError(f"{path} is damaged: it has not the size of its lists")
    if mapped and hasattr(faiss, "OnDiskInvertedLists"):  # not on Windows
        lists = _mapped(path, sizes, ivf.code_size)
        ivf.replace_invlists(lists, True)
        lists.this.disown()  # the index frees it
    else:
        _fill(ivf.invlists, path, sizes, ivf.code_size)
    index.ntotal = ivf.ntotal = int(sizes.sum())
    return index


def read_shapes(folder: Path, index: faiss.IndexPreTransform) -> NDArray[np.float32]:
    """The shapes of the lists of an index that was read from there.

    Raises:
        FileNotFoundError: the file is not there.
        DamageError: it does not fit the index.
    """
    shapes = read_array(folder / SHAPES_FILE, mapped=False)
    nlist, axes = centroids_of(index)[0].shape
    if shapes.shape != (nlist, axes + 1) or shapes.dtype != np.float32:
        raise DamageError(f"{folder / SHAPES_FILE} is damaged")
    return shapes


def _filled(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that lists of these sizes take in the file: whole blocks."""
    return -(-sizes // BLOCK_ROWS) * BLOCK_ROWS


def _mapped(path: Path, sizes: NDArray[np.int64], code_size: int) -> Any:
    """The lists as FAISS maps them.

    FAISS makes them from a head of its own format only: the size, rows and first byte of each list, no free parts of
    the file, no name, and its length. With a name in the head FAISS would look for the file where it was written.
    """
    rows = _filled(sizes)
    ends = np.cumsum(rows * (code_size + POSITION_BYTES))
    table = np.stack([sizes, rows, np.concatenate([[0], ends[:-1]])], axis=1).astype("<u8")
    head = struct.pack("<4sQQQ", b"ilod", len(sizes), code_size, len(sizes)) + table.tobytes()
    head += struct.pack("<QQQ", 0, 0, int(ends[-1]))
    reader = faiss.VectorIOReader()
    faiss.copy_array_to_vector(np.frombuffer(head, dtype=np.uint8), reader.data)
    lists = faiss.read_InvertedLists(reader, faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_SKIP_IVF_DATA)
    lists = faiss.downcast_InvertedLists(lists)
    lists.filename, lists.read_only = os.fspath(path), True
    try:
        lists.do_mmap()
    except RuntimeError as error:
        raise DamageError(f"{path} cannot be mapped into memory") from error
    return lists


def _fill(lists: Any, path: Path, sizes: NDArray[np.int64], code_size: int) -> None:
    """Copy the lists into empty ones in memory."""
    with path.open("rb") as stream:
        for number in np.flatnonzero(sizes).tolist():
            size, rows = int(sizes[number]), int(_filled(sizes[number]))
            codes = np.frombuffer(stream.read(rows * code_size), dtype=np.uint8)
            positions = np.frombuffer(stream.read(rows * POSITION_BYTES), dtype=np.int64)
            lists.add_entries(number, size, faiss.swig_ptr(positions), faiss.swig_ptr(codes))
