from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runners.base import RunnerError
from savbench.measure.devices import PlainCpu, TorchDevice

torch = pytest.importorskip("torch", reason="needs torch")


def test_autocast_applies_what_was_asked() -> None:
    device = TorchDevice(torch, "cpu")
    for dtype in ("bfloat16", "float16"):
        with device.autocast(dtype):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
            assert product.dtype is getattr(torch, dtype)
        assert not torch.is_autocast_enabled("cpu")
    with device.autocast("float32"):
        assert not torch.is_autocast_enabled("cpu")


def test_a_dtype_that_torch_would_pass_over_is_refused() -> None:
    # torch itself warns and switches autocast off for a dtype that the device lacks
    device = TorchDevice(torch, "cpu")
    with (
        pytest.warns(UserWarning, match="not supported"),
        pytest.raises(RunnerError, match=r"--autocast_dtype float64: .*use another dtype"),
        device.autocast("float64"),
    ):
        pass


def test_warnings_are_repeated_while_warming_up() -> None:
    device = TorchDevice(torch, "cpu")
    assert not torch.is_warn_always_enabled()
    with device.warming_up():
        assert torch.is_warn_always_enabled()
    assert not torch.is_warn_always_enabled()


def test_a_cpu_has_no_peaks_of_gpu_memory() -> None:
    device = TorchDevice(torch, "cpu")
    device.reset_peaks()
    assert device.peaks_mib() == PlainCpu().peaks_mib() == (None, None)
    assert device.allocations() is PlainCpu().allocations() is None
    assert device.name == PlainCpu().name != ""


def test_float32_is_computed_without_tf32() -> None:
    device = TorchDevice(torch, "cpu")
    switches = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    with device.autocast("float32"):
        assert [switch.allow_tf32 for switch in switches] == [False, False]
    assert [switch.allow_tf32 for switch in switches] == before
    with device.autocast("bfloat16"):
        assert [switch.allow_tf32 for switch in switches] == before
    assert device.notes("float32") == PlainCpu().notes("none") == ()  # there is no TF32 on a CPU


class CudaOfFakes:
    """torch, as far as a `TorchDevice` on a GPU asks it."""

    __version__ = "2.9"

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stats: dict[str, int] = {}
        self.cuda = self

    def device(self, name: str) -> Any:
        return torch.device(name)

    def get_device_name(self, device: Any) -> str:
        return "Orin"

    def get_device_properties(self, device: Any) -> Any:
        return SimpleNamespace(is_integrated=True)

    def empty_cache(self) -> None:
        self.said.append("empty_cache")

    def reset_peak_memory_stats(self, device: Any) -> None:
        self.said.append(f"reset {device}")

    def memory_stats(self, device: Any) -> dict[str, int]:
        return self.stats


def test_what_an_allocator_keeps_is_given_back() -> None:
    fake = CudaOfFakes()
    device = TorchDevice(fake, "cuda:0")
    device.release_memory()
    device.reset_peaks()
    assert fake.said == ["empty_cache", "reset cuda:0"]
    assert device.notes("float32") == ("float32 without TF32",)
    assert device.notes("bfloat16") == ()
    TorchDevice(torch, "cpu").release_memory()


@pytest.mark.parametrize(
    ("stats", "count"), [({"num_device_alloc": 3, "segment.all.allocated": 9}, 3), ({"segment.all.allocated": 9}, 9), ({}, 0)]
)
def test_requests_to_the_driver_are_counted_in_every_torch(stats: dict[str, int], count: int) -> None:
    fake = CudaOfFakes()
    fake.stats = stats
    assert TorchDevice(fake, "cuda:0").allocations() == count


def test_a_model_without_torch_knows_no_autocast() -> None:
    with PlainCpu().autocast("none"):
        pass
    with pytest.raises(ValueError, match="bfloat16"):
        PlainCpu().autocast("bfloat16")
