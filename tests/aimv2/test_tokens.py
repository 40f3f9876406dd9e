"""Token ids equal those of the `tokenizers` library, on any text and any vocabulary."""

from __future__ import annotations

import gzip
import json
import os
import time
import unicodedata
from pathlib import Path

import pytest
from checkpoints import byte_symbols
from hypothesis import given, settings
from hypothesis import strategies as st

import photoseek.aimv2
from photoseek.aimv2.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

tokenizers = pytest.importorskip("tokenizers")

BUILTIN = Path(photoseek.aimv2.__file__).parent / "builtin"
START, END = "<|startoftext|>", "<|endoftext|>"
LONG = 1_000_000
DATA = Path(os.environ.get("PHOTOSEEK_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CAPTIONS = DATA / "train" / "caption-text.txt.gz"

TROUBLE = [
    *("'s", "'t", "'re", "'ll", "'d", "'LL", "\u2019s", "'", "s", "t", "a", "B", "z", "Z", "0", "9", "!", "_", "..."),
    *(END, START, END.upper(), "<|", "|>", "endoftext"),
    *(" ", "  ", "\t", "\n", "\x0b", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u200b", "\u2028", "\u3000", "\x00"),
    *("\u03a3", "\u0391\u03a3", "\u03a3\u03a3 ", "\u0130", "\u01c5", "\ufb01", "\u017f", "\u212a", "\u212b", "\u0345"),
    *("e\u0301", "\u0301", "\u1e0d\u0307", "\u0344", "\u1100\u1161\u11a8", "\uac00\u11a7", "\u0958", "\u2126"),
    *("½", "²", "Ⅷ", "٣", "१२", "一二三", "日本の桜", "ไทย", "ελληνικά", "עברית", "русский"),
    *("🌸", "🏳️‍🌈", "👩‍👩‍👧", "👍🏽", "🇮🇹", "\U0001d400", "\ue000", "\U0010fffd"),
]


UNASSIGNED = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\p{Cn}"), "removed", invert=True)


def known_here(character: str) -> bool:
    """Both sides know the character: this Python's Unicode tables may be older or younger than the library's."""
    return unicodedata.category(character) != "Cn" and not UNASSIGNED.pre_tokenize_str(character)


characters = st.characters(exclude_categories=["Cs", "Cn"]).filter(known_here)
texts = st.lists(st.sampled_from(TROUBLE) | characters | st.text(characters, max_size=8), max_size=25).map("".join)


def both(folder, *, context=LONG):
    """Ours and theirs of a folder's tokenizer.json, as functions from a text to ids."""
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.no_padding()
    theirs.enable_truncation(max_length=context)
    ours = Tokenizer(folder, context=context, end_token=theirs.token_to_id(END))
    return lambda text: ours.encode([text])[0], lambda text: theirs.encode(text).ids


@pytest.fixture(scope="module")
def builtin():
    return both(BUILTIN)


@settings(deadline=None, max_examples=400)
@given(text=texts)
def test_ids_equal_on_any_text(builtin, text):
    ours, theirs = builtin
    assert ours(text) == theirs(text)


@pytest.mark.slow
@settings(deadline=None, max_examples=3_000)
@given(text=texts)
def test_ids_equal_on_very_many_texts(builtin, text):
    ours, theirs = builtin
    assert ours(text) == theirs(text)


@pytest.mark.slow
def test_ids_equal_on_every_character_known_to_both(builtin):
    """Each beside a letter, a digit, a sign and a space, so that its class shows; of the private ones a few."""
    ours, theirs = builtin
    every = [chr(code) for code in (*range(0xD800), *range(0xE000, 0xE100), *range(0xF900, 0xF0010))]
    known = [f"a{character}1{character}! {character}'s" for character in every if known_here(character)]
    assert len(known) > 140_000
    for first in range(0, len(known), 64):
        text = "".join(known[first : first + 64])
        assert ours(text) == theirs(text)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 10_000, "word " * 2_000, "it's" * 2_500, "\u00e9" * 10_000, "🌸" * 10_000, END * 100, "\u0301" * 10_000],
    ids=lambda text: f"{text[:4]!a}-{len(text)}",
)
@pytest.mark.parametrize("context", [77, LONG])
def test_ids_equal_on_long_texts(text, context):
    ours, theirs = both(BUILTIN, context=context)
    assert ours(text) == theirs(text)


@pytest.mark.skipif(not CAPTIONS.is_file(), reason=f"{CAPTIONS} is not there")
def test_ids_equal_on_real_captions(builtin):
    ours, theirs = builtin
    lines = gzip.decompress(CAPTIONS.read_bytes()).decode().splitlines()[::20]
    assert [ours(line) for line in lines] == [theirs(line) for line in lines]


@st.composite
def vocabularies(draw):
    """tokenizer.json of few symbols and random merges, in the order of strength or not, bytes missing or not."""
    symbols = list(draw(st.sets(st.sampled_from("abcdest'!<|>"), min_size=3))) + [
        byte_symbols()[byte] for byte in (195, 169)
    ]
    tokens = [*symbols, *(symbol + "</w>" for symbol in draw(st.sets(st.sampled_from(symbols), min_size=1)))]
    merges = []
    for _ in range(draw(st.integers(0, 12))):
        left, right = (
            draw(st.sampled_from([t for t in tokens if not t.endswith("</w>")])),
            draw(st.sampled_from(tokens)),
        )
        if left + right not in tokens:
            tokens.append(left + right)
        merges.append([left, right])
    vocabulary = {token: number for number, token in enumerate([*tokens, START, END])}
    content = json.loads((BUILTIN / "tokenizer.json").read_text(encoding="utf-8"))
    shuffled = draw(st.permutations(merges))
    pairs = draw(st.booleans())
    content["model"] |= {
        "vocab": vocabulary,
        "merges": shuffled if pairs else [" ".join(merge) for merge in shuffled],
        "unk_token": draw(st.sampled_from([symbols[0], None])),
        "end_of_word_suffix": draw(st.sampled_from(["</w>", None])),
    }
    # Not those of the vocabulary: `tokenizers` then numbers the others anew, whatever the file says.
    others = draw(st.sets(st.sampled_from(["AB", "abc", "E\u0301", "!!"]), max_size=3)) - vocabulary.keys()
    found = [START, END, *sorted(others)]
    common = {**content["added_tokens"][0], "normalized": draw(st.booleans())}
    content["added_tokens"] = [
        {**common, "content": token, "id": number} for number, token in enumerate(found, len(vocabulary) - 2)
    ]
    content["post_processor"] |= {"cls": [START, vocabulary[START]], "sep": [END, vocabulary[END]]}
    content["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = draw(st.booleans())
    return content


@settings(deadline=None, max_examples=200)
@given(
    content=vocabularies(), lines=st.lists(st.text("abcdest'!<|> éÉABC1\u0301", max_size=30), min_size=5, max_size=5)
)
def test_ids_equal_with_any_vocabulary(tmp_path_factory, content, lines):
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    ours, theirs = both(folder)
    for line in [*lines, f"{lines[0]}{END.upper()}!{START}"]:
        assert ours(line) == theirs(line)


def test_a_query_takes_well_under_a_millisecond(builtin):
    ours, _ = builtin
    ours("two dogs playing on the beach at sunset")
    started = time.perf_counter()
    for _ in range(100):
        ours("two dogs playing on the beach at sunset")
    assert (time.perf_counter() - started) / 100 < 0.001
