"""Batches for the vision tower: photos of all sets in a fixed mix, cut and flipped, with their teacher features."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import photos
from training.teachers import cut

#: of EfficientNet and CLIP alike near enough; what the shipped processor file states
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass
class PhotoSet:
    """One decoded set: pictures (n, s, s, 3), the rows that may be trained on, and per view features and boxes."""

    name: str
    pictures: NDArray[np.uint8]
    rows: list[list[str]]
    train_rows: NDArray[np.int64]
    features: list[NDArray[np.float16]]
    boxes: list[NDArray[np.float32]]
    share: float


@dataclass
class Batch:
    """pixels (n, 3, side, side) float32 normalised; features (n, 1280) float16; labels (n,) ImageNet class or -1;
    photo (n,) row of the photo in the Flickr8k set, or -1."""

    pixels: Tensor
    features: Tensor
    labels: Tensor
    photo: Tensor


def open_set(name: str, folder: Path, share: float) -> PhotoSet:
    """Open a prepared set with every teacher view that is on disk."""
    pictures, rows = photos.load(name, folder / "photos")
    features: list[NDArray[np.float16]] = []
    boxes: list[NDArray[np.float32]] = []
    while (path := folder / "teacher" / f"{name}.{len(features)}.npy").exists():
        features.append(np.load(path, mmap_mode="r"))
        boxes.append(np.load(path.with_suffix(".boxes.npy")))
    train = np.array([k for k, row in enumerate(rows) if row[1] == "train"])
    return PhotoSet(name, pictures, rows, train, features, boxes, share)


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (n, 3, s, s) -> float32, by the mean and deviation of the processor file."""
    x = pixels.float().div_(255)
    return (x - torch.tensor(IMAGE_MEAN).view(3, 1, 1)) / torch.tensor(IMAGE_STD).view(3, 1, 1)


class Sampler:
    """Endless batches, made ahead in one thread.

    View 0 (the whole picture) is cut a little, down to `least_area` of it, and keeps its target; the others are cut
    exactly where the teacher looked.
    """

    def __init__(
        self,
        sets: list[PhotoSet],
        batch: int,
        side: int,
        seed: int,
        synset_class: dict[str, int],
        least_area: float,
        whole: float,
    ) -> None:
        self.sets, self.batch, self.side = sets, batch, side
        self.rng = np.random.default_rng(seed)
        self.least_area, self.whole = least_area, whole
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
        rng = self.rng
        pixels = torch.empty(self.batch, 3, self.side, self.side, dtype=torch.uint8)
        features = np.empty((self.batch, 1280), np.float16)
        labels = np.full(self.batch, -1)
        photo = np.full(self.batch, -1)
        which = rng.choice(len(self.sets), self.batch, p=self.shares)
        for k, chosen in enumerate(which):
            source = self.sets[chosen]
            row = int(rng.choice(source.train_rows))
            views = len(source.features)
            view = 0 if views == 1 or rng.random() < self.whole else int(rng.integers(1, views))
            box = source.boxes[view][row]
            if view == 0:
                w, h = np.sqrt(rng.uniform(self.least_area, 1, 2))
                left, top = rng.random() * (1 - w), rng.random() * (1 - h)
                box = np.array([left, top, left + w, top + h], np.float32)
            picture = cut(source.pictures[row], box, self.side)
            pixels[k] = picture.flip(2) if rng.random() < 0.5 else picture
            features[k] = source.features[view][row]
            labels[k] = self.labels[chosen][row]
            if source.name == "flickr8k":
                photo[k] = row
        x = normalise(pixels)
        gain = torch.from_numpy(rng.uniform(0.8, 1.2, (self.batch, 3, 1, 1)).astype(np.float32))
        shift = torch.from_numpy(rng.uniform(-0.2, 0.2, (self.batch, 3, 1, 1)).astype(np.float32))
        return Batch(x * gain + shift, torch.from_numpy(features), torch.from_numpy(labels), torch.from_numpy(photo))

    def next(self) -> Batch:
        return self.ready.get()
