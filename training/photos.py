"""Decode every training photo once into plain uint8 arrays on disk.

Each set becomes `photos/<set>.npy`, shape (n, side, side, 3), uint8, squashed to squares, and `photos/<set>.tsv` with
one row a photo: source name, split, text (captions joined by ` | `, or a class name, or keywords).
"""

from __future__ import annotations

import io
import logging
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

log = logging.getLogger(__name__)

FLICKR_COMMIT = "56a15d913c3f290e2ee896386ece6076c1eea02e"
COCO_COMMIT = "5496cf3bad1c914a99356ba37d997669be26e3f5"
CALTECH_LEFT_OUT = {"BACKGROUND_Google", "Faces_easy"}


@dataclass(frozen=True)
class Item:
    """One encoded photo with what is known about it."""

    name: str
    split: str
    text: str
    encoded: bytes


def git_dir(repositories: Path, name: str) -> Path:
    """Where owner/name lies below `repositories`: a clone, bare or not, in owner+name[/repo][/.git]."""
    base = repositories / name.replace("/", "+")
    for path in (base / "repo" / ".git", base / "repo", base / ".git", base):
        if (path / "objects").is_dir():
            return path
    raise FileNotFoundError(f"no clone of {name} below {repositories}; see training/README.md for what to fetch")


