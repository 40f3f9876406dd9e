"""Which photos are one moment: bursts, JPEG beside RAW or HEIC, resized copies, edits.

Two kinds of evidence. A *fingerprint* (63 bits of the prepared picture, `indexer/fingerprint.py`) stays nearly the
same when a picture is resized, recompressed, brightened, greyed or framed, and changes when anything moves. The
*cosine* of two embeddings says how far they show the same thing, and cannot tell two dogs on grass from one. So few
differing bits are enough alone, and more are allowed where the cosine is high. Photos that one camera took within
seconds need no fingerprint: there the cosine decides.

`bench/similar.py` measures the rule and prints what other limits would give; docs/benchmarks.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Embeddings, PhotoRow

MOMENT_S = 10.0
"""Photos of one camera are one moment only when they were taken at most so many seconds apart."""

TILE = 128
"""Photos that are compared with as many others by one matrix product."""
MOMENT_SHOTS = 300
"""More photos of one moment no camera takes; thousands of scans may share one date."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as one moment in one checkpoint's space; two photos are near when any line of it holds."""

    steps: tuple[tuple[float, int], ...]
    """(least cosine, most differing bits of 63): any step is enough."""
    moment_cosine: float | None
    """Least cosine of photos that one camera took within `MOMENT_S`; None: the cosine says nothing."""
    moment_bits: int | None
    """The same by differing bits."""
    cosine_alone: float | None
    """Least cosine for photos without a fingerprint (indexed before there were any) and without close dates."""

    @property
    def most_bits(self) -> int:
        """Beyond so many differing bits, fingerprints are no evidence."""
        return max(bits for _, bits in self.steps)


MEASURED = {
    "builtin": Rule(
        steps=((-1.0, 6), (0.75, 12), (0.85, 14), (0.9, 16)),
        moment_cosine=0.8,
        moment_bits=None,
        cosine_alone=0.985,
    )
}
"""By the model's name (`Space.model`)."""

UNMEASURED = Rule(steps=((-1.0, 8),), moment_cosine=None, moment_bits=20, cosine_alone=None)
"""For every other checkpoint: a cosine means something else in each space, so the pictures decide alone."""


def rule_for(model: str) -> Rule:
    """The rule for a space, by the name of its model."""
    return MEASURED.get(model, UNMEASURED)


@dataclass(frozen=True, slots=True)
class Shots:
    """What decides whether photos are one moment; one entry a photo, in any order."""

    vectors: Embeddings
    """Stored vectors, shape (n, dim)."""
    fingerprints: NDArray[np.uint64]
    """Shape (n,); 0 where there is none."""
    taken_s: NDArray[np.float64]
    """Local time in seconds, shape (n,); NaN where nobody knows."""
    cameras: NDArray[np.int64]
    """A number for each camera model, shape (n,); 0 where it is unknown."""

    def __len__(self) -> int:
        return len(self.vectors)

    @classmethod
    def of(cls, rows: Sequence[PhotoRow], vectors: Embeddings, fingerprints: NDArray[np.uint64]) -> Shots:
        """From one file of each photo, its vector (n, dim), and its fingerprint (n,)."""
        numbers: dict[tuple[str | None, str | None], int] = {(None, None): 0}
        cameras = [numbers.setdefault((row.camera.camera_make, row.camera.camera_model), len(numbers)) for row in rows]
        return cls(
            np.asarray(vectors, dtype=np.float32),
            fingerprints,
            np.array([seconds(row.camera.taken_at) for row in rows], dtype=np.float64),
            np.array(cameras, dtype=np.int64),
        )

    def take(self, places: NDArray[np.int64]) -> Shots:
        """Some of them."""
        return Shots(self.vectors[places], self.fingerprints[places], self.taken_s[places], self.cameras[places])


def seconds(taken_at: str | None) -> float:
    """A stored local time as seconds since 1970 (negative before); NaN for None."""
    if taken_at is None:
        return float("nan")
    return (datetime.fromisoformat(taken_at) - datetime(1970, 1, 1)).total_seconds()


def near(left: Shots, right: Shots, rule: Rule) -> NDArray[np.bool_]:
    """Is each photo of `left` one moment with the photo at the same place of `right`? Shape (n,).

    One photo stands for many: a side of length 1 is compared with every photo of the other.
    """
    cosines = np.einsum("ij,ij->i", *np.broadcast_arrays(left.vectors, right.vectors))
    # float16 rounding leaves the stored vectors' lengths a little off 1.
    cosines = cosines / (np.linalg.norm(left.vectors, axis=1) * np.linalg.norm(right.vectors, axis=1))
    known = (left.fingerprints != 0) & (right.fingerprints != 0)
    bits = differing_bits(left.fingerprints, right.fingerprints)
    return _holds(rule, cosines, bits, known, one_camera_at_once(left, right))


