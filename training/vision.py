"""Train the vision tower towards the photo teacher: its principal components, its place in the joint space, and the
distributions over captions and classes that follow from it; later also towards the photos' own captions, where a text
tower that was tuned to it places them. Resumable; the weights' running average is what is kept.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.muon import Optimizers
from training.samples import PhotoSet, Sampler, normalise
from training.space import Space
from training.teachers import PhotoTeacherEngine, cut
from training.towers import VisionModel, VisionSize, init_weights

log = logging.getLogger(__name__)


class Student(nn.Module):
    """The tower, its projection, and a throw-away linear map to the teacher's principal components."""

    def __init__(self, size: VisionSize, dimensions: int, components: int) -> None:
        super().__init__()
        self.vision_model = VisionModel(size)
        self.visual_projection = nn.Linear(size.hidden_size, dimensions, bias=False)
        self.to_components = nn.Linear(size.hidden_size, components)
        init_weights(self)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.vision_model(pictures)
        return self.visual_projection(pooled), self.to_components(pooled)


@dataclass(frozen=True)
class Phase:
    """One stretch of training; `until` counts views from the very beginning. The learning rate falls linearly to
    `floor` times its peak between `decay_from` and `until`."""

    until: int
    side: int
    lr: float
    decay_from: int
    floor: float = 0.0
    batch: int = 256
    weights: dict[str, float] = field(
        default_factory=lambda: {"components": 1.0, "cosine": 1.0, "captions": 0.1, "classes": 0.1}
    )


@dataclass
class Bank:
    """Text vectors in the joint space: captions (m, d), classes (1000, d)."""

    captions: Tensor
    classes: Tensor
    tuned_captions: Tensor | None = None
    """The same captions by the tuned text tower."""


@dataclass
class Check:
    """What dev is: Flickr8k dev (pictures, caption vectors, photo of each) and the even classes of imagenet-1000;
    `tuned_text` has the captions by the tuned text tower."""

    dev: NDArray[np.uint8]
    dev_text: Tensor
    dev_owner: Tensor
    classes: NDArray[np.uint8]
    class_index: Tensor
    class_vectors: Tensor
    tuned_text: Tensor | None = None


def resized(pictures: NDArray[np.uint8], side: int) -> Tensor:
    """Whole pictures (n, s, s, 3) as (n, 3, side, side)."""
    whole = np.array([0, 0, 1, 1], np.float32)
    return torch.stack([cut(picture, whole, side) for picture in pictures])


@torch.inference_mode()
def embed(model: nn.Module, pictures: NDArray[np.uint8], side: int, batch: int = 250) -> Tensor:
    """Unit vectors (n, d) of whole pictures, in bfloat16 autocast."""
    out = []
    for start in range(0, len(pictures), batch):
        with torch.autocast("cpu", torch.bfloat16):
            out.append(model(normalise(resized(pictures[start : start + batch], side)))[0].float())
    return F.normalize(torch.cat(out), dim=1)


def recall(photo_vectors: Tensor, text_vectors: Tensor, owner: Tensor, ks: tuple[int, ...] = (1, 5, 10)) -> list[float]:
    """Text-to-image recall at each k; a photo ranks behind all that score higher or the same."""
    scores = text_vectors @ photo_vectors.T
    own = scores[torch.arange(len(owner)), owner][:, None]
    rank = (scores >= own).sum(1) - 1
    return [round((rank < k).float().mean().item(), 4) for k in ks]


def measure(model: nn.Module, check: Check, side: int) -> dict[str, object]:
    photos = embed(model, check.dev, side)
    texts = {"dev_r1_r5_r10": check.dev_text, "tuned_r1_r5_r10": check.tuned_text}
    found = {name: recall(photos, text, check.dev_owner) for name, text in texts.items() if text is not None}
    scores = embed(model, check.classes, side) @ check.class_vectors.T
    best = scores.topk(5, dim=1).indices == check.class_index[:, None]
    return {
        **found,
        "top1_top5_even": [round(best[:, 0].float().mean().item(), 4), round(best.any(1).float().mean().item(), 4)],
    }


