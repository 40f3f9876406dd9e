"""Words to token ids, in CLIP's format.

A text is normalised (Unicode NFC, white space collapsed, lower case), split into words, encoded word by word
(`bpe`), and framed by the start and end tokens. A text that is too long for the tower keeps its end token, since
the tower pools there. Why not the `tokenizers` library: docs/decisions/0015.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain, islice
from pathlib import Path

from photoseek.aimv2.bpe import BytePairEncoder
from photoseek.aimv2.tokenizer_file import AddedToken, read_settings
from photoseek.errors import CheckpointError

CACHED_WORDS = 10_000
CACHED_WORD_CHARACTERS = 64


class Tokenizer:
    """A checkpoint's tokenizer. Threads may share one.

    Raises:
        CheckpointError: the folder has no tokenizer, one of another kind than CLIP's, or one that does not end
            texts as the text tower expects.
    """

    def __init__(self, folder: Path, *, context: int, end_token: int) -> None:
        self.context = context
        self._folder = folder
        self._settings = settings = read_settings(folder)
        self._encoder = BytePairEncoder(
            settings.vocabulary, settings.merges, word_end=settings.word_end, unknown=settings.unknown
        )
        self._cached: dict[str, list[int]] = {}
        self._split_given = _token_finder([token for token in settings.added if not token.normalized], str)
        self._split_normalized = _token_finder([token for token in settings.added if token.normalized], self._normal)
        ids = self.encode(["a"])[0]
        if ids[-1] != end_token or end_token in ids[:-1] or not len(ids) <= context:
            raise CheckpointError(f"{folder}: the tokenizer does not end a text with token {end_token}")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, start and end included, at most `context` of them, without padding."""
        start, end, room = self._settings.start, self._settings.end, max(self.context - 2, 0)
        return [[start, *islice(self._ids(text), room), end] for text in texts]

    def _ids(self, text: str) -> Iterator[int]:
        # A lone surrogate (an undecodable byte of a command line) is no text that UTF-8 could carry.
        clean = text if text.isascii() else text.encode("utf-8", "replace").decode()
        for part in self._split_given(clean):
            if isinstance(part, int):
                yield part
                continue
            for piece in self._split_normalized(self._normal(part)):
                if isinstance(piece, int):
                    yield piece
                else:
                    yield from chain.from_iterable(map(self._word, self._settings.splitter.words(piece)))

    def _normal(self, text: str) -> str:
        return reduce(lambda result, normalizer: normalizer(result), self._settings.normalizers, text)

    def _word(self, word: str) -> list[int]:
        found = self._cached.get(word)
        if found is not None:
            return found
        pieces: Iterable[str] = self._settings.splitter.pieces(word) if self._settings.splits_again else (word,)
        try:
            ids = [id_ for piece in pieces for id_ in self._encoder.ids(piece)]
        except KeyError as error:
            raise CheckpointError(
                f"{self._folder}: the tokenizer's merges make {error}, not in its vocabulary"
            ) from error
        if len(word) <= CACHED_WORD_CHARACTERS:
            if len(self._cached) >= CACHED_WORDS:
                self._cached.clear()
            self._cached[word] = ids
        return ids


def _token_finder(tokens: list[AddedToken], form: Callable[[str], str]) -> Callable[[str], Iterator[str | int]]:
    """A function that cuts a text into the ids of these tokens, the longest where several begin, and the rest."""
    ids = {form(token.content): token.id for token in tokens if token.content}
    if not ids:
        return lambda text: iter((text,))
    pattern = re.compile(f"({'|'.join(re.escape(content) for content in sorted(ids, key=len, reverse=True))})")
    return lambda text: (ids.get(part, part) for part in pattern.split(text) if part)
