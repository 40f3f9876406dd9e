"""A reduced byte-pair vocabulary in CLIP's tokenizer format, learned from the recipe's texts."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

START, END = "<|startoftext|>", "<|endoftext|>"
PATTERN = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
CONTEXT = 77


def empty() -> Tokenizer:
    """CLIP's pipeline without a vocabulary: NFC, one space, lower case, words, bytes."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def build(lines: list[str], size: int, folder: Path) -> Tokenizer:
    """Learn `size` entries (start and end last, as in CLIP) and write the five files of the format into `folder`."""
    learner = empty()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 2, min_frequency=2, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(lines, trainer)
    model = json.loads(learner.to_str())["model"]
    # Every byte must also exist as a word's last piece, otherwise a rare last letter has no entry.
    vocabulary = sorted(alphabet) + [symbol + "</w>" for symbol in sorted(alphabet)]
    known = set(vocabulary)
    merges: list[tuple[str, str]] = []
    for first, second in (tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]):
        if len(vocabulary) >= size - 2:
            break
        if first in known and second in known and first + second not in known:
            known.add(first + second)
            vocabulary.append(first + second)
            merges.append((first, second))
    vocabulary += [START, END]
    ids = {token: k for k, token in enumerate(vocabulary)}
    tokenizer = empty()
    tokenizer.model = models.BPE(
        vocab=ids, merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=END
    )
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = processors.RobertaProcessing((END, ids[END]), (START, ids[START]), False, False)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    lines_out = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines_out) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")
    settings = {
        **special, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "model_max_length": CONTEXT,
        "add_prefix_space": False, "errors": "replace", "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Ids with start and end tokens, at most 77, the last always the end token."""
    out = []
    for encoding in tokenizer.encode_batch(texts):
        ids = encoding.ids
        out.append(ids if len(ids) <= CONTEXT else [*ids[: CONTEXT - 1], ids[-1]])
    return out
