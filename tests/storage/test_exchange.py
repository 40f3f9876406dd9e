"""Vectors out and in: they spare another library the embedding, and never get into the wrong one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import ColourVision
from small_library import write_photos

from photoseek import PhotoLibrary
from photoseek.errors import ModelMismatchError, UsageError

pytestmark = pytest.mark.slow

Open = Callable[..., PhotoLibrary]


@pytest.fixture
def exported(library: PhotoLibrary, photos: Path, tmp_path: Path) -> Path:
    """The vectors of five photos, one of them twice."""
    write_photos(photos, 5)
    shutil.copy(photos / "00.png", photos / "copy.png")
    library.index(photos)
    assert library.export_vectors(tmp_path / "vectors") == 5
    return tmp_path / "vectors"


def test_imported_vectors_spare_the_embedding(
    exported: Path, library: PhotoLibrary, open_library: Open, photos: Path, tmp_path: Path
) -> None:
    other = open_library(tmp_path / "other")
    assert other.import_vectors(exported) == 5
    assert other.import_vectors(exported) == 0
    assert len(other.search("red")) == 0, "no photo shows them yet"
    assert other.verify().problems == []
    write_photos(photos, 1, first_seed=90)
    ColourVision.encoded = 0
    report = other.index(photos)
    assert (report.indexed, report.embedded) == (6, 1)
    library.index(photos)
    assert [(m.digest, m.score) for m in other.search("blue")] == [(m.digest, m.score) for m in library.search("blue")]
    assert other.verify().problems == []


def test_a_folder_that_exists_is_not_written_over(exported: Path, library: PhotoLibrary) -> None:
    with pytest.raises(UsageError):
        library.export_vectors(exported)


def test_vectors_of_another_model_are_refused(
    exported: Path, open_library: Open, turned_checkpoint: Path, tmp_path: Path
) -> None:
    other = open_library(tmp_path / "other", model=turned_checkpoint)
    with pytest.raises(ModelMismatchError):
        other.import_vectors(exported)
    assert other.status().photos == 0


def _none(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_array(folder: Path) -> None:
    (folder / "vectors.npy").write_bytes(b"")


def _truncated(folder: Path) -> None:
    path = folder / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-7])


def _too_few_ids(folder: Path) -> None:
    np.save(folder / "ids.npy", np.load(folder / "ids.npy")[:-1])


def _a_number(folder: Path) -> None:
    np.save(folder / "vectors.npy", np.float16(1))


def _an_archive(folder: Path) -> None:
    np.savez(folder / "vectors", vectors=np.zeros(3))
    (folder / "vectors.npz").replace(folder / "vectors.npy")


def _pickled(folder: Path) -> None:
    np.save(folder / "ids.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _wide(folder: Path) -> None:
    np.save(folder / "vectors.npy", np.zeros((5, 17), dtype=np.float16))


def _not_unit(folder: Path) -> None:
    np.save(folder / "vectors.npy", np.load(folder / "vectors.npy") * np.float16(2))


def _no_json(folder: Path) -> None:
    (folder / "space.json").write_bytes(b"\xff{")


@pytest.mark.parametrize(
    "damage",
    [_none, _no_array, _truncated, _too_few_ids, _a_number, _an_archive, _pickled, _wide, _not_unit, _no_json],
)
def test_a_damaged_export_is_refused_and_changes_nothing(
    exported: Path, open_library: Open, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(exported)
    other = open_library(tmp_path / "other")
    with pytest.raises(UsageError):
        other.import_vectors(exported)
    assert other.verify().vectors == 0


def test_a_contract_of_another_kind_is_refused(exported: Path, library: PhotoLibrary) -> None:
    for contract in (None, [], {"format": 2}):
        (exported / "space.json").write_text(json.dumps(contract))
        with pytest.raises(ModelMismatchError):
            library.import_vectors(exported)
