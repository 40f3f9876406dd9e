"""Our tokenizer against transformers' CLIPTokenizer, on any text."""

from __future__ import annotations

import json

import pytest
from checkpoints import END, START, clip_vocabulary, make_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from photoseek.aimv2.tokenizer import Tokenizer
from photoseek.errors import CheckpointError

VOCABULARY = clip_vocabulary()
SPECIAL = {"context": 77, "end_token": VOCABULARY[END]}
TEXTS = [
    "",
    " ",
    "a red car",
    "A  Red\tCAR\n",
    "two dogs' beach-ball isn't 1999",
    "Straße Ünïcödé naïve café",
    "日本の桜 🌸🌸",
    "<|endoftext|> in the middle <|startoftext|>",
    "a" * 400,
    "word " * 300,
    "\u0301 e\u0301 \u00a0 \x00",
]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Ours from tokenizer.json, ours from vocab.json and merges.txt, and the folder for theirs."""
    whole, parts = (
        make_checkpoint(tmp_path_factory.mktemp("tokenizer"), vision=False, tokenizer_json=both)
        for both in (True, False)
    )
    return Tokenizer(whole, **SPECIAL), Tokenizer(parts, **SPECIAL), whole


@pytest.fixture(scope="module")
def theirs(tokenizers):
    transformers = pytest.importorskip("transformers")
    return transformers.CLIPTokenizerFast.from_pretrained(tokenizers[2])


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_those_of_transformers(tokenizers, theirs, text):
    expected = theirs([text], truncation=True, max_length=77)["input_ids"]
    assert tokenizers[0].encode([text]) == expected
    assert tokenizers[1].encode([text]) == expected


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=120))
def test_any_text_gives_framed_ids_in_both_forms(tokenizers, text):
    ours, built, _ = tokenizers
    (ids,) = ours.encode([text])
    assert built.encode([text]) == [ids]
    assert ids[0] == VOCABULARY[START]
    assert ids[-1] == VOCABULARY[END]
    assert 2 <= len(ids) <= 77


def test_a_batch_is_neither_padded_nor_mixed(tokenizers):
    ours = tokenizers[0]
    assert ours.encode(TEXTS) == [ours.encode([text])[0] for text in TEXTS]
    assert ours.encode([]) == []


def test_case_and_white_space_do_not_matter(tokenizers):
    a, b = tokenizers[0].encode(["A  Red CAR", "a red car"])
    assert a == b


def test_an_undecodable_byte_of_a_command_line_is_no_crash(tokenizers):
    """sys.argv carries such bytes as lone surrogates, which UTF-8 cannot."""
    (ids,) = tokenizers[0].encode(["caf\udce9"])
    assert ids[-1] == VOCABULARY[END]


def test_settings_stored_in_the_file_do_not_leak_in(tmp_path):
    """A tokenizer.json may ask for padding or another length; the tower's context decides."""
    folder = make_checkpoint(tmp_path, vision=False)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["truncation"] = {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 77},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    plain = Tokenizer(make_checkpoint(tmp_path / "plain", vision=False), **SPECIAL)
    file.write_text(json.dumps(content))
    assert Tokenizer(folder, **SPECIAL).encode(["word " * 300]) == plain.encode(["word " * 300])


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": "{}"},
        {"tokenizer.json": "no json"},
        {"tokenizer.json": None, "vocab.json": None},
        {"tokenizer.json": None, "merges.txt": None, "vocab.json": None},
        {"tokenizer.json": None, "vocab.json": '{"a": 0}'},
        {"tokenizer.json": None, "merges.txt": "#version: 0.2\nthis is no merge"},
    ],
)
def test_a_tokenizer_that_cannot_work_is_refused(tmp_path, files):
    folder = make_checkpoint(tmp_path, vision=False)
    for name, content in files.items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match="tokenizer"):
        Tokenizer(folder, **SPECIAL)


def test_a_tokenizer_with_another_end_token_is_refused(tmp_path):
    folder = make_checkpoint(tmp_path, vision=False)
    with pytest.raises(CheckpointError, match="does not end a text with token 7"):
        Tokenizer(folder, context=77, end_token=7)
