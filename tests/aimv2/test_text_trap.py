"""The text tower is causal whatever surrounds a text.

transformers (5.23) leaves its causal mask out when no padding asks for a mask: for one text alone, and for texts
of equal length. The same words would then have another vector in a search than in a batch.
"""

from __future__ import annotations

import numpy as np
import pytest
from reference import TEXTS

from photoseek.aimv2 import load_text_tower, open_checkpoint


def engines(checkpoint):
    """(name, engine) of each engine and attention implementation at hand."""
    from photoseek.aimv2.numpy_engine import NumpyText

    yield "numpy", NumpyText(checkpoint, checkpoint.text)
    try:
        from photoseek.aimv2.openvino_engine import OpenVinoText

        yield "openvino", OpenVinoText(checkpoint, checkpoint.text)
    except ImportError:
        pass
    try:
        from photoseek.aimv2.torch_engine import TorchText
    except ImportError:
        return
    for attention in ("sdpa", "eager"):
        yield f"torch {attention}", TorchText(checkpoint, device="cpu", attention=attention)


def token_rows(checkpoint, texts):
    from photoseek.aimv2.choice import read_tokenizer

    return read_tokenizer(checkpoint, checkpoint.text).encode(texts)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.slow
def test_alone_in_an_equal_length_batch_and_padded_a_text_has_one_vector(tiny_checkpoint):
    checkpoint = open_checkpoint(tiny_checkpoint)
    end = checkpoint.text.end_token
    query, longer = token_rows(checkpoint, ["a red car", "two dogs at the beach and a cat"])
    cells = np.zeros((4, len(query)), dtype=np.int64) + query
    cells[1:, 1:-1] = np.random.default_rng(0).integers(0, 500, (3, len(query) - 2))
    padded = np.array([query + [end] * (len(longer) - len(query)), longer])
    expected = None
    for name, engine in engines(checkpoint):
        alone = unit(engine.run(np.array([query])))[0]
        expected = alone if expected is None else expected
        for situation, vector in {
            "alone": alone,
            "in a batch of equal lengths": unit(engine.run(cells))[0],
            "in a padded batch": unit(engine.run(padded))[0],
        }.items():
            assert vector @ expected > 0.9999, f"{name}, {situation}"


def test_words_after_the_end_change_nothing_and_words_before_do(tiny_checkpoint):
    """Causal attention as a fact of each engine, not of the way a tower calls it."""
    checkpoint = open_checkpoint(tiny_checkpoint)
    (query,) = token_rows(checkpoint, ["a red car"])
    for name, engine in engines(checkpoint):
        plain, followed, changed = (
            unit(engine.run(np.array([ids])))[0]
            for ids in (query, [*query, 100, 200, 300], [query[0], query[1] + 1, *query[2:]])
        )
        assert plain @ followed > 0.9999, name
        assert plain @ changed < 0.999, name


def test_transformers_itself_still_has_the_trap(tiny_checkpoint):
    """Says when the explicit mask could go: then this test fails."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    checkpoint = open_checkpoint(tiny_checkpoint)
    (query,) = token_rows(checkpoint, ["a red car"])
    model = transformers.Aimv2Model.from_pretrained(tiny_checkpoint, attn_implementation="sdpa").eval()
    ids = torch.tensor([query])
    with torch.inference_mode():
        theirs = model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids)).pooler_output.numpy()
    ours = load_text_tower(checkpoint).encode_ids([query])
    assert unit(theirs)[0] @ ours[0] < 0.9999


def test_a_query_has_the_same_vector_in_any_company(tiny_checkpoint, engine):
    tower = load_text_tower(open_checkpoint(tiny_checkpoint), engine=engine, device="cpu")
    together = tower.encode(TEXTS)
    for index, text in enumerate(TEXTS):
        assert tower.encode([text])[0] @ together[index] > 0.9999
    twins = tower.encode([TEXTS[0], TEXTS[0]])
    assert twins[0] @ together[0] > 0.9999


def test_a_300_word_query_keeps_its_end_token(tiny_checkpoint, engine):
    checkpoint = open_checkpoint(tiny_checkpoint)
    words = [f"word{n} red car" for n in range(100)]
    long, longer = " ".join(words), " ".join([*words, "dog"] * 2)
    (ids,) = token_rows(checkpoint, [long])
    assert len(ids) == checkpoint.context_length == 77
    assert ids[-1] == checkpoint.text.end_token
    assert checkpoint.text.end_token not in ids[:-1]
    tower = load_text_tower(checkpoint, engine=engine, device="cpu")
    cut, cut_too, short = tower.encode([long, longer, "dog"])
    assert cut @ cut_too > 0.9999  # the same first 76 tokens
    assert cut @ short < 0.99
