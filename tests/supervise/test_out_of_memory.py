"""Memory that really runs out: in a control group with a limit the kernel kills, under a limit of the process allocations fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_run import command, make_split

from savbench.board.cgroup import memory_group
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.supervise.worker_process import OOM_SCORE_ADJ

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MIB = 700
"""Enough for the supervisor, a worker and the process that scores."""


@contextlib.contextmanager
def memory_limit(mib: int) -> Iterator[Path]:
    """A control group with this limit; its folder. The test is skipped, with the reason, where none can be made."""
    own = memory_group()
    if own is None:
        pytest.skip("no control group with a say over memory is to be seen")
    # in version 2 a group that has processes cannot have groups with limits below it, but the topmost can
    is_version_1 = own.names.limit == "memory.limit_in_bytes"
    folder = (own.folder if is_version_1 else own.mount) / f"savbench_test_{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            (folder / own.names.limit).write_text(str(mib << 20))
        except OSError as error:
            pytest.skip(f"the control group takes no limit of memory: {error}")
        for swap, text in (("memory.swap.max", "0"), ("memory.memsw.limit_in_bytes", str(mib << 20))):
            with contextlib.suppress(OSError):
                (folder / swap).write_text(text)
        yield folder
    finally:
        folder.rmdir()


def run_in(group: Path | None, tmp_path: Path, videos: dict[str, int]) -> tuple[list[SummaryRow], str]:
    """A run in a process of its own, in a control group."""
    split_dir = make_split(tmp_path, videos)
    enter = "true" if group is None else f"echo $$ > {group}/cgroup.procs"
    entered = ["sh", "-c", f'{enter} && exec "$@"', "sh", *command(split_dir, tmp_path / "run")]
    done = subprocess.run(entered, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout
    return read_rows(SummaryRow, tmp_path / "run" / "summary.csv"), done.stdout


@pytest.mark.alone
def test_a_kill_for_want_of_memory_costs_one_object_and_says_where(tmp_path: Path) -> None:
    with memory_limit(LIMIT_MIB) as group:
        rows, said = run_in(group, tmp_path, {"before": 9, "eat": 40, "after": 9})
    assert [(row.video, row.status) for row in rows] == [("before", "ok"), ("eat", "oom"), ("after", "ok")]
    row = rows[1]
    assert row.error == "the kernel killed the worker, out of memory; close other programs"
    assert row.implementation == "scripted"
    # 64 MiB for each frame from the third on: it comes some frames further, and the word of it comes every 0.2 s
    assert row.failed_at_frame is not None
    assert 0 <= row.failed_at_frame <= 3 + LIMIT_MIB // 64
    assert (row.fps, row.J, row.cpu_peak_rss_MiB) == (None, None, None)
    assert "eat/000  oom" in said


def test_an_allocation_that_fails_is_out_of_memory_too(tmp_path: Path) -> None:
    rows, _ = run_in(None, tmp_path, {"limit": 9, "tell": 9})
    assert [(row.video, row.status) for row in rows] == [("limit", "oom"), ("tell", "ok")]
    assert rows[0].error.startswith("MemoryError")
    assert rows[0].error.endswith("; close other programs")
    # the worker says what it was given, for the kernel to take it before others
    assert rows[1].warning_lines == f"UserWarning: {OOM_SCORE_ADJ}"


ALLOCATE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import torch
from savbench.measure.failures import status_of
if sys.argv[2] == "cuda":
    torch.cuda.set_per_process_memory_fraction(0.001)
    size = torch.cuda.get_device_properties(0).total_memory // 100
else:
    size = 1 << 33
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
try:
    torch.ones(size, dtype=torch.uint8, device=sys.argv[2])
except Exception as error:
    print(type(error).__name__, status_of(error))
"""


@pytest.mark.parametrize(("device", "raised"), [("cpu", "RuntimeError"), ("cuda", "OutOfMemoryError")])
def test_what_torch_raises_is_understood(device: str, raised: str) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    done = subprocess.run([sys.executable, "-c", ALLOCATE, str(ROOT), device], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [raised, "oom"]
