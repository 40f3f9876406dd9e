"""The embeddings that a filter allows, as bitmaps over a snapshot's rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class IdSet:
    """A set of embedding ids of one snapshot; implements `contracts.IdSet`. Immutable, threads may share it."""

    def __init__(
        self,
        mapped_ids: NDArray[np.int64],
        mapped: NDArray[np.bool_],
        delta_ids: NDArray[np.int64],
        delta: NDArray[np.bool_],
    ) -> None:
        """`mapped` says of each row of the generation, `delta` of each newer row, whether it is in the set."""
        self._mapped_ids, self._delta_ids = mapped_ids, delta_ids
        self.mapped = mapped
        self.delta = delta

    @classmethod
    def of(cls, ids: NDArray[np.int64], mapped_ids: NDArray[np.int64], delta_ids: NDArray[np.int64]) -> IdSet:
        """The set of those `ids` that the snapshot has."""
        mapped = np.zeros(len(mapped_ids), dtype=np.bool_)
        mapped[positions_of(ids, mapped_ids)] = True
        delta = np.zeros(len(delta_ids), dtype=np.bool_)
        delta[positions_of(ids, delta_ids)] = True
        return cls(mapped_ids, mapped, delta_ids, delta)

    def __len__(self) -> int:
        return self.mapped_count + int(np.count_nonzero(self.delta))

    def fits(self, mapped_ids: NDArray[np.int64], delta_ids: NDArray[np.int64]) -> bool:
        """Was it made for a snapshot of these rows?"""
        return self._mapped_ids is mapped_ids and self._delta_ids is delta_ids

    def ids(self) -> NDArray[np.int64]:
        """The embedding ids, ascending."""
        return np.concatenate([self._mapped_ids[self.mapped], self._delta_ids[self.delta]])

    @cached_property
    def mapped_count(self) -> int:
        return int(np.count_nonzero(self.mapped))

    @cached_property
    def position_bits(self) -> NDArray[np.uint8]:
        """One bit for each row of the generation, least significant first, as FAISS's bitmaps are."""
        return np.packbits(self.mapped, bitorder="little")


def positions_of(wanted: NDArray[np.int64] | Sequence[int], sorted_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where `wanted` stand in `sorted_ids`; those that do not stand there are left out."""
    wanted = np.asarray(wanted, dtype=np.int64)
    if len(sorted_ids) == 0 or len(wanted) == 0:
        return np.empty(0, dtype=np.int64)
    # Without gaps in the ids, which is common, their distance from the first one tells; a look at each is enough.
    positions: NDArray[np.int64] = (wanted - sorted_ids[0]).clip(0, len(sorted_ids) - 1)
    if np.array_equal(sorted_ids[positions], wanted):
        return positions
    positions = np.searchsorted(sorted_ids, wanted)
    positions[positions == len(sorted_ids)] = 0
    return np.asarray(positions[sorted_ids[positions] == wanted], dtype=np.int64)
