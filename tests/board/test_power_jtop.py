"""The jtop service: the real one on an emulated Orin, and every way in which it can refuse."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from boards import BOARDS, ORIN_NX
from emulated_board import jtop_service, write_root

from savbench.board.power import jtop as jtop_module
from savbench.board.power.base import PowerError, Reading
from savbench.board.power.jtop import JtopSampler
from savbench.board.power.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


def _next(sampler: JtopSampler, wanted: Callable[[Reading], bool] = lambda reading: True) -> Reading:
    """The first reading, from now on, that is as wanted."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        for reading in sampler.read():
            if wanted(reading):
                return reading
        time.sleep(0.02)
    pytest.fail("no such reading came in 20 s")


@pytest.mark.alone
def test_the_real_service_is_read_shared_and_survived() -> None:
    """One test, since starting the service takes longer than everything asked of it."""
    with jtop_service(ORIN_NX) as service:
        files = service.files
        files.set_rail("VDD_IN", 5_000, 2_600)
        files.set_gpu(load_permille=730, hz=1_020_000_000)
        files.set_zone("tj-thermal", 61_500)
        sampler = JtopSampler(0.1)
        assert sampler.interval_s == 0.1

        reading = _next(sampler, lambda reading: reading.gpu_load_pct == 73)
        assert reading.total_mw == 13_000
        assert reading.total_of == "VDD_IN"
        assert reading.rails_mw == {"VDD_CPU_GPU_CV": 2000, "VDD_SOC": 1750}
        assert reading.gpu_clock_khz == 1_020_000
        assert (reading.emc_pct, reading.emc_khz) == (25, 2_133_000)
        assert reading.temperatures_c == {"cpu": 45, "gpu": 46, "soc0": 48, "tj": 61.5}
        assert reading.fan_pct == pytest.approx(20)
        assert reading.nvpmodel == "MAXN"
        assert reading.jetson_clocks is False
        assert reading.ram_used_mib is not None
        assert reading.t_s <= time.perf_counter()

        files.write("nvpmodel_now", "MODE_30W")
        files.set_limits("17000000.gpu", 1_300_500_000, 1_300_500_000)
        assert _next(sampler, lambda reading: reading.nvpmodel == "MODE_30W" and bool(reading.jetson_clocks))

        # the first client's interval holds for all, and a client that asks more often gets no reading twice
        second = JtopSampler(0.02)
        assert second.interval_s == 0.1
        stamps = [_next(second).t_s for _ in range(8)]
        assert stamps == sorted(set(stamps))
        # on a busy machine one may come late and the next one on its heels
        assert stamps[-1] - stamps[0] > 7 * 0.05
        second.close()

        with Recorder(sampler) as recorder:
            assert recorder.wait_past(time.perf_counter(), timeout_s=20)
            service.kill()
            assert not recorder.wait_past(float("inf"), timeout_s=20)
            assert "sudo systemctl restart jtop.service" in recorder.died
            assert recorder.around(0, float("inf"))


class JtopException(Exception):  # noqa: N818 - its name in jetson-stats
    pass


class FakeClient:
    """A client of jetson-stats as far as it is asked. `behave` is called in the place of connecting."""

    interval = 0.1
    gpu: Any = SimpleNamespace(values=dict[str, Any]().values)
    fan: Any = SimpleNamespace(values=dict[str, Any]().values)
    memory: Any = SimpleNamespace(get=dict[str, Any]().get)
    power: Any = {}  # noqa: RUF012 - what the service publishes without sensors
    temperature: Any = {}  # noqa: RUF012
    nvpmodel = None
    jetson_clocks = None

    def __init__(self, behave: Callable[[], None]) -> None:
        self._behave = behave
        self.uptime = timedelta(seconds=100)
        self.publish: Callable[[Any], None] = lambda client: None
        self.alive = True

    def attach(self, observer: Callable[[Any], None]) -> None:
        self.publish = observer

    def start(self) -> None:
        self._behave()
        self.publish(self)

    def ok(self, spin: bool) -> bool:
        assert spin
        return self.alive

    def close(self) -> None:
        pass


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "jtop.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


def _open(listening: Path, behave: Callable[[], None] = lambda: None) -> tuple[JtopSampler, FakeClient]:
    clients: list[FakeClient] = []

    def connect(interval_s: float) -> FakeClient:
        clients.append(FakeClient(behave))
        return clients[-1]

    module = SimpleNamespace(jtop=connect, JtopException=JtopException)
    sampler = JtopSampler(0.1, module, socket_path=listening, root=listening.parent)
    return sampler, clients[-1]


def _refusing(*errors: Exception) -> Callable[[], None]:
    left = list(errors)

    def behave() -> None:
        if left:
            raise left.pop(0)

    return behave


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (JtopException("The jtop.service is not active. Please run:\nsudo jtop --install-service"), "sudo systemctl restart jtop.service$"),
        (
            JtopException("I can't access jtop.service.\nPlease logout or reboot this board."),
            r"sudo usermod -aG jtop \$USER, then log in again$",
        ),
        (PermissionError(13, "Permission denied"), r"sudo usermod -aG jtop \$USER, then log in again$"),
        (
            JtopException("Mismatch version jtop service: [4.3.2] and client: [7.2.2]. Please run:\n\nsudo jtop --install-service"),
            r"\[4.3.2\] and client: \[7.2.2\]; sudo pip3 install -U jetson-stats && sudo systemctl restart jtop.service",
        ),
        (JtopException("Mismatch of Python versions between library and service"), "sudo pip3 install -U jetson-stats"),
        (JtopException("Authentication with jetson-stats server failed"), "sudo systemctl restart jtop.service$"),
        (ConnectionResetError(104, "Connection reset by peer"), "sudo systemctl restart jtop.service$"),
    ],
)
def test_a_refusal_names_the_command_that_mends_it(listening: Path, error: Exception, remedy: str) -> None:
    with pytest.raises(PowerError, match=remedy) as raised:
        _open(listening, _refusing(error))
    assert "\n" not in str(raised.value)
    assert "install-service" not in str(raised.value)


