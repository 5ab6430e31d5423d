"""An emulated board of the table in `boards`: its files as the kernel shows them, and the real jtop service on top of them.

The files alone (`BoardFiles`, or `write_root` for the rest of the file system too) go anywhere and need no rights. The service
(`jtop_service`) reads them at `/fake_sys`, where jetson-stats looks under JTOP_TESTING, and listens at /run/jtop.sock: it needs root,
jetson-stats, and the machine to itself. It runs in a process of its own, this file as a script, which ends when the test's end of its
standard input does.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
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
from boards import AGX_ORIN, BOARDS, Board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAKE_SYS = Path("/fake_sys")
SOCKET = Path("/run/jtop.sock")
MARK = "owner"
"""File in FAKE_SYS with the process that made it."""
START_S = 30.0

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


class BoardFiles:
    """The files of a board under a folder that stands for /sys. Whoever reads one sees a whole value, old or new.

    As after boot: the GPU idles, no clock is fixed, and rails have what the table says.
    """

    def __init__(self, sys_dir: Path, board: Board = AGX_ORIN) -> None:
        self.sys = sys_dir
        self.board = board
        self._rails = {rail.label: rail for rail in board.rails}
        self._hwmon = {monitor: index for index, monitor in enumerate(sorted({rail.monitor for rail in board.rails}), start=1)}
        for monitor in self._hwmon:
            self.write(f"bus/i2c/devices/{monitor}/name", "ina3221")
            self.write(f"{self._monitor(monitor)}/name", "ina3221")
            for channel in (1, 2, 3):
                self._write_channel(monitor, channel, "NC", 0, 0)
            # the driver's sum of shunt voltages, which is no rail
            self.write(f"{self._monitor(monitor)}/in7_label", "sum of shunt voltages")
        for rail in board.rails:
            self.set_rail(rail.label, rail.mv, rail.ma)
        if board.input_monitor is not None:
            self.write(f"bus/i2c/devices/{board.input_monitor.device}/name", "ina238")
            self.write(f"{self.input_folder}/name", "ina238")
            self.write(f"{self.input_folder}/label", board.input_monitor.label)
            self.set_input(board.input_monitor.mv, board.input_monitor.ma)
        for clock in board.gpu:
            self._write_clock(clock.name, "device" if clock.of_node is None else f"platform/{clock.name}")
            if clock.of_node is not None:
                self.write(f"class/devfreq/{clock.name}/device/of_node/name", clock.of_node, end="\0")
            self.write(f"class/devfreq/{clock.name}/governor", "nvhost_podgov")
            self.set_limits(clock.name, clock.low, clock.high)
            self.write(f"class/devfreq/{clock.name}/cur_freq", clock.low)
            if clock.has_load:
                self.write(f"class/devfreq/{clock.name}/device/load", 0)
        self.gpu = f"class/devfreq/{board.gpu[0].name}"
        self._write_emc()
        for policy in board.cpu_policies:
            for name, khz in (("min", board.cpu_khz[0]), ("max", board.cpu_khz[1])):
                self.write(f"devices/system/cpu/cpufreq/policy{policy}/scaling_{name}_freq", khz)
        self.write("class/hwmon/hwmon8/name", "pwmfan")
        self.write("class/hwmon/hwmon8/pwm1", 51)
        (self.sys / "class/thermal").mkdir(parents=True)
        for number, zone in enumerate(board.zones):
            self.write(f"devices/virtual/thermal/thermal_zone{number}/type", zone)
            (self.sys / f"class/thermal/thermal_zone{number}").symlink_to(self.sys / f"devices/virtual/thermal/thermal_zone{number}")
            self.set_zone(zone, None if zone.startswith("cv") else 45_000 + 1000 * number)

    def write(self, name: str, value: object, end: str = "\n") -> None:
        """Put a value in the place of the old one at once; jtop's service dies of a number that is half written."""
        path = self.sys / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.sys / f".{threading.get_ident()}.tmp"
        temporary.write_text(f"{value}{end}")
        temporary.replace(path)

    @property
    def input_folder(self) -> str:
        """Path of the INA238's files within /sys."""
        assert self.board.input_monitor is not None
        return f"bus/i2c/devices/{self.board.input_monitor.device}/hwmon/hwmon{len(self._hwmon) + 1}"

    def set_input(self, mv: int, ma: int) -> None:
        """What the INA238 reads; its power is in microwatts."""
        for name, value in (("in1_input", mv), ("curr1_input", ma), ("power1_input", mv * ma)):
            self.write(f"{self.input_folder}/{name}", value)

    def set_rail(self, rail: str, mv: int, ma: int) -> None:
        self._write_channel(self._rails[rail].monitor, self._rails[rail].channel, rail, mv, ma)

    def rail_file(self, rail: str, name: str) -> str:
        """Path of a rail's file within /sys; `name` with `{}` for the channel, for example `curr{}_input`."""
        return f"{self._monitor(self._rails[rail].monitor)}/{name.format(self._rails[rail].channel)}"

    def set_gpu(self, *, load_permille: int | None = None, hz: int) -> None:
        if load_permille is not None:
            self.write(f"{self.gpu}/device/load", load_permille)
        self.write(f"{self.gpu}/cur_freq", hz)

    def set_limits(self, clock: str, low_hz: int, high_hz: int) -> None:
        """Lower and upper limit of a GPU's clock, by its name in devfreq."""
        self.write(f"class/devfreq/{clock}/min_freq", low_hz)
        self.write(f"class/devfreq/{clock}/max_freq", high_hz)

    def lock_clocks(self) -> None:
        """As jetson_clocks does: every lower limit is the upper one."""
        for clock in self.board.gpu:
            self.set_limits(clock.name, clock.high, clock.high)
        for policy in self.board.cpu_policies:
            self.write(f"devices/system/cpu/cpufreq/policy{policy}/scaling_min_freq", self.board.cpu_khz[1])

    def set_zone(self, zone: str, millidegrees: int | None) -> None:
        """None: the zone is offline."""
        self.write(f"devices/virtual/thermal/thermal_zone{self.board.zones.index(zone)}/temp", "" if millidegrees is None else millidegrees)

    def _write_clock(self, name: str, device: str) -> None:
        """The device's folder, and the link that the class has to it."""
        folder = self.sys / "devices" / device / "devfreq" / name
        folder.mkdir(parents=True)
        (self.sys / "class/devfreq").mkdir(parents=True, exist_ok=True)
        (self.sys / "class/devfreq" / name).symlink_to(folder)

    def _write_emc(self) -> None:
        low, now, high = self.board.emc_hz
        if self.board.emc_in_devfreq:
            self._write_clock("bwmgr", "platform/bwmgr")
            self.set_limits("bwmgr", low, high)
            self.write("class/devfreq/bwmgr/cur_freq", now)
            self.write("kernel/debug/bpmp/debug/actmon/mc_all_avg_activity", now // 1000 * 25)
            return
        for name, hz in (("rate", now), ("max_rate", high), ("min_rate", low)):
            self.write(f"kernel/debug/bpmp/debug/clk/emc/{name}", hz)
        self.write("kernel/actmon_avg_activity/mc_all", now // 1000 * 25)

    def _monitor(self, monitor: str) -> str:
        return f"bus/i2c/devices/{monitor}/hwmon/hwmon{self._hwmon[monitor]}"

    def _write_channel(self, monitor: str, channel: int, label: str, mv: int, ma: int) -> None:
        folder = self._monitor(monitor)
        self.write(f"{folder}/in{channel}_label", label)
        self.write(f"{folder}/in{channel}_input", mv)
        self.write(f"{folder}/curr{channel}_input", ma)


def write_root(root: Path, board: Board, mode: int | None = None) -> BoardFiles:
    """The board's whole file system, as far as it is read: /sys, the device tree, the release, power modes and CUDA's version.

    Args:
        mode: number of the power mode; default: the fastest.
    """
    jetpack = board.jetpack
    python = jetpack.python.rpartition(".")[0]
    meminfo = {"MemTotal": board.memory_kb, "MemAvailable": board.memory_kb - 2_000_000, "SwapTotal": 0, "SwapFree": 0}
    files = {
        "etc/nv_tegra_release": f"{jetpack.release}\n# KERNEL_VARIANT: oot\n",
        "etc/os-release": f'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu {jetpack.ubuntu} LTS"\nVERSION_ID="{jetpack.ubuntu}"\n',
        "etc/nvpmodel.conf": "".join(f"< POWER_MODEL ID={number} NAME={name} >\n" for number, name in board.modes.items()),
        "var/lib/nvpmodel/status": f"pmode:{board.fastest_mode if mode is None else mode:04d}\n",
        "var/lib/dpkg/status": f"Package: nvidia-jetpack\nStatus: install ok installed\nVersion: {jetpack.version}\n",
        "proc/device-tree/model": f"{board.model}\0",
        "proc/device-tree/compatible": "".join(f"{name}\0" for name in board.compatible),
        "proc/sys/kernel/osrelease": f"{jetpack.kernel}\n",
        "proc/meminfo": "".join(f"{name}: {size} kB\n" for name, size in meminfo.items()),
        **({f"usr/lib/python{python}/EXTERNALLY-MANAGED": "[externally-managed]\n"} if jetpack.is_externally_managed else {}),
        "usr/local/cuda/version.json": json.dumps({"cuda": {"version": jetpack.cuda}}),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return BoardFiles(root / "sys", board)


class Drive:
    """A thread that sets a rail's power to a function of `time.perf_counter()` every few milliseconds, and notes what it set and when.

    On a busy machine the rail follows the function late; what it held is known all the same.
    """

    def __init__(self, files: BoardFiles, rail: str, watts_at: Callable[[float], float]) -> None:
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

    def __init__(self, files: BoardFiles, process: subprocess.Popen[str]) -> None:
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
def jtop_service(board: Board = AGX_ORIN, release: Path | None = None) -> Iterator[Service]:
    """Run the service; the test is skipped, with the reason, where that cannot be.

    Args:
        release: folder with the package `jtop` of another release of jetson-stats than the installed one.
    """
    if os.geteuid() != 0:
        pytest.skip("the jtop service runs as root only")
    if importlib.util.find_spec("jtop") is None:
        pytest.skip("needs jetson-stats")
    with Path("/run/lock/emulated_board.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear()
        if SOCKET.exists():
            pytest.skip(f"{SOCKET} exists: a jtop service runs on this machine")
        process = None
        try:
            FAKE_SYS.mkdir()
            (FAKE_SYS / MARK).write_text(str(os.getpid()))
            files = BoardFiles(FAKE_SYS, board)
            _write_rest(files)
            process = subprocess.Popen(
                [sys.executable, __file__, board.id],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=with_release(release),
                text=True,
                start_new_session=True,
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


def with_release(release: Path | None) -> dict[str, str]:
    """Environment of a process that imports `jtop` from a folder; None: the installed one."""
    return dict(os.environ) if release is None else {**os.environ, "PYTHONPATH": str(release)}


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


def _write_rest(files: BoardFiles) -> None:
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


def _show_thor() -> None:
    """Releases from 7 on look for Thor's GPU at fixed paths, which JTOP_TESTING does not move."""
    with contextlib.suppress(ImportError):
        from jtop.core import gpu, hw_detect

        hw_detect.THOR_GPC = gpu.THOR_GPC = str(FAKE_SYS / "class/devfreq/gpu-gpc-0")


def _serve(board: Board) -> None:
    """The service's process: the package's own server, told where this board's files are."""
    os.environ["JTOP_TESTING"] = "true"
    os.environ["PATH"] = f"{FAKE_SYS}/bin:{os.environ['PATH']}"
    from jtop import service
    from jtop.core import config, jetson_clocks, temperature

    # written below the Python installation otherwise
    config.get_config_service = lambda data_folder="": str(FAKE_SYS / "jtop-config")
    jetson_clocks.PATH_JETSON_CLOCKS.insert(0, str(FAKE_SYS / "bin/jetson_clocks"))
    _show_thor()
    # the group jtop, which the installer makes
    service.getgrnam = lambda name: SimpleNamespace(gr_gid=0)
    service.get_hardware = lambda: {"Model": board.model, "Module": "emulated", "L4T": board.jetpack.l4t, "Jetpack": board.jetpack.version}
    server = service.JtopServer(force=True)
    # thermal zones are the one thing that JTOP_TESTING does not move
    server.temperature._temperature = temperature.get_virtual_thermal_temperature(str(FAKE_SYS / "devices/virtual/thermal"))
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.close()


if __name__ == "__main__":
    _serve(BOARDS[sys.argv[1]])
