"""Index a folder and ask it questions: python examples/search_photos.py"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from photoseek import PhotoLibrary, where

PHOTOS = Path(__file__).parent / "photos"
QUERIES = ("a cat", "snowy mountains", "something to drink")


def main(model: str = "auto") -> None:
    with tempfile.TemporaryDirectory() as folder, PhotoLibrary.open(Path(folder) / "library", model=model) as library:
        report = library.index(PHOTOS)
        print(f"{report.indexed} photos indexed, {report.failed} failed")
        for query, matches in zip(QUERIES, library.search_many(QUERIES, limit=3), strict=True):
            print(f"\n{query}")
            for match in matches:
                print(f"  {match.score:.3f}  {match.path.name if match.path else match.id}")

        best = library.search("a cat", limit=1)[0]
        print(f"\nmore like {best.id}, but no animals")
        for match in library.search(like=best, without="an animal", limit=3):
            print(f"  {match.score:.3f}  {match.path.name if match.path else match.id}")

        print("\ntaken in August 2022 or August 2023, newest first")
        for photo in library.photos(where=where.taken.on("2022-08") | where.taken.on("2023-08")):
            print(f"  {photo.taken_at:%Y-%m-%d}  {photo.camera_model}  {photo.id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
