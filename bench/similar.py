"""How well the rule of search/similar.py tells copies and bursts from photos that only look alike.

    python bench/similar.py --data DIR [--work WORK] [--bursts FOLDER] [--checkpoint builtin]

DIR holds eval/flickr8k-test.tar and train/flickr8k.tar; WORK keeps what was computed, for another look.

*Copies*: each of the 1,000 test photos gets twelve edited copies. The wrong pairs are all 32.7 million pairs of the
8,091 Flickr8k photos, most of them people and dogs outdoors, without those that a person found to be one moment
(`ONE_MOMENT`). The precision is that of a library of these photos with one copy of each test photo, its kind drawn by
lot, so that there are 1,000 right pairs and all the wrong ones.

*Bursts without dates*: Flickr numbers photos as they come, so photos with close numbers are of one upload. Such pairs
were looked at where the model or a correlation of their pixels found them alike; the wrong pairs are all others with
numbers less than 1,000 apart: one afternoon, one camera, another moment.

*Bursts with dates*: with --bursts, a folder of photos of one place that a camera took one after the other (as in
openMVG's ImageDataset_SceauxCastle); each is compared with the next, by what their EXIF says.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from report import Row, show
from retrieval import open_photo, read_tar

from photoseek.aimv2 import load_vision_tower, open_checkpoint
from photoseek.contracts import PhotoRead, Preprocessing, VisionTower
from photoseek.indexer.decode import read_photo
from photoseek.indexer.fingerprint import fingerprint
from photoseek.search.similar import Rule, Shots, differing_bits, near, rule_for, seconds

TEST, TRAIN = "eval/flickr8k-test.tar", "train/flickr8k.tar"
AT_ONCE = 256
ONE_UPLOAD = 1000
"""Photos with numbers closer than this come from one upload: by chance 13 of the 1,071 such pairs would."""
MOST_BITS = 20
"""Wrong pairs with more differing bits are only counted by their cosine."""
LEAST_COSINE = 0.7
"""The same the other way round."""

ONE_MOMENT = (
    (186890601, 186890605),
    (191003285, 191003287),
    (219843859, 219843860),
    (244867897, 244870123),
    (384465370, 384465575),
    (475313618, 475317104),
    (482882307, 482882719),
    (745880539, 746787916),
    (1295671216, 1295698260),
    (1679557684, 1679565118),
    (2797185895, 2797188545),
    (2851198725, 3050606344),
    (3249891130, 3249891874),
    (3323988406, 3540241710),
    (3330675488, 3330680118),
    (3425853460, 3425887426),
    (3426933951, 3426966595),
    (3516299821, 3516312179),
    (3518118675, 3518126579),
    (3568219100, 3568225554),
    (3612485097, 3612485611),
)
"""Pairs of Flickr8k photos, by their numbers, that show one moment to a person who looked at them."""
UNCLEAR = (
    (432490118, 432496659),
    (488352274, 488416045),
    (524031846, 524036004),
    (539493423, 539493431),
    (661755629, 661757041),
    (1280147517, 1280320287),
    (1713248047, 1713248099),
    (2084103826, 2084157130),
    (2097398349, 2097403787),
    (2097398349, 2097407245),
    (2097403787, 2097407245),
    (2314722788, 2314732154),
    (3030823649, 3030824089),
    (3084010872, 3084011028),
    (3084011028, 3084011664),
    (3126773489, 3126795109),
    (3210457502, 3315110972),
    (3259991972, 3259992164),
    (3259991972, 3259992638),
    (3259991972, 3259992722),
    (3259992164, 3259992638),
    (3259992164, 3259992722),
    (3259992638, 3259992722),
    (3425061393, 3425069551),
    (3425846980, 3425887426),
    (3589367895, 3589368949),
)
"""Pairs of one upload and one subject on which two people could differ; counted neither as right nor as wrong."""

Images = Callable[[Image.Image], Image.Image]


def _through(image: Image.Image, format: str, quality: int) -> Image.Image:
    """Saved and opened again."""
    stream = io.BytesIO()
    image.save(stream, format, quality=quality)
    return open_photo(stream.getvalue())


def _cropped(image: Image.Image, share: float) -> Image.Image:
    """Without a share of its width and height, more of it at the right and the top."""
    width, height = round(image.width * (1 - share)), round(image.height * (1 - share))
    left, top = round((image.width - width) * 0.3), round((image.height - height) * 0.7)
    return image.crop((left, top, left + width, top + height))


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """Turned, and cut to what has no empty corners."""
    cut = np.tan(np.radians(abs(degrees))) / 2
    x, y = int(image.height * cut) + 1, int(image.width * cut) + 1
    return image.rotate(degrees, Image.Resampling.BICUBIC).crop((x, y, image.width - x, image.height - y))


def _framed(image: Image.Image, colour: str) -> Image.Image:
    return ImageOps.expand(image, round(0.05 * max(image.size)), colour)


def _stronger(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(ImageEnhance.Contrast(image).enhance(factor)).enhance(factor)


COPIES: dict[str, Images] = {
    "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "JPEG, quality 30": lambda image: _through(image, "JPEG", 30),
    "AVIF (as JPEG beside HEIC)": lambda image: _through(image, "AVIF", 50),
    "cropped by 5%": lambda image: _cropped(image, 0.05),
    "cropped by 10%": lambda image: _cropped(image, 0.10),
    "brighter by 30%": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "more contrast and colour": lambda image: _stronger(image, 1.3),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "white frame, 5%": lambda image: _framed(image, "white"),
    "black frame, 5%": lambda image: _framed(image, "black"),
    "turned by 2 degrees": lambda image: _turned(image, 2),
    "turned by 4 degrees": lambda image: _turned(image, -4),
}


@dataclass(frozen=True)
class Looked:
    """Photos as the rule sees them, without dates."""

    vectors: NDArray[np.float32]
    fingerprints: NDArray[np.uint64]

    def shots(self, places: NDArray[np.int64] | slice = slice(None)) -> Shots:
        vectors = self.vectors[places]
        return Shots(
            vectors, self.fingerprints[places], np.full(len(vectors), np.nan), np.zeros(len(vectors), dtype=np.int64)
        )


@dataclass(frozen=True)
class Pairs:
    """Pairs of photos by what the rule looks at."""

    cosines: NDArray[np.float32]
    bits: NDArray[np.int64]

    def near(self, rule: Rule) -> NDArray[np.bool_]:
        """Which of them the rule's steps hold to be one moment; no dates, all with fingerprints."""
        found = np.zeros(len(self.bits), dtype=bool)
        for least_cosine, most_bits in rule.steps:
            found |= (self.bits <= most_bits) & (self.cosines >= least_cosine)
        return found

    def take(self, chosen: NDArray[np.bool_]) -> Pairs:
        return Pairs(self.cosines[chosen], self.bits[chosen])


