"""Our tokenizer against transformers' CLIPTokenizer, and what it refuses; tests/aimv2/test_tokens.py has any text."""

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
        {"tokenizer.json": None, "merges.txt": b"\xff\xfe"},
        {"tokenizer.json": None, "vocab.json": '{"<|startoftext|>": 0, "<|endoftext|>": "1"}'},
    ],
)
def test_a_tokenizer_that_cannot_work_is_refused(tmp_path, files):
    folder = make_checkpoint(tmp_path, vision=False)
    for name, content in files.items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match="tokenizer"):
        Tokenizer(folder, **SPECIAL)


def test_a_tokenizer_with_another_end_token_is_refused(tmp_path):
    folder = make_checkpoint(tmp_path, vision=False)
    with pytest.raises(CheckpointError, match="does not end a text with token 7"):
        Tokenizer(folder, context=77, end_token=7)


def changed(content, path, value):
    """`content` with the value at `path` (keys and positions, parted by dots) set, or removed by `del`."""
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    node = content
    for key in parents:
        node = node[key]
    if value is del_:
        del node[last]
    else:
        node[last] = value
    return content


del_ = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.type", "WordPiece", "its model has type 'WordPiece'"),
        ("model.dropout", 0.1, "its model has dropout 0.1"),
        ("model.byte_fallback", True, "its model has byte_fallback True"),
        ("model.unk_token", "<unk>", "its vocabulary lacks <unk>"),
        ("model.merges", ["a b c"], "its merges are no pairs of tokens"),
        ("model.merges", 7, "malformed"),
        ("model.vocab", {"a": -1}, "no table of token ids"),
        ("model", del_, "malformed"),
        ("normalizer.normalizers.0.type", "NFKC", "its normalizer has type 'NFKC'"),
        ("normalizer.normalizers.1.content", "_", "its replacing normalizer has content '_'"),
        ("pre_tokenizer", None, "it has no pre-tokenizer that photoseek knows"),
        ("pre_tokenizer.type", "Whitespace", "its pre-tokenizer has type 'Whitespace'"),
        ("pre_tokenizer.pretokenizers.0.pattern.Regex", r"\w+|a", r"words are split by '\\\\w\+'"),
        ("pre_tokenizer.pretokenizers.1.add_prefix_space", True, "its second pre-tokenizer has add_prefix_space True"),
        ("post_processor.type", "BertProcessing", "its post-processor has type 'BertProcessing'"),
        ("added_tokens.0.lstrip", True, "its added token has lstrip True"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused_by_name(tmp_path, path, value, message):
    folder = make_checkpoint(tmp_path, vision=False)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    with pytest.raises(CheckpointError, match=message) as refused:
        Tokenizer(folder, **SPECIAL)
    assert str(file) in str(refused.value)


def test_a_merge_that_leaves_the_vocabulary_is_named_when_a_text_needs_it(tmp_path):
    folder = make_checkpoint(tmp_path, vision=False)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), "model.merges", ["q q</w>"])))
    tokenizer = Tokenizer(folder, **SPECIAL)
    with pytest.raises(CheckpointError, match="merges make 'qq</w>', not in its vocabulary"):
        tokenizer.encode(["qq"])
