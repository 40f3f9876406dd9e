"""Byte-level byte-pair encoding of single words, as the `tokenizers` library and CLIP do it.

A word's UTF-8 bytes are written as one printable character each; then the neighbours that stand first in the list
of merges are joined, again and again. Sources: Sennrich, Haddow, Birch 2016 (arXiv:1508.07909); openai/gpt-2,
src/encoder.py, for the characters of the bytes; openai/CLIP, clip/simple_tokenizer.py, for the mark of a word's end.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence


def byte_characters() -> list[str]:
    """The printable character of each of the 256 bytes: itself where it is printable Latin-1, else one above U+0100."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


_WRITTEN = dict(enumerate(byte_characters()))


class BytePairEncoder:
    """One vocabulary with its merges, each written "left right", the first merge being the strongest.

    Which merges lead out of the vocabulary shows when a word needs one: checking all 48,894 of CLIP's takes longer
    than everything else that a query does with them.
    """

    def __init__(
        self, vocabulary: Mapping[str, int], merges: Sequence[str], *, word_end: str, unknown: str | None
    ) -> None:
        self._vocabulary = vocabulary
        self._ranks = dict(zip(merges, range(len(merges)), strict=True))
        self._word_end = word_end
        self._unknown = unknown

    def ids(self, word: str) -> list[int]:
        """Token ids of one word that is not empty.

        Raises:
            KeyError: a merge makes a token that the vocabulary lacks.
        """
        symbols = list(word.encode().decode("latin-1").translate(_WRITTEN))
        symbols[-1] += self._word_end
        known = [symbol if symbol in self._vocabulary else self._unknown for symbol in symbols]
        return [self._vocabulary[token] for token in self._merged([symbol for symbol in known if symbol is not None])]

    def _merged(self, symbols: list[str]) -> list[str]:
        """Join neighbours by rank, the leftmost first among equals; n log n in their number."""
        count = len(symbols)
        before, after = list(range(-1, count - 1)), list(range(1, count + 1))
        queue: list[tuple[int, int, str]] = []

        def offer(left: int) -> None:
            """Queue the pair that begins at `left`, if it is a merge."""
            pair = f"{symbols[left]} {symbols[after[left]]}"
            rank = self._ranks.get(pair)
            if rank is not None:
                heapq.heappush(queue, (rank, left, pair))

        for left in range(count - 1):
            offer(left)
        while queue:
            _, left, pair = heapq.heappop(queue)
            right = after[left]
            if right == count or pair != f"{symbols[left]} {symbols[right]}":
                continue  # one of the two has been joined to another since
            symbols[left] += symbols[right]
            symbols[right] = ""
            after[left] = after[right]
            if after[left] < count:
                before[after[left]] = left
                offer(left)
            if before[left] >= 0:
                offer(before[left])
        return [symbol for symbol in symbols if symbol]
