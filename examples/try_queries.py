"""How well a model finds photos by everyday queries: python examples/try_queries.py [MODEL]

Reads queries.tsv beside the photos, a file name and a query a line. Make one for photos of your own to compare models.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from photoseek import PhotoLibrary

PHOTOS = Path(__file__).parent / "photos"


def main(model: str = "auto") -> None:
    rows = [line.split("\t") for line in (PHOTOS / "queries.tsv").read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder, PhotoLibrary.open(Path(folder) / "library", model=model) as library:
        photos = library.index(PHOTOS).indexed
        answers = library.search_many([query for _, query in rows], limit=photos)
    ranks = []
    for (wanted, query), answer in zip(rows, answers, strict=True):
        rank = next(match.rank for match in answer if match.path is not None and match.path.name == wanted)
        ranks.append(rank)
        print(f"{rank:>3}  {wanted:<15} {query}")
    first, third = (sum(rank <= limit for rank in ranks) for limit in (1, 3))
    print(f"Of {len(ranks)} queries among {photos} photos: {first} found theirs first, {third} among the first three.")


if __name__ == "__main__":
    main(*sys.argv[1:])
