"""`kill -9` at moments spread over all writes: what is stored is whole, and running again ends in the same library."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_library import (
    Files,
    Vectors,
    assert_same_vectors,
    stored_files,
    stored_vectors,
    write_photo,
    write_photos,
)

from photoseek import PhotoLibrary
from photoseek.errors import LibraryNotFoundError

pytestmark = pytest.mark.slow

SETTINGS = {"ivf_min_rows": 6, "generation_min_rows": 2, "delta_max_rows": 3}
"""So small that a run over a dozen photos writes generations, with inverted lists too."""

Run = Callable[..., dict[str, Any]]


@dataclass
class Scene:
    """Folders and a library as they are before the run that gets killed."""

    base: Path | None
    """The library; None when the run makes it."""
    request: dict[str, Any]
    again: Callable[[PhotoLibrary], object]
    """What the user does after the kill."""


def first_run(tmp_path: Path, tiny: Path, _turned: Path) -> Scene:
    """A new library: photos, a copy of one, a broken one, and a file that is no picture."""
    photos = tmp_path / "photos"
    write_photos(photos / "a", 9)
    shutil.copy(photos / "a" / "01.png", photos / "copy.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    (photos / "text.jpg").write_text("no picture")
    request = {"steps": ["index"], "folders": [photos], "model": tiny, "settings": SETTINGS}
    return Scene(None, request, lambda library: library.index(photos))


def later_run(tmp_path: Path, tiny: Path, turned: Path) -> Scene:
    """A known folder in which photos were added, changed, moved, deleted, excluded and mended."""
    scene = first_run(tmp_path, tiny, turned)
    photos, base = tmp_path / "photos", tmp_path / "base"
    write_photos(photos / "b", 4, first_seed=50)
    (photos / "nobody").mkdir()
    write_photos(photos / "nobody", 2, first_seed=70)
    with PhotoLibrary.open(base, model=tiny) as library:
        library.index(photos, settings=_settings())
    (photos / "b").rename(photos / "c")
    (photos / "a" / "00.png").unlink()
    (photos / "copy.png").unlink()
    write_photo(photos / "a" / "02.png", "pink", seed=99)
    write_photo(photos / "broken.jpg", "green", seed=98)
    (photos / ".photoseekignore").write_text("nobody/\n")
    write_photos(photos / "d", 5, first_seed=100)
    return Scene(base, scene.request, scene.again)


def new_model(tmp_path: Path, tiny: Path, turned: Path) -> Scene:
    """Changing the model."""
    first_run(tmp_path, tiny, turned)
    base = tmp_path / "base"
    with PhotoLibrary.open(base, model=tiny) as library:
        library.index(tmp_path / "photos", settings=_settings())
    return Scene(base, {"steps": ["use_model"], "use_model": turned}, lambda library: library.use_model(turned))


def new_model_half_built(tmp_path: Path, tiny: Path, turned: Path) -> Scene:
    """Going on with a model of which some vectors are there, after photos were added, forgotten and went missing."""
    new_model(tmp_path, tiny, turned)
    photos, base, aside = tmp_path / "photos", tmp_path / "base", tmp_path / "aside"
    (photos / "a").rename(aside)
    write_photos(photos / "b", 3, first_seed=40)
    with PhotoLibrary.open(base) as library:
        library.index(photos)
        write_photo(photos / "b" / "02.png", "blue", seed=97)
        assert not library.use_model(turned).switched, "a photo has changed, those in a/ are missing"
        assert library.status().building
    aside.rename(photos / "a")
    (photos / "b" / "01.png").unlink()
    write_photos(photos / "c", 3, first_seed=60)
    request = {"steps": ["index", "use_model"], "folders": [photos], "use_model": turned}

    def again(library: PhotoLibrary) -> None:
        library.index(photos)
        library.use_model(turned)

    return Scene(base, request, again)


def back_to_the_old_model(tmp_path: Path, tiny: Path, turned: Path) -> Scene:
    """The model before answers again, after photos were added."""
    scene = new_model(tmp_path, tiny, turned)
    base = tmp_path / "base"
    write_photos(tmp_path / "photos" / "b", 4, first_seed=40)
    with PhotoLibrary.open(base) as library:
        library.use_model(turned)
        library.index()
    return Scene(base, {**scene.request, "use_model": tiny}, lambda library: library.use_model(tiny))


def pruning(tmp_path: Path, tiny: Path, turned: Path) -> Scene:
    """Vectors of the model before are removed; some of its photos are missing, one is forgotten."""
    new_model(tmp_path, tiny, turned)
    base, photos = tmp_path / "base", tmp_path / "photos"
    with PhotoLibrary.open(base) as library:
        library.use_model(turned)
        (photos / "a" / "02.png").unlink()
        library.index()
        library.forget(photos / "a" / "03.png")
    return Scene(base, {"steps": ["prune"]}, lambda library: library.prune_models())


def forgetting_then_merging(tmp_path: Path, tiny: Path, turned: Path) -> Scene:
    """Photos are forgotten and new ones added, so that the generation is written without the old rows."""
    scene = first_run(tmp_path, tiny, turned)
    photos, base = tmp_path / "photos", tmp_path / "base"
    with PhotoLibrary.open(base, model=tiny) as library:
        library.index(photos, settings=_settings())
    gone = [photos / "a" / name for name in ("01.png", "03.png", "04.png")]
    (photos / "copy.png").unlink()
    for path in gone:
        path.unlink()
    write_photos(photos / "d", 5, first_seed=100)

    def again(library: PhotoLibrary) -> None:
        known = stored_files(library.path)
        library.forget([path for path in [*gone, photos / "copy.png"] if bytes(path) in known])
        library.index(photos)

    request = {**scene.request, "steps": ["forget", "index"], "forget": [*gone, photos / "copy.png"]}
    return Scene(base, request, again)


@pytest.mark.parametrize("kills", [pytest.param(4), pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "make_scene",
    [
        first_run,
        later_run,
        new_model,
        new_model_half_built,
        back_to_the_old_model,
        pruning,
        forgetting_then_merging,
    ],
)
def test_a_kill_at_any_moment_loses_nothing(
    tmp_path: Path,
    tiny_checkpoint: Path,
    turned_checkpoint: Path,
    fake_model: None,
    run_child: Run,
    make_scene: Callable[[Path, Path, Path], Scene],
    kills: int,
) -> None:
    scene = make_scene(tmp_path, tiny_checkpoint, turned_checkpoint)
    whole = _copy(scene, tmp_path / "whole")
    moments = run_child(library=whole, **scene.request)["moments"]
    assert sum(name == "before do_commit" for name in moments) >= 3
    expected = stored_files(whole), stored_vectors(whole)
    for kill_at in np.unique(np.linspace(0, len(moments) - 1, kills).round().astype(int)).tolist():
        library = _copy(scene, tmp_path / f"killed-{kill_at}")
        answer = run_child(kill_at, library=library, **scene.request)
        assert answer["killed"], f"the child lived past moment {kill_at} of {len(moments)}"
        _check(library, scene, expected, f"killed at {kill_at}: {moments[kill_at]}")
        shutil.rmtree(library)


@pytest.mark.parametrize("kills", [pytest.param(4), pytest.param(30, marks=pytest.mark.slow)])
def test_a_kill_within_a_backup_leaves_no_half_copy(
    tmp_path: Path, tiny_checkpoint: Path, turned_checkpoint: Path, fake_model: None, run_child: Run, kills: int
) -> None:
    scene = later_run(tmp_path, tiny_checkpoint, turned_checkpoint)
    assert scene.base is not None
    expected = stored_files(scene.base), stored_vectors(scene.base)
    target, request = tmp_path / "copy", {"library": scene.base, "steps": ["backup"], "backup": tmp_path / "copy"}
    moments = run_child(**request)["moments"]
    for kill_at in np.unique(np.linspace(0, len(moments) - 1, kills).round().astype(int)).tolist():
        shutil.rmtree(target)
        when = f"killed at {kill_at}: {moments[kill_at]}"
        assert run_child(kill_at, **request)["killed"], when
        if not target.exists():  # not named yet: the same command makes it
            run_child(**request)
        with PhotoLibrary.open(target) as library, PhotoLibrary.open(scene.base) as source:
            assert library.verify().problems == source.verify().problems == [], when
        assert stored_files(target) == stored_files(scene.base) == expected[0], when
        assert_same_vectors(stored_vectors(target), expected[1], when)
        assert list(tmp_path.glob(".*")) == [], when


def _check(path: Path, scene: Scene, expected: tuple[Files, Vectors], when: str) -> None:
    """Whole after the kill, and after another run the same as if nothing had happened."""
    with PhotoLibrary.open(path) as library:
        try:
            assert library.verify().problems == [], when
            assert library.search("red", limit=3).exact in (True, False), when
        except LibraryNotFoundError:
            assert scene.base is None, when
    with PhotoLibrary.open(path, model=scene.request.get("model")) as library:
        scene.again(library)
        report = library.verify()
        assert (report.problems, report.litter) == ([], []), when
    assert stored_files(path) == expected[0], when
    assert_same_vectors(stored_vectors(path), expected[1], when)


def _copy(scene: Scene, target: Path) -> Path:
    if scene.base is not None:
        shutil.copytree(scene.base, target)
    return target


def _settings() -> Any:
    from photoseek import IndexSettings

    return IndexSettings(**SETTINGS)
