"""An emulated Jetson Orin: its files as the kernel shows them, and the real jtop service on top of them.

The files alone (`OrinFiles`) go anywhere and need no rights. The service (`jtop_service`) reads them at `/fake_sys`, where jetson-stats
looks under JTOP_TESTING, and listens at /run/jtop.sock: it needs root, jetson-stats, and the machine to itself. It runs in a process of
its own, this file as a script, which ends when the test's end of its standard input does.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAKE_SYS = Path("/fake_sys")
SOCKET = Path("/run/jtop.sock")
MARK = "owner"
"""File in FAKE_SYS with the process that made it."""
START_S = 30.0

# rail, monitor, channel
AGX_RAILS = {
    "VDD_GPU_SOC": ("1-0040", 1),
    "VDD_CPU_CV": ("1-0040", 2),
    "VIN_SYS_5V0": ("1-0040", 3),
    "VDDQ_VDD2_1V8AO": ("1-0041", 2),
}
NX_RAILS = {"VDD_IN": ("1-0040", 1), "VDD_CPU_GPU_CV": ("1-0040", 2), "VDD_SOC": ("1-0040", 3)}

NVPMODEL = """#!/bin/sh
case "$1" in
-q) echo "NV Power Mode: $(cat {sys}/nvpmodel_now)"; echo 0 ;;
-p) echo "NVPM VERB: PM_CONFIG: DEFAULT=MAXN(0)"; echo "NVPM VERB: POWER_MODEL: ID=0 NAME=MAXN" ;;
esac
"""
JETSON_CLOCKS = """#!/bin/sh
case "$1" in
--show) echo "GPU MinFreq=306000000 MaxFreq=1300500000 CurrentFreq=306000000" ;;
--store) touch "$2" ;;
esac
"""


class OrinFiles:
    """The files of an Orin under a folder that stands for /sys. Whoever reads one sees a whole value, old or new."""

    def __init__(self, sys_dir: Path, rails: dict[str, tuple[str, int]] = AGX_RAILS) -> None:
        self.sys = sys_dir
        self._rails = rails
        self._hwmon = {monitor: index for index, monitor in enumerate(sorted({monitor for monitor, _ in rails.values()}), start=1)}
        for monitor in self._hwmon:
            self.write(f"bus/i2c/devices/{monitor}/name", "ina3221")
            for channel in (1, 2, 3):
                self._write_channel(monitor, channel, "NC", 0, 0)
            # the driver's sum of shunt voltages, which is no rail
            self.write(f"{self._monitor(monitor)}/in7_label", "sum of shunt voltages")
        for rail in rails:
            self.set_rail(rail, 5000, 1000)
        gpu = f"{self.sys}/devices/platform/17000000.gpu/devfreq/17000000.gpu"
        self.write("devices/platform/17000000.gpu/devfreq/17000000.gpu/device/of_node/name", "gpu")
        self.write("class/devfreq/.keep", "")
        (self.sys / "class/devfreq/17000000.gpu").symlink_to(gpu)
        self.gpu = "class/devfreq/17000000.gpu"
        self.write(f"{self.gpu}/governor", "nvhost_podgov")
        self.set_gpu(load_permille=0, hz=306_000_000)
        self.set_gpu_limits(306_000_000, 1_300_500_000)
        self.write("kernel/debug/bpmp/debug/clk/emc/rate", 2_133_000_000)
        self.write("kernel/debug/bpmp/debug/clk/emc/max_rate", 3_199_000_000)
        self.write("kernel/debug/bpmp/debug/clk/emc/min_rate", 204_000_000)
        self.write("kernel/actmon_avg_activity/mc_all", 2_133_000 * 25)
        self.write("class/hwmon/hwmon8/name", "pwmfan")
        self.write("class/hwmon/hwmon8/pwm1", 51)
        self.zones = ["CPU-therm", "GPU-therm", "CV0-therm", "tj-thermal"]
        (self.sys / "class/thermal").mkdir(parents=True)
        for number, zone in enumerate(self.zones):
            self.write(f"devices/virtual/thermal/thermal_zone{number}/type", zone)
            (self.sys / f"class/thermal/thermal_zone{number}").symlink_to(self.sys / f"devices/virtual/thermal/thermal_zone{number}")
            # CV0 is powered down: its sensor answers nothing
            self.set_zone(zone, None if zone.startswith("CV") else 45_000 + 1000 * number)

    def write(self, name: str, value: object) -> None:
        """Put a value in the place of the old one at once; jtop's service dies of a number that is half written."""
        path = self.sys / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.sys / f".{threading.get_ident()}.tmp"
        temporary.write_text(f"{value}\n")
        temporary.replace(path)

    def set_rail(self, rail: str, mv: int, ma: int) -> None:
        self._write_channel(*self._rails[rail], rail, mv, ma)

    def rail_file(self, rail: str, name: str) -> str:
        """Path of a rail's file within /sys; `name` with `{}` for the channel, for example `curr{}_input`."""
        monitor, channel = self._rails[rail]
        return f"{self._monitor(monitor)}/{name.format(channel)}"

    def set_gpu(self, *, load_permille: int, hz: int) -> None:
        self.write(f"{self.gpu}/device/load", load_permille)
        self.write(f"{self.gpu}/cur_freq", hz)

    def set_gpu_limits(self, low_hz: int, high_hz: int) -> None:
        self.write(f"{self.gpu}/min_freq", low_hz)
        self.write(f"{self.gpu}/max_freq", high_hz)

    def set_zone(self, zone: str, millidegrees: int | None) -> None:
        """None: the zone is offline."""
        self.write(f"devices/virtual/thermal/thermal_zone{self.zones.index(zone)}/temp", "" if millidegrees is None else millidegrees)

    def _monitor(self, monitor: str) -> str:
        return f"bus/i2c/devices/{monitor}/hwmon/hwmon{self._hwmon[monitor]}"

    def _write_channel(self, monitor: str, channel: int, label: str, mv: int, ma: int) -> None:
        folder = self._monitor(monitor)
        self.write(f"{folder}/in{channel}_label", label)
        self.write(f"{folder}/in{channel}_input", mv)
        self.write(f"{folder}/curr{channel}_input", ma)


