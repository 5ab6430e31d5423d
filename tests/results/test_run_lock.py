"""One run at a time in a folder, whatever its file system can do."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from savbench.plan.settings import RunConfig
from savbench.results.run_folder import RunFolder, RunFolderError
from savbench.results.run_lock import HOLDER, LockedError, RunLock


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def without_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_the_second_run_is_refused_and_the_next_one_is_not(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    with pytest.raises(LockedError, match="another run is writing here; wait for it or give another --out_dir"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert not (tmp_path / HOLDER).exists()


@pytest.mark.usefixtures("without_flock")
def test_without_flock_a_file_tells_who_is_writing(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    expected = rf"process {os.getpid()} on {socket.gethostname()}; wait for it .* remove .*{HOLDER}"
    with pytest.raises(LockedError, match=expected):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert not (tmp_path / HOLDER).exists()


@pytest.mark.usefixtures("without_flock")
def test_without_flock_a_run_opens_its_folder_and_goes_on(tmp_path: Path) -> None:
    settings = RunConfig(split_dir=tmp_path, models=("static_mask",))
    for _ in range(2):
        with RunFolder(tmp_path / "run", settings, "val"), pytest.raises(RunFolderError, match="a run is writing here"):
            RunFolder(tmp_path / "run", settings, "val").__enter__()


@pytest.mark.usefixtures("without_flock")
def test_the_file_of_a_killed_run_is_replaced_also_where_its_number_was_given_away(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (tmp_path / HOLDER).write_text(json.dumps({"host": socket.gethostname(), "pid": pid, "started": "1"}))
        lock = RunLock(tmp_path)
        lock.acquire()
        assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()
        lock.release()


def test_the_file_of_another_host_holds_for_all(tmp_path: Path) -> None:
    (tmp_path / HOLDER).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    with pytest.raises(LockedError, match="process 1 on elsewhere"):
        RunLock(tmp_path).acquire()
    (tmp_path / HOLDER).write_text("")
    with pytest.raises(LockedError, match="damaged; remove it if no run is writing here"):
        RunLock(tmp_path).acquire()


def test_another_error_of_flock_is_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(RunFolderError, match="Input/output error"):
        RunFolder(tmp_path / "run", RunConfig(split_dir=tmp_path, models=("static_mask",)), "val").__enter__()