def read_repository(repositories: Path, name: str, commit: str, *paths: str) -> Iterator[tuple[str, bytes]]:
    """All files of one commit below `paths`, as (path, bytes), streamed out of `git archive`."""
    command = ["git", f"--git-dir={git_dir(repositories, name)}", "archive", commit, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield member.name, file.read()
    if process.returncode:
        raise OSError(f"git archive of {name} at {commit} failed ({process.returncode})")


def read_tar(path: Path) -> tuple[list[list[str]], dict[str, bytes]]:
    """The table (header left out) and the photos of one data tar, by their names in the table."""
    with tarfile.open(path) as tar:
        members = [m for m in tar.getmembers() if m.isfile()]
        table = tar.extractfile(members[0])
        assert table is not None
        rows = [line.split("\t") for line in table.read().decode().splitlines()[1:]]
        photos = {m.name.removeprefix("images/"): tar.extractfile(m).read() for m in members[1:]}  # type: ignore[union-attr]
    return rows, photos


def captions_by_photo(rows: list[list[str]]) -> dict[str, tuple[str, list[str]]]:
    """Stem -> (split, captions) of a table with rows (filename, split, caption)."""
    out: dict[str, tuple[str, list[str]]] = {}
    for filename, split, caption in rows:
        out.setdefault(Path(filename).stem, (split, []))[1].append(caption)
    return out


def flickr8k(data: Path, repositories: Path) -> Iterator[Item]:
    """The 6,000 train and 1,000 dev photos at 224 px; test photos and those in no list are never decoded."""
    captions = captions_by_photo(read_tar(data / "train" / "flickr8k.tar")[0])
    for path, encoded in read_repository(repositories, "RlNZLER/Image-Text-Matching", FLICKR_COMMIT, "data/images"):
        split, texts = captions.get(Path(path).stem, ("", []))
        if split in ("train", "dev"):
            yield Item(Path(path).stem, split, " | ".join(texts), encoded)


def coco(data: Path, repositories: Path) -> Iterator[Item]:
    """6,228 photos of COCO 2014 at 256 px, without their captions: the photo teacher alone speaks of them."""
    name = "nsimsiri/Image-Captioning"
    folders = ("data/resized2014", "data/val_resized2014")
    for path, encoded in read_repository(repositories, name, COCO_COMMIT, *folders):
        if path.endswith(".jpg"):
            yield Item(Path(path).stem, "train", "", encoded)


def flickr8k_whole_dev(data: Path, repositories: Path) -> Iterator[Item]:
    """The 120 dev photos that exist in their true shape, to choose between squashing and cropping."""
    rows, photos = read_tar(data / "eval" / "flickr8k-whole.tar")
    for stem, (split, texts) in captions_by_photo(rows).items():
        if split == "dev":
            yield Item(stem, "dev", " | ".join(texts), photos[stem + ".jpg"])


def corel(data: Path, repositories: Path) -> Iterator[Item]:
    rows, photos = read_tar(data / "train" / "corel5k.tar")
    for filename, _, keywords in rows:
        yield Item(filename, "train", keywords, photos[filename])


def caltech(data: Path, repositories: Path) -> Iterator[Item]:
    rows, _ = read_tar(data / "train" / "caltech101.tar")
    names = {cls: name for _, cls, name in rows}
    name = "MachineLearning2020/Homework2-Caltech101"
    for path, encoded in read_repository(repositories, name, "HEAD", "101_ObjectCategories"):
        cls = path.split("/")[1]
        if cls not in CALTECH_LEFT_OUT and path.endswith(".jpg"):
            yield Item(path, "train", names[cls], encoded)


def scenes(data: Path, repositories: Path) -> Iterator[Item]:
    for path, encoded in read_repository(repositories, "afroozsheikh/Intel-Image-Classifier", "HEAD", "train", "test"):
        if path.endswith(".jpg"):
            yield Item(path, "train", path.split("/")[1], encoded)


def pacs(data: Path, repositories: Path) -> Iterator[Item]:
    name = "MachineLearning2020/Homework3-PACS"
    for path, encoded in read_repository(repositories, name, "HEAD", "PACS"):
        _, style, cls, _ = path.split("/")
        if path.endswith((".jpg", ".png")):
            yield Item(path, "train", f"{cls}, {style.replace('_', ' ')}", encoded)


def tiny_imagenet(data: Path, repositories: Path) -> Iterator[Item]:
    """All 121,100 photos: train and val with their first WordNet name, test (no labels known) without text."""
    root = "tiny-imagenet-200"
    small = dict(
        read_repository(
            repositories, "rangeetpan/IMagenet", "HEAD", f"{root}/words.txt", f"{root}/val/val_annotations.txt"
        )
    )
    words = dict(line.split("\t") for line in small[f"{root}/words.txt"].decode().splitlines())
    val = {
        row[0]: row[1]
        for row in (line.split("\t") for line in small[f"{root}/val/val_annotations.txt"].decode().splitlines())
    }
    folders = [f"{root}/{part}" for part in ("train", "val", "test")]
    for path, encoded in read_repository(repositories, "rangeetpan/IMagenet", "HEAD", *folders):
        if path.endswith(".JPEG"):
            parts = path.split("/")
            synset = parts[2] if parts[1] == "train" else val.get(parts[-1], "") if parts[1] == "val" else ""
            yield Item(path, "train", words.get(synset, "").split(",")[0], encoded)


#: set -> (its reader, side in pixels of the stored squares: never above what the source holds, at most 192)
SETS: dict[str, tuple[Callable[[Path, Path], Iterator[Item]], int]] = {
    "flickr8k": (flickr8k, 192),
    "coco": (coco, 192),
    "flickr8k-whole-dev": (flickr8k_whole_dev, 192),
    "corel": (corel, 128),
    "caltech": (caltech, 160),
    "scenes": (scenes, 112),
    "pacs": (pacs, 160),
    "tiny-imagenet": (tiny_imagenet, 64),
}


def squashed(encoded: bytes, side: int) -> NDArray[np.uint8]:
    """Decode one photo and resize it to (side, side, 3), whatever its proportions."""
    with Image.open(io.BytesIO(encoded)) as image:
        rgb = image.convert("RGB")
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(rgb)


def prepare(name: str, data: Path, repositories: Path, folder: Path) -> Path:
    """Decode one set unless that is done; returns its array's path. What cannot be decoded is left out, and named."""
    read, side = SETS[name]
    target = folder / f"{name}.npy"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[NDArray[np.uint8]] = []
    rows: list[str] = []

    def decode(item: Item) -> tuple[Item, NDArray[np.uint8] | None]:
        try:
            return item, squashed(item.encoded, side)
        except OSError as error:
            log.warning("left out %s: %s", item.name, error)
            return item, None

    with ThreadPoolExecutor(2) as pool:
        for item, picture in pool.map(decode, read(data, repositories)):
            if picture is not None:
                pictures.append(picture)
                rows.append(f"{item.name}\t{item.split}\t{item.text}\n")
    part = target.with_suffix(".part.npy")
    array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(pictures), side, side, 3))
    for row, picture in enumerate(pictures):
        array[row] = picture
    array.flush()
    target.with_suffix(".tsv").write_text("".join(rows), encoding="utf-8")
    part.rename(target)
    log.info("%s: %d photos of %d px", name, len(rows), side)
    return target


def load(name: str, folder: Path) -> tuple[NDArray[np.uint8], list[list[str]]]:
    """The array (memory-mapped) of one prepared set and its rows (name, split, text)."""
    rows = [line.split("\t") for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()]
    array = np.load(folder / f"{name}.npy", mmap_mode="c")
    if len(rows) != len(array):
        raise ValueError(f"{name}: {len(rows)} rows for {len(array)} photos; delete both files and prepare again")
    return array, rows
