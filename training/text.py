"""Train the text tower towards the sentence teacher's place in the joint space, then (LiT) towards the locked tower."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from training.muon import Optimizers
from training.towers import TextModel, TextSize, init_weights
from training.vision import recall
from training.vocabulary import CONTEXT, encode

log = logging.getLogger(__name__)


class TextStudent(nn.Module):
    """The text tower with its projection: ids (n, t) -> (n, d), not normalised."""

    def __init__(self, size: TextSize, dimensions: int) -> None:
        super().__init__()
        self.text_model = TextModel(size)
        self.text_projection = nn.Linear(size.hidden_size, dimensions, bias=False)
        init_weights(self)

    def forward(self, ids: Tensor) -> Tensor:
        return self.text_projection(self.text_model(ids))  # type: ignore[no-any-return]


@dataclass
class Lessons:
    """Texts with their targets (n, d), unit vectors float16, and how often each group is drawn.

    groups: name -> (first row, one past the last row, share of a batch).
    """

    texts: list[str]
    targets: Tensor
    groups: dict[str, tuple[int, int, float]]


@dataclass
class Pairs:
    """Captions of photos as the locked vision tower sees them: owner[i] is the row in photos (m, d) of caption i."""

    captions: list[str]
    owner: Tensor
    photos: Tensor


@dataclass
class ClassPairs:
    """Photos as the locked vision tower sees them (m, d), the photo teacher's probabilities of the 1,000 classes
    (m, 1000), and for each class the rows of its photos and the texts that name it."""

    photos: Tensor
    probabilities: Tensor
    rows: dict[int, NDArray[np.int64]]
    prompts: list[list[str]]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[tuple[int, int]], Tensor, Tensor]:
        """`count` classes as (class, prompt), a photo of each (n, d), and what the teacher says of each photo (n, n),
        one photo a row."""
        classes = rng.choice(list(self.rows), min(count, len(self.rows)), replace=False)
        rows = [int(rng.choice(self.rows[int(k)])) for k in classes]
        chosen = [(int(k), int(rng.integers(len(self.prompts[int(k)])))) for k in classes]
        return chosen, self.photos[rows], self.probabilities[rows][:, classes].float()


def tell_classes(vectors: Tensor, photos: Tensor, wanted: Tensor, scale: float) -> Tensor:
    """KL of the classes' names (n, d), given each photo (n, d), to what the teacher says, and of the photos by name."""
    logits = photos @ vectors.T * scale
    by_photo = F.kl_div(logits.log_softmax(1), wanted / wanted.sum(1, keepdim=True), reduction="batchmean")
    by_name = F.kl_div(logits.log_softmax(0).T, (wanted / wanted.sum(0)).T, reduction="batchmean")
    return (by_photo + by_name) / 2


def contrast(vectors: Tensor, photos: Tensor, owner: Tensor, scale: float) -> Tensor:
    """InfoNCE of captions (n, d) against all photos (m, d), and of the photos in the batch against its captions."""
    logits = vectors @ photos.T * scale
    same = (owner[:, None] == owner[None]).float()
    back = (same / same.sum(1, keepdim=True) * logits[:, owner].log_softmax(0)).sum(0).mean()
    return (F.cross_entropy(logits, owner) - back) / 2


