"""A scorer that does not read, a thread that dies, a pipe that nobody empties: no run waits for ever, and Ctrl-C is answered."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted_worker
from scripted_run import WORKER_COMMAND, make_split
from scripted_run import command as command_of
from scripted_run import run_rows as run

from runners import RUNNERS
from savbench.finish.finisher import Finished
from savbench.plan.arms import plan_arms
from savbench.plan.job import Job
from savbench.plan.settings import RunConfig
from savbench.supervise import finisher_process, worker_process
from savbench.supervise.finisher_process import FinisherError, FinisherProcess
from savbench.supervise.worker_process import WorkerProcess, WorkerTimeoutError

ROOT = Path(__file__).resolve().parents[2]
STOPPED_ONCE = """\
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
mark = Path({mark!r})
if not mark.exists():
    mark.touch()
    os.kill(os.getpid(), signal.SIGSTOP)
from savbench.finish import finisher
sys.exit(finisher.main())
"""


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", WORKER_COMMAND)


def test_a_scorer_that_stops_is_replaced_and_the_row_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "finisher.py"
    script.write_text(STOPPED_ONCE.format(root=str(ROOT), mark=str(tmp_path / "mark")))
    monkeypatch.setattr(finisher_process, "FINISHER_COMMAND", (sys.executable, str(script)))
    status, rows = run(make_split(tmp_path, ["a", "b"]), tmp_path / "run", timeout_s=8.0)
    assert (status, [row.status for row in rows]) == (0, ["ok", "ok"])
    assert [row.scorer_replaced for row in rows] == ["it gave no answer for 8 s", ""]


@pytest.mark.parametrize(("size", "reason"), [(1000, "gave no answer"), (1 << 20, "did not read its task")])
def test_a_scorer_that_never_reads_does_not_block_what_is_written_to_it(tmp_path: Path, size: int, reason: str) -> None:
    settings = RunConfig(split_dir=tmp_path, models=("static_mask",), timeout_s=0.5, out_dir=tmp_path)
    process = FinisherProcess(settings, "val", tmp_path / "finisher.log", ("sh", "-c", "exec sleep 600"))
    with pytest.raises(TimeoutError, match=f"it {reason} for 0.5 s"):
        process._ask_again("x" * size)


def test_an_exception_in_the_thread_of_the_scorer_ends_the_run_with_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: dict[str, Any]) -> Finished:
        raise OverflowError("timestamp too large to convert")

    monkeypatch.setattr(Finished, "from_json", broken)
    with pytest.raises(FinisherError, match=r"OverflowError: timestamp too large to convert.*run the same command again to continue"):
        run(make_split(tmp_path, ["a", "b"]), tmp_path / "run")


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that within a minute")


def is_stopped(text: bytes) -> int | None:
    """Number of a stopped process whose command line has this in it."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state == "T" and text in (folder / "cmdline").read_bytes():
                    return int(folder.name)
            except OSError:
                continue
    return None


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_one_interrupt_ends_a_run_whose_scorer_hangs(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    script = tmp_path / "finisher.py"
    script.write_text(STOPPED_ONCE.format(root=str(ROOT), mark=str(tmp_path / "mark")))
    command = command_of(make_split(tmp_path, ["a"]), tmp_path / "run")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "SCRIPTED_FINISHER": str(script)}
    )
    started.append(process)
    wait_until(lambda: is_stopped(str(script).encode()) is not None)
    process.send_signal(signal.SIGINT)
    # its scorer is given up after --timeout, 60 s, at the earliest
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; waiting until up to 1 rows are scored" in said
    assert "run the same command again to continue" in said
    assert is_stopped(str(script).encode()) is None
    assert run(tmp_path / "split", tmp_path / "run")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_ends_a_run_that_hangs_in_what_it_prints(
    tmp_path: Path, started: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * (1 << 16))
        os.set_blocking(writing, True)
        process = subprocess.Popen(command_of(make_split(tmp_path, ["a"]), tmp_path / "run"), stdout=writing, stderr=writing, text=True)
        started.append(process)
        # it opens its folder and then says what power it reads
        wait_until((tmp_path / "run" / ".lock").exists)
        wait_until(lambda: _is_asleep(process.pid))
        process.send_signal(number)
        assert process.wait(timeout=30) == 130
    finally:
        os.close(reading)
        os.close(writing)


def _is_asleep(pid: int) -> bool:
    """Whether a process has used no CPU for a while."""
    before = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    time.sleep(1.0)
    return before == Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]


def test_a_job_that_the_worker_does_not_read_does_not_block_either(tmp_path: Path) -> None:
    settings = RunConfig(split_dir=tmp_path, models=("static_mask",))
    targets = tuple((f"video_{number:06d}", "000") for number in range(20_000))
    job = Job(settings, plan_arms(settings, "val")[0], targets, "val", "", "", tmp_path)
    worker = WorkerProcess(job, tmp_path / "worker.log", ["sh", "-c", "exec sleep 600"])
    try:
        with pytest.raises(WorkerTimeoutError, match=r"no progress for 0.5 s \(--timeout\)"):
            list(worker.events(0.5, lambda: False))
    finally:
        worker.close()
