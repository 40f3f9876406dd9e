"""Embed on one machine, use the vectors on another: python examples/move_vectors.py

Vectors belong to the bytes of a photo and to a model. Where both are the same, nothing is embedded again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from photoseek import PhotoLibrary

PHOTOS = Path(__file__).parent / "photos"


def main(model: str = "auto") -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with PhotoLibrary.open(folder / "fast machine", model=model) as library:
            print(f"fast machine: {library.index(PHOTOS).embedded} embedded")
            print(f"exported: {library.export_vectors(folder / 'export')} vectors")

        vectors = np.load(folder / "export" / "vectors.npy")
        print(f"any program can read them: {vectors.dtype}, {len(vectors)} rows")

        with PhotoLibrary.open(folder / "laptop", model=model) as library:
            print(f"laptop: {library.import_vectors(folder / 'export')} imported")
            report = library.index(PHOTOS)
            print(f"laptop: {report.indexed} indexed, {report.embedded} embedded")


if __name__ == "__main__":
    main(*sys.argv[1:])
