"""What a checkpoint's tokenizer files say: tokenizer.json, or vocab.json and merges.txt.

Format: the `tokenizers` library's serialisation (huggingface/tokenizers, tokenizers/src/tokenizer/serialization.rs).
Only what CLIP's tokenizers are made of is read; anything else that would change a token is refused, not ignored.
Truncation, padding and the decoder are left unread: the tower's context decides, and nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photoseek.aimv2 import words
from photoseek.aimv2.weights import read_json
from photoseek.errors import CheckpointError

START, END = "<|startoftext|>", "<|endoftext|>"

CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What counts as one word before byte-pair encoding. Source: openai/CLIP, clip/simple_tokenizer.py."""

CLIP_NORMALIZERS: tuple[words.Normalizer, ...] = (words.nfc, words.one_space, words.lower)


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is found in the text itself, before it is split into words."""

    content: str
    id: int
    normalized: bool
    """Looked for in the normalised text, not in the text as it was given."""


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """Everything that decides how a text becomes token ids."""

    added: tuple[AddedToken, ...]
    normalizers: tuple[words.Normalizer, ...]
    splitter: words.WordSplitter
    splits_again: bool
    """Each word is split once more where its characters' class changes."""
    vocabulary: Mapping[str, int]
    merges: list[str]
    """"left right" each, the strongest first."""
    word_end: str
    """Appended to the last character of a word."""
    unknown: str | None
    """The token for characters that the vocabulary lacks; None drops them."""
    start: int
    end: int


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that decide how texts become tokens, those of them that are there."""
    single = folder / "tokenizer.json"
    return [single] if single.is_file() else [file for file in _vocabulary_files(folder) if file.is_file()]


def read_settings(folder: Path) -> TokenizerSettings:
    """Settings of the tokenizer in a checkpoint's folder.

    Raises:
        CheckpointError: there is none, it is malformed, or it is not of CLIP's kind; names the file.
    """
    files = tokenizer_files(folder)
    if not files:
        raise CheckpointError(f"{folder} holds no tokenizer.json, nor vocab.json and merges.txt")
    try:
        settings = _of_json(read_json(files[0])) if len(files) == 1 else _of_parts(*files)
        _check(settings)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{files[0]}: the tokenizer is malformed ({error})") from error
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{files[0]}: the tokenizer cannot be used: {error}") from error
    return settings


def _vocabulary_files(folder: Path) -> tuple[Path, Path]:
    return folder / "vocab.json", folder / "merges.txt"


def _check(settings: TokenizerSettings) -> None:
    ids = settings.vocabulary.values()
    if set(map(type, ids)) != {int} or min(ids) < 0:
        raise ValueError("its vocabulary is no table of token ids")
    if settings.unknown is not None and settings.unknown not in settings.vocabulary:
        raise ValueError(f"its vocabulary lacks {settings.unknown}")
    if any(merge.count(" ") != 1 for merge in settings.merges):
        raise ValueError("its merges are no pairs of tokens")


def _of_parts(vocabulary_file: Path, merges_file: Path) -> TokenizerSettings:
    vocabulary = read_json(vocabulary_file)
    if not {START, END} <= vocabulary.keys():
        raise ValueError(f"vocab.json lacks {START} or {END}")
    lines = merges_file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return TokenizerSettings(
        added=tuple(AddedToken(token, vocabulary[token], normalized=False) for token in (START, END)),
        normalizers=CLIP_NORMALIZERS,
        splitter=words.WordSplitter(CLIP_WORDS),
        splits_again=True,
        vocabulary=vocabulary,
        merges=[line for line in lines if not line.startswith("#version")],
        word_end="</w>",
        unknown=END,
        start=vocabulary[START],
        end=vocabulary[END],
    )


def _of_json(content: dict[str, Any]) -> TokenizerSettings:
    model = content["model"]
    _only(model, {"type": "BPE", "dropout": None, "continuing_subword_prefix": ("", None)}, "model")
    _only(model, {"fuse_unk": (False, None), "byte_fallback": (False, None), "ignore_merges": (False, None)}, "model")
    frame = content["post_processor"]
    _only(frame, {"type": "RobertaProcessing"}, "post-processor")
    pattern, splits_again = _splits(content["pre_tokenizer"])
    vocabulary, merges = model["vocab"], model["merges"]
    return TokenizerSettings(
        added=tuple(_added(token, vocabulary) for token in content["added_tokens"]),
        normalizers=tuple(_normalizers(content["normalizer"])),
        splitter=words.WordSplitter(pattern),
        splits_again=splits_again,
        vocabulary=vocabulary,
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
        word_end=model["end_of_word_suffix"] or "",
        unknown=model["unk_token"],
        start=_id(frame["cls"]),
        end=_id(frame["sep"]),
    )


def _id(named: list[Any]) -> int:
    """The id in a pair of token and id."""
    return int(named[1])


def _added(token: dict[str, Any], vocabulary: Mapping[str, int]) -> AddedToken:
    _only(token, {"single_word": False, "lstrip": False, "rstrip": False}, "added token")
    content = str(token["content"])
    return AddedToken(content, vocabulary.get(content, int(token["id"])), bool(token["normalized"]))


def _normalizers(node: dict[str, Any] | None) -> list[words.Normalizer]:
    if node is None:
        return []
    if node["type"] == "Sequence":
        return [normalizer for part in node["normalizers"] for normalizer in _normalizers(part)]
    if node["type"] == "Replace":
        _only(node, {"pattern": {"Regex": r"\s+"}, "content": " "}, "replacing normalizer")
        return [words.one_space]
    known: dict[str, words.Normalizer] = {"NFC": words.nfc, "Lowercase": words.lower}
    _only(node, {"type": tuple(known)}, "normalizer")
    return [known[node["type"]]]


def _splits(node: dict[str, Any]) -> tuple[str, bool]:
    """The pattern of a word, and whether words are split again."""
    _only(node, {"type": "Sequence"}, "pre-tokenizer")
    split, byte_level = node["pretokenizers"]
    _only(split, {"type": "Split", "behavior": "Removed", "invert": True}, "first pre-tokenizer")
    _only(byte_level, {"type": "ByteLevel", "add_prefix_space": False}, "second pre-tokenizer")
    return str(split["pattern"]["Regex"]), bool(byte_level.get("use_regex", True))


def _only(node: object, expected: Mapping[str, Any], what: str) -> None:
    """Refuse settings other than those (a tuple: one of these) that are implemented."""
    if not isinstance(node, dict):
        raise ValueError(f"it has no {what} that photoseek knows")
    for name, value in expected.items():
        found = node.get(name)
        if found not in (value if isinstance(value, tuple) else (value,)):
            raise ValueError(f"its {what} has {name} {found!r}, where photoseek knows {value!r}")
