from __future__ import annotations

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
    assert device.name == PlainCpu().name != ""


def test_a_model_without_torch_knows_no_autocast() -> None:
    with PlainCpu().autocast("none"):
        pass
    with pytest.raises(ValueError, match="bfloat16"):
        PlainCpu().autocast("bfloat16")
