"""Words to token ids, in CLIP's format, with the `tokenizers` library alone.

Read from tokenizer.json, or built from vocab.json and merges.txt: Unicode NFC, white space collapsed, lower case,
byte-level byte-pair encoding with `</w>` at word ends, start and end tokens around. A text that is too long
for the tower keeps its end token, since the tower pools there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from photoseek.errors import CheckpointError

START, END = "<|startoftext|>", "<|endoftext|>"

WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What counts as one word before byte-pair encoding. Source: CLIP's simple_tokenizer.py (openai/CLIP)."""


class Tokenizer:
    """A checkpoint's tokenizer. Threads may share one.

    Raises:
        CheckpointError: the folder has no tokenizer, or one that does not end texts as the text tower
            expects.
    """

    def __init__(self, folder: Path, *, context: int, end_token: int) -> None:
        self.context = context
        self._backend = _read(folder)
        self._backend.no_padding()
        # Cuts the words, never the start and end tokens, which the post-processor adds afterwards.
        self._backend.enable_truncation(max_length=context)
        ids = self.encode(["a"])[0]
        if ids[-1] != end_token or end_token in ids[:-1] or not len(ids) <= context:
            raise CheckpointError(f"{folder}: the tokenizer does not end a text with token {end_token}")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, start and end included, at most `context` of them, without padding."""
        # A lone surrogate (an undecodable byte of a command line) is no text that UTF-8 could carry.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        return [encoding.ids for encoding in self._backend.encode_batch(clean)]


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that decide how texts become tokens, those of them that are there."""
    single = folder / "tokenizer.json"
    return [single] if single.is_file() else [file for file in _vocabulary_files(folder) if file.is_file()]


def _vocabulary_files(folder: Path) -> tuple[Path, Path]:
    return folder / "vocab.json", folder / "merges.txt"


def _read(folder: Path) -> Backend:
    files = tokenizer_files(folder)
    if not files:
        raise CheckpointError(f"{folder} holds no tokenizer.json, nor vocab.json and merges.txt")
    try:
        # The library raises plain Exception for a malformed file.
        return Backend.from_file(str(files[0])) if len(files) == 1 else _build(*files)
    except Exception as error:
        raise CheckpointError(f"{folder}: the tokenizer cannot be read: {error}") from error


def _build(vocabulary: Path, merges: Path) -> Backend:
    model = models.BPE.from_file(str(vocabulary), str(merges), unk_token=END, end_of_word_suffix="</w>")
    backend = Backend(model)
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    start, end = backend.token_to_id(START), backend.token_to_id(END)
    if start is None or end is None:
        raise ValueError(f"vocab.json lacks {START} or {END}")
    backend.post_processor = processors.RobertaProcessing(
        (END, end), (START, start), trim_offsets=False, add_prefix_space=False
    )
    backend.add_special_tokens([AddedToken(START, special=True), AddedToken(END, special=True)])
    return backend