def test_a_service_that_has_just_woken_up_is_given_time(listening: Path) -> None:
    sampler, _ = _open(listening, _refusing(JtopException("Error connection"), JtopException("Error connection")))
    assert sampler.read() == []


def test_a_service_that_never_answers_is_given_up(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        threading.Event().wait(60)

    monkeypatch.setattr(jtop_module, "START_S", 0.0)
    with pytest.raises(PowerError, match=r"did not answer.*sudo systemctl restart jtop.service"):
        _open(listening, never)


@pytest.mark.parametrize(
    ("board", "install"),
    [
        ("agx-orin-jp6.2", "sudo pip3 install -U jetson-stats && sudo jtop --install-service"),
        ("agx-orin-jp7.2", "sudo pip3 install -U --break-system-packages jetson-stats && sudo jtop --install-service"),
    ],
)
def test_no_socket_on_a_jetson_means_no_service(tmp_path: Path, board: str, install: str) -> None:
    write_root(tmp_path, BOARDS[board])
    with pytest.raises(PowerError, match=f"the service is not installed .*; {install}$"):
        _open(tmp_path / "jtop.sock")
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/jtop.service").touch()
    with pytest.raises(PowerError, match=r"not running.*sudo systemctl restart jtop.service$"):
        _open(tmp_path / "jtop.sock")


def test_no_socket_elsewhere_means_no_jetson(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match=r"not a Jetson.*--power nvml.*--power none"):
        _open(tmp_path / "jtop.sock")


def test_a_socket_that_a_dead_service_left_behind_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "jtop.sock"))
    with pytest.raises(PowerError, match=r"does not answer on .*\(Connection refused\); sudo systemctl restart jtop.service$"):
        _open(tmp_path / "jtop.sock")


def test_a_socket_of_another_group_names_the_group(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may open everything, so the answer has to be made up
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PowerError, match=r"sudo usermod -aG jtop \$USER"):
        _open(listening)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", None)
    with pytest.raises(PowerError, match=r"pip install jetson-stats$"):
        JtopSampler(0.1)


def test_importing_the_package_leaves_the_start_method_of_processes_alone() -> None:
    pytest.importorskip("jtop", reason="needs jetson-stats")
    code = """
import multiprocessing
from savbench.board.power import jtop
multiprocessing.set_start_method("spawn")
jtop._import()
print(multiprocessing.get_start_method())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "spawn\n"


def test_an_interval_of_zero_never_reaches_the_client(listening: Path) -> None:
    module = SimpleNamespace(jtop=lambda interval_s: pytest.fail("was asked"), JtopException=JtopException)
    with pytest.raises(PowerError, match="--power_interval"):
        JtopSampler(0.0, module, socket_path=listening)


def test_the_state_from_before_and_repeated_ones_are_no_readings(listening: Path) -> None:
    sampler, client = _open(listening)
    client.publish(client)
    assert sampler.read() == []

    client.uptime = timedelta(seconds=100.1)
    client.publish(client)
    client.publish(client)
    (reading,) = sampler.read()
    assert reading.total_mw is None
    assert reading.total_of == ""
    assert reading.rails_mw == reading.temperatures_c == {}
    assert sampler.read() == []


def test_a_reading_is_of_half_way_between_its_beginning_and_its_arrival(listening: Path) -> None:
    sampler, client = _open(listening)
    (listening.parent / "proc").mkdir()
    (listening.parent / "proc/uptime").write_text("200.05 1.0\n")
    client.uptime = timedelta(seconds=200)
    before_s = time.perf_counter()
    client.publish(client)
    after_s = time.perf_counter()
    (reading,) = sampler.read()
    assert before_s - 0.025 <= reading.t_s + 1e-9 <= after_s - 0.025 + 1e-9

    # an uptime of another clock, as in some containers, moves a reading by no more than an interval
    (listening.parent / "proc/uptime").write_text("9.0 1.0\n")
    client.uptime = timedelta(seconds=201)
    before_s = time.perf_counter()
    client.publish(client)
    (reading,) = sampler.read()
    assert before_s <= reading.t_s


def test_a_service_that_falls_silent_counts_as_gone(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, client = _open(listening)
    monkeypatch.setattr(jtop_module, "STALE_S", 0.0)
    monkeypatch.setattr(jtop_module, "STALE_INTERVALS", 0)
    client.publish(client)
    time.sleep(0.002)
    with pytest.raises(PowerError, match=r"published nothing.*sudo systemctl restart jtop.service"):
        sampler.read()


def test_a_client_that_stopped_counts_as_gone(listening: Path) -> None:
    sampler, client = _open(listening)
    client.alive = False
    with pytest.raises(PowerError, match="lost the service"):
        sampler.read()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (JtopException("Lost connection with jtop server"), "sudo systemctl restart jtop.service"),
        (EOFError(), "sudo systemctl restart jtop.service"),
        (KeyError("rail"), "sudo pip3 install -U jetson-stats"),
    ],
)
def test_what_the_clients_thread_met_ends_the_source(listening: Path, error: Exception, remedy: str) -> None:
    sampler, client = _open(listening)

    def ok(spin: bool) -> bool:
        raise error

    client.ok = ok  # type: ignore[method-assign]
    with pytest.raises(PowerError, match=remedy):
        sampler.read()
