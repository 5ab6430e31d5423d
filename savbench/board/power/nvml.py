"""Readings of a desktop GPU from NVIDIA's management library (package nvidia-ml-py, module pynvml). Power is only that of the GPU's
board."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from savbench.board.background import is_of_family
from savbench.board.memory import swap_io_mib, system_memory
from savbench.board.power.base import PowerError, Reading, Scope, Stamp, check_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value = TypeVar("Value")

FAILURES_IN_A_ROW = 10
"""Failures in a row after which the source counts as gone."""

THROTTLES = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "hardware power brake",
}
"""Bits of nvml.h's nvmlClocksEventReasons that mean a loss of speed; idle and user-set clocks are not included."""


class NvmlSampler:
    """Reads the driver once per call.

    Args:
        interval_s: seconds between readings; the caller keeps this interval.
        device: `auto`, `cuda` or `cuda:N`, as given to torch.
        module: replaces the module `pynvml`; for tests.
        environ: environment with CUDA_VISIBLE_DEVICES.
        root: root of the file system to read memory from.

    Raises:
        PowerError: there is no driver, the GPU is ambiguous, or it has no power sensor; the message says what to do.
    """

    name = "nvml"
    scope: Scope = "gpu"

    def __init__(
        self,
        interval_s: float,
        device: str = "auto",
        module: Any = None,
        environ: Mapping[str, str] = os.environ,
        root: Path = Path("/"),
    ) -> None:
        check_interval(interval_s)
        self.interval_s = interval_s
        self._root = root
        self._nvml = _import() if module is None else module
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise PowerError(f"nvml: the driver does not answer ({error}); check `nvidia-smi`, or use --power none") from error
        self._open = True
        self._failures = 0
        self._seen_us = 0
        """Time stamp in microseconds of the newest sample of use by process; the driver returns later ones."""
        try:
            self._gpu = _find_gpu(self._nvml, device, environ)
            self._instant = self._instant_mw() is not None
            if not self._instant:
                self._nvml.nvmlDeviceGetPowerUsage(self._gpu)
        except self._nvml.NVMLError as error:
            self.close()
            raise PowerError(f"nvml: this GPU reports no power ({error}); use --power none, or jtop or sysfs on a Jetson") from error
        except PowerError:
            self.close()
            raise

    def read(self) -> list[Reading]:
        begun = Stamp.now()
        try:
            power_mw = self._instant_mw() if self._instant else float(self._nvml.nvmlDeviceGetPowerUsage(self._gpu))
        except self._nvml.NVMLError as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise PowerError(f"nvml: the driver stopped answering ({error}); check `nvidia-smi` and `dmesg`") from error
            return []
        self._failures = 0
        stamp = begun.earlier((begun.t_s - Stamp.now().t_s) / 2)
        nvml, gpu = self._nvml, self._gpu
        clock_mhz = self._ask(lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))
        memory_mhz = self._ask(lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM))
        used = self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(gpu))
        celsius = self._ask(lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
        reasons = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
        memory = system_memory(self._root)
        return [
            Reading(
                t_s=stamp.t_s,
                unix_s=stamp.unix_s,
                total_mw=power_mw,
                total_of="GPU" if self._instant else "GPU (averaged by the driver)",
                gpu_load_pct=None if used is None else float(used.gpu),
                gpu_others_pct=self._others_pct(),
                gpu_clock_khz=None if clock_mhz is None else clock_mhz * 1e3,
                emc_pct=None if used is None else float(used.memory),
                emc_khz=None if memory_mhz is None else memory_mhz * 1e3,
                temperatures_c={} if celsius is None else {"gpu": float(celsius)},
                ram_used_mib=memory.used_mib,
                swap_used_mib=memory.swap_used_mib,
                swap_io_mib=swap_io_mib(self._root),
                fan_pct=self._ask(lambda: float(nvml.nvmlDeviceGetFanSpeed(gpu))),
                alarms=frozenset(name for bit, name in THROTTLES.items() if (reasons or 0) & bit),
            )
        ]

    def close(self) -> None:
        if self._open:
            self._open = False
            self._nvml.nvmlShutdown()

    def _instant_mw(self) -> float | None:
        """Instantaneous power in mW; None if driver or GPU lacks it. From Ampere on, nvmlDeviceGetPowerUsage returns the average of the
        last
                second; drivers and GPUs without this field return the instantaneous value there."""
        field = getattr(self._nvml, "NVML_FI_DEV_POWER_INSTANT", None)
        if field is None:
            return None
        answer = self._nvml.nvmlDeviceGetFieldValues(self._gpu, [field])[0]
        return float(answer.value.uiVal) if answer.nvmlReturn == self._nvml.NVML_SUCCESS else None

    def _others_pct(self) -> float | None:
        """Percentage of GPU time used since the last call by processes outside this process' family.

        None if the driver does not report it, or names no process of the family: inside a container the process ids are often the host's.
        """
        samples = self._ask(lambda: self._nvml.nvmlDeviceGetProcessUtilization(self._gpu, self._seen_us))
        if not samples:
            return None
        self._seen_us = max(int(sample.timeStamp) for sample in samples)
        used_pct: dict[int, list[float]] = {}
        for sample in samples:
            used_pct.setdefault(int(sample.pid), []).append(float(sample.smUtil))
        others = [values for pid, values in used_pct.items() if not is_of_family(pid, self._root)]
        if len(others) == len(used_pct):
            return None
        return sum(sum(values) / len(values) for values in others)

    def _ask(self, question: Callable[[], Value]) -> Value | None:
        """The answer; None if the GPU lacks the value, as passively cooled GPUs lack fans."""
        try:
            return question()
        except self._nvml.NVMLError:
            return None


def _import() -> Any:
    """
    Raises:
        PowerError: nvidia-ml-py is not installed.
    """
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise PowerError("nvml: nvidia-ml-py is not installed; pip install nvidia-ml-py") from error


def _find_gpu(nvml: Any, device: str, environ: Mapping[str, str]) -> Any:
    """NVML's handle of the GPU that torch calls `device`. NVML numbers GPUs by PCI bus, CUDA by CUDA_VISIBLE_DEVICES and by speed.

    Raises:
        PowerError: there is no such GPU, or it is ambiguous.
        NVMLError: the driver refused the request.
    """
    match = re.fullmatch(r"(?:auto|cuda)(?::(\d+))?", device)
    if match is None:
        raise PowerError(f"nvml: measures GPUs, but the models run on {device}; use --power none")
    wanted = int(match[1] or 0)
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    in_cuda_order = ",".join(map(str, range(len(handles)))) if visible is None else visible
    names = [name.strip() for name in in_cuda_order.split(",") if name.strip()]
    if wanted >= len(names):
        raise PowerError(f"nvml: there is no cuda:{wanted}, {len(names)} GPUs are visible (CUDA_VISIBLE_DEVICES={visible or ''})")
    name = names[wanted]
    if name.startswith("MIG-"):
        raise PowerError("nvml: a MIG slice has no power sensor of its own; use --power none")
    if not name.isdigit():
        found = [handle for handle in handles if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(name)]
        if len(found) != 1:
            raise PowerError(f"nvml: CUDA_VISIBLE_DEVICES={visible} does not name one GPU; see `nvidia-smi -L`")
        return found[0]
    kinds = {_text(nvml.nvmlDeviceGetName(handle)) for handle in handles}
    if len(kinds) > 1 and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise PowerError("nvml: with different GPUs, CUDA and NVML number them differently; export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    if int(name) >= len(handles):
        raise PowerError(f"nvml: there is no GPU {name}, the driver sees {len(handles)}")
    return handles[int(name)]


def _text(value: str | bytes) -> str:
    """Decode text; older releases of nvidia-ml-py return bytes."""
    return value.decode() if isinstance(value, bytes) else value
