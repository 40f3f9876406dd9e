"""The joint space of the two teachers: one linear layer on each, 256 dimensions. Both towers learn to land in it.

Photo side: standardised EfficientNet features -> 256. Text side: MiniLM -> 256, and for the 1,000 ImageNet classes a
free vector added, so that "goldfish" lands where the classifier sees goldfish though no caption has the word.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)


@dataclass
class Space:
    """All that turns teacher outputs into targets. Every tensor float32.

    Attributes:
        mean, deviation: (1280,) of the teacher's feature over the training photos.
        components: (1280, k), standardised feature -> k principal components, scaled so that wide ones weigh more.
        photo: (1280, d) standardised feature -> joint space.  text: (384, d) MiniLM -> joint space.
        class_offset: (1000, d), added to the text vector of a class's prompts before normalising.
        classes: (1000, d), unit vectors of the classes.
        scale: () inverse temperature of the joint space.
    """

    mean: Tensor
    deviation: Tensor
    components: Tensor
    photo: Tensor
    text: Tensor
    class_offset: Tensor
    classes: Tensor
    scale: Tensor

    def standardise(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) / self.deviation

    def photo_vectors(self, features: Tensor) -> Tensor:
        return F.normalize(self.standardise(features) @ self.photo, dim=-1)

    def text_vectors(self, sentences: Tensor) -> Tensor:
        return F.normalize(sentences.float() @ self.text, dim=-1)

    def save(self, path: Path) -> None:
        save_file({k: v.contiguous() for k, v in self.__dict__.items()}, path)

    @staticmethod
    def load(path: Path) -> Space:
        return Space(**load_file(path))


def principal_components(standardised: Tensor, k: int, power: float) -> Tensor:
    """(n, width) -> (width, k): directions of most variance; component j comes out with variance ~ eigenvalue ** power.

    power 1 is plain PCA, 0 is whitening; the mean variance is 1.
    """
    covariance = standardised.T @ standardised / len(standardised)
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0)[:k], vectors.flip(1)[:, :k]
    wanted = values**power
    wanted = wanted / wanted.mean()
    out: Tensor = vectors * (wanted / values).sqrt()
    return out


def fit(
    features: Tensor,
    probabilities: Tensor,
    pair_photo: Tensor,
    pair_text: Tensor,
    sentences: Tensor,
    class_sentences: Tensor,
    *,
    dimensions: int,
    components: int,
    power: float,
    steps: int,
    class_weight: float,
    seed: int,
) -> Space:
    """Fit the space by InfoNCE on (photo, text) pairs and by matching the classifier's softened probabilities.

    Args:
        features: (n, 1280) teacher features of all training photos.
        probabilities: (n, 1000) softened class probabilities of the same photos (float16 will do).
        pair_photo, pair_text: (m,) rows into features and sentences that belong together.
        sentences: (t, 384).  class_sentences: (1000, 384), mean MiniLM vector of each class's prompts.
    """
    generator = torch.Generator().manual_seed(seed)
    mean = features.float().mean(0)
    deviation = features.float().std(0) + 1e-4
    standardised = (features.float() - mean) / deviation
    photo = torch.nn.Parameter(torch.randn(features.shape[1], dimensions, generator=generator) * 0.02)
    text = torch.nn.Parameter(torch.randn(sentences.shape[1], dimensions, generator=generator) * 0.05)
    offset = torch.nn.Parameter(torch.zeros(class_sentences.shape[0], dimensions))
    log_scale = torch.nn.Parameter(torch.tensor(3.0))
    class_scale = torch.nn.Parameter(torch.tensor(3.0))
    parameters = [photo, text, offset, log_scale, class_scale]
    optimizer = torch.optim.AdamW(
        [
            {"params": [photo, text], "weight_decay": 0.1},
            {"params": [offset], "weight_decay": 1.0},
            {"params": [log_scale, class_scale], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = (
                1e-3 * min(1, (step + 1) / 50) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item())
            )
        rows = torch.randint(0, len(pair_photo), (512,), generator=generator)
        x = F.dropout(standardised[pair_photo[rows]], 0.3)
        a = F.normalize(x @ photo, dim=1)
        b = F.normalize(F.dropout(sentences[pair_text[rows]].float(), 0.1) @ text, dim=1)
        logits = a @ b.T * log_scale.exp().clamp(max=60)
        same = pair_photo[rows][:, None] == pair_photo[rows][None]
        same |= pair_text[rows][:, None] == pair_text[rows][None]
        target = same.float() / same.sum(1, keepdim=True)
        contrast = -(target * logits.log_softmax(1)).sum(1).mean() - (target * logits.log_softmax(0)).sum(0).mean()
        rows = torch.randint(0, len(features), (512,), generator=generator)
        a = F.normalize(F.dropout(standardised[rows], 0.1) @ photo, dim=1)
        c = F.normalize(class_sentences @ text + offset, dim=1)
        logits = a @ c.T * class_scale.exp().clamp(max=60)
        divergence = F.kl_div(logits.log_softmax(1), probabilities[rows].float(), reduction="batchmean")
        loss = contrast + class_weight * divergence
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 200 == 0 or step == steps - 1:
            log.info(
                "space: step %d contrast %.3f classes %.3f scales %.1f %.1f",
                step,
                contrast.item(),
                divergence.item(),
                log_scale.exp().item(),
                class_scale.exp().item(),
            )
    for parameter in parameters:
        parameter.requires_grad_(False)
    return Space(
        mean=mean,
        deviation=deviation,
        components=principal_components(standardised, components, power),
        photo=photo.data,
        text=text.data,
        class_offset=offset.data,
        classes=F.normalize(class_sentences @ text.data + offset.data, dim=1),
        scale=log_scale.data.exp(),
    )
