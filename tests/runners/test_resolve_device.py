"""Which device a runner takes, and where what upstream builds for it lies. GPUs are stood in for."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from runners import RUNNERS  # noqa: E402
from runners.base import BuildOptions, RunnerError  # noqa: E402
from runners.torch_common import building_on, resolve_device  # noqa: E402


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine that has two, and the number of its current one."""
    current = [0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.__setitem__(0, torch.device(device).index))
    return current


@pytest.mark.parametrize(("name", "expected"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")])
def test_a_gpu_has_its_number(two_gpus: list[int], name: str, expected: str) -> None:
    assert str(resolve_device(name)) == expected


def test_a_gpu_that_is_not_there_is_refused(two_gpus: list[int]) -> None:
    with pytest.raises(RunnerError, match=r"cuda:2: this machine has 2 GPU\(s\)"):
        resolve_device("cuda:2")


def test_a_model_is_built_on_its_gpu(two_gpus: list[int]) -> None:
    with building_on(torch.device("cuda", 1)):
        assert two_gpus == [1]


@pytest.mark.parametrize("model", ["sam2_tiny", "edgetam"])
def test_a_model_for_the_cpu_of_a_machine_with_a_gpu_leaves_the_gpu_alone(two_gpus: list[int], model: str) -> None:
    # sam2 makes tables on `cuda` where there is one; here that raises, since there is none
    pytest.importorskip("sam2" if model == "sam2_tiny" else "transformers", reason="needs the package")
    runner = RUNNERS[model].build(BuildOptions(device="cpu", imgsz=256, config=RUNNERS[model].config))
    assert runner.applied.device == "cpu"
    assert torch.cuda.is_available()
