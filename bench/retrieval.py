"""How well a checkpoint finds photos: captions of Flickr8k, classes of imagenet-1000, queries for the example photos.

    python bench/retrieval.py --checkpoint builtin --data DIR [--part dev|test] [--examples examples]
        [--baseline WORK] [--json FILE]

DIR holds eval/flickr8k-test.tar, eval/imagenet-1000.tar and train/flickr8k.tar (for dev). Select on `--part dev` only
(the dev captions and the even classes, run as often as you like); `--part test` is for reporting, once.

Chance and, where the two teacher packages of training/ are installed and `--baseline` names the work folder of a
training run, a frozen EfficientNet-Lite2 with MiniLM through the linear layers fitted there, are measured too.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Floats = NDArray[np.float32]
KS = (1, 5, 10)
TEMPLATES = ("a photo of a {}", "{}", "a {}")
ENCODED_AT_ONCE = 250


@dataclass
class Encoder:
    """A model under measurement: both functions give unit vectors, float32 (n, d)."""

    name: str
    photos: Callable[[Sequence[Image.Image]], Floats]
    texts: Callable[[Sequence[str]], Floats]


@dataclass
class Captioned:
    """Photos with captions; owner[i] is the photo that caption i belongs to."""

    photos: list[Image.Image]
    captions: list[str]
    owner: NDArray[np.int64]


@dataclass
class Labelled:
    """Photos with a class each, the names of all 1,000 classes, and what the data's README says to leave out."""

    photos: list[Image.Image]
    classes: NDArray[np.int64]
    names: list[str]
    in_tiny: NDArray[np.bool_]
    same_photo_in_tiny: NDArray[np.bool_]


def read_tar(path: Path) -> tuple[list[str], list[list[str]], dict[str, bytes]]:
    """Header, rows and photos (by the name in the table) of one data tar."""
    with tarfile.open(path) as tar:
        contents = {}
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                contents[member.name] = file.read()
    table = contents.pop(next(name for name in contents if name.endswith(".tsv"))).decode().splitlines()
    photos = {name.removeprefix("images/"): data for name, data in contents.items()}
    return table[0].split("\t"), [line.split("\t") for line in table[1:]], photos


def open_photo(data: bytes) -> Image.Image:
    """Decode one photo: upright, RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def read_captioned(path: Path, split: str | None) -> Captioned:
    """Captioned photos of one tar; `split` picks rows where the table has that column."""
    header, rows, photos = read_tar(path)
    caption_at = header.index("caption")
    if split is not None and "split" in header:
        rows = [row for row in rows if row[header.index("split")] == split]
    place: dict[str, int] = {}
    owner = np.array([place.setdefault(row[0], len(place)) for row in rows])
    return Captioned([open_photo(photos[name]) for name in place], [row[caption_at] for row in rows], owner)


def read_labelled(path: Path) -> Labelled:
    header, rows, photos = read_tar(path)
    column = {name: k for k, name in enumerate(header)}
    rows.sort(key=lambda row: int(row[column["class_index"]]))
    return Labelled(
        [open_photo(photos[row[0]]) for row in rows],
        np.array([int(row[column["class_index"]]) for row in rows]),
        [row[column["names"]].split(",")[0].strip() for row in rows],
        np.array([row[column["class_in_tiny_imagenet"]] == "yes" for row in rows]),
        np.array([row[column["photo_in_tiny_imagenet"]] == "yes" for row in rows]),
    )


def ranks(scores: Floats, right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank (1 is best) of each row's best right column; ties count against it."""
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + ((scores >= best) & ~right).sum(axis=1)


def recall(rank: NDArray[np.int64]) -> dict[str, float]:
    """Recall at 1, 5 and 10, and the median rank."""
    return {**{f"R@{k}": round(float((rank <= k).mean()), 4) for k in KS}, "median": float(np.median(rank))}


def measure_captioned(encoder: Encoder, data: Captioned) -> dict[str, dict[str, float]]:
    photos, texts = encoder.photos(data.photos), encoder.texts(data.captions)
    scores = texts @ photos.T
    right = data.owner[:, None] == np.arange(len(photos))[None]
    return {"text to image": recall(ranks(scores, right)), "image to text": recall(ranks(scores.T, right.T))}


def measure_zero_shot(encoder: Encoder, data: Labelled, part: str) -> dict[str, dict[str, float]]:
    """Top-1 and top-5 among all 1,000 class names: even classes for dev; for test odd, all, and parts of all."""
    prompts = encoder.texts([template.format(name) for name in data.names for template in TEMPLATES])
    classes = prompts.reshape(len(data.names), len(TEMPLATES), -1).mean(axis=1)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    scores = encoder.photos(data.photos) @ classes.T
    rank = ranks(scores, data.classes[:, None] == np.arange(len(classes))[None])
    clean = ~data.same_photo_in_tiny
    rows = {"even classes (dev)": clean & (data.classes % 2 == 0)}
    if part == "test":
        rows = {
            "odd classes (test)": clean & (data.classes % 2 == 1),
            "all 1,000 classes": np.ones(len(rank), bool),
            "all, without the photos in Tiny ImageNet": clean,
            "only classes not in Tiny ImageNet": ~data.in_tiny & clean,
        }
    return {
        name: {"photos": int(chosen.sum()), **{f"top-{k}": round(float((rank[chosen] <= k).mean()), 4) for k in (1, 5)}}
        for name, chosen in rows.items()
    }


