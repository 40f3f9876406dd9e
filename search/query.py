"""One vector out of words, pictures, weights and exclusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoseek.errors import UsageError

WITHOUT_WEIGHT = 0.5
"""How strongly an excluded word is subtracted, against 1 for a wanted one."""


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: a unit vector (dim,) with its weight, negative to push away."""

    vector: NDArray[np.float32]
    weight: float = 1.0


def combine(terms: Sequence[Term]) -> NDArray[np.float32]:
    """The unit vector in the direction of the weighted sum of the terms: float32 (dim,).

    Raises:
        UsageError: nothing to search for, a weight that is no finite number, or terms that cancel out.
    """
    if not terms:
        raise UsageError("nothing to search for", hint='give words, as in search("a red car"), or a picture with like=')
    if not all(np.isfinite(term.weight) for term in terms):
        raise UsageError("a weight must be a finite number")
    total = np.sum([term.weight * term.vector for term in terms], axis=0, dtype=np.float32)
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise UsageError("the parts of this query cancel each other out", hint="change the words or the weights")
    return np.asarray(total / length, dtype=np.float32)
