"""Readings from the jtop service (jetson-stats, for Jetson). It runs as root and so reports more than users can read under /sys.

jetson-stats is under the AGPL: it is imported if the user has installed it, never bundled. Names, units and behaviour of the API are from
releases 4.3 and 7.2. The total is not jtop's where that counts a rail twice, see `rails`. Of a GPU that a release does not know (4.3 on
Thor) the kernel's clock is read.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import socket
import threading
from collections import deque
from collections.abc import Mapping
from multiprocessing.managers import RemoteError
from pathlib import Path
from typing import Any

from savbench.board.jetsons import gpu_clocks, loose_gpu_clock
from savbench.board.memory import swap_io_mib, system_memory, unified_memory
from savbench.board.power.base import PowerError, Reading, Scope, Stamp, check_interval
from savbench.board.power.events import ThrottleWatch
from savbench.board.power.files import read_number, read_text
from savbench.board.power.rails import find_input_rail, split_total

SOCKET = Path("/run/jtop.sock")
START_S = 10.0
"""Seconds allowed for the service to answer; the client itself would wait forever."""
CLOSE_S = 3.0
STALE_S = 3.0
"""The service counts as dead if it has published nothing for this many seconds and for `STALE_INTERVALS` intervals."""
STALE_INTERVALS = 10
OFFLINE_C = -256
"""Temperature of a sensor that is off."""
NO_STATE_YET = "Error connection"
"""The client's message if the service has not published anything yet."""

RESTART = "sudo systemctl restart jtop.service"
JOIN_GROUP = "sudo usermod -aG jtop $USER"
CONNECT_S = 2.0
UNIT = "etc/systemd/system/jtop.service"
INSTALL_SERVICE = "sudo jtop --install-service"
"""From release 7 on pip does not install the service in every case (not with pipx, uv or in an environment)."""