def contrast(photos: Tensor, rows: Tensor, own: Tensor, others: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE of the photos in `rows` among their captions `own` (n, d) and `others` (m, d), and of these captions
    among all photos (k, d)."""
    by_photo = photos[rows] @ torch.cat([own, others]).T * scale
    by_caption = own @ photos.T * scale
    return (F.cross_entropy(by_photo, torch.arange(len(rows))) + F.cross_entropy(by_caption, rows)) / 2


def losses(
    student: tuple[Tensor, Tensor],
    features: Tensor,
    labels: Tensor,
    own_captions: Tensor,
    space: Space,
    bank: Bank,
    classifier: tuple[Tensor, Tensor],
    label_mix: float,
) -> dict[str, Tensor]:
    """The terms of the loss of one batch.

    Args:
        student: joint-space vectors (n, d), not normalised, and components (n, k).
        features: (n, 1280) of the teacher.  labels, own_captions: (n,), -1 where unknown.
    """
    vectors = F.normalize(student[0].float(), dim=1)
    standardised = space.standardise(features)
    target = F.normalize(standardised @ space.photo, dim=1)
    chosen = torch.randint(0, len(bank.captions), (1024,))
    captions = bank.captions[chosen]
    wanted = (target @ captions.T * space.scale).softmax(1)
    given = (vectors @ captions.T * space.scale).log_softmax(1)
    weight, bias = classifier
    probabilities = (features.float() @ weight.T + bias).softmax(1)
    known = labels >= 0
    probabilities[known] *= 1 - label_mix
    probabilities[known, labels[known]] += label_mix
    by_class = (vectors @ bank.classes.T * space.scale).log_softmax(1)
    captioned = own_captions >= 0
    pairs = vectors.new_zeros(())
    if bank.tuned_captions is not None and captioned.any():
        own, others = bank.tuned_captions[own_captions[captioned]], bank.tuned_captions[chosen]
        pairs = contrast(vectors, captioned.nonzero()[:, 0], own, others, space.scale)
    return {
        "pairs": pairs,
        "components": F.mse_loss(student[1].float(), standardised @ space.components),
        "cosine": (1 - (vectors * target).sum(1)).mean(),
        "captions": F.kl_div(given, wanted, reduction="batchmean"),
        "classes": F.kl_div(by_class, probabilities, reduction="batchmean"),
    }


def learning_rate(phase: Phase, seen: int, since: int, warmup: int = 30_000) -> float:
    """Peak after a warm-up over the first views since (re)start of the optimizer; then flat; then down to the floor."""
    left = 1.0
    if seen > phase.decay_from:
        left = phase.floor + (1 - phase.floor) * max(0.0, (phase.until - seen) / max(1, phase.until - phase.decay_from))
    return phase.lr * left * min(1.0, (seen - since + 1000) / warmup)


def train(
    size: VisionSize, space: Space, sets: list[PhotoSet], bank: Bank, check: Check, engine: PhotoTeacherEngine,
    synset_class: dict[str, int], phases: list[Phase], folder: Path, *,
    seed: int, crop_area: tuple[float, float], mixed: float, label_mix: float, weight_decay: float,
    average: float, measure_every_s: float, start: Path | None = None,
) -> Path:  # fmt: skip
    """Run all phases (what is done already is skipped); returns the path of the averaged weights.

    `start`: weights to begin from when there is no state to resume, for example those of the shipped checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_path, averaged_path = folder / "state.pt", folder / "averaged.safetensors"
    torch.manual_seed(seed)
    student = Student(size, space.photo.shape[1], space.components.shape[1])
    optimizers = Optimizers(list(student.named_parameters()), 1e-3, weight_decay)
    averaged = {k: v.detach().clone() for k, v in student.state_dict().items()}
    seen = since = 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        student.load_state_dict(state["student"])
        optimizers.load_state_dict(state["optimizers"])
        averaged, seen, since = state["averaged"], state["seen"], state["since"]
        torch.manual_seed(seed + seen)
        log.info("vision: resumed after %d views", seen)
    elif start is not None:
        student.load_state_dict(load_file(start), strict=False)
        averaged = {k: v.detach().clone() for k, v in student.state_dict().items()}
    shadow = Student(size, space.photo.shape[1], space.components.shape[1])
    compiled = torch.compile(student)
    classifier = engine.teacher.classifier()

    def save() -> None:
        part = state_path.with_suffix(".part")
        torch.save(
            {
                "student": student.state_dict(),
                "optimizers": optimizers.state_dict(),
                "averaged": averaged,
                "seen": seen,
                "since": since,
            },
            part,
        )
        part.rename(state_path)
        save_file(averaged, averaged_path.with_suffix(".part"))
        averaged_path.with_suffix(".part").rename(averaged_path)

    for phase in phases:
        if seen >= phase.until:
            continue
        sampler = Sampler(sets, phase.batch, phase.side, seed + seen, synset_class, engine, crop_area, mixed)
        log.info("vision: %s", phase)
        sums: dict[str, float] = {}
        steps, began, measured, began_seen = 0, time.monotonic(), time.monotonic(), seen
        while seen < phase.until:
            batch = sampler.next()
            with torch.autocast("cpu", torch.bfloat16):
                out = compiled(batch.pixels)
            terms = losses(out, batch.features, batch.labels, batch.captions, space, bank, classifier, label_mix)
            loss = torch.stack([phase.weights.get(k, 0.0) * v for k, v in terms.items()]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimizers.step(learning_rate(phase, seen, since))
            seen += phase.batch
            # The average reaches back at most `average` steps, less in the beginning.
            keep = min(average, 1 - 10 / (10 + seen / phase.batch))
            for name, value in student.state_dict().items():
                averaged[name].lerp_(value, 1 - keep)
            steps += 1
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.item()
            if steps % 50 == 0:
                speed = (seen - began_seen) / (time.monotonic() - began)
                log.info(
                    "vision: %d views, %.0f a second, lr %.2e, %s",
                    seen,
                    speed,
                    learning_rate(phase, seen, since),
                    {k: round(v / 50, 4) for k, v in sums.items()},
                )
                sums = {}
            if time.monotonic() - measured > measure_every_s or seen >= phase.until:
                save()
                shadow.load_state_dict(averaged)
                log.info(
                    "vision: dev %s",
                    json.dumps({"seen": seen, "side": phase.side, **measure(shadow, check, phase.side)}),
                )
                measured = time.monotonic()
    return averaged_path
