"""The main job on 1,000 real photos, judged by vectors that transformers computes apart from this project."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from photoseek import IndexSettings, PhotoLibrary
from photoseek.aimv2 import open_checkpoint
from photoseek.errors import CheckpointError

torch = pytest.importorskip("torch", reason="torch is the reference here")
transformers = pytest.importorskip("transformers", reason="transformers is the reference here")

DATA = Path(os.environ.get("PHOTOSEEK_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
PHOTOS = DATA / "eval" / "flickr8k-test.tar"
QUERIES = ["a red car", "a dog running in the snow", "children playing football", "sunset at the beach", "two people"]
SCORE_TOLERANCE = 1e-3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PHOTOS.is_file(), reason=f"{PHOTOS} is not there"),
    pytest.mark.filterwarnings("ignore"),  # transformers warns about its own plans
]


@pytest.fixture(scope="module")
def checkpoint_folder(tiny_checkpoint: Path) -> Path:
    """The built-in checkpoint; the tiny random one where it is not there."""
    try:
        return open_checkpoint("builtin").folder
    except CheckpointError:
        return tiny_checkpoint


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flickr8k")
    with tarfile.open(PHOTOS) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def reference(checkpoint_folder: Path, photos: Path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Paths, photo vectors (1000, dim) and query vectors, by transformers in float32."""
    from PIL import Image

    model = transformers.Aimv2Model.from_pretrained(checkpoint_folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    processor = transformers.CLIPImageProcessorPil.from_pretrained(checkpoint_folder)
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(checkpoint_folder)
    paths = sorted(photos.rglob("*.jpg"))
    rows = []
    with torch.no_grad():
        for first in range(0, len(paths), 50):
            images = [Image.open(path).convert("RGB") for path in paths[first : first + 50]]
            pixels = processor(images, return_tensors="pt")["pixel_values"]
            rows.append(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output))
        # One text longer than all others keeps the mask, and with it causality (eager attention).
        texts = tokenizer([*QUERIES, " ".join(["a"] * 60)], padding=True, return_tensors="pt")
        output = model.text_model(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"])
        words = model.text_projection(output.pooler_output)[: len(QUERIES)]
    unit = [torch.nn.functional.normalize(vectors, dim=-1).numpy() for vectors in (torch.cat(rows), words)]
    return paths, unit[0], unit[1]


@pytest.mark.parametrize("ivf", [False, True], ids=["flat", "ivf"])
def test_search_gives_the_order_of_a_brute_force_cosine_over_reference_vectors(
    ivf: bool,
    tmp_path: Path,
    checkpoint_folder: Path,
    photos: Path,
    reference: tuple[list[Path], np.ndarray, np.ndarray],
) -> None:
    """Scores within 1e-3; the same order except where scores differ by less."""
    paths, photo_vectors, query_vectors = reference
    settings = IndexSettings(ivf_min_rows=100 if ivf else 10**9, generation_min_rows=100)
    with PhotoLibrary.open(tmp_path / "library", model=checkpoint_folder, precision="float32") as library:
        library.index([photos], settings=settings)
        assert library.status().index.kind == ("ivf" if ivf else "flat")
        for query, vector in zip(QUERIES, query_vectors, strict=True):
            expected = dict(zip(paths, (photo_vectors @ vector).tolist(), strict=True))
            found = library.search(query, limit=20)
            assert found.exact is not ivf
            assert len(found) == 20
            for match in found:
                assert match.score == pytest.approx(expected[match.path], abs=SCORE_TOLERANCE)
            in_order = [expected[match.path] for match in found]
            assert all(np.diff(in_order) < SCORE_TOLERANCE)
            # Nothing that belongs on the page was left out.
            best = sorted(expected.values(), reverse=True)[:20]
            assert min(in_order) >= best[-1] - SCORE_TOLERANCE