class JtopSampler:
    """A client of the service. The service sends readings at its own interval, which its first client sets for all.

    Args:
        interval_s: requested seconds between readings; the attribute `interval_s` has the service's actual interval.
        module: replaces the package `jtop`; for tests.
        socket_path: where the service listens.
        root: root of the file system to read for values that the service does not report.

    Raises:
        PowerError: there is no service, or it rejects this user or version; the message names the command that fixes it.
    """

    name = "jtop"
    scope: Scope = "module"

    def __init__(self, interval_s: float, module: Any = None, socket_path: Path = SOCKET, root: Path = Path("/")) -> None:
        check_interval(interval_s)
        self._jtop = _import() if module is None else module
        self._root = root
        self._throttle = ThrottleWatch(root)
        self._gpu = gpu_clocks(root)
        self._readings: deque[Reading] = deque()
        self._published = -1.0
        """Uptime of the machine at which the service took the newest reading."""
        self._started = False
        self.interval_s = interval_s
        _check_socket(socket_path, root)
        self._client = self._connect(interval_s)
        self._heard_s, self._heard_of = Stamp.now().t_s, self._published
        self._check_total()

    def read(self) -> list[Reading]:
        try:
            alive = self._client.ok(spin=True)
        except (self._jtop.JtopException, RemoteError, EOFError, OSError) as error:
            raise PowerError(f"jtop: lost the service ({_line(error)}); {RESTART}") from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # raised by the client's thread while it parsed a state
            raise PowerError(f"jtop: the service sent an unknown format ({error!r}); {update(self._root)} && {RESTART}") from error
        if not alive:
            raise PowerError(f"jtop: lost the service; {RESTART}")
        now_s = Stamp.now().t_s
        if self._published != self._heard_of:
            self._heard_s, self._heard_of = now_s, self._published
        silent_s = now_s - self._heard_s
        if silent_s > max(STALE_S, STALE_INTERVALS * self.interval_s):
            raise PowerError(f"jtop: the service has published nothing for {silent_s:.0f} s; {RESTART}")
        return [self._readings.popleft() for _ in range(len(self._readings))]

    def close(self) -> None:
        # joins a thread that searches for installed libraries, which may be slow
        _within(CLOSE_S, self._client.close)

    def _check_total(self) -> None:
        """
        Raises:
            PowerError: the board measures its input, which this release of jetson-stats does not read; its total would be a part.
        """
        monitor = find_input_rail(self._root)
        total = self._client.power.get("tot", {})
        if monitor is not None and total.get("name") != monitor.name:
            self.close()
            version = getattr(self._jtop, "__version__", "")
            raise PowerError(
                f"jtop: jetson-stats {version} does not read the input of this board, {monitor.name}; "
                f"{update(self._root)} && {RESTART}, or --power sysfs"
            )

    def _connect(self, interval_s: float) -> Any:
        """
        Raises:
            PowerError: the service refused or does not answer.
        """
        deadline_s = Stamp.now().t_s + START_S
        while True:
            client = self._jtop.jtop(interval_s)
            client.attach(self._take)
            error = self._start(client, deadline_s)
            if error is None:
                self.interval_s = float(client.interval)
                self._started = True
                return client
            _within(CLOSE_S, client.close)
            # the client waits three intervals for a first state; a service that has just started may need longer
            if _line(error) != NO_STATE_YET or Stamp.now().t_s > deadline_s:
                raise PowerError(_remedy(error, self._root)) from error

    def _start(self, client: Any, deadline_s: float) -> BaseException | None:
        """
        Raises:
            PowerError: the service does not answer in time.
        """
        errors: list[BaseException] = []

        def start() -> None:
            try:
                client.start()
            except (self._jtop.JtopException, RemoteError, EOFError, OSError) as error:
                errors.append(error)

        if not _within(max(1.0, deadline_s - Stamp.now().t_s), start):
            raise PowerError(f"jtop: the service did not answer within {START_S:g} s; {RESTART}")
        return errors[0] if errors else None

    def _take(self, client: Any) -> None:
        """Called by the client's thread for every state received.

        Some states arrive twice, if the client asks more often than the service publishes; the first one after connecting may be hours old.
        """
        published = float(client.uptime.total_seconds())
        if published != self._published:
            self._published = published
            if self._started:
                self._readings.append(self._reading(client, published))

    def _reading(self, client: Any, published: float) -> Reading:
        power, memory = client.power, client.memory
        rails_mw = {name: float(rail["power"]) for name, rail in power.get("rail", {}).items()}
        total_mw, total_of = _total(power.get("tot", {}), rails_mw)
        gpu: Mapping[str, Any] = next(iter(client.gpu.values()), {})
        fans: Mapping[str, Any] = next(iter(client.fan.values()), {})
        emc = memory.get("EMC", {})
        use = system_memory(self._root)
        # the service reads the uptime first, power late, and then publishes: on average half way between then and now
        stamp = Stamp.now().earlier(self._age_s(published) / 2)
        return Reading(
            t_s=stamp.t_s,
            unix_s=stamp.unix_s,
            total_mw=total_mw,
            total_of=total_of,
            rails_mw=rails_mw,
            gpu_load_pct=_number(gpu.get("status", {}).get("load")),
            gpu_clock_khz=self._gpu_clock_khz(gpu),
            emc_pct=_number(emc.get("val")),
            emc_khz=_number(emc.get("cur")),
            temperatures_c={name.lower(): float(zone["temp"]) for name, zone in client.temperature.items() if zone["temp"] != OFFLINE_C},
            ram_used_mib=use.used_mib,
            swap_used_mib=use.swap_used_mib,
            swap_io_mib=swap_io_mib(self._root),
            fan_pct=_number(next(iter(fans.get("speed", [])), None)),
            nvpmodel=None if client.nvpmodel is None else str(client.nvpmodel),
            jetson_clocks=self._clocks_fixed(client.jetson_clocks),
            alarms=self._throttle.alarms(),
            events=self._throttle.events(),
        )

    def _gpu_clock_khz(self, gpu: Mapping[str, Any]) -> float | None:
        clock = _number(gpu.get("freq", {}).get("cur"))
        if clock is None and self._gpu:
            hertz = read_number(self._gpu[0] / "cur_freq")
            return None if hertz is None else hertz / 1e3
        return clock

    def _clocks_fixed(self, told: Any) -> bool | None:
        """What the service tells, unless the kernel shows that a clock of the GPU is not fixed: the service may not know this GPU."""
        if loose_gpu_clock(self._gpu):
            return False
        return None if told is None else bool(told)

    def _age_s(self, published: float) -> float:
        """Age in seconds of a reading, which the service stamps with the uptime. Bounded: a container may show another uptime."""
        uptime = (read_text(self._root / "proc/uptime") or "").split()
        age = float(uptime[0]) - published if uptime else 0.0
        return min(max(age, 0.0), self.interval_s)


