"""An app that keeps its pictures elsewhere, and names them by its own ids: python examples/app_pictures.py

The library stores vectors and what the camera wrote, not the pictures.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

from photoseek import PhotoLibrary, PhotoseekError, Progress

PHOTOS = Path(__file__).parent / "photos"


def main(model: str = "auto") -> None:
    store = {f"app-{number}": path.read_bytes() for number, path in enumerate(sorted(PHOTOS.glob("*.jpg")), start=1)}
    with tempfile.TemporaryDirectory() as folder, PhotoLibrary.open(Path(folder) / "library", model=model) as library:
        for id, picture in store.items():
            library.add(picture, id=id)
        try:
            library.add(b"no picture", id="app-broken")
        except PhotoseekError as error:
            print(f"refused: {error}")

        for match in library.search("a person in uniform", limit=2):
            print(f"{match.score:.3f}  {match.id}  {match.width}x{match.height}")

        # An app often knows which of its pictures may be shown, an album say: the answer is the best of those.
        album = ["app-1", "app-4", "app-5", "app-7"]
        print("in the album:", [match.id for match in library.search("a flower", ids=album, limit=2)])

        library.remove("app-1")
        print("after removing app-1:", library.get("app-1"), "and", library.status().photos, "others")

        index_in_background(library, PHOTOS)


def index_in_background(library: PhotoLibrary, folder: Path) -> None:
    """Index a folder in a thread; a button of the app would set `cancel`, and whatever was done is kept."""
    cancel = threading.Event()

    def show(progress: Progress) -> None:  # called in the indexing thread
        if progress.stage == "index":
            print(f"\r{progress.done} of {progress.total}", end="")

    def work() -> None:
        report = library.index(folder, on_progress=show, cancel=cancel)
        print(f"\n{report.indexed} files indexed; {report.embedded} embedded, since the others are known pictures")

    thread = threading.Thread(target=work)
    thread.start()
    library.search("a flower")  # searching goes on meanwhile
    thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