class Drive:
    """A thread that sets a rail's power to a function of `time.perf_counter()` every few milliseconds, and notes what it set and when.

    On a busy machine the rail follows the function late; what it held is known all the same.
    """

    def __init__(self, files: OrinFiles, rail: str, watts_at: Callable[[float], float]) -> None:
        self._files, self._rail = files, rail
        self._watts_at = watts_at
        self._held: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Drive:
        self._step()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def joules(self, begin_s: float, end_s: float) -> float:
        """Energy that the rail gave in this time: each power held until the next was set."""
        times = [time_s for time_s, _ in self._held] + [float("inf")]
        return sum(
            watts * max(0.0, min(end_s, until_s) - max(begin_s, since_s))
            for (since_s, watts), until_s in zip(self._held, times[1:], strict=True)
        )

    def _run(self) -> None:
        while not self._stop.wait(0.004):
            self._step()

    def _step(self) -> None:
        watts = self._watts_at(time.perf_counter())
        self._files.set_rail(self._rail, 5_000, round(watts / 5 * 1e3))
        self._held.append((time.perf_counter(), watts))


class Service:
    """The real jtop service, running on emulated files."""

    def __init__(self, files: OrinFiles, process: subprocess.Popen[str]) -> None:
        self.files = files
        self._process = process

    def end(self) -> None:
        """Stop it as `systemctl stop` would."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(START_S)
        self.kill()

    def kill(self) -> None:
        """End it with all its processes, without a word."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def jtop_service(rails: dict[str, tuple[str, int]] = AGX_RAILS) -> Iterator[Service]:
    """Run the service; the test is skipped, with the reason, where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("the jtop service runs as root only")
    if importlib.util.find_spec("jtop") is None:
        pytest.skip("needs jetson-stats")
    with Path("/run/lock/emulated_orin.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear()
        if SOCKET.exists():
            pytest.skip(f"{SOCKET} exists: a jtop service runs on this machine")
        process = None
        try:
            FAKE_SYS.mkdir()
            (FAKE_SYS / MARK).write_text(str(os.getpid()))
            files = OrinFiles(FAKE_SYS, rails)
            _write_rest(files)
            process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the jtop service did not start"
            service = Service(files, process)
            yield service
            service.end()
        finally:
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            _clear()
            if process is not None:
                SOCKET.unlink(missing_ok=True)


def _clear() -> None:
    """Remove what is ours, also of a test that was killed."""
    if not FAKE_SYS.exists():
        return
    try:
        owner = int((FAKE_SYS / MARK).read_text())
    except (OSError, ValueError):
        pytest.skip(f"{FAKE_SYS} exists and is not this test's")
    if owner != os.getpid() and Path(f"/proc/{owner}").exists():
        pytest.skip(f"{FAKE_SYS} is in use by process {owner}")
    shutil.rmtree(FAKE_SYS)


def _write_rest(files: OrinFiles) -> None:
    """What the service wants to find beyond what is measured here."""
    files.write("nvpmodel_now", "MAXN")
    files.write("class/power_supply/.keep", "")
    files.write("kernel/debug/nvmap/iovmm/maps", "CLIENT PROCESS PID SIZE\ntotal 0K")
    files.write("stat", "cpu  1000 0 500 50000 0 0 0 0 0 0\ncpu0 1000 0 500 50000 0 0 0 0 0 0\nbtime 1")
    for name, value in (("scaling_governor", "schedutil"), ("scaling_cur_freq", 2_201_600), ("cpuinfo_cur_freq", 2_201_600)):
        files.write(f"devices/system/cpu/cpu0/cpufreq/{name}", value)
    for name, khz in (("scaling_min_freq", 729_600), ("cpuinfo_min_freq", 115_200)):
        files.write(f"devices/system/cpu/cpu0/cpufreq/{name}", khz)
        files.write(f"devices/system/cpu/cpu0/cpufreq/{name.replace('min', 'max')}", 2_201_600)
    files.write("devices/system/cpu/cpu0/online", 1)
    for name, text in (("nvpmodel", NVPMODEL), ("jetson_clocks", JETSON_CLOCKS)):
        files.write(f"bin/{name}", text.format(sys=files.sys))
        (files.sys / "bin" / name).chmod(0o755)


def _serve() -> None:
    """The service's process: the package's own server, told where this Orin's files are."""
    os.environ["JTOP_TESTING"] = "true"
    os.environ["PATH"] = f"{FAKE_SYS}/bin:{os.environ['PATH']}"
    from jtop import service
    from jtop.core import config, jetson_clocks, temperature

    # written below the Python installation otherwise
    config.get_config_service = lambda data_folder="": str(FAKE_SYS / "jtop-config")
    jetson_clocks.PATH_JETSON_CLOCKS.insert(0, str(FAKE_SYS / "bin/jetson_clocks"))
    # the group jtop, which the installer makes
    service.getgrnam = lambda name: SimpleNamespace(gr_gid=0)
    service.get_hardware = lambda: {
        "Model": "NVIDIA Jetson AGX Orin Developer Kit",
        "Module": "emulated",
        "L4T": "36.4.3",
        "Jetpack": "6.2",
    }
    server = service.JtopServer(force=True)
    # thermal zones are the one thing that JTOP_TESTING does not move
    server.temperature._temperature = temperature.get_virtual_thermal_temperature(str(FAKE_SYS / "devices/virtual/thermal"))
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.close()


if __name__ == "__main__":
    _serve()
