"""What importing and using the model loads, and what it must not."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

import photoseek.aimv2

pytestmark = pytest.mark.slow

HEAVY = ["torch", "transformers", "openvino", "onnxruntime", "tokenizers", "PIL", "huggingface_hub"]

REPORT = "import sys; print(sorted(set(sys.modules) & set({names!r})))"


def loaded(code, names=HEAVY):
    result = subprocess.run(
        [sys.executable, "-c", code + "\n" + REPORT.format(names=names)], capture_output=True, text=True, check=True
    )
    return eval(result.stdout)


def torch_may_know_a_gpu():
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("import photoseek.aimv2") == []


def test_a_query_loads_neither_torch_nor_openvino(tiny_checkpoint):
    code = f"""
from photoseek.aimv2 import open_checkpoint, load_text_tower
load_text_tower(open_checkpoint({str(tiny_checkpoint)!r})).encode(["a red car"])"""
    assert set(loaded(code)) <= {"PIL"}


def test_an_index_run_loads_no_torch(tiny_checkpoint):
    if torch_may_know_a_gpu():
        pytest.skip("this build of torch is asked for a GPU, and loaded for that")
    code = f"""
import numpy as np
from photoseek.aimv2 import open_checkpoint, load_vision_tower
load_vision_tower(open_checkpoint({str(tiny_checkpoint)!r})).encode([np.zeros((32, 32, 3), np.uint8)])"""
    assert not {"torch", "transformers", "tokenizers"} & set(loaded(code))


def test_openvino_is_loaded_without_the_module_that_reports_over_the_network(tiny_checkpoint):
    pytest.importorskip("openvino")
    code = f"""
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import numpy as np
from photoseek.aimv2 import open_checkpoint, load_vision_tower
tower = load_vision_tower(open_checkpoint({str(tiny_checkpoint)!r}), engine="openvino")
assert tower.engine == "openvino"
tower.encode([np.zeros((32, 32, 3), np.uint8)])"""
    names = ["openvino", "openvino.tools.ovc", "openvino_telemetry", "http.client", "torch"]
    assert loaded(code, names) == ["openvino"]


def test_an_app_that_uses_openvino_itself_keeps_what_it_has():
    pytest.importorskip("openvino")
    code = """
import sys, types
stand_in = types.ModuleType("openvino.tools.ovc")
stand_in.convert_model = print
sys.modules["openvino.tools.ovc"] = stand_in
import openvino
from photoseek.aimv2.openvino_engine import import_openvino
assert import_openvino() is openvino
assert openvino.convert_model is print"""
    assert loaded(code, ["openvino"]) == ["openvino"]


def test_every_public_name_is_there():
    for name in photoseek.aimv2.__all__:
        assert getattr(photoseek.aimv2, name) is not None
    assert set(photoseek.aimv2._HOMES) == set(photoseek.aimv2.__all__) <= set(dir(photoseek.aimv2))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        photoseek.aimv2.nothing  # noqa: B018


def test_a_submodule_never_hides_a_public_name():
    for home in set(photoseek.aimv2._HOMES.values()):
        importlib.import_module(f"photoseek.aimv2.{home}")
        assert home not in photoseek.aimv2.__all__