def pad(ids: list[list[int]], end: int) -> Tensor:
    """Right-pad with the end token: the tower is causal and reads the first end token, so padding changes nothing."""
    longest = min(CONTEXT, -(-max(len(row) for row in ids) // 4) * 4)
    return torch.tensor([row + [end] * (longest - len(row)) for row in ids])


@torch.inference_mode()
def embed_texts(model: nn.Module, tokenizer: Tokenizer, texts: list[str], end: int, batch: int = 500) -> Tensor:
    """Unit vectors (n, d) of texts, in float32."""
    ids = encode(tokenizer, texts)
    order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
    out: Tensor | None = None
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        vectors = F.normalize(model(pad([ids[k] for k in rows], end)).float(), dim=1)
        out = torch.zeros(len(ids), vectors.shape[1]) if out is None else out
        out[rows] = vectors
    assert out is not None
    return out


def train(
    size: TextSize, tokenizer: Tokenizer, lessons: Lessons, photo_bank: Tensor, scale: float, folder: Path, *,
    seed: int, steps: int, batch: int, lr: float, weight_decay: float, bank_weight: float,
    dev_texts: list[str], dev_owner: Tensor, dev_photos: Tensor, start: Path | None = None,
    pairs: Pairs | None = None, pairs_weight: float = 0.0, classes: ClassPairs | None = None,
    classes_weight: float = 0.0, save_every: int = 300,
) -> Path:  # fmt: skip
    """Fit the tower to `lessons`: cosine, and the distribution over `photo_bank` (m, d) that a text gives.

    With `pairs` (LiT) each step also tells captions apart by the photos they belong to. Batches hold texts of like
    length. Returns the path of the weights. Resumes from `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_path, weights_path = folder / "state.pt", folder / "weights.safetensors"
    torch.manual_seed(seed)
    student = TextStudent(size, lessons.targets.shape[1])
    optimizers = Optimizers(list(student.named_parameters()), lr, weight_decay)
    done = 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        student.load_state_dict(state["student"])
        optimizers.load_state_dict(state["optimizers"])
        done = state["done"]
        log.info("text: resumed after %d steps", done)
    elif start is not None:
        student.load_state_dict(load_file(start))
    compiled = torch.compile(student, dynamic=True)
    ids = encode(tokenizer, lessons.texts)
    pair_ids = encode(tokenizer, pairs.captions) if pairs is not None else []
    class_ids = [encode(tokenizer, some) for some in classes.prompts] if classes is not None else []
    lengths = np.array([len(row) for row in ids])
    full_stops = encode(tokenizer, [" ."])[0][1:-1]
    rng = np.random.default_rng(seed + done)
    shares = np.array([g[2] for g in lessons.groups.values()])
    edges = list(lessons.groups.values())
    pool: list[list[int]] = []
    began = time.monotonic()
    sums = [0.0, 0.0]
    while done < steps:
        if not pool:
            # Draw many, sort by length, cut into batches: hardly any padding.
            counts = rng.multinomial(batch * 32, shares / shares.sum())
            drawn = np.concatenate(
                [rng.integers(first, last, n) for (first, last, _), n in zip(edges, counts, strict=True)]
            )
            drawn = drawn[np.argsort(lengths[drawn] + rng.uniform(0, 0.9, len(drawn)))]
            pool = [drawn[k : k + batch].tolist() for k in range(0, len(drawn), batch)]
            rng.shuffle(pool)
        rows = pool.pop()
        chosen = []
        for row in rows:
            tokens = ids[row]
            if tokens[-2:-1] == full_stops and rng.random() < 0.5:
                tokens = [*tokens[:-2], tokens[-1]]  # captions end in a full stop, queries do not
            chosen.append(tokens)
        target = lessons.targets[rows].float()
        with torch.autocast("cpu", torch.bfloat16):
            vectors = compiled(pad(chosen, size.eos_token_id))
        vectors = F.normalize(vectors.float(), dim=1)
        cosine = (1 - (vectors * target).sum(1)).mean()
        bank = photo_bank[torch.randint(0, len(photo_bank), (2048,))]
        divergence = F.kl_div(
            (vectors @ bank.T * scale).log_softmax(1), (target @ bank.T * scale).softmax(1), reduction="batchmean"
        )
        loss = cosine + bank_weight * divergence
        if pairs is not None:
            rows = rng.integers(0, len(pairs.captions), batch // 2).tolist()
            with torch.autocast("cpu", torch.bfloat16):
                captions = compiled(pad([pair_ids[row] for row in rows], size.eos_token_id))
            loss = loss + pairs_weight * contrast(
                F.normalize(captions.float(), dim=1), pairs.photos, pairs.owner[rows], scale
            )
        if classes is not None:
            named, class_photos, wanted = classes.draw(rng, batch // 4)
            with torch.autocast("cpu", torch.bfloat16):
                names = compiled(pad([class_ids[k][prompt] for k, prompt in named], size.eos_token_id))
            told = tell_classes(F.normalize(names.float(), dim=1), class_photos, wanted, scale)
            loss = loss + classes_weight * told
        loss.backward()  # type: ignore[no-untyped-call]
        rate = lr * min(1.0, (done + 1) / 150) * min(1.0, 2 * (steps - done) / steps)
        optimizers.step(rate)
        done += 1
        sums[0] += cosine.item()
        sums[1] += divergence.item()
        if done % 50 == 0:
            log.info(
                "text: step %d of %d, %.0f texts a second, cosine %.4f, bank %.4f",
                done,
                steps,
                done * batch / (time.monotonic() - began),
                sums[0] / 50,
                sums[1] / 50,
            )
            sums = [0.0, 0.0]
        if done % save_every == 0 or done == steps:
            torch.save(
                {"student": student.state_dict(), "optimizers": optimizers.state_dict(), "done": done},
                state_path.with_suffix(".part"),
            )
            state_path.with_suffix(".part").rename(state_path)
            save_file(student.state_dict(), weights_path.with_suffix(".part"))
            weights_path.with_suffix(".part").rename(weights_path)
            found = recall(dev_photos, embed_texts(student, tokenizer, dev_texts, size.eos_token_id), dev_owner)
            log.info("text: dev %s", json.dumps({"step": done, "r1_r5_r10": found}))
    return weights_path
