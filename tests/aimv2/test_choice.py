"""Which engine serves, what is missing for it, and towers shared by threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from photoseek.aimv2 import load_text_tower, load_vision_tower, open_checkpoint
from photoseek.aimv2.choice import choose_engine
from photoseek.errors import MissingExtraError

pytestmark = pytest.mark.slow


@pytest.fixture
def installed(monkeypatch):
    """Set which packages seem to be installed."""

    def only(*packages):
        monkeypatch.setattr("photoseek.aimv2.choice.is_installed", lambda package: package in packages)

    return only


def chosen(**options):
    asked = {"engine": "auto", "device": "auto", "precision": "auto", "for_text": False} | options
    return choose_engine(**asked)


def test_auto_takes_what_is_fastest_among_what_is_there(installed):
    installed("openvino", "torch", "transformers")
    assert chosen() == "openvino"
    assert chosen(for_text=True) == "numpy"
    assert chosen(for_text=True, precision="bfloat16") == "openvino"
    assert chosen(precision="float16") == "torch"
    assert chosen(precision="int8") == "openvino"
    assert chosen(device="cuda") == chosen(device="mps", for_text=True) == "torch"
    installed("torch", "transformers")
    assert chosen() == "numpy"
    assert chosen(precision="bfloat16") == "torch"
    installed()
    assert chosen() == chosen(for_text=True) == chosen(device="cpu", precision="float32") == "numpy"


@pytest.mark.parametrize(
    ("options", "package", "extra"),
    [
        ({"engine": "openvino"}, "openvino", "cpu"),
        ({"engine": "torch"}, "torch", "torch"),
        ({"device": "cuda"}, "torch", "torch"),
        ({"precision": "bfloat16"}, "torch", "torch"),
        ({"precision": "int8"}, "openvino", "cpu"),
    ],
)
def test_a_missing_package_is_one_sentence_and_the_command_that_helps(installed, options, package, extra):
    installed()
    with pytest.raises(MissingExtraError, match=f"needs the package {package}") as caught:
        chosen(**options)
    assert f'"photoseek[{extra}]"' in caught.value.hint


def test_threads_may_share_a_tower(tiny_checkpoint, engine, pictures):
    checkpoint = open_checkpoint(tiny_checkpoint)
    for load, inputs in ((load_vision_tower, pictures), (load_text_tower, ["dog", "a red car", "cat", "sea", "two"])):
        tower = load(checkpoint, engine=engine, device="cpu", precision="float32")
        expected = tower.encode(inputs)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda one, tower=tower: tower.encode([one])[0], inputs * 20))
        np.testing.assert_allclose(found, np.tile(expected, (20, 1)), atol=1e-5)


def test_blas_threads_are_as_before_after_many_queries_at_once(tiny_checkpoint):
    import threadpoolctl

    def counts():
        return [each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]

    before = counts()
    tower = load_text_tower(open_checkpoint(tiny_checkpoint))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: tower.encode([f"query {n}"]), range(200)))
    assert counts() == before
