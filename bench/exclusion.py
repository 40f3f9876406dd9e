"""What `without` does: pairs of a wanted and an excluded kind of the labelled photos. Run through bench/confidence.py.

A pair is two everyday words (training/labelled.py) where at least half of the ten best photos for the wanted one are
right, so that there is something to keep, and at least one shows the excluded kind, so that there is something to lose.
Among kinds the excluded one must be a part of the wanted one ("an animal" without "a dog") and leave 10 photos of it;
among words of captions 20 photos of the wanted kind must be left. `found well`: also the excluded word alone finds its
kind, in at least 7 of its 10 best photos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from report import Row, show

from photoseek.search.confidence import read
from photoseek.search.query import Term, combine
from training.calibrate import NEAR, best
from training.labelled import Floats, Mask, Searches

Ranking = Callable[[NDArray[np.float32], NDArray[np.float32], Floats], NDArray[np.float32]]
"""(wanted, excluded, photos) to scores (n,); photos with -inf are left out."""

WEIGHTS = (0.25, 0.4, 0.5, 0.6, 0.75, 1.0)


@dataclass(frozen=True)
class Pair:
    wanted: NDArray[np.float32]
    excluded: NDArray[np.float32]
    shows_wanted: Mask
    shows_excluded: Mask


def pairs_of(searches: Searches, *, found_well: bool = False) -> list[Pair]:
    """The pairs of one sort of words."""
    first = [best(searches.photos @ query) for query in searches.queries]
    precision = [fits[top].mean() for fits, top in zip(searches.fits, first, strict=True)]
    pairs = []
    for a, (wanted, shows) in enumerate(zip(searches.queries, searches.fits, strict=True)):
        for b, (excluded, hides) in enumerate(zip(searches.queries, searches.fits, strict=True)):
            if a == b or precision[a] < 0.5 or not hides[first[a]].any() or (found_well and precision[b] < 0.7):
                continue
            inside = bool((hides & ~shows).sum() == 0 and hides.sum() < shows.sum())
            left = int((shows & ~hides).sum())
            if left >= 10 and inside if searches.name == "kinds" else left >= 20:
                pairs.append(Pair(wanted, excluded, shows, hides))
    return pairs


def subtracting(weight: float) -> Ranking:
    """One vector: what `combine` makes of a term with a negative weight."""
    return lambda wanted, excluded, photos: (
        photos @ combine([Term("wanted", wanted), Term("excluded", excluded, -weight)])
    )


def subtracting_across(weight: float) -> Ranking:
    """One vector: only the part of the excluded words that is no part of the wanted ones is subtracted."""

    def scores(wanted: NDArray[np.float32], excluded: NDArray[np.float32], photos: Floats) -> NDArray[np.float32]:
        return np.asarray(photos @ (wanted - weight * (excluded - (excluded @ wanted) * wanted)), dtype=np.float32)

    return scores


def punishing(weight: float, margin: float) -> Ranking:
    """The wanted score, less what the excluded words score above a margin."""
    return lambda wanted, excluded, photos: photos @ wanted - weight * np.maximum(photos @ excluded - margin, 0)


def dropping(odds: float, bank: Floats, scale: float) -> Ranking:
    """Photos that read as the excluded kind against the bank are left out, the others keep their order."""

    def scores(wanted: NDArray[np.float32], excluded: NDArray[np.float32], photos: Floats) -> NDArray[np.float32]:
        return np.where(read(excluded, photos, bank, scale, NEAR).log_odds > odds, -np.inf, photos @ wanted)

    return scores


def dropping_against(margin: float, bank: Floats, scale: float) -> Ranking:
    """Photos are left out where the excluded kind's odds exceed the wanted kind's by a margin."""

    def scores(wanted: NDArray[np.float32], excluded: NDArray[np.float32], photos: Floats) -> NDArray[np.float32]:
        more = read(excluded, photos, bank, scale, NEAR).log_odds - read(wanted, photos, bank, scale, NEAR).log_odds
        return np.where(more > margin, -np.inf, photos @ wanted)

    return scores


def measure(name: str, ranking: Ranking, pairs: list[Pair], photos: Floats) -> Row:
    """Before and after, over the ten best photos of each pair."""
    shown, gone, kept = np.zeros(len(pairs)), np.zeros(len(pairs)), np.zeros((len(pairs), 2))
    for row, pair in enumerate(pairs):
        before, after = best(photos @ pair.wanted), best(ranking(pair.wanted, pair.excluded, photos))
        shown[row], gone[row] = pair.shows_excluded[before].sum(), pair.shows_excluded[after].sum()
        kept[row] = pair.shows_wanted[before].mean(), pair.shows_wanted[after].mean()
    return {
        "way": name,
        "pairs": len(pairs),
        "excluded photos that leave": round(float(1 - gone.sum() / shown.sum()), 3),
        "pairs free of them": round(float((gone == 0).mean()), 3),
        "at most one left": round(float((gone <= 1).mean()), 3),
        "wanted, of 10, before": round(float(10 * kept[:, 0].mean()), 2),
        "after": round(float(10 * kept[:, 1].mean()), 2),
        "kept": round(float(kept[:, 1].mean() / kept[:, 0].mean()), 3),
    }


def show_all(sorts: list[Searches], bank: Floats, scale: float) -> None:
    """A table for each sort of words, and for the pairs that the model knows well."""
    ways: list[tuple[str, Ranking]] = [(f"subtract {weight:g}", subtracting(weight)) for weight in WEIGHTS]
    ways += [(f"subtract across {weight:g}", subtracting_across(weight)) for weight in (0.5, 0.75, 1.0)]
    ways += [(f"punish above {margin:g}", punishing(1.0, margin)) for margin in (0.0, 0.05, 0.1)]
    ways += [(f"drop, odds above {odds:g}", dropping(odds, bank, scale)) for odds in (1, 0, -1)]
    ways += [(f"drop, {margin:g} above wanted", dropping_against(margin, bank, scale)) for margin in (0, -2)]
    for searches in sorts:
        for found_well in (False, True):
            pairs = pairs_of(searches, found_well=found_well)
            if pairs:
                title = f"Without, {searches.name}" + (", found well" if found_well else "")
                show(title, [measure(name, way, pairs, searches.photos) for name, way in ways])