def _holds(
    rule: Rule,
    cosines: NDArray[np.float32],
    bits: NDArray[np.int64],
    known: NDArray[np.bool_],
    moment: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """The rule on pairs in arrays of any one shape.

    Args:
        known: do both have a fingerprint?
        moment: `one_camera_at_once`.
    """
    found = np.zeros(cosines.shape, dtype=bool)
    for least_cosine, most_bits in rule.steps:
        found |= known & (bits <= most_bits) & (cosines >= least_cosine)
    if rule.moment_cosine is not None:
        found |= moment & (cosines >= rule.moment_cosine)
    if rule.moment_bits is not None:
        found |= moment & known & (bits <= rule.moment_bits)
    if rule.cosine_alone is not None:
        found |= ~known & (cosines >= rule.cosine_alone)
    return found


def one_camera_at_once(left: Shots, right: Shots) -> NDArray[np.bool_]:
    """Could one camera have taken both within `MOMENT_S`? Unknown cameras may be any; unknown dates are never close."""
    close = np.abs(left.taken_s - right.taken_s) <= MOMENT_S  # NaN compares false
    same = (left.cameras == right.cameras) | (left.cameras == 0) | (right.cameras == 0)
    return np.asarray(close & same)


def moment_pairs(taken_s: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of places whose dates are at most `MOMENT_S` apart, each with at most `MOMENT_SHOTS` after it."""
    dated = np.flatnonzero(~np.isnan(taken_s))
    ordered = dated[np.argsort(taken_s[dated], kind="stable")]
    for step in range(1, min(MOMENT_SHOTS, len(ordered))):
        close = np.flatnonzero(taken_s[ordered[step:]] - taken_s[ordered[:-step]] <= MOMENT_S)
        if not len(close):
            return
        yield ordered[close], ordered[close + step]


def differing_bits(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Hamming distance, elementwise."""
    mixed = np.bitwise_xor(left, right)
    bits = np.unpackbits(mixed[..., None].view(np.uint8), axis=-1)
    return np.asarray(bits.sum(axis=-1, dtype=np.int64))


def fold_similar(shots: Shots, rule: Rule) -> list[list[int]]:
    """Places of the photos (best first, as given), folded: each group's best, then those that are one moment with it.

    A photo joins the best photo that it is near to, never a photo that has joined another: so no chain of small
    steps makes one group of a whole day. Groups come in the order of their best. Folding a longer list begins like
    folding a shorter one: the same bests in the same order, and groups only grow at their ends.
    """
    groups: list[list[int]] = []
    bests = np.empty(len(shots), dtype=np.int64)
    padded = _padded(shots)
    for first in range(0, len(shots), TILE):
        tiles = [_tile(padded, first, other, rule) for other in range(0, first + TILE, TILE)]
        compared = np.concatenate(tiles, axis=1)  # (TILE, first + TILE)
        for place in range(first, min(first + TILE, len(shots))):
            joined = np.flatnonzero(compared[place - first, bests[: len(groups)]])
            if len(joined):
                groups[joined[0]].append(place)
            else:
                bests[len(groups)] = place
                groups.append([place])
    return groups


def _padded(shots: Shots) -> Shots:
    """With as many photos near nothing at the end as fill the last tile, and vectors of unit length."""
    missing = -len(shots) % TILE
    return Shots(
        np.pad(shots.vectors / np.linalg.norm(shots.vectors, axis=1, keepdims=True), ((0, missing), (0, 0))),
        np.pad(shots.fingerprints, (0, missing)),
        np.pad(shots.taken_s, (0, missing), constant_values=np.nan),
        np.pad(shots.cameras, (0, missing)),
    )


def _tile(shots: Shots, first: int, other: int, rule: Rule) -> NDArray[np.bool_]:
    """Which of the `TILE` photos from `first` on are near which of those from `other` on, (TILE, TILE).

    Matrix products round by their shape: with tiles of one size, a longer list compares as a shorter one does.
    """
    rows, columns = slice(first, first + TILE), slice(other, other + TILE)
    left = Shots(
        shots.vectors[rows], shots.fingerprints[rows, None], shots.taken_s[rows, None], shots.cameras[rows, None]
    )
    right = Shots(shots.vectors[columns], shots.fingerprints[columns], shots.taken_s[columns], shots.cameras[columns])
    known = (left.fingerprints != 0) & (right.fingerprints != 0)
    bits = differing_bits(left.fingerprints, right.fingerprints)
    return _holds(rule, left.vectors @ right.vectors.T, bits, known, one_camera_at_once(left, right))
