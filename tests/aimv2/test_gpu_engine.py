"""The engine for GPUs, on replicas that compute on the processor: dealing out, batches, and memory that runs out."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import make_checkpoint  # noqa: E402

from photoseek.aimv2 import load_vision_tower, open_checkpoint  # noqa: E402
from photoseek.aimv2.gpu_engine import GpuVision  # noqa: E402
from photoseek.aimv2.torch_vision import EAGER, TorchVisionModel  # noqa: E402
from photoseek.aimv2.towers import EngineVisionTower  # noqa: E402
from photoseek.errors import ModelError  # noqa: E402

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def gpu_vision(folder, devices=1, **options: Any) -> GpuVision:
    checkpoint = open_checkpoint(folder)
    return GpuVision(checkpoint, checkpoint.vision, [CPU] * devices, **options)


@pytest.fixture
def many():
    return np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def expected(tiny_checkpoint, many):
    """Vectors of the engine that is compared with the plain reference elsewhere."""
    return load_vision_tower(open_checkpoint(tiny_checkpoint), engine="numpy").encode(list(many))


class Memory:
    """Stands in for a GPU's memory: batches above a size raise torch's own error; counts who computed what."""

    def __init__(self, monkeypatch, pictures_max: int) -> None:
        self.pictures_max, self.sizes, self.models = pictures_max, [], set()
        original = TorchVisionModel.__call__
        lock = threading.Lock()

        def call(model: TorchVisionModel, pictures: Any, *, is_fixed: bool = False) -> Any:
            with lock:
                self.sizes.append(len(pictures))
                self.models.add(id(model))
            if len(pictures) > self.pictures_max:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return original(model, pictures, is_fixed=is_fixed)

        monkeypatch.setattr(TorchVisionModel, "__call__", call)


@pytest.fixture
def memory(monkeypatch):
    return Memory(monkeypatch, 10**9)


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_a_tower_on_several_devices_computes_the_same(tiny_checkpoint, many, expected, devices):
    checkpoint = open_checkpoint(tiny_checkpoint)
    engine = gpu_vision(tiny_checkpoint, devices, batch_size=8)
    tower = EngineVisionTower(engine, checkpoint.vision, checkpoint.dim)
    assert (tower.batch_size, tower.batches_at_once) == (8, 2 * devices)
    np.testing.assert_allclose(tower.encode(list(many)), expected, atol=1e-5)


def test_batches_are_dealt_out_to_all_devices(tiny_checkpoint, many, expected, memory):
    engine = gpu_vision(tiny_checkpoint, 2)
    both = threading.Barrier(2, timeout=10)
    plain = engine._replicas[0]._model

    def meet(model):
        def call(pictures, *, is_fixed=False):
            both.wait()  # ends only when each device has a batch at the same time
            return plain(pictures)

        return call

    for replica in engine._replicas:
        replica.load(EAGER)
        replica._model = meet(replica._model)
        replica._model.mode = EAGER
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(engine.run, [many[:25], many[25:]]))
    vectors = np.concatenate(found)
    np.testing.assert_allclose(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), expected, atol=1e-5)


def test_a_caller_alone_stays_with_the_first_device(tiny_checkpoint, many, memory):
    engine = gpu_vision(tiny_checkpoint, 4)
    for start in range(10):
        engine.run(many[start : start + 1])
    assert len(memory.models) == 1
    assert [replica._model is not None for replica in engine._replicas] == [True, False, False, False]


def test_memory_that_runs_out_halves_the_batch_and_the_work_goes_on(tiny_checkpoint, many, expected, memory, caplog):
    memory.pictures_max = 7
    checkpoint = open_checkpoint(tiny_checkpoint)
    engine = gpu_vision(tiny_checkpoint, batch_size=32)
    tower = EngineVisionTower(engine, checkpoint.vision, checkpoint.dim)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(tower.encode(list(many)), expected, atol=1e-5)
    assert engine.batch_size <= 7
    assert "too little memory for 32 pictures: going on with 16" in caplog.text
    memory.sizes.clear()
    tower.encode(list(many))
    assert max(memory.sizes) <= 7, "what did not fit once is not tried again"


def test_many_callers_out_of_memory_at_once_all_get_their_vectors(tiny_checkpoint, many, expected, memory):
    memory.pictures_max = 3
    engine = gpu_vision(tiny_checkpoint, 2, batch_size=16)
    with ThreadPoolExecutor(8) as threads:
        for vectors in threads.map(engine.run, [many[:16]] * 24):
            units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            np.testing.assert_allclose(units, expected[:16], atol=1e-5)
    assert 1 <= engine.batch_size <= 3


def test_one_picture_that_does_not_fit_is_one_clear_sentence(tiny_checkpoint, many, memory):
    memory.pictures_max = 0
    engine = gpu_vision(tiny_checkpoint)
    with pytest.raises(ModelError, match="one picture does not fit the memory of cpu") as caught:
        engine.run(many)
    assert "--device cpu" in caught.value.hint
    assert "--precision bfloat16" in caught.value.hint
    memory.pictures_max = 10**9
    assert engine.run(many[:2]).shape == (2, 16), "a later call may succeed"


def test_a_model_that_does_not_fit_the_first_device_is_an_error(tiny_checkpoint, monkeypatch):
    def full(*_arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(TorchVisionModel, "_load", full)
    with pytest.raises(ModelError, match="the model does not fit"):
        gpu_vision(tiny_checkpoint, 2)


def test_a_device_too_full_for_the_model_is_left_out(tiny_checkpoint, many, expected, monkeypatch, caplog):
    engine = gpu_vision(tiny_checkpoint, 2, batch_size=8)

    def full(*_arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(TorchVisionModel, "_load", full)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(engine.run, [many[:8]] * 12))
    assert len(found) == 12
    assert engine._replicas[1]._model is None
    monkeypatch.undo()


def test_other_errors_of_the_device_are_not_taken_for_lack_of_memory(tiny_checkpoint, many, monkeypatch):
    def broken(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(TorchVisionModel, "__call__", broken)
    engine = gpu_vision(tiny_checkpoint)
    for _ in range(5):  # no slot is lost
        with pytest.raises(RuntimeError, match="illegal"):
            engine.run(many[:2])


def test_compiled_batches_have_one_shape_and_small_ones_are_not_compiled(
    tiny_checkpoint, many, expected, memory, monkeypatch
):
    shapes = []

    def compile_(step, *, mode, dynamic):
        assert (mode, dynamic) == ("default", False)

        def run(first, *rest):
            if step.__name__ == "embed":
                shapes.append(len(first))
            return step(first, *rest)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    engine = gpu_vision(tiny_checkpoint, batch_size=16, mode="default")
    tower = EngineVisionTower(engine, open_checkpoint(tiny_checkpoint).vision, 16)
    for count in (16, 50, 5, 2, 1, 16):
        np.testing.assert_allclose(tower.encode(list(many[:count])), expected[:count], atol=1e-5)
    assert set(shapes) == {16}
    assert set(memory.sizes) == {16, 2, 1}


def test_where_torch_refuses_to_compile_the_tower_computes(tiny_checkpoint, many, monkeypatch, caplog):
    def compile_(*_arguments, **_options):
        raise RuntimeError("torch.compile is not supported on Python 3.99")

    monkeypatch.setattr(torch, "compile", compile_)
    engine = gpu_vision(tiny_checkpoint, batch_size=16, mode="default")
    assert engine.run(many).shape == (50, 16)
    assert engine.compiled_mode == EAGER
    assert "3.99" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("Cannot find a working triton installation."), OSError("no cc")])
def test_without_a_compiler_the_tower_computes_the_same(tiny_checkpoint, many, expected, monkeypatch, caplog, error):
    def compile_(step, **_options):
        def run(*_arguments):
            raise error

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    engine = gpu_vision(tiny_checkpoint, batch_size=16, mode="default")
    with caplog.at_level(logging.WARNING):
        vectors = engine.run(many[:16])
    np.testing.assert_allclose(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), expected[:16], atol=1e-5)
    assert engine.compiled_mode == EAGER
    assert str(error) in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch warns of its own parts
def test_really_compiled_it_computes_the_same_in_three_graphs(tiny_checkpoint, many, expected):
    import torch._dynamo

    torch._dynamo.utils.counters.clear()
    engine = gpu_vision(tiny_checkpoint, batch_size=16, mode="default")
    vectors = engine.run(many)
    np.testing.assert_allclose(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), expected, atol=1e-4)
    assert engine.compiled_mode == "default"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3, "a block is compiled once for all layers"
    assert not torch._dynamo.utils.counters["graph_break"]


def test_native_pictures_of_several_shapes_are_computed(tmp_path):
    folder = make_checkpoint(tmp_path, native=True, text=False, head=False)
    checkpoint = open_checkpoint(folder)
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in [(16, 24, 3), (32, 8, 3), (16, 24, 3)]]
    tower = EngineVisionTower(gpu_vision(folder, mode="default"), checkpoint.vision, checkpoint.dim)
    np.testing.assert_allclose(
        tower.encode(pictures), load_vision_tower(checkpoint, engine="numpy").encode(pictures), atol=1e-5
    )


def test_bfloat16_points_the_same_way(tiny_checkpoint, many, expected):
    vectors = gpu_vision(tiny_checkpoint, precision="bfloat16").run(many)
    assert vectors.dtype == np.float32
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert ((units * expected).sum(axis=1) > 0.999).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
def test_on_a_gpu_threads_get_their_own_vectors(tiny_checkpoint, many, expected):
    checkpoint = open_checkpoint(tiny_checkpoint)
    for device in ("cuda", "cuda:0"):
        tower = load_vision_tower(checkpoint, device=device, precision="float32")
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda n, tower=tower: tower.encode(list(many[n : n + 7])), list(range(40)) * 5))
        for n, vectors in zip(list(range(40)) * 5, found, strict=True):
            np.testing.assert_allclose(vectors, expected[n : n + 7], atol=1e-3)
