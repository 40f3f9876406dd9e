"""The first ten answers to ten everyday queries on two sheets of pictures, to be judged by eye.

    python bench/eyes.py --checkpoint builtin --data DIR --out FOLDER

DIR holds eval/flickr8k-test.tar, whose 1,000 photos are searched. Captions say little about everyday words: a photo of
a dog may be captioned by its ball. So somebody looks; the checkpoint's card has what was counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from retrieval import checkpoint_encoder, open_photo, read_tar

QUERIES = (
    "a dog", "a football game", "water", "snow", "a mountain",
    "a man climbing a rock", "a beach", "children playing", "a city street", "a person riding a bicycle",
)  # fmt: skip
ANSWERS, ROWS_A_SHEET = 10, 5
SIDE, GAP, TITLE = 110, 2, 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin", help="builtin, a downloaded model's name, or a folder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where sheet-1.png and sheet-2.png are written")
    options = parser.parse_args()
    encoder = checkpoint_encoder(options.checkpoint)
    photos = [open_photo(data) for data in read_tar(options.data / "eval" / "flickr8k-test.tar")[2].values()]
    best = np.argsort(-(encoder.texts(QUERIES) @ encoder.photos(photos).T), axis=1)[:, :ANSWERS]
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [(query, [photos[k] for k in found]) for query, found in zip(QUERIES, best.tolist(), strict=True)]
    for first in range(0, len(rows), ROWS_A_SHEET):
        path = options.out / f"sheet-{1 + first // ROWS_A_SHEET}.png"
        sheet(rows[first : first + ROWS_A_SHEET]).save(path)
        print(path)


def sheet(rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """Queries, each above its photos."""
    height = TITLE + SIDE + GAP
    image = Image.new("RGB", (ANSWERS * (SIDE + GAP), len(rows) * height), "white")
    for row, (query, photos) in enumerate(rows):
        ImageDraw.Draw(image).text((GAP, row * height), query, fill="black")
        for column, photo in enumerate(photos):
            image.paste(photo.resize((SIDE, SIDE)), (column * (SIDE + GAP), row * height + TITLE))
    return image


if __name__ == "__main__":
    main()
