"""Sort photos under labels of your own, without training: python examples/label_photos.py"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from photoseek import PhotoLibrary

PHOTOS = Path(__file__).parent / "photos"
LABELS = ("an animal", "a person", "food or drink", "a landscape", "a building", "outer space", "a flower")


def main(model: str = "auto") -> None:
    # Nothing is indexed: the library's folder is never made.
    with tempfile.TemporaryDirectory() as folder, PhotoLibrary.open(Path(folder) / "library", model=model) as library:
        for photo in sorted(PHOTOS.glob("*.jpg")):
            label, share = library.classify(photo, LABELS, template="a photo of {}")[0]
            print(f"{photo.name:<15} {label} ({share:.0%})")


if __name__ == "__main__":
    main(*sys.argv[1:])
