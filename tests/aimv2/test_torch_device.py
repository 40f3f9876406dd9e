"""torch's devices; GPUs are played, as torch describes those that there are."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from photoseek.aimv2.choice import has_accelerator  # noqa: E402
from photoseek.aimv2.torch_device import choose_device, cuda_devices, usable_gpus  # noqa: E402
from photoseek.errors import UsageError  # noqa: E402


def gpus(monkeypatch: pytest.MonkeyPatch, built_for: list[str], *capabilities: tuple[int, int]) -> None:
    """Have torch, built for these, see GPUs of these capabilities."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capabilities[number])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)
    monkeypatch.setattr(torch, "empty", lambda *_size, device: None)


@pytest.mark.parametrize(
    ("built_for", "capability", "serves"),
    [
        (["sm_75", "sm_80", "sm_90"], (8, 6), True),
        (["sm_75", "sm_80", "sm_90a"], (9, 0), True),
        (["sm_75", "sm_80"], (6, 1), False),
        (["sm_80", "sm_86"], (8, 0), True),
        (["sm_86"], (8, 0), False),
        (["sm_90", "sm_120"], (10, 0), False),
        (["sm_90", "compute_90"], (12, 0), True),
        (["sm_100f", "sm_120"], (12, 1), True),
        (["compute_90"], (8, 9), False),
    ],
)
def test_a_gpu_serves_where_torch_was_built_for_it(monkeypatch, built_for, capability, serves):
    gpus(monkeypatch, built_for, capability)
    assert bool(usable_gpus()) == serves
    assert choose_device("auto")[1] == ("cuda" if serves else "cpu")


def test_an_old_gpu_beside_a_good_one_is_left_out(monkeypatch):
    gpus(monkeypatch, ["sm_80"], (6, 1), (8, 6), (8, 0))
    good = [torch.device("cuda", 1), torch.device("cuda", 2)]
    assert cuda_devices("cuda") == cuda_devices("auto") == good
    assert choose_device("cuda") == (good[0], "cuda")
    assert cuda_devices("cuda:2") == [good[1]]
    assert cuda_devices("cpu") == []
    with pytest.raises(UsageError, match="no code for the GPU 'cuda:0'"):
        cuda_devices("cuda:0")


def test_a_gpu_alone_that_torch_has_no_code_for_is_refused_by_name_and_else_not_used(monkeypatch):
    gpus(monkeypatch, ["sm_80"], (6, 1))
    assert cuda_devices("auto") == []
    with pytest.raises(UsageError, match="no code for the GPU 'cuda'"):
        choose_device("cuda")


def test_an_accelerator_is_one_that_computes(monkeypatch):
    monkeypatch.setattr("photoseek.aimv2.choice.importlib.metadata.version", lambda package: "2.13.0")
    for capability in (6, 1), (9, 0):
        gpus(monkeypatch, ["sm_80", "sm_90"], capability)
        assert has_accelerator.__wrapped__() == (capability == (9, 0))  # not what is cached, nor into it
