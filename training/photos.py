"""Decode every training photo once into plain uint8 arrays on disk.

Each set becomes `photos/<set>.npy`, shape (n, side, side, 3), uint8, squashed to squares, and `photos/<set>.tsv` with
one row a photo: source name, split, text (captions joined by ` | `, or a class name, or keywords).
"""

from __future__ import annotations

import io
import json
import logging
import re
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
COCO_COMMIT = "7c1fe6ff6a8b1498e1cb85e2fa4c3870ffdfefbb"
COCO_VAL_COMMIT = "4e4fa8d42743ba9c2378e5faf5ef2c80e66cc85f"
COCO_VAL_CAPTIONS_COMMIT = "1152656d3b8c66c48fc6a4357e159f5e21bd2d2d"
SYSU_COMMIT = "8df23ad24851d7208f4e55793b992d203faebf82"
VILLAGES_COMMIT = "d7c1c771bb7a1ac5f2ae90ea81841ac43f96a9ad"
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
    """40,000 photos of COCO 2014's train part at half their size, one caption each."""
    name = "syf0122/COMP5329_Assignment02"
    captions: dict[str, str] = {}
    for _path, table in read_repository(repositories, name, COCO_COMMIT, "data/train.csv", "data/test.csv"):
        # The caption comes last, in quotes that stand in captions, too, unescaped.
        for line in table.decode().splitlines():
            if found := re.fullmatch(r"(\d+\.jpg),(?:[\d ]+,)?(.*)", line):
                captions[found[1]] = found[2].strip(' "')
    for path, encoded in read_repository(repositories, name, COCO_COMMIT, "data/data"):
        yield Item(Path(path).stem, "train", captions.get(Path(path).name, ""), encoded)


def coco_val(data: Path, repositories: Path) -> Iterator[Item]:
    """The 5,000 photos of COCO 2017's val part, five captions each: one repository has the photos numbered in the order
    of COCO's ids, another the captions."""
    name = "ruizewang/evaluate"
    ((_path, table),) = read_repository(
        repositories, name, COCO_VAL_CAPTIONS_COMMIT, "annotations/captions_val2017.json"
    )
    annotations = json.loads(table)
    captions: dict[int, list[str]] = {image["id"]: [] for image in annotations["images"]}
    for annotation in annotations["annotations"]:
        captions[annotation["image_id"]].append(" ".join(annotation["caption"].split()))
    order = sorted(captions)
    for path, encoded in read_repository(repositories, "Fernando-crz/image-search", COCO_VAL_COMMIT, "images/*.jpg"):
        if (number := int(Path(path).stem)) < len(order):
            yield Item(Path(path).stem, "train", " | ".join(captions[order[number]]), encoded)


def sysu(data: Path, repositories: Path) -> Iterator[Item]:
    """5,046 photos of streets, animals, vehicles, rooms and people (SYSU-Scene), nearly all with a sentence."""
    name = "ruixuejianfei/SYSU-Scene"
    ((_path, table),) = read_repository(repositories, name, SYSU_COMMIT, "sentences.json")
    listed = re.findall(r'"file_name": "([^"]+)",\s*"sentences": \[\s*"([^"]*)"', table.decode())  # no valid JSON
    sentences = {file: " ".join(sentence.split()) for file, sentence in listed}
    for path, encoded in read_repository(repositories, name, SYSU_COMMIT, "images"):
        if path.endswith(".jpg"):
            yield Item(Path(path).stem, "train", sentences.get(Path(path).name, ""), encoded)


def villages(data: Path, repositories: Path) -> Iterator[Item]:
    """8,000 photos of everyday life, most in Bangladesh, without words."""
    name = "mzahid36/Image-captioning-dataset-BCG-"
    for path, encoded in read_repository(repositories, name, VILLAGES_COMMIT, "Images"):
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
    "coco-val": (coco_val, 192),
    "sysu": (sysu, 192),
    "villages": (villages, 192),
    "flickr8k-whole-dev": (flickr8k_whole_dev, 192),
    "corel": (corel, 128),
    "caltech": (caltech, 160),
    "scenes": (scenes, 112),
    "pacs": (pacs, 160),
    "tiny-imagenet": (tiny_imagenet, 64),
}


CAPTIONED = ("flickr8k", "coco", "coco-val", "sysu")
"""Sets whose photos have sentences."""


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
