"""The GPU's management library: a stand-in with the names of nvidia-ml-py, which needs an NVIDIA driver to run itself."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from savbench.board.power.base import PowerError
from savbench.board.power.nvml import FAILURES_IN_A_ROW, NvmlSampler

if TYPE_CHECKING:
    from pathlib import Path


class NVMLError(Exception):
    pass


class FakeNvml:
    """Two GPUs. What a GPU lacks is in `lacking`, by the name of the function."""

    NVMLError = NVMLError
    NVML_SUCCESS = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0
    NVML_FI_DEV_POWER_INSTANT = 186

    def __init__(self, names: tuple[str, ...] = ("A", "A")) -> None:
        self.names = names
        self.lacking: set[str] = set()
        self.reasons = 0
        self.is_open = 0
        self.instant_return = 0
        self.used: list[tuple[int, int, int]] = []
        """Process, use of the GPU in percent, time stamp."""

    def _check(self, name: str) -> None:
        if name in self.lacking:
            raise NVMLError("Not Supported")

    def nvmlInit(self) -> None:  # noqa: N802
        self._check("nvmlInit")
        self.is_open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, gpu: int) -> str:  # noqa: N802
        return self.names[gpu]

    def nvmlDeviceGetUUID(self, gpu: int) -> bytes:  # noqa: N802
        return b"GPU-%d123" % gpu

    def nvmlDeviceGetFieldValues(self, gpu: int, fields: list[int]) -> list[SimpleNamespace]:  # noqa: N802
        self._check("nvmlDeviceGetFieldValues")
        assert fields == [186]
        return [SimpleNamespace(nvmlReturn=self.instant_return, value=SimpleNamespace(uiVal=200_000 + gpu))]

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:  # noqa: N802
        self._check("nvmlDeviceGetPowerUsage")
        return 100_000 + gpu

    def nvmlDeviceGetClockInfo(self, gpu: int, kind: int) -> int:  # noqa: N802
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetUtilizationRates(self, gpu: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=87, memory=31)

    def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:  # noqa: N802
        return 54

    def nvmlDeviceGetProcessUtilization(self, gpu: int, after_us: int) -> list[SimpleNamespace]:  # noqa: N802
        new = [SimpleNamespace(pid=pid, smUtil=pct, timeStamp=at_us) for pid, pct, at_us in self.used if at_us > after_us]
        if not new:
            raise NVMLError("Not Found")
        return new

    def nvmlDeviceGetFanSpeed(self, gpu: int) -> int:  # noqa: N802
        self._check("nvmlDeviceGetFanSpeed")
        return 40

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: int) -> int:  # noqa: N802
        return self.reasons


def _gpu(nvml: FakeNvml, device: str = "auto", **environ: str) -> float | None:
    """Which of the GPUs is measured, by its power."""
    (reading,) = NvmlSampler(0.1, device, nvml, environ).read()
    return reading.total_mw


def test_every_value_has_its_unit(tmp_path: Path) -> None:
    nvml = FakeNvml()
    # idle and the clocks that a user has set are no throttling
    nvml.reasons = 0x1 | 0x2 | 0x4 | 0x40
    (reading,) = NvmlSampler(0.1, "cuda:1", nvml, {}, tmp_path).read()

    assert reading.total_mw == 200_001
    assert reading.total_of == "GPU"
    assert reading.rails_mw == {}
    assert (reading.gpu_load_pct, reading.emc_pct) == (87, 31)
    assert (reading.gpu_clock_khz, reading.emc_khz) == (1_980_000, 2_619_000)
    assert reading.temperatures_c == {"gpu": 54}
    assert reading.fan_pct == 40
    assert reading.alarms == {"power cap", "hardware thermal slowdown"}
    assert (reading.ram_used_mib, reading.nvpmodel, reading.jetson_clocks) == (None, None, None)


@pytest.mark.parametrize("how", ["no such field", "not supported"])
def test_without_instantaneous_power_the_average_is_taken_and_named(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    if how == "no such field":
        monkeypatch.delattr(FakeNvml, "NVML_FI_DEV_POWER_INSTANT")
    else:
        nvml.instant_return = 3
    (reading,) = NvmlSampler(0.1, "cuda", nvml, {}).read()

    assert reading.total_mw == 100_000
    assert reading.total_of == "GPU (averaged by the driver)"


def test_what_a_gpu_lacks_is_left_out() -> None:
    nvml = FakeNvml()
    nvml.lacking = {"nvmlDeviceGetFanSpeed"}
    (reading,) = NvmlSampler(0.1, "cuda", nvml, {}).read()

    assert reading.fan_pct is None
    assert reading.gpu_load_pct == 87


def test_the_gpu_is_the_one_that_torch_means() -> None:
    assert _gpu(FakeNvml()) == 200_000
    assert _gpu(FakeNvml(), "cuda:1") == 200_001
    assert _gpu(FakeNvml(), "cuda:0", CUDA_VISIBLE_DEVICES="1") == 200_001
    assert _gpu(FakeNvml(), "cuda:1", CUDA_VISIBLE_DEVICES="1, 0") == 200_000
    assert _gpu(FakeNvml(), "auto", CUDA_VISIBLE_DEVICES="GPU-1") == 200_001
    assert _gpu(FakeNvml(("A", "B")), "cuda:1", CUDA_DEVICE_ORDER="PCI_BUS_ID") == 200_001


@pytest.mark.parametrize(
    ("device", "environ", "names", "says"),
    [
        ("cpu", {}, ("A",), "the models run on cpu; use --power none"),
        ("cuda:1", {}, ("A",), "there is no cuda:1, 1 GPUs are visible"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": ""}, ("A",), "0 GPUs are visible"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "5"}, ("A",), "there is no GPU 5"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "MIG-1"}, ("A",), "no power sensor of its own"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "GPU-"}, ("A", "A"), "does not name one GPU"),
        ("cuda", {}, ("A", "B"), "export CUDA_DEVICE_ORDER=PCI_BUS_ID"),
    ],
)
def test_a_gpu_that_is_not_certain_is_refused(device: str, environ: dict[str, str], names: tuple[str, ...], says: str) -> None:
    nvml = FakeNvml(names)
    with pytest.raises(PowerError, match=says):
        NvmlSampler(0.1, device, nvml, environ)
    assert nvml.is_open == 0


def test_without_a_driver_it_says_so() -> None:
    nvml = FakeNvml()
    nvml.lacking = {"nvmlInit"}
    with pytest.raises(PowerError, match="check `nvidia-smi`"):
        NvmlSampler(0.1, "cuda", nvml, {})


def test_without_a_power_sensor_it_says_so() -> None:
    nvml = FakeNvml()
    nvml.instant_return = 3
    nvml.lacking = {"nvmlDeviceGetPowerUsage"}
    with pytest.raises(PowerError, match=r"reports no power.*jtop or sysfs on a Jetson"):
        NvmlSampler(0.1, "cuda", nvml, {})
    assert nvml.is_open == 0


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(PowerError, match=r"pip install nvidia-ml-py$"):
        NvmlSampler(0.1)


def test_a_driver_that_stops_answering_ends_the_source() -> None:
    nvml = FakeNvml()
    sampler = NvmlSampler(0.1, "cuda", nvml, {})
    nvml.lacking = {"nvmlDeviceGetFieldValues"}
    for _ in range(FAILURES_IN_A_ROW - 1):
        assert sampler.read() == []
    with pytest.raises(PowerError, match="stopped answering"):
        sampler.read()
    sampler.close()
    sampler.close()
    assert nvml.is_open == 0


def test_the_real_package_has_these_names() -> None:
    pynvml = pytest.importorskip("pynvml", reason="needs nvidia-ml-py")
    names = [name for name in vars(FakeNvml) if name.startswith(("nvml", "NVML"))]
    assert [name for name in names if not hasattr(pynvml, name)] == []
    assert pynvml.NVML_FI_DEV_POWER_INSTANT == FakeNvml.NVML_FI_DEV_POWER_INSTANT
    field = pynvml.c_nvmlFieldValue_t()
    assert (field.nvmlReturn, field.value.uiVal) == (0, 0)


def test_use_by_others_is_told_from_the_benchmarks_own() -> None:
    nvml = FakeNvml()
    sampler = NvmlSampler(0.1, "auto", nvml, {})
    parent, own = os.getppid(), os.getpid()
    nvml.used = [(own, 60, 10), (parent, 10, 10), (parent, 30, 20), (4_000_000, 5, 20)]
    assert sampler.read()[0].gpu_others_pct == 25.0
    assert sampler.read()[0].gpu_others_pct is None
    # numbers of another namespace: the benchmark's own process is not among them
    nvml.used = [(4_000_000, 90, 30)]
    assert sampler.read()[0].gpu_others_pct is None
    nvml.used = [(own, 90, 40)]
    assert sampler.read()[0].gpu_others_pct == 0.0