def _total(told: Mapping[str, Any], rails_mw: dict[str, float]) -> tuple[float | None, str]:
    """The total in mW and what it covers: the input rail, which jtop takes out of the rails, or the sum of the rails that count."""
    if told.get("name"):
        return _number(told.get("power")), str(told["name"])
    return split_total(rails_mw) if rails_mw else (None, "")


def _import() -> Any:
    """
    Raises:
        PowerError: jetson-stats is not installed for this Python.
    """
    before = multiprocessing.get_start_method(allow_none=True)
    try:
        module = importlib.import_module("jtop")
    except ImportError as error:
        raise PowerError(f"jtop: jetson-stats is not installed for this Python ({error}); pip install jetson-stats") from error
    # on import, 7.2 sets the start method of the whole process to fork, which only its service needs
    multiprocessing.set_start_method(before, force=True)
    return module


def _check_socket(path: Path, root: Path) -> None:
    """
    Raises:
        PowerError: the service does not listen, or rejects this user.
    """
    if not path.exists() and not unified_memory(root):
        raise PowerError(
            f"jtop: this is not a Jetson and {path} does not exist; use --power nvml for a GPU, or --power none (container: mount {path})"
        )
    if (problem := socket_problem(path, root)) is not None:
        what, remedy = problem
        raise PowerError(f"jtop: {what}; {remedy}" + (", then log in again" if remedy == JOIN_GROUP else ""))


def socket_problem(path: Path, root: Path) -> tuple[str, str] | None:
    """The problem with the service's socket and the command that fixes it; None if the service listens and accepts this user."""
    if not path.exists():
        if not (root / UNIT).exists():
            return f"the service is not installed (no /{UNIT}; in a container mount {SOCKET})", f"{update(root)} && {INSTALL_SERVICE}"
        return f"the service is not running (no {path})", RESTART
    if not os.access(path, os.R_OK | os.W_OK):
        return f"this user may not open {path}", JOIN_GROUP
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(CONNECT_S)
            client.connect(str(path))
    except OSError as error:
        return f"the service does not answer on {path} ({error.strerror or error})", RESTART
    return None


def update(root: Path) -> str:
    """The command that updates jetson-stats for the system's Python; from Ubuntu 24.04 on pip asks to be told that it may (PEP 668)."""
    is_managed = any((root / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"))
    return f"sudo pip3 install -U {'--break-system-packages ' if is_managed else ''}jetson-stats"


def _remedy(error: BaseException, root: Path) -> str:
    message = _line(error)
    if "mismatch" in message.lower():
        return f"jtop: {message}; {update(root)} && {RESTART}, with the version of this Python: pip install -U jetson-stats"
    if isinstance(error, PermissionError) or "access" in message:
        return f"jtop: {message}; {JOIN_GROUP}, then log in again"
    return f"jtop: {message}; {RESTART}"


def _line(error: BaseException) -> str:
    """The message on one line, without the command that it recommends, which does more than needed."""
    message = str(error).partition("Please")[0]
    return " ".join(message.split()).rstrip(". ") or type(error).__name__


def _within(seconds: float, action: Any) -> bool:
    """Run an action that may never return in its own thread. False if it has not returned in time."""
    thread = threading.Thread(target=action, name="jtop-client", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
