"""A child process ends with its parent, whatever it is busy with."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARENT = """\
import sys, time
sys.path.insert(0, {root!r})
from savbench.supervise.child import start_child
child, reading = start_child([sys.executable, {script!r}], open({log!r}, "wb"), own_group=True)
print(child.pid, flush=True)
time.sleep(600)
"""
CHILD = """\
import ctypes, sys
sys.path.insert(0, {root!r})
from savbench.measure.parent import leave_with_parent
leave_with_parent()
print("ready", flush=True)
# as a library does that is being loaded: no other thread can run meanwhile
ctypes.PyDLL(None).sleep(120)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_child_that_holds_the_interpreter_ends_with_a_killed_parent(tmp_path: Path) -> None:
    script, log = tmp_path / "child.py", tmp_path / "log"
    script.write_text(CHILD.format(root=str(ROOT)))
    code = PARENT.format(root=str(ROOT), script=str(script), log=str(log))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            wait_until(lambda: log.read_bytes() == b"ready\n")
            assert is_running(child)
        finally:
            parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(child))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that within a minute")


def is_running(pid: int) -> bool:
    """Whether there is such a process and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