def measure_examples(encoder: Encoder, folder: Path) -> list[dict[str, Any]]:
    """Rank of the meant photo for each row (file name, query) of queries.tsv among the photos of the folder."""
    table = next(path for path in (folder / "queries.tsv", folder / "photos" / "queries.tsv") if path.exists())
    rows = [
        line.split("\t")[:2]
        for line in table.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    found = {p.name: p for p in sorted(folder.rglob("*")) if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}}
    rows = [row for row in rows if row[0] in found]  # a header line, if there is one, names no photo
    names = list(found)
    photos = encoder.photos([open_photo(path.read_bytes()) for path in found.values()])
    scores = encoder.texts([query for _, query in rows]) @ photos.T
    rank = ranks(scores, np.array([[name == wanted for name in names] for wanted, _ in rows]))
    return [
        {"photo": name, "query": query, "rank": int(r), "of": len(names)}
        for (name, query), r in zip(rows, rank, strict=True)
    ]


def checkpoint_encoder(source: str) -> Encoder:
    """The checkpoint through photoseek's own engines and preprocessing, float32."""
    from photoseek.aimv2 import load_text_tower, load_vision_tower, open_checkpoint

    checkpoint = open_checkpoint(source)
    vision = load_vision_tower(checkpoint, precision="float32")
    text = load_text_tower(checkpoint, precision="float32")

    def photos(images: Sequence[Image.Image]) -> Floats:
        prepared = [checkpoint.preprocessing.prepare(image) for image in images]
        parts = [vision.encode(prepared[k : k + ENCODED_AT_ONCE]) for k in range(0, len(prepared), ENCODED_AT_ONCE)]
        return np.concatenate(parts)

    return Encoder(checkpoint.name, photos, lambda texts: text.encode(list(texts)))


def baseline_encoder(work: Path) -> Encoder | str:
    """Frozen EfficientNet-Lite2 and MiniLM, one linear layer each; or why it cannot be measured."""
    try:
        import torch

        from training.space import Space
        from training.teachers import TEACHER_SIDE, PhotoTeacher, SentenceTeacher

        photo_teacher, sentence_teacher = PhotoTeacher(), SentenceTeacher()
        space = Space.load(work / "space.safetensors")
    except (ImportError, FileNotFoundError) as error:
        return f"not measured: {error}"

    @torch.inference_mode()
    def photos(images: Sequence[Image.Image]) -> Floats:
        out = []
        for image in images:
            square = image.resize((TEACHER_SIDE, TEACHER_SIDE), Image.Resampling.BICUBIC)
            pixels = torch.from_numpy(np.array(square).transpose(2, 0, 1)[None].copy())
            out.append(space.photo_vectors(photo_teacher(pixels)))
        return torch.cat(out).numpy()

    def texts(some: Sequence[str]) -> Floats:
        return space.text_vectors(torch.from_numpy(sentence_teacher.encode(list(some)))).numpy()

    return Encoder("EfficientNet-Lite2 + MiniLM, linear", photos, texts)


def chance_encoder(dimensions: int = 256) -> Encoder:
    """Random unit vectors, the same for the same text."""
    rng = np.random.default_rng(0)

    def vectors(items: Sequence[object]) -> Floats:
        out = rng.standard_normal((len(items), dimensions)).astype(np.float32)
        return out / np.linalg.norm(out, axis=1, keepdims=True)  # type: ignore[no-any-return]

    return Encoder("chance", vectors, vectors)


def show(results: dict[str, Any]) -> None:
    for model, parts in results.items():
        print(f"\n{model}")
        if isinstance(parts, str):
            print(f"  {parts}")
            continue
        for part, content in parts.items():
            print(f"  {part}")
            if isinstance(content, list):
                for row in content:
                    print(f"    rank {row['rank']:3d} of {row['of']}  {row['photo']}: {row['query']}")
            else:
                for name, values in content.items():
                    print(f"    {name:42s} " + "  ".join(f"{k} {v}" for k, v in values.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin", help="builtin, a downloaded model's name, or a folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument("--part", choices=["dev", "test"], default="dev")
    parser.add_argument("--examples", type=Path, help="folder with photos and queries.tsv (file name, query)")
    parser.add_argument("--baseline", type=Path, help="work folder of a training run, for the frozen baseline")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()

    if options.part == "dev":
        captioned = read_captioned(options.data / "train" / "flickr8k.tar", "dev")
    else:
        captioned = read_captioned(options.data / "eval" / "flickr8k-test.tar", None)
    whole = read_captioned(options.data / "eval" / "flickr8k-whole.tar", options.part)
    labelled = read_labelled(options.data / "eval" / "imagenet-1000.tar")
    baseline = baseline_encoder(options.baseline) if options.baseline else "not measured: no --baseline given"
    results: dict[str, Any] = {}
    for encoder in (checkpoint_encoder(options.checkpoint), chance_encoder(), baseline):
        if isinstance(encoder, str):
            results["EfficientNet-Lite2 + MiniLM, linear"] = encoder
            continue
        start = time.perf_counter()
        parts: dict[str, Any] = {
            f"Flickr8k {options.part}, {len(captioned.photos)} photos": measure_captioned(encoder, captioned),
            f"Flickr8k {options.part}, {len(whole.photos)} photos in their true shape": measure_captioned(
                encoder, whole
            ),
            "imagenet-1000": measure_zero_shot(encoder, labelled, options.part),
        }
        if options.examples and encoder.name != "chance":
            parts["examples"] = measure_examples(encoder, options.examples)
        results[encoder.name] = parts
        print(f"{encoder.name}: {time.perf_counter() - start:.0f} s")
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
