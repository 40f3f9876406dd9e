"""Batches for the vision tower: views of photos of all sets in a fixed mix, with what the photo teacher sees in each.

No view comes twice, and the teacher looks at it just as the student does, so that photos are not learnt by heart.
Source: "Knowledge distillation: A good teacher is patient and consistent" (Beyer et al. 2022); mixup (Zhang et al.
2018) and CutMix (Yun et al. 2019) with the teacher's word for what a mixed picture shows.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import photos
from training.teachers import TEACHER_SIDE, PhotoTeacherEngine, cut, random_boxes

#: of EfficientNet and CLIP alike near enough; what the shipped processor file states
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass
class PhotoSet:
    """One decoded set: pictures (n, s, s, 3), and the rows that may be trained on."""

    name: str
    pictures: NDArray[np.uint8]
    rows: list[list[str]]
    train_rows: NDArray[np.int64]
    share: float
    captions: dict[int, list[int]] = field(default_factory=dict)
    """Row -> its captions, by their places in the bank."""


@dataclass
class Batch:
    """pixels (n, 3, side, side) float32 normalised; features (n, 1280) float16 of the teacher; labels (n,) ImageNet
    class or -1; captions (n,) the place in the bank of one of the photo's captions, or -1."""

    pixels: Tensor
    features: Tensor
    labels: Tensor
    captions: Tensor


def open_set(name: str, folder: Path, share: float) -> PhotoSet:
    pictures, rows = photos.load(name, folder / "photos")
    train = np.array([k for k, row in enumerate(rows) if row[1] == "train"])
    return PhotoSet(name, pictures, rows, train, share)


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (n, 3, s, s) -> float32, by the mean and deviation of the processor file."""
    x = pixels.float().div_(255)
    return (x - torch.tensor(IMAGE_MEAN).view(3, 1, 1)) / torch.tensor(IMAGE_STD).view(3, 1, 1)


class Sampler:
    """Endless batches, made ahead in one thread.

    Args:
        crop_area: between which shares of its area a photo is cut.
        mixed: share of the views that another photo of the batch is mixed into.
    """

    def __init__(
        self,
        sets: list[PhotoSet],
        batch: int,
        side: int,
        seed: int,
        synset_class: dict[str, int],
        engine: PhotoTeacherEngine,
        crop_area: tuple[float, float],
        mixed: float,
    ) -> None:
        self.sets, self.batch, self.side = sets, batch, side
        self.rng = np.random.default_rng(seed)
        self.engine, self.crop_area, self.mixed = engine, crop_area, mixed
        shares = np.array([s.share for s in sets])
        self.shares = shares / shares.sum()
        self.labels = [
            np.array(
                [
                    synset_class.get(row[0].split("/")[2], -1)
                    if s.name == "tiny-imagenet" and "/train/" in row[0]
                    else -1
                    for row in s.rows
                ]
            )
            for s in sets
        ]
        self.ready: queue.Queue[Batch] = queue.Queue(4)
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self.ready.put(self._make())

    def _make(self) -> Batch:
        rng, n = self.rng, self.batch
        views = tuple(torch.empty(n, 3, side, side, dtype=torch.uint8) for side in (self.side, TEACHER_SIDE))
        labels, captions = np.full(n, -1), np.full(n, -1)
        boxes = random_boxes(n, self.crop_area, rng)
        for k, chosen in enumerate(rng.choice(len(self.sets), n, p=self.shares)):
            source = self.sets[chosen]
            row = int(rng.choice(source.train_rows))
            flipped = rng.random() < 0.5
            for view in views:
                picture = cut(source.pictures[row], boxes[k], view.shape[-1])
                view[k] = picture.flip(2) if flipped else picture
            labels[k] = self.labels[chosen][row]
            captions[k] = rng.choice(source.captions.get(row, [-1]))
        mixed = mix(views, self.mixed, rng)
        labels[mixed] = captions[mixed] = -1
        seen, shown = views
        parts = (part.numpy() for part in torch.split(shown, self.engine.batch))
        features = torch.from_numpy(self.engine.features(parts, n))
        gain = torch.from_numpy(rng.uniform(0.8, 1.2, (n, 3, 1, 1)).astype(np.float32))
        shift = torch.from_numpy(rng.uniform(-0.2, 0.2, (n, 3, 1, 1)).astype(np.float32))
        pixels = normalise(seen) * gain + shift
        return Batch(pixels, features, torch.from_numpy(labels), torch.from_numpy(captions))

    def next(self) -> Batch:
        return self.ready.get()


def mix(views: tuple[Tensor, ...], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Mix another picture of the batch into this share of them, a box of it or all of it faintly, in all sizes alike.

    Args:
        views: the same pictures, (n, 3, side, side) uint8 each, changed in place.
    Returns:
        Which were mixed.
    """
    n = len(views[0])
    chosen = np.flatnonzero(rng.random(n) < share)
    others, amounts, boxed = rng.permutation(n), rng.uniform(0, 0.5, n), rng.random(n) < 0.5
    boxes = random_boxes(n, (0.1, 0.5), rng)
    for view in views:
        plain = view.clone()
        for k in chosen:
            other = plain[others[k]]
            if boxed[k]:
                left, top, right, bottom = (round(float(v) * view.shape[-1]) for v in boxes[k])
                view[k, :, top:bottom, left:right] = other[:, top:bottom, left:right]
            else:
                view[k] = torch.lerp(plain[k].float(), other.float(), float(amounts[k])).round().to(torch.uint8)
    return chosen