class Eye:
    """Looks at photos with one checkpoint."""

    def __init__(self, tower: VisionTower, preprocessing: Preprocessing) -> None:
        self._tower, self._preprocessing = tower, preprocessing

    def look(self, images: Iterator[Image.Image]) -> Looked:
        vectors, marks = [], []
        batch: list[NDArray[np.uint8]] = []
        for image in images:
            batch.append(self._preprocessing.prepare(image))
            marks.append(fingerprint(batch[-1]))
            if len(batch) == AT_ONCE:
                vectors.append(self._tower.encode(batch))
                batch = []
        vectors.append(self._tower.encode(batch))
        stored = np.concatenate(vectors).astype(np.float16).astype(np.float32)  # as in a library
        return Looked(stored / np.linalg.norm(stored, axis=1, keepdims=True), np.array(marks, dtype=np.uint64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--bursts", type=Path)
    parser.add_argument("--checkpoint", default="builtin")
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.checkpoint)
    rule = rule_for(checkpoint.name)
    eye = Eye(load_vision_tower(checkpoint), checkpoint.preprocessing)
    cache = options.work / f"similar-{checkpoint.digest[:12]}.npz" if options.work else None
    numbers, looked = _looked(eye, options.data, cache)
    photos, right = looked.pop("photos"), {name: _pairs(looked["original"], copy) for name, copy in looked.items()}
    del right["original"]
    wrong, uploads, moments = _pairs_of_photos(numbers, photos)
    show("Copies, by kind", kinds(right, rule))
    show("Copies, by limits", limits(right, wrong, rule, len(looked["original"].vectors)))
    show("Bursts without dates", bursts(moments, uploads, rule))
    if options.bursts:
        show("Bursts with dates", dated(eye, options.bursts, checkpoint.preprocessing, rule))


def _looked(eye: Eye, data: Path, cache: Path | None) -> tuple[NDArray[np.int64], dict[str, Looked]]:
    """Flickr's number of every photo; all photos, the test photos alone, and their copies by kind."""
    if cache is not None and cache.exists():
        stored = np.load(cache)
        names = dict.fromkeys(key.rpartition("|")[0] for key in stored if "|" in key)
        return stored["numbers"], {name: Looked(stored[f"{name}|v"], stored[f"{name}|f"]) for name in names}
    test, train = (read_tar(data / tar)[2] for tar in (TEST, TRAIN))
    numbers = np.array([int(name.split("_")[0]) for name in [*test, *train]])
    looked = {
        "photos": eye.look(open_photo(content) for content in [*test.values(), *train.values()]),
        "original": eye.look(open_photo(content) for content in test.values()),
    }
    for name, edit in COPIES.items():
        looked[name] = eye.look(edit(open_photo(content)) for content in test.values())
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {f"{name}|v": value.vectors for name, value in looked.items()}
        np.savez(
            cache, numbers=numbers, **arrays, **{f"{name}|f": value.fingerprints for name, value in looked.items()}
        )
    return numbers, looked


def _pairs(left: Looked, right: Looked) -> Pairs:
    cosines = np.einsum("ij,ij->i", left.vectors, right.vectors)
    return Pairs(cosines, differing_bits(left.fingerprints, right.fingerprints))


def _pairs_of_photos(numbers: NDArray[np.int64], photos: Looked) -> tuple[Pairs, Pairs, Pairs]:
    """Wrong pairs that are alike in one way at least; wrong pairs of one upload; the pairs of `ONE_MOMENT`."""
    place = {number: at for at, number in enumerate(numbers.tolist())}
    moments, unclear = ({tuple(sorted((place[a], place[b]))) for a, b in some} for some in (ONE_MOMENT, UNCLEAR))
    parts: dict[str, list[Pairs]] = {"wrong": [], "uploads": [], "moments": []}
    for first in range(len(numbers)):
        rest = np.arange(first + 1, len(numbers))
        one = Looked(photos.vectors[first : first + 1], photos.fingerprints[first : first + 1])
        others = Looked(photos.vectors[rest], photos.fingerprints[rest])
        cosines = others.vectors @ one.vectors[0]
        pairs = Pairs(cosines, differing_bits(one.fingerprints, others.fingerprints))
        labels = np.array([(first, at) in moments for at in rest.tolist()], dtype=bool)
        doubtful = np.array([(first, at) in unclear for at in rest.tolist()], dtype=bool)
        alike = (pairs.cosines >= LEAST_COSINE) | (pairs.bits <= MOST_BITS)
        near_numbers = np.abs(numbers[rest] - numbers[first]) < ONE_UPLOAD
        parts["wrong"].append(pairs.take(alike & ~labels))
        parts["uploads"].append(pairs.take(near_numbers & ~labels & ~doubtful))
        parts["moments"].append(pairs.take(labels))
    joined = [
        Pairs(np.concatenate([part.cosines for part in some]), np.concatenate([part.bits for part in some]))
        for some in parts.values()
    ]
    return joined[0], joined[1], joined[2]


def kinds(right: dict[str, Pairs], rule: Rule) -> list[Row]:
    return [
        {
            "copy": name,
            "cosine, median": float(np.median(pairs.cosines)),
            "cosine, lowest 5%": float(np.percentile(pairs.cosines, 5)),
            "differing bits, median": int(np.median(pairs.bits)),
            "differing bits, highest 5%": int(np.percentile(pairs.bits, 95)),
            "recall of the rule": float(pairs.near(rule).mean()),
        }
        for name, pairs in right.items()
    ]


def limits(right: dict[str, Pairs], wrong: Pairs, rule: Rule, copies: int) -> list[Row]:
    """Recall over all kinds, wrong pairs, and precision of the cosine alone, of the bits alone, and of the rule."""
    tried = {f"cosine >= {cosine}": _steps((cosine, 64)) for cosine in (0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.985)}
    tried |= {f"at most {bits} bits": _steps((-1.0, bits)) for bits in (4, 6, 8, 10, 12, 14, 16)}
    rows = []
    for name, one in {**tried, "the rule": rule}.items():
        recall = float(np.mean([pairs.near(one).mean() for pairs in right.values()]))
        false = int(wrong.near(one).sum())
        precision = recall * copies / max(recall * copies + false, 1)
        rows.append({"limit": name, "recall": recall, "wrong pairs": false, "precision": float(precision)})
    return rows


def bursts(moments: Pairs, uploads: Pairs, rule: Rule) -> list[Row]:
    tried = {f"cosine >= {cosine}": _steps((cosine, 64)) for cosine in (0.7, 0.8, 0.85, 0.9, 0.95)}
    tried |= {
        f"cosine >= {cosine}, at most {bits} bits": _steps((cosine, bits)) for cosine in (0.8,) for bits in (20, 24)
    }
    rows = []
    for name, one in {**tried, "the rule": rule}.items():
        found, false = int(moments.near(one).sum()), int(uploads.near(one).sum())
        rows.append(
            {
                "limit": name,
                f"found of {len(moments.bits)}": found,
                f"wrong of {len(uploads.bits):,} of one upload": false,
                "precision": found / (found + false) if found + false else None,
            }
        )
    return rows


def dated(eye: Eye, folder: Path, preprocessing: Preprocessing, rule: Rule) -> list[Row]:
    """Each photo of a folder with the next by date: how many the rule holds to be one moment."""
    photos = [read_photo(path.read_bytes(), preprocessing) for path in sorted(folder.iterdir())]
    read = [photo for photo in photos if isinstance(photo, PhotoRead) and photo.camera.taken_at is not None]
    read.sort(key=lambda photo: photo.camera.taken_at or "")
    looked = eye.look(Image.fromarray(photo.picture) for photo in read)
    taken = np.array([seconds(photo.camera.taken_at) for photo in read])
    shots = Shots(looked.vectors, looked.fingerprints, taken, np.ones(len(read), dtype=np.int64))
    left, right = shots.take(np.arange(len(read) - 1)), shots.take(np.arange(1, len(read)))
    pairs = _pairs(Looked(left.vectors, left.fingerprints), Looked(right.vectors, right.fingerprints))
    return [
        {
            "photos": len(read),
            "seconds to the next, median": float(np.median(np.diff(taken))),
            "cosine, lowest": float(pairs.cosines.min()),
            "differing bits, median": int(np.median(pairs.bits)),
            "near the next, with dates": f"{int(near(left, right, rule).sum())} of {len(pairs.bits)}",
            "without": f"{int(pairs.near(rule).sum())} of {len(pairs.bits)}",
        }
    ]


def _steps(*steps: tuple[float, int]) -> Rule:
    return Rule(steps, None, None, None)


if __name__ == "__main__":
    main()
