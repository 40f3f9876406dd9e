"""What doctor says of GPUs, with a stand-in for torch."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

import photoseek.doctor as doctor


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two GPUs as torch describes them."""
    facts = SimpleNamespace(name="GPU 80GB", total_memory=80 << 30, major=9, minor=0)
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_available=lambda: True, device_count=lambda: 2, get_device_properties=lambda number: facts
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    present = SimpleNamespace(packages={"torch", "triton"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in present.packages else None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return SimpleNamespace(facts=facts, present=present)


def findings() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor._devices()}


def test_each_gpu_is_named_with_its_memory_and_bfloat16(gpu: SimpleNamespace) -> None:
    found = findings()
    assert found["cuda:0"].value == found["cuda:1"].value == "GPU 80GB, 80 GiB, bfloat16"
    gpu.facts.major, gpu.facts.minor = 7, 5
    assert findings()["cuda:0"].value == "GPU 80GB, 80 GiB, no bfloat16"
    assert found["GPU driver"].value


def test_a_missing_compiler_is_told_with_what_to_install(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings()["torch.compile"].advice is None
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "C compiler" in (findings()["torch.compile"].advice or "")
    gpu.present.packages = {"torch"}
    assert "install triton" in (findings()["torch.compile"].advice or "")
