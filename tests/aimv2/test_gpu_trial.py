"""What a GPU computes fastest is found by trying, within the time a run allows, and remembered."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from photoseek.aimv2 import gpu_trial, load_vision_tower, open_checkpoint, prepare_long_run  # noqa: E402
from photoseek.aimv2.gpu_engine import GpuVision  # noqa: E402
from photoseek.aimv2.gpu_trial import (  # noqa: E402
    GpuSettings,
    best_batch_size,
    load_gpu_vision,
    pictures_per_second,
    remembered_settings,
    tried_precision,
    tune,
    tune_for,
)
from photoseek.aimv2.torch_vision import EAGER  # noqa: E402
from photoseek.errors import ModelError, UsageError  # noqa: E402

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("PHOTOSEEK_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("photoseek.aimv2.trial.PICTURES_MAX", 20)
    monkeypatch.setattr(gpu_trial, "MEASURE_S", 0.0)
    return tmp_path / "models"


@pytest.fixture
def checkpoint(models, tiny_checkpoint):
    return open_checkpoint(tiny_checkpoint)


@pytest.fixture
def rates(monkeypatch):
    """Pictures a second by batch size and mode, as a GPU might have them; what was measured, in order."""
    measured = []
    gains = {EAGER: 1.0, "default": 1.4, "max-autotune-no-cudagraphs": 1.2}

    def rate(engine: GpuVision, sample):
        measured.append((engine.batch_size, engine.mode))
        for replica in engine._replicas:
            replica._model.mode = engine.mode  # as if it had been compiled
        return 10 * min(engine.batch_size, 128) * gains[engine.mode]

    monkeypatch.setattr(gpu_trial, "pictures_per_second", rate)
    monkeypatch.setattr(torch, "compile", lambda step, **_options: step)
    return measured


@pytest.mark.parametrize(
    ("rate", "found"),
    [
        (lambda size: 10 * min(size, 128), 128),
        (lambda size: 100, 16),
        (lambda size: 10 * size, gpu_trial.BATCH_MAX),
        (lambda size: 10 * size if size <= 64 else None, 64),
        (lambda size: 10 * size if size != 64 else 325, 32),
        (lambda size: 100 + size, 64),  # 128 of them, twice, would take more than a second
    ],
)
def test_the_batch_is_doubled_while_that_is_faster_and_fits(rate, found):
    assert best_batch_size(rate) == (found, rate(found))


def test_batch_and_mode_are_found_and_remembered(checkpoint, rates):
    assert remembered_settings(checkpoint, CPU, "float32") is None
    settings = tune(checkpoint, CPU, "float32", budget_s=60)
    assert (settings.batch_size, settings.mode, settings.rate) == (128, "default", 1280 * 1.4)
    assert rates == [(size, EAGER) for size in (16, 32, 64, 128, 256)] + [
        (128, "default"),
        (128, "max-autotune-no-cudagraphs"),
    ]
    assert settings.tried["eager 64"] == 640
    assert remembered_settings(checkpoint, CPU, "float32") == settings
    assert remembered_settings(checkpoint, CPU, "bfloat16") is None


def test_a_short_run_compiles_nothing_and_a_long_one_uses_what_was_found(checkpoint, rates):
    tune(checkpoint, CPU, "float32", budget_s=60)
    modes = {}
    for long_run in (False, True):
        engine = load_gpu_vision(checkpoint, [CPU], device_name="cuda", precision="float32", long_run=long_run)
        modes[long_run] = engine.mode
        assert engine.batch_size == 128
    assert modes == {False: EAGER, True: "default"}


def test_the_time_of_the_run_bounds_what_is_tried(checkpoint, rates):
    tune_for(checkpoint, CPU, "float32", 0.0, [])
    assert {mode for _size, mode in rates} == {EAGER}
    rates.clear()
    tune_for(checkpoint, CPU, "float32", 3600.0, [])
    assert {mode for _size, mode in rates} == {EAGER, *gpu_trial.COMPILE_MODES}, "a longer run tries more"
    rates.clear()
    tune_for(checkpoint, CPU, "float32", 7200.0, [])
    assert rates == [], "not much longer: what is remembered serves"


def test_a_batch_that_memory_does_not_hold_is_not_taken(checkpoint, monkeypatch):
    from photoseek.aimv2.torch_vision import TorchVisionModel

    original = TorchVisionModel.__call__

    def call(model, pictures, *, is_fixed=False):
        if len(pictures) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(model, pictures)

    monkeypatch.setattr(TorchVisionModel, "__call__", call)
    monkeypatch.setattr(gpu_trial, "BATCH_GAIN_MIN", 0.0)
    settings = tune(checkpoint, CPU, "float32", budget_s=0)
    assert settings.batch_size == 32


def test_a_compiler_that_does_not_work_leaves_the_tower_as_it_is(checkpoint, monkeypatch):
    def compile_(*_arguments, **_options):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(gpu_trial, "BATCH_MAX", 32)
    settings = tune(checkpoint, CPU, "float32", budget_s=60)
    assert settings.mode == EAGER
    assert all(what.startswith(EAGER) for what in settings.tried)


def test_a_mode_that_computes_something_else_is_not_taken(checkpoint, rates, monkeypatch):
    compared = []

    def cosine(left, right):
        compared.append((len(left), len(right)))
        return 0.99

    monkeypatch.setattr(gpu_trial, "_lowest_cosine", cosine)
    assert tune(checkpoint, CPU, "float32", budget_s=60).mode == EAGER
    assert compared == [(128, 128)] * 2, "smaller batches would not be compiled"


def test_the_rate_is_measured_with_full_batches(checkpoint):
    engine = GpuVision(checkpoint, checkpoint.vision, [CPU], batch_size=16)
    sample = np.zeros((3, 32, 32, 3), np.uint8)
    sample[1:] = 200
    assert pictures_per_second(engine, sample) > 0


def test_bfloat16_is_tried_once_when_a_tower_is_loaded(checkpoint, models, monkeypatch):
    monkeypatch.setattr(gpu_trial, "has_bfloat16", lambda device: True)
    trial = tried_precision(checkpoint, CPU)
    assert trial.pictures == 20
    assert trial.cosine > 0.99
    content = json.loads((models / "trials.json").read_text())
    (key,) = content
    (models / "trials.json").write_text(json.dumps({key: content[key] | {"precision": "bfloat16"}}))
    engine = load_gpu_vision(checkpoint, [CPU], device_name="cuda", precision="auto", long_run=False)
    assert engine.precision == "bfloat16"
    asked = load_gpu_vision(checkpoint, [CPU], device_name="cuda", precision="float32", long_run=False)
    assert asked.precision == "float32"


def test_a_gpu_without_bfloat16_computes_in_float32(checkpoint):
    trial = tried_precision(checkpoint, CPU)
    assert (trial.precision, trial.pictures) == ("float32", 0)
    assert "no hardware" in trial.reason


@pytest.mark.parametrize("entry", [5, [], {"batch_size": 5}, {"speed": 1}])
def test_damaged_settings_are_as_none(checkpoint, models, rates, entry):
    tune(checkpoint, CPU, "float32", budget_s=0)
    file = models / "trials.json"
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), entry)))
    assert remembered_settings(checkpoint, CPU, "float32") is None
    assert isinstance(tune(checkpoint, CPU, "float32", budget_s=0), GpuSettings)


def test_where_there_is_no_memory_to_try_in_the_run_goes_on(checkpoint, monkeypatch, caplog):
    def tune_for(*_arguments):
        raise ModelError("the model does not fit the memory of cuda:0")

    monkeypatch.setattr(gpu_trial, "tune_for", tune_for)
    monkeypatch.setattr("photoseek.aimv2.torch_device.cuda_devices", lambda device: [CPU])
    assert not prepare_long_run(checkpoint, [], 1e6, engine="torch", device="cuda")
    assert "does not fit" in caplog.text


def test_preparing_a_long_run_tries_what_fits_the_device(checkpoint, models, rates, monkeypatch):
    assert not prepare_long_run(checkpoint, [], 1e6, engine="numpy")
    assert not prepare_long_run(checkpoint, [], 1e6, engine="torch", device="cpu")
    assert not models.exists()
    monkeypatch.setattr("photoseek.aimv2.torch_device.cuda_devices", lambda device: [CPU])
    assert prepare_long_run(checkpoint, [], 1e6, device="cuda", precision="float32")
    tower = load_vision_tower(checkpoint, device="cuda", precision="float32", long_run=True)
    assert (tower.device, tower.batch_size, tower.batches_at_once) == ("cuda", 128, 2)


def test_a_gpu_that_is_not_there_is_a_mistake_with_a_name(checkpoint):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match="no device 'cuda:7'"):
        load_vision_tower(checkpoint, device="cuda:7")
